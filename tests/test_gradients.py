"""Gradients leave a net as it was: a call afterwards works, and statistics and seeds are the same to the bit."""

import keras
import numpy as np
import pytest
from keras import layers as L

from cnnbook import viz
from cnnbook.training import gradients

pytestmark = [pytest.mark.jax, pytest.mark.torch]

SHAPE, CLASSES = (8, 8, 3), 4
rng = np.random.default_rng(0)
IMAGES, LABELS = rng.normal(size=(6, *SHAPE)).astype("float32"), np.arange(6) % CLASSES


def body(x):
    """What keeps a state, batch norm and dropout, and what adds a loss."""
    x = L.BatchNormalization(name="norm")(L.Conv2D(5, 3, name="conv")(x))
    return L.ActivityRegularization(l2=0.1, name="loss")(L.Dropout(0.5, seed=3, name="drop")(x))


def head(x):
    return L.Dense(CLASSES, activation="softmax", name="top")(L.GlobalAveragePooling2D(name="pool")(x))


def flat():
    image = keras.Input(SHAPE)
    return keras.Model(image, head(body(image)))


def in_functional():
    inner, image = keras.Input(SHAPE), keras.Input(SHAPE)
    return keras.Model(image, head(keras.Model(inner, body(inner), name="inside")(image)))


def in_sequential():
    inner = keras.Input(SHAPE)
    between = keras.Sequential([keras.Input(SHAPE), keras.Model(inner, body(inner), name="inside")])
    last = L.Dense(CLASSES, activation="softmax")
    return keras.Sequential([keras.Input(SHAPE), between, L.Dropout(0.2, seed=4), L.Flatten(), last])


def of_weights(net):
    value, found = gradients.of_weights(net, gradients.loss_on(IMAGES, LABELS))
    assert value > 0 and set(found) == {v.path for v in net.trainable_variables}


def of_input(net):
    found = gradients.of_input(lambda x: keras.ops.sum(net(x, training=True)[:, 0]), IMAGES)[1]
    assert found.shape == IMAGES.shape and np.abs(found).max() > 0


def repeated(net):
    climb = gradients.repeated(lambda x: keras.ops.sum(net(x, training=True)[:, 0]), net.variables)
    assert climb(IMAGES)[0] > 0


def compiled(net):
    mean = gradients.compiled(lambda x: keras.ops.mean(net(x, training=True)))
    assert float(mean(keras.ops.convert_to_tensor(IMAGES))) == pytest.approx(1 / CLASSES, rel=1e-5)


def landscape(net):
    viz.landscape(net, IMAGES, LABELS, points=3, statistics="batch")


def flow(net):
    viz.gradient_flow(net, IMAGES, LABELS)


def state(net):
    """Every variable of the net, its seeds among them, as arrays."""
    return {v.path: keras.ops.convert_to_numpy(v) for v in net.variables}


@pytest.mark.parametrize("build", [flat, in_functional, in_sequential])
@pytest.mark.parametrize("use", [of_weights, of_input, repeated, compiled, landscape, flow])
def test_a_net_is_afterwards_what_it_was(build, use):
    net = build()
    before, said = state(net), keras.ops.convert_to_numpy(net(IMAGES))
    assert any("seed_generator_state" in path for path in before)
    use(net)
    after = state(net)
    assert before.keys() == after.keys()
    assert [path for path in before if not np.array_equal(before[path], after[path])] == []
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(net(IMAGES)), said)


@pytest.mark.parametrize("build", [flat, in_functional, in_sequential])
def test_the_losses_of_the_last_call_stay(build):
    net = build()
    net(IMAGES, training=True)
    before = [float(loss) for loss in net.losses]
    of_weights(net)
    assert len(before) == 1 and [float(loss) for loss in net.losses] == before


def test_training_goes_on_after_a_gradient():
    """Keras' own step reads the statistics that a gradient would have spoilt, and moves them."""
    net = flat()
    net.compile("sgd", "sparse_categorical_crossentropy")
    of_input(net)
    before = state(net)["norm/moving_mean"]
    net.train_on_batch(IMAGES, LABELS)
    assert np.isfinite(before).all() and not np.array_equal(before, state(net)["norm/moving_mean"])
