"""Locally connected layers against sums by hand and against convolution, and the net that is made of them."""

import keras
import numpy as np
import pytest
from helpers.zoo import plan
from keras import layers as L

import cnnbook
from cnnbook import graph, models, viz
from cnnbook.parts.layers import LocallyConnected2D
from cnnbook.training import gradients

pytestmark = pytest.mark.jax

read = keras.ops.convert_to_numpy


def by_hand(x, kernel, bias, strides):
    """Every output position by its own kernel, one multiplication of windows at a time."""
    rows, columns, high, wide, _, filters = kernel.shape
    y = np.zeros((len(x), rows, columns, filters))
    for i in range(rows):
        for j in range(columns):
            top, left = i * strides[0], j * strides[1]
            window = x[:, top : top + high, left : left + wide]
            for f in range(filters):
                y[:, i, j, f] = (window * kernel[i, j, ..., f]).sum(axis=(1, 2, 3)) + bias[i, j, f]
    return y


@pytest.mark.parametrize(
    "kernel, strides", [((3, 3), (1, 1)), ((2, 4), (3, 1)), ((1, 3), (2, 2)), ((7, 9), (1, 1))]
)
def test_locally_connected_by_hand(kernel, strides):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 7, 9, 3)).astype("float32")
    layer = LocallyConnected2D(4, kernel, strides)
    layer.build(x.shape)
    layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    y = read(layer(x))
    np.testing.assert_allclose(y, by_hand(x, *layer.get_weights(), strides), atol=1e-4)
    assert y.shape == layer.compute_output_shape(x.shape)


@pytest.mark.parametrize("strides", [1, 2])
def test_tied_weights_make_a_convolution(strides):
    x = np.random.default_rng(0).normal(size=(2, 10, 9, 3)).astype("float32")
    conv, local = (kind(5, 3, strides, activation="relu") for kind in (L.Conv2D, LocallyConnected2D))
    for layer in (conv, local):
        layer.build(x.shape)
    conv.set_weights([conv.get_weights()[0], np.arange(5) / 5])
    expected = read(conv(x))
    local.set_weights(
        [np.broadcast_to(w, v.shape) for w, v in zip(conv.get_weights(), local.get_weights(), strict=True)]
    )
    np.testing.assert_allclose(read(local(x)), expected, atol=1e-5)
    moved = local.get_weights()
    moved[0][0, 0] = 0  # the kernel of one position is that of this position only
    local.set_weights(moved)
    changed = np.abs(read(local(x)) - expected).max(axis=(0, 3)) > 1e-3
    assert changed[0, 0] and changed.sum() == 1


def test_first_weights_have_the_deviation_of_one_window():
    keras.utils.set_random_seed(0)
    layer = LocallyConnected2D(16, (3, 5))
    layer.build((None, 12, 12, 8))
    kernel = layer.get_weights()[0]
    assert kernel.shape == (10, 8, 3, 5, 8, 16)
    he = np.sqrt(2 / (3 * 5 * 8))
    assert abs(kernel.std() / he - 1) < 0.02
    assert (np.abs(kernel.std(axis=(2, 3, 4, 5)) / he - 1) < 0.1).all()  # at every position
    assert len(np.unique(kernel)) > 0.99 * kernel.size  # and no two alike
    options = dict(kernel_initializer=keras.initializers.RandomNormal(stddev=0.01), bias_initializer="ones")
    paper = LocallyConnected2D(16, 5, **options)
    paper.build((None, 9, 9, 8))
    assert abs(paper.get_weights()[0].std() / 0.01 - 1) < 0.02 and (paper.get_weights()[1] == 1).all()


def test_a_locally_connected_layer_is_saved_whole(tmp_path):
    x = keras.Input((8, 9, 2))
    y = LocallyConnected2D(3, (3, 2), (2, 1), activation="relu", use_bias=False, name="l")(x)
    net = keras.Model(x, y)
    net.save(tmp_path / "net.keras")
    image = np.random.default_rng(0).normal(size=(2, 8, 9, 2)).astype("float32")
    again = cnnbook.load(tmp_path / "net.keras", trusted=True)
    np.testing.assert_array_equal(read(again(image)), read(net(image)))
    layer = again.get_layer("l")
    assert (layer.kernel_size, layer.strides, layer.use_bias) == ((3, 2), (2, 1), False)
    assert layer.kernel_initializer.get_config() == net.get_layer("l").kernel_initializer.get_config()


def test_what_a_locally_connected_layer_refuses():
    for call, says in (
        (lambda: LocallyConnected2D(0, 3), "filters is a whole number"),
        (lambda: LocallyConnected2D(4, (3, 3, 3)), "kernel_size is a whole number"),
        (lambda: LocallyConnected2D(4, 3, 0), "strides is a whole number"),
        (lambda: LocallyConnected2D(4, 3)(keras.Input((None, 9, 1))), "fixed size"),
        (lambda: LocallyConnected2D(4, 5)(keras.Input((4, 9, 1))), r"a window of \(5, 5\)"),
    ):
        with pytest.raises(ValueError, match=says):
            call()


