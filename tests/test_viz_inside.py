"""Maps, kernels, receptive fields, ascent, neighbours and sanity checks: the numbers behind the pictures."""

import keras
import numpy as np
import pytest
from helpers import nets
from keras import layers as L

from cnnbook import models, viz
from cnnbook.viz import reading
from cnnbook.viz.inside import fields as field
from cnnbook.viz.why import sanity

pytestmark = pytest.mark.torch

read = keras.ops.convert_to_numpy


# --------------------------------------------------------------------------- running a net call by call


def test_a_net_run_call_by_call_is_the_net(net, image):
    free = models.ResNetCIFAR(8, widths=(4, 8, 8), input_shape=(None, None, 3))
    for model in (net, *nets.nested(net), nets.seeded(free)):
        shape = (16, 20, 3)
        x = nets.image((3, *shape), 5)
        own = reading.Net(model, shape)
        np.testing.assert_allclose(
            own.read(x, [own.output], batch=2)[own.output], read(model(x)), rtol=1e-5, atol=1e-6
        )
        assert own.shape == shape
    # dropout and batch norm asked to train when the model was built are at rest here
    inputs = keras.Input((4, 4, 1))
    noisy = keras.Model(inputs, L.Dropout(0.5, name="drop")(inputs, training=True))
    x = nets.image((1, 4, 4, 1))
    np.testing.assert_array_equal(reading.Net(noisy).read(x, ["drop"])["drop"], x)


def test_layers_that_are_called_twice_and_bare_operations():
    inputs = keras.Input((8, 8, 2))
    conv = L.Conv2D(2, 3, padding="same", name="conv")
    outputs = conv(conv(inputs)) + inputs * 2
    model = nets.seeded(keras.Model(inputs, outputs, name="twice"))
    x = nets.image((1, 8, 8, 2))
    once = read(conv(x))
    np.testing.assert_allclose(viz.feature_maps(model, x, "conv").array, once[0], rtol=1e-5)
    np.testing.assert_allclose(
        viz.feature_maps(model, x, "conv:2").array, read(conv(once))[0], rtol=1e-4, atol=1e-6
    )


# --------------------------------------------------------------------------- maps and kernels


def test_feature_maps_are_the_layers_output(net, image):
    expected = read(keras.Model(net.input, net.get_layer("conv2").output)(image[None]))[0]
    for model in (net, *nets.nested(net)):
        found = viz.feature_maps(model, image, "conv2")
        np.testing.assert_allclose(found.array, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.mean, expected.mean(-1), rtol=1e-5, atol=1e-6)
    some = viz.feature_maps(net, image, "conv2", channels=[6, 1])
    np.testing.assert_array_equal(some.array, found.array[..., [6, 1]])
    strong = viz.feature_maps(net, image, "conv2", most=3)
    assert set(strong.drawn) == set(np.argsort(-expected.mean((0, 1)))[:3]) and strong.array.shape[-1] == 8
    captions = [text.get_text() for text in strong.figure().axes[0].texts]
    assert captions == ["image", "mean of all", *map(str, strong.drawn)]


def test_a_stage_stands_for_its_last_map():
    small = nets.seeded(models.ResNetCIFAR(14, widths=(4, 4, 4), input_shape=(16, 16, 3)))
    x = nets.image((16, 16, 3))
    stage, layer = (viz.feature_maps(small, x, name) for name in ("conv3", "conv3_block2_out"))
    assert stage.layer == "conv3_block2_out"
    np.testing.assert_array_equal(stage.array, layer.array)
    inside = keras.Sequential([keras.Input((16, 16, 3)), small])
    np.testing.assert_allclose(viz.feature_maps(inside, x, "conv3").array, stage.array, atol=1e-6)


