"""The loss around the weights: known surfaces, filter lengths, and a net that stays as it is."""

import keras
import numpy as np
import pytest
from helpers import nets
from keras import layers as L

from cnnbook import training, viz
from cnnbook.training import surface

pytestmark = [pytest.mark.jax, pytest.mark.torch]

read = keras.ops.convert_to_numpy


def squared(labels, outputs):
    return keras.ops.square(outputs - labels[:, None])


@pytest.fixture(scope="module")
def batch():
    return nets.image((6, 16, 20, 3)), np.arange(6) % 5


def linear(weights=(1.0, -2.0, 0.5)):
    inputs = keras.Input((1, 1, 3))
    outputs = L.Dense(1, use_bias=False, name="out")(L.Flatten()(inputs))
    model = keras.Model(inputs, outputs, name="linear")
    model.get_layer("out").set_weights([np.reshape(weights, (3, 1)).astype("float32")])
    return model


def test_a_quadratic_loss_is_a_parabola():
    model, x = linear(), nets.image((20, 1, 1, 3))
    y = (x.reshape(-1, 3) @ [1.0, -2.0, 0.5]).astype("float32")  # solved: the loss is 0 at the net itself
    found = viz.landscape(model, x, y, loss=squared, points=9, span=2.0, seed=3)
    d = found.directions[0][0][:, 0]
    expected = [np.mean((x.reshape(-1, 3) @ (a * d)) ** 2) for a in found.steps]
    np.testing.assert_allclose(found.array, expected, rtol=1e-4, atol=1e-6)
    assert found.loss == pytest.approx(0, abs=1e-10) and found.steps[4] == 0 and found.array.argmin() == 4
    both = viz.landscape(model, x, y, loss=squared, dimensions=2, points=5, seed=3, batch=7)
    d, e = (move[0][:, 0] for move in both.directions)
    for row, b in zip(both.array, both.steps, strict=True):
        expected = [np.mean((x.reshape(-1, 3) @ (a * d + b * e)) ** 2) for a in both.steps]
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-6)


def test_a_given_direction_leads_from_one_net_to_another():
    model, x = linear(), nets.image((20, 1, 1, 3))
    y = (x.reshape(-1, 3) @ [3.0, 0.0, 0.5]).astype("float32")
    to = [np.array([[2.0], [2.0], [0.0]])]  # what is missing to the weights that solve it
    found = viz.landscape(model, x, y, loss=squared, directions=[to], points=5)
    assert found.array[-1] == pytest.approx(0, abs=1e-9) and found.array.argmin() == 4
    np.testing.assert_allclose(found.array / found.loss, [4, 2.25, 1, 0.25, 0], atol=1e-5)


def test_every_filter_of_a_direction_is_as_long_as_the_nets_own():
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3, name="conv")(inputs)
    x = L.BatchNormalization(name="bn")(x)
    x = L.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    x = L.Conv2DTranspose(5, 2, 2, name="up")(x)
    x = L.SeparableConv2D(6, 3, name="separable")(x)
    model = nets.seeded(keras.Model(inputs, L.Dense(2, name="dense")(L.Flatten()(x))))
    made = surface.filter_direction(model, np.random.default_rng(7))
    again = surface.filter_direction(model, np.random.default_rng(7))
    axes = {
        "conv/kernel": (0, 1, 2), "depthwise/kernel": (0, 1), "up/kernel": (0, 1, 3), "dense/kernel": (0,),
        "separable/depthwise_kernel": (0, 1), "separable/pointwise_kernel": (0, 1, 2),
    }  # fmt: skip
    for variable, step, same in zip(model.trainable_variables, made, again, strict=True):
        np.testing.assert_array_equal(step, same)
        if variable.path not in axes:  # biases, gamma and beta do not move
            assert len(variable.shape) == 1 and not step.any()
            continue
        along = axes.pop(variable.path)
        own = np.sqrt((read(variable.value) ** 2).sum(along))
        np.testing.assert_allclose(np.sqrt((step**2).sum(along)), own, rtol=1e-4)
        assert own.size > 1 and abs(np.corrcoef(step.ravel(), read(variable.value).ravel())[0, 1]) < 0.9
    assert not axes


def test_the_middle_is_the_loss_of_the_net_and_the_net_stays(net, batch):
    before = [read(v.value).copy() for v in net.weights]
    x, y = batch
    expected = -np.log(read(net(x))[np.arange(6), y]).mean()
    for statistics in ("kept", "batch"):
        found = viz.landscape(net, x, y, points=3, statistics=statistics)
        if statistics == "kept":
            assert found.loss == pytest.approx(expected, rel=1e-5)
        else:
            assert found.loss != pytest.approx(expected, rel=1e-3)  # normalised by the six images

    def broken(labels, outputs):
        raise RuntimeError("a loss that fails")

    with pytest.raises(RuntimeError, match="a loss that fails"):
        viz.landscape(net, x, y, points=3, loss=broken, statistics="batch")
    for variable, old in zip(net.weights, before, strict=True):
        np.testing.assert_array_equal(read(variable.value), old)


def test_dropout_does_not_drop():
    inputs = keras.Input((4, 4, 2))
    x = L.Dropout(0.5, name="drop")(L.Conv2D(3, 3, name="conv")(inputs))
    model = nets.seeded(
        keras.Model(inputs, L.Dense(3, activation="softmax")(L.Flatten()(x)), name="dropping")
    )
    x, y = nets.image((8, 4, 4, 2)), np.arange(8) % 3
    kept, batch = (viz.landscape(model, x, y, points=3, statistics=s).array for s in ("kept", "batch"))
    np.testing.assert_allclose(batch, kept, rtol=1e-5)
    assert model.get_layer("drop").rate == 0.5


def test_nested_nets_and_pictures(net, batch):
    x, y = batch
    found = viz.landscape(net, x, y, points=3)
    nested = nets.nested(net)[0]
    assert viz.landscape(nested, x, y, points=3).array.shape == (3,)
    contours = viz.landscape(net, x, y, dimensions=2, points=5)
    for picture in (found, contours, viz.beside(contours, contours), viz.beside(found, found)):
        assert picture._repr_png_().startswith(b"\x89PNG")
    assert "two random directions" in contours.alt and contours.array.shape == (5, 5)
    assert np.isclose(contours.array[2, 2], found.loss)


def test_gradient_flow_shows_the_gradients(net, batch):
    x, y = batch
    found = viz.gradient_flow(net, x, y)
    expected = training.gradient_norms(net, x, y)
    assert list(found.norms) == ["cam_net"] and list(found.norms["cam_net"]) == list(expected)
    np.testing.assert_allclose(found.array, list(expected.values()), rtol=1e-5)
    inner = viz.gradient_flow({"plain": net, "nested": nets.nested(net)[0]}, x, y)
    assert set(inner.norms["nested"]) == {"conv1", "conv2", "conv2_shortcut", "head"}
    for (name, norm), other in zip(inner.norms["plain"].items(), inner.norms["nested"].values(), strict=True):
        assert norm == pytest.approx(other, rel=1e-4), name
    axes = inner.figure().axes[0]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["plain", "nested"]
    assert axes.get_yscale() == "log" and inner._repr_png_().startswith(b"\x89PNG")