def test_the_reader_counts_it():
    x = keras.Input((20, 24, 3), name="image")
    y = L.Conv2D(4, 3, name="c")(x)  # 18 x 22
    y = LocallyConnected2D(5, (3, 5), (2, 1), name="l")(y)  # 8 x 18
    row = graph.trace(keras.Model(x, y))[-1]
    assert row.output_shape == (8, 18, 5)
    assert row.macs == 8 * 18 * 3 * 5 * 4 * 5 and row.params == row.macs + 8 * 18 * 5
    assert row.receptive_field == (5, 7) and row.stride == (2, 1) and row.known and not row.global_context
    net = keras.Model(x, y)
    image = np.random.default_rng(0).normal(size=(1, 20, 24, 3)).astype("float32")
    _, found = gradients.of_input(lambda t: keras.ops.sum(net(t)[0, 3, 7]), image)
    seen = np.argwhere(np.abs(found[0]).max(-1) > 0)
    assert tuple(seen.min(0)) == (3 * 2, 7) and tuple(np.ptp(seen, axis=0) + 1) == row.receptive_field


def test_deepface_layer_by_layer():
    """Figure 2 of the paper, and the sums of its layers."""
    net = plan(models.DeepFace)
    rows = {row.name: row for row in graph.trace(net)}
    sides = [rows[name].output_shape[0] for name in ("c1", "m2", "c3", "l4", "l5", "l6")]
    assert sides == [142, 71, 63, 55, 25, 21]
    assert rows["f7"].output_shape == (4096,) and rows["predictions"].output_shape == (4030,)
    counted = {name: row.params for name, row in rows.items() if row.params}
    assert counted == {
        "c1": 11_616 + 32, "c3": 41_472 + 16, "l4": 62_726_400 + 48_400, "l5": 7_840_000 + 10_000,
        "l6": 2_822_400 + 7_056, "f7": 28_901_376 + 4_096, "predictions": 16_506_880 + 4_030,
    }  # fmt: skip
    assert sum(counted.values()) == 118_923_774
    assert all(weight._value is None for weight in net.weights)  # counted without memory for them


def test_tied_and_untied_deepface():
    small = dict(
        kernels=(5, 3, 3, 3, 3), filters=(4, 4, 4, 4, 4), hidden=8, input_shape=(32, 32, 1), classes=3
    )
    local, tied = models.DeepFace(**small), models.DeepFace(tied=True, **small)
    assert [layer.name for layer in local.layers] == [layer.name for layer in tied.layers]
    for name in ("c1", "c3", "f7", "predictions"):
        local.get_layer(name).set_weights(tied.get_layer(name).get_weights())
    for name in ("l4", "l5", "l6"):
        layer = local.get_layer(name)
        values = zip(tied.get_layer(name).get_weights(), layer.get_weights(), strict=True)
        layer.set_weights([np.broadcast_to(w, v.shape) for w, v in values])
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 1)).astype("float32")
    np.testing.assert_allclose(local.predict(x, verbose=0), tied.predict(x, verbose=0), atol=1e-5)
    macs = [graph.totals(net)["macs"] for net in (local, tied)]
    assert macs[0] == macs[1] and local.count_params() > tied.count_params()
    free = models.DeepFace(tied=True, include_top=False, input_shape=(None, None, 3))
    assert free.output_shape == (None, None, None, 16)
    with pytest.raises(ValueError, match="each of C1, C3, L4, L5 and L6"):
        models.DeepFace(filters=(8, 8))
    with pytest.raises(ValueError, match="fixed size"):
        models.DeepFace(include_top=False, input_shape=(None, None, 3))


def test_pictures_of_deepface():
    net = plan(models.DeepFace)
    assert {"9x9 local, 16", "7x7 local, 16, /2"} <= {box.text for box in viz.stacks(net).rows["deepface"]}
    assert "9×9 local" in viz.diagram(net).svg()
    nested = keras.Sequential([keras.Input((23, 23, 1)), models.DeepFace(
        kernels=(3,) * 5, filters=(2,) * 5, hidden=4, input_shape=(23, 23, 1), classes=3)])  # fmt: skip
    flat, x = graph.flatten(nested), np.random.default_rng(0).normal(size=(1, 23, 23, 1)).astype("float32")
    np.testing.assert_array_equal(flat.predict(x, verbose=0), nested.predict(x, verbose=0))
    assert viz.feature_maps(nested, x[0], "l4").array.shape[-1] == 2


def test_a_filter_of_the_loss_surface_is_one_position_of_a_layer():
    from cnnbook.training import surface

    net = models.DeepFace(kernels=(3,) * 5, filters=(2,) * 5, hidden=4, input_shape=(23, 23, 1), classes=3)
    # height, width and channels of one window
    assert surface._filter_axes(net)[id(net.get_layer("l4").kernel)] == (2, 3, 4)