def test_a_net_of_two_nets_with_the_same_names_is_looked_at(image):
    """An ensemble of two nets of one builder: each layer is found by its model's name and its own, or as itself."""
    small = dict(depth=8, widths=(2, 3, 4), input_shape=image.shape, classes=5)
    members = [
        nets.seeded(models.ResNetCIFAR(**small, name=name), i) for i, name in enumerate(("one", "two"))
    ]
    x = keras.Input(image.shape, name="image")
    net = keras.Model(x, L.Average(name="mean")([member(x) for member in members]), name="both")
    conv = members[1].get_layer("conv1_conv")
    expected = read(conv(image[None]))[0]
    for layer in ("two.conv1_conv", conv):
        np.testing.assert_allclose(viz.feature_maps(net, image, layer).array, expected, rtol=1e-4, atol=1e-5)
    assert reading.Net(net).row("two.conv4").name.startswith("two.conv4_block1_")
    assert viz.receptive_field(net, image, "one.conv1_conv", (3, 3)).box == (2, 2, 5, 5)
    assert {"one.predictions", "two.predictions"} <= set(
        viz.gradient_flow(net, image[None], np.array([1])).norms["both"]
    )
    assert viz.saliency(net, image).array.shape == image.shape[:2]
    assert "mean" in viz.diagram(net).alt and viz.stacks(net).svg()
    with pytest.raises(ValueError, match="no layer 'conv1_conv'; near it are .*one.conv1_conv"):
        viz.feature_maps(net, image, "conv1_conv")


def test_filters_are_the_kernels():
    inputs = keras.Input((16, 16, 3))
    x = L.Conv2D(4, 5, name="first")(L.ZeroPadding2D(1, name="pad")(inputs))
    x = L.Conv2D(8, (3, 1), groups=2, name="grouped")(x)
    x = L.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="depth")(x)
    x = L.Conv2D(6, 1, name="point")(x)
    x = L.SeparableConv2D(5, 3, padding="same", name="separable")(x)
    model = nets.seeded(keras.Model(inputs, L.Conv2DTranspose(3, 2, 2, name="up")(x), name="kinds"))
    # fmt: off
    expected = {"first": ((5, 5, 3, 4), True), "grouped": ((3, 1, 2, 8), False), "depth": ((3, 3, 1, 16), False),
                "point": ((1, 1, 16, 6), False), "separable": ((3, 3, 1, 6), False), "up": ((2, 2, 5, 3), False)}
    # fmt: on
    for layer, (shape, colour) in expected.items():
        found = viz.filters(model, layer)
        assert found.array.shape == shape and found.colour is colour
        if layer in ("first", "grouped", "point"):
            assert found._repr_png_().startswith(b"\x89PNG")
    np.testing.assert_array_equal(viz.filters(model, "first").array, read(model.get_layer("first").kernel))
    up = read(model.get_layer("up").kernel)
    np.testing.assert_array_equal(viz.filters(model, "up").array[1, 0, 4, 2], up[1, 0, 2, 4])
    with pytest.raises(ValueError, match="pad .ZeroPadding2D. is no convolution.*"):
        viz.filters(model, "pad")
    with pytest.raises(ValueError, match="channels 0 to 3, got 4"):
        viz.filters(model, "first", outputs=[4])
    with pytest.raises(ValueError, match="inputs 0 to 1, got"):
        viz.filters(model, "grouped", inputs=[2])


LAYERS = {
    "plain": lambda: L.Conv2D(5, 3, padding="same", activation="relu", name="conv"),
    "stride": lambda: L.Conv2D(5, 3, 2, padding="same", name="conv"),
    "uneven stride": lambda: L.Conv2D(5, (3, 2), (2, 3), name="conv"),
    "groups": lambda: L.Conv2D(8, 3, groups=2, padding="same", activation="tanh", name="conv"),
    "dilation": lambda: L.Conv2D(5, 3, dilation_rate=2, padding="same", use_bias=False, name="conv"),
    "1x1": lambda: L.Conv2D(5, 1, activation="softmax", name="conv"),
    "transposed": lambda: L.Conv2DTranspose(5, 3, 2, padding="same", activation="relu", name="conv"),
    "transposed, valid": lambda: L.Conv2DTranspose(5, (4, 3), (2, 1), name="conv"),
    "depthwise": lambda: L.DepthwiseConv2D(3, 2, padding="same", depth_multiplier=3, name="conv"),
    "separable": lambda: L.SeparableConv2D(
        5, 3, padding="same", depth_multiplier=2, activation="relu", name="conv"
    ),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_a_convolution_is_the_sum_of_its_parts(kind):
    inputs = keras.Input((10, 12, 3))
    middle = L.Conv2D(4, 1, activation="relu", name="before")(inputs)
    layer = LAYERS[kind]()
    model = nets.seeded(keras.Model(inputs, layer(middle)))
    x = nets.image((10, 12, 3), 3)
    maps = keras.Model(inputs, middle)(x[None])
    after = read(layer(maps))[0]
    straight = reading.twin(layer, activation=keras.activations.linear)
    before = read(straight(maps))[0]
    for channel in (0, layer.compute_output_shape((None, 10, 12, 4))[-1] - 1):
        found = viz.convolve(model, x, "conv", channel)
        np.testing.assert_allclose(found.array, before[..., channel], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.output, after[..., channel], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.sums[..., -1] + found.bias, found.array, rtol=1e-4, atol=1e-5)
        assert (
            found.products.shape[-1] == found.kernels.shape[-1] == found.inputs.shape[-1] == len(found.reads)
        )
    if kind == "groups":
        assert found.reads == [2, 3]
    if kind == "depthwise":
        assert found.reads == [3]


def test_what_follows_a_convolution_point_by_point(net, image):
    found = viz.convolve(net, image, "conv1", 2)
    assert [name for name, _ in found.after] == ["conv1_bn", "conv1_relu"]
    inner = keras.Model(net.input, net.get_layer("conv1_relu").output)
    np.testing.assert_allclose(found.after[1][1], read(inner(image[None]))[0, ..., 2], rtol=1e-5, atol=1e-6)
    for rows in (1, 3):
        assert viz.convolve(net, image, "conv2", 1, rows=rows)._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="pool1 .MaxPooling2D. is no convolution; near it are conv"):
        viz.convolve(net, image, "pool1", 0)
    with pytest.raises(ValueError, match="channels 0 to 7, got 8"):
        viz.convolve(net, image, "conv2", 8)


def test_the_colours_of_an_image_are_drawn_in_their_colours():
    inputs = keras.Input((6, 7, 3))
    model = keras.Model(inputs, L.Conv2D(1, 3, use_bias=False, name="conv")(inputs))
    model.layers[-1].set_weights([np.full((3, 3, 3, 1), -0.0, "float32")])
    axes = viz.convolve(model, np.abs(nets.image((6, 7, 3))), "conv", 0).figure().axes
    inputs_drawn = [axis.images[0] for axis in axes if axis.get_title().endswith("of the image")]
    strongest = [int(np.argmax(image.cmap(0.5)[:3])) for image in inputs_drawn]
    assert strongest == [0, 1, 2] and len({image.get_clim() for image in inputs_drawn}) == 1
    # No sign before a zero, and the sum stands under the sums.
    assert {text.get_text() for axis in axes for text in axis.texts} == {"0.00"}
    assert axes[-1].get_title() == "sum of all 3, no bias"
    columns = {axis.get_title(): axis.get_subplotspec().colspan.start for axis in axes}
    assert columns["sum of all 3, no bias"] == columns["sum so far"] == 3


# --------------------------------------------------------------------------- receptive fields


def dilated():
    x = inputs = keras.Input((48, 40, 3))
    for name, kernel, rate in (("first", 3, 1), ("second", (3, 5), 2), ("third", 3, 4)):
        x = L.Conv2D(2, kernel, dilation_rate=rate, padding="same", activation="relu", name=name)(x)
    return keras.Model(inputs, x)


def small_nets():
    apps, bare = keras.applications, dict(weights=None, include_top=False)
    return {
        "VGG16": (lambda: models.VGG16(include_top=False, input_shape=(128, 128, 3), widths=(2,) * 5), "block4_conv1"),
        "ResNetCIFAR": (lambda: models.ResNetCIFAR(14, widths=(2, 2, 2), input_shape=(96, 96, 3)), "conv4"),
        "ResNet50": (lambda: models.ResNet50(include_top=False, input_shape=(192, 192, 3), widths=(2,) * 4), "conv3"),
        "AlexNet": (lambda: models.AlexNet(input_shape=(131, 131, 3), include_top=False), "conv3"),
        "MobileNetV2": (lambda: apps.MobileNetV2(**bare, alpha=0.35, input_shape=(160, 160, 3)), "block_6_depthwise"),
        "dilated": (dilated, "third"),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(small_nets()))
def test_the_box_by_gradient_is_the_box_by_walk(name):
    builder, layer = small_nets()[name]
    model = builder()
    before = model.get_weights()[0].copy()
    high, wide = model.input_shape[1:3]
    found = viz.receptive_field(model, nets.image((high, wide, 3)), layer, check=True)
    top, left, bottom, right = found.box
    # all of it is in the image, and so is compared
    assert 0 <= top < bottom <= high and 0 <= left < right <= wide
    assert found.measured == found.box
    assert found.row.receptive_field == (bottom - top, right - left)
    np.testing.assert_array_equal(model.get_weights()[0], before)


def test_boxes_behind_an_enlargement_hold_all_that_is_seen():
    """Every unit of U-Net and FCN has its own window: all that it sees, and nothing that no unit could see."""
    narrow = dict(widths=(2, 2, 2), padding="same", input_shape=(32, 32, 3), classes=2)
    encoder = models.VGG11(include_top=False, input_shape=(32, 32, 3), widths=(2,) * 5)
    for model in (models.UNet(**narrow), models.FCN8s(backbone=encoder, classes=2)):
        for unit in ((15, 16), (17, 14), (0, 31)):
            found = viz.receptive_field(model, nets.image((32, 32, 3)), "predictions", unit, check=True)
            top, left, bottom, right = found.box
            assert found.measured == (max(top, 0), max(left, 0), min(bottom, 32), min(right, 32))
    x = keras.Input((32, 32, 3))
    pooled = keras.Model(x, L.UpSampling2D(4, name="up")(L.MaxPooling2D(4)(x)))
    found = viz.receptive_field(pooled, nets.image((32, 32, 3)), "up", (19, 19), check=True)
    assert found.box == found.measured == (16, 16, 20, 20)
    # unit 16 to 19 show one pixel of the pooled map, whose middle is at 17.5
    maps = np.repeat(np.repeat(np.arange(8.0), 4)[:, None], 32, 1)[..., None]
    row = reading.Net(pooled)["up"]
    np.testing.assert_allclose(reading.spread(maps, row, (32, 32)), maps)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_the_box_is_measured_in_every_precision(policy):
    x = keras.Input((12, 12, 3))
    y = L.Conv2D(2, 3, padding="same", activation="relu", name="first", dtype=policy)(x)
    y = L.DepthwiseConv2D(3, name="second", dtype=policy)(y)
    y = L.SeparableConv2D(2, 3, name="third", dtype=policy)(y)
    net = keras.Model(x, L.Conv2DTranspose(2, 2, 2, name="fourth", dtype=policy)(y))
    found = viz.receptive_field(net, nets.image((12, 12, 3)), "fourth", (6, 7), check=True)
    assert found.measured == found.box == (2, 2, 9, 9)


def test_effective_field_lies_in_the_box(net, image):
    found = viz.receptive_field(net, image, "conv2", (3, 4), channel=1)
    top, left, bottom, right = found.box
    # 3x3, pool of 2, 3x3: 8 pixels; unit 3 of the map begins at 2 * 3 - 3
    assert (top, left, bottom, right) == (3, 5, 11, 13)
    outside = found.array.copy()
    outside[top:bottom, left:right] = 0
    assert not outside.any() and found.array.any()
    t, l, b, r = found.effective
    assert top <= t < b <= bottom and left <= l < r <= right
    assert found.array[t:b, l:r].sum() > 0.9 * found.array.sum()
    edge = viz.receptive_field(net, image, "conv2", (0, 0))
    assert edge.box[:2] == (-3, -3) and edge._repr_png_().startswith(b"\x89PNG")
    nested = [viz.receptive_field(m, image, "conv2", (3, 4), channel=1).array for m in nets.nested(net)]
    for other in nested:
        np.testing.assert_allclose(other, found.array, rtol=1e-4, atol=1e-7)
    for bad, message in (((8, 0), r"8 x 10 units, \(0, 0\) to \(7, 9\)"), (3, "unit is .row, column.")):
        with pytest.raises(ValueError, match=message):
            viz.receptive_field(net, image, "conv2", bad)
    with pytest.raises(ValueError, match="no map"):
        viz.receptive_field(net, image, "avg_pool")


# --------------------------------------------------------------------------- ascent


def test_maximise_climbs(net):
    plain = viz.maximise(net, "conv2:3", steps=60, jitter=0, turn=0, zoom=0, smooth=0)
    assert plain.array.shape == (1, 16, 20, 3) and np.abs(plain.array).max() <= 2
    noise = np.random.default_rng(0).uniform(-2, 2, (64, 16, 20, 3)).astype("float32")
    unit = reading.twin(net.get_layer("conv2"), activation=keras.activations.linear)
    below = keras.Model(net.input, net.get_layer("pool1").output)
    answers = read(unit(below(noise)))[..., 3].mean((1, 2))
    assert plain.values[0] > answers.max()  # better than the best of 64 random images of the same range
    assert plain.values[0] == pytest.approx(read(unit(below(plain.array)))[..., 3].mean(), rel=1e-3)
    again = viz.maximise(net, ["conv2:3", "predictions:4"], steps=12, seed=1)
    assert again.array.shape == (2, 16, 20, 3) and again.history[-1] > again.history[0]
    np.testing.assert_array_equal(
        viz.maximise(net, ["conv2:3", "predictions:4"], steps=12, seed=1).array, again.array
    )
    assert again._repr_png_().startswith(b"\x89PNG")


def test_maximise_finds_the_pattern_of_a_linear_filter():
    inputs = keras.Input((9, 9, 1))
    model = keras.Model(inputs, L.Conv2D(1, 9, name="match")(inputs))
    pattern = np.where(nets.image((9, 9)) > 0, 1.0, -1.0)
    model.set_weights([pattern[..., None, None], np.zeros(1)])
    found = viz.maximise(model, "match:0", steps=200, jitter=0, turn=0, zoom=0, smooth=0, values=(-1, 1))
    assert (np.sign(found.array[0, ..., 0]) == pattern).all() and found.values[0] > 0.9 * 81


def test_maximise_reads_a_scaling(net):
    caffe = lambda x: x[..., ::-1] - np.array([100.0, 110, 120])  # noqa: E731
    found = viz.maximise(net, "conv2:3", steps=3, preprocess=caffe)
    assert found.array.min() >= 0 and found.array.max() <= 255
    own = reading.Net(net)
    swap = {
        id(net.get_layer("conv2")): reading.twin(net.get_layer("conv2"), activation=keras.activations.linear)
    }
    x = keras.ops.convert_to_tensor(caffe(found.array).astype("float32"))
    assert found.values[0] == pytest.approx(
        float(keras.ops.mean(own.run({own.input: x}, ["conv2"], swap)["conv2"][..., 3])), rel=1e-4
    )
    for target, message in (
        ("conv2", "layer:channel"),
        ("conv2:8", "channels 0 to 7"),
        ("conv9:1", "no layer 'conv9'"),
    ):
        with pytest.raises(ValueError, match=message):
            viz.maximise(net, target)
    with pytest.raises(ValueError, match="more than that"):
        viz.maximise(net, "conv2:3", preprocess=lambda x: np.sqrt(np.abs(x)))
    with pytest.raises(ValueError, match="size=64 does not fit"):
        viz.maximise(net, "conv2:3", size=64)


# --------------------------------------------------------------------------- a layer's space


def test_nearest_by_hand(net):
    images = nets.image((12, 16, 20, 3), 7)
    own = reading.Net(net)
    points = own.read(images, ["conv2_out"])["conv2_out"].mean((1, 2)).astype("float64")
    cosine = points @ points[4] / np.linalg.norm(points, axis=1) / np.linalg.norm(points[4])
    expected = [i for i in np.argsort(-cosine) if i != 4][:5]
    found = viz.nearest(net, images, 4, "conv2_out", k=5, labels=np.arange(12) % 3, names=list("xyz"))
    assert found.array.tolist() == expected
    np.testing.assert_allclose(found.distances, 1 - cosine[expected], atol=1e-5)
    other = viz.nearest(net, images, images[4], "conv2_out", k=3)
    assert other.array[0] == 4 and other.distances[0] == pytest.approx(0, abs=1e-5)
    assert found._repr_png_().startswith(b"\x89PNG") and other._repr_png_().startswith(b"\x89PNG")
    for query, k, message in (
        (12, 3, "query, an image or the index of one, is a whole number from 0 to 11"),
        (images[0][:8], 3, "query has the shape"),
        (0, 12, "from 1 to 11"),
    ):
        with pytest.raises(ValueError, match=message):
            viz.nearest(net, images, query, "conv2_out", k=k)


def test_embed_is_the_plane_of_greatest_variance(net):
    images, labels = nets.image((30, 16, 20, 3), 8), np.arange(30) % 4
    found = viz.embed(net, images, "avg_pool", labels)
    points = reading.Net(net).read(images, ["avg_pool"])["avg_pool"].astype("float64")
    values, vectors = np.linalg.eigh(np.cov(points.T))
    np.testing.assert_allclose(found.array.var(0, ddof=1), values[::-1][:2], rtol=1e-4)
    np.testing.assert_allclose(found.explained, values[::-1][:2] / values.sum(), rtol=1e-4)
    projected = (points - points.mean(0)) @ vectors[:, ::-1][:, :2]
    np.testing.assert_allclose(np.abs(found.array), np.abs(projected), rtol=1e-3, atol=1e-5)
    # a map by its mean
    np.testing.assert_allclose(viz.embed(net, images, "conv2_out", labels).array, found.array, atol=1e-5)
    labels_drawn = [t.get_text() for t in found.figure().axes[0].get_legend().get_texts()]
    assert labels_drawn == ["class 0", "class 1", "class 2", "class 3"]
    with pytest.raises(ValueError, match="one label for each image"):
        viz.embed(net, images, "avg_pool", labels[:5])
    with pytest.raises(ValueError, match='"pca" or "tsne"'):
        viz.embed(net, images, "avg_pool", labels, method="umap")


def test_tsne_needs_scikit_learn(net, monkeypatch):
    import sys

    images = nets.image((20, 16, 20, 3), 8)
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        viz.embed(net, images, "avg_pool", np.zeros(20, int), method="tsne")
    monkeypatch.undo()
    pytest.importorskip("sklearn", reason="t-SNE comes from scikit-learn")
    assert viz.embed(net, images, "avg_pool", np.zeros(20, int), method="tsne").array.shape == (20, 2)


# --------------------------------------------------------------------------- sanity


def test_rank_correlation_by_hand():
    a = np.array([[1.0, 2, 3], [4, 5, 6]])
    assert sanity.rank_correlation(a, a**3) == pytest.approx(1)
    assert sanity.rank_correlation(a, -a) == pytest.approx(-1)
    # ties share their rank: ranks 1.5 1.5 3 against 1 2 3
    assert sanity.rank_correlation([0, 0, 1], [0, 1, 2]) == pytest.approx(1.5 / np.sqrt(1.5 * 2))
    assert sanity.rank_correlation(a, np.zeros(6)) == 0


def test_randomisation_destroys_from_the_top_and_puts_back(net, image):
    before = [w.copy() for w in net.get_weights()]
    seen = []

    def spy(model, image, **options):
        seen.append([not np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True)])
        return viz.saliency(model, image, **options)

    found = viz.randomisation(net, image, spy, steps=5)
    assert all(np.array_equal(a, b) for a, b in zip(net.get_weights(), before, strict=True))
    changed = [sum(s) for s in seen]
    assert changed[0] == 0 and changed == sorted(changed) and changed[1] < changed[-1]
    assert found.layers == [None, "predictions", "conv2", "conv2_shortcut", "conv1_bn", "conv1"]
    assert found.array[0] == 1 and len(found.array) == 6
    assert {m.question.target for m in found.maps} == {found.maps[0].question.target}
    assert found._repr_png_().startswith(b"\x89PNG")

    def broken(model, image, **options):
        if not np.array_equal(model.get_weights()[-1], before[-1]):
            raise RuntimeError("on the way")
        return viz.saliency(model, image, **options)

    with pytest.raises(RuntimeError, match="on the way"):
        viz.randomisation(net, image, broken, steps=1)
    assert all(np.array_equal(a, b) for a, b in zip(net.get_weights(), before, strict=True))
    assert viz.randomisation(nets.nested(net)[1], image, "grad_cam", steps=2).array[0] == 1
    with pytest.raises(ValueError, match="grad_cam, .*occlusion; got 'camera'"):
        viz.randomisation(net, image, "camera")


def test_an_edge_detector_fails_the_randomisation_test(net, image):
    """What does not read the weights keeps its map: rank correlation 1, and so is exposed."""

    def edges(model, image, target=None, **options):
        found = viz.saliency(model, image, target=target)
        found.array = np.abs(np.diff(np.asarray(image).mean(-1), axis=0, prepend=0))
        return found

    np.testing.assert_allclose(viz.randomisation(net, image, edges, steps=2).array, 1)


def test_deletion_and_insertion_of_the_one_pixel_that_counts():
    detector, image = nets.pixel_detector(at=(5, 11)), np.zeros((16, 16, 3), "float32")
    image[5, 11, 0] = 3  # logits 0 and 6
    heat = viz.occlusion(detector, image, size=1, step=1, target=1)
    taken, given = (f(detector, image, heat, steps=16) for f in (viz.deletion, viz.insertion))
    high = 1 / (1 + np.exp(-6))
    low = 1 / (1 + np.exp(-2 * 3 / 256))  # replaced by the mean of the image
    np.testing.assert_allclose(taken.array, [high] + [low] * 16, rtol=1e-4)
    blurred = 1 / (1 + np.exp(-2 * sanity.blurred(image)[5, 11, 0]))
    np.testing.assert_allclose(given.array, [blurred] + [high] * 16, rtol=1e-4)
    assert taken.area < 0.55 and given.area > 0.95
    assert taken.area < taken.chance_area and given.area > given.chance_area
    assert taken.share[[0, -1]].tolist() == [0, 1] and taken.chance[-1] == pytest.approx(low, rel=1e-4)
    assert taken._repr_png_().startswith(b"\x89PNG") and "blurred" in viz.insertion.__doc__
    with pytest.raises(ValueError, match="what grad_cam, saliency"):
        viz.deletion(detector, image, heat.array)


def test_every_name_is_lazy_and_documented():
    import subprocess
    import sys

    code = "import cnnbook.viz, sys; assert not {'keras', 'matplotlib', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    for name in dir(viz):
        if name in viz._FILES and name != "style":
            assert callable(getattr(viz, name)) and getattr(viz, name).__doc__, name
            assert name not in viz._FILES.values()
    assert field.Field.__doc__
    with pytest.raises(AttributeError, match="grad_cam"):
        _ = viz.gradcam
