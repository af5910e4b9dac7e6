"""Nets with a class per pixel: the papers' shapes level by level, any backbone at an odd size, unpooling, pruning."""

import functools

import keras
import numpy as np
import pytest
from helpers.zoo import plan
from keras import layers as L

import cnnbook
from cnnbook import graph, models, weights
from cnnbook.models import unet_plus_plus
from cnnbook.parts.layers import Bilinear, MatchSize, MaxPoolingWithSwitches, MaxUnpooling
from cnnbook.training import gradients

apps = keras.applications
read = keras.ops.convert_to_numpy


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def sizes(model, *names):
    return [model.get_layer(name).output.shape[1:] for name in names]


# --------------------------------------------------------------------------- layers


def pooled_and_back(shape, size=2):
    x = keras.Input(shape)
    pooled, switches = MaxPoolingWithSwitches(size, name="pool")(x)
    return keras.Model(x, [pooled, switches, MaxUnpooling(size, name="unpool")([pooled, switches])])


@pytest.mark.parametrize(
    "shape, size", [((8, 6, 3), 2), ((9, 6, 2), 3), ((7, 5, 2), 2), ((None, None, 3), 2)]
)
def test_unpooling_puts_each_maximum_back(shape, size):
    net = pooled_and_back(shape, size)
    sides = [s or 8 for s in shape]
    x = normal(2, *sides)
    pooled, switches, back = map(read, net(x))
    np.testing.assert_array_equal(pooled, read(L.MaxPooling2D(size)(x)))
    h, w = sides[0] // size, sides[1] // size
    assert back.shape == (2, h * size, w * size, sides[2]) and switches.dtype == np.int32
    kept = x[:, : h * size, : w * size]
    assert ((back == 0) | (back == kept)).all() and (back != 0).sum() == pooled.size
    r, c = divmod(int(switches[1, 2, 1, 0]), size)
    assert back[1, 2 * size + r, size + c, 0] == pooled[1, 2, 1, 0]


def test_ties_are_put_back_once_and_to_the_first_place():
    _, switches, back = map(read, pooled_and_back((4, 4, 1))(np.ones((1, 4, 4, 1), "float32")))
    assert back.sum() == 4 and (switches == 0).all() and back[0, 0, 0, 0] == back[0, 2, 2, 0] == 1


def test_unpooling_passes_the_gradient_of_the_maxima_only():
    x, net = normal(1, 6, 6, 2), pooled_and_back((6, 6, 2))
    _, found = gradients.of_input(lambda image: keras.ops.sum(keras.ops.square(net(image)[2])), x)
    back = read(net(x)[2])
    np.testing.assert_allclose(found, 2 * back, rtol=1e-6)


def test_unpooling_refuses_other_switches():
    values, switches = keras.Input((4, 4, 2)), keras.Input((5, 4, 2), dtype="int32")
    with pytest.raises(ValueError, match="must have one shape"):
        MaxUnpooling()([values, switches])
    with pytest.raises(ValueError, match="at least 2"):
        MaxPoolingWithSwitches(1)


def test_the_reader_knows_unpooling():
    def net(pool, unpool):
        inputs = keras.Input((12, 12, 1))
        x = unpool(L.Conv2D(1, 3, padding="same")(inputs), pool)
        return keras.Model(inputs, L.Conv2D(1, 5, padding="same", name="last")(x))

    def ours(x, pool):
        pooled, switches = pool(x)
        return MaxUnpooling()([L.Conv2D(1, 3, padding="same")(pooled), switches])

    def stock(x, pool):
        return L.UpSampling2D()(L.Conv2D(1, 3, padding="same")(pool(x)))

    one, other = (
        graph.trace(net(*args)) for args in ((MaxPoolingWithSwitches(), ours), (L.MaxPooling2D(), stock))
    )
    for a, b in zip(one, other, strict=True):
        assert (a.output_shape, a.receptive_field, a.stride, a.window, a.known) == (
            (b.output_shape, b.receptive_field, b.stride, b.window, True)
        )
    assert one[-1].stride == (1, 1) and one[-1].macs == 144 * 25


def test_match_size_by_hand():
    x = np.arange(4, dtype="float32").reshape(1, 1, 4, 1)

    def row(width, **options):
        return read(MatchSize(**options)([x, np.zeros((1, 1, width, 7))])).ravel().tolist()

    assert row(4) == [0, 1, 2, 3]
    assert row(3) == [0, 1, 2] and row(2) == [1, 2] and row(1) == [1]
    assert row(5) == [0, 1, 2, 3, 3] and row(6) == [0, 0, 1, 2, 3, 3] and row(7) == [0, 0, 1, 2, 3, 3, 3]
    assert row(2, offset=1) == [1, 2] and row(2, offset=2) == [2, 3]


@pytest.mark.parametrize("like", [(9, 12), (14, 7), (10, 10)])
def test_the_reader_knows_where_a_matched_map_lies(like):
    """The gradient of a middle unit starts and ends where the walk says."""
    x = inputs = keras.Input((10, 10, 1))
    other = keras.Input((*like, 1))
    x = L.Conv2D(1, 3, padding="same", kernel_initializer="ones", name="c")(x)
    net = keras.Model([inputs, other], MatchSize(name="m")([x, other]))
    row = graph.trace(net)[-1]
    assert row.known and row.receptive_field == (3, 3) and row.stride == (1, 1)
    dark = keras.ops.zeros((1, *like, 1))
    _, found = gradients.of_input(lambda i: net([i, dark])[0, 4, 4, 0], np.zeros((1, 10, 10, 1), "float32"))
    assert tuple(np.argwhere(found[0, :, :, 0]).min(0)) == tuple(4 + w for w in row.window)


def test_a_matched_map_sees_nothing_of_the_map_that_gives_the_size():
    x = inputs = keras.Input((12, 12, 1))
    wide = L.Conv2D(1, 7, padding="same", name="wide")(x)
    net = keras.Model(inputs, MatchSize(name="m")([L.MaxPooling2D(2)(x), wide]))
    assert graph.trace(net)[-1].receptive_field == (2, 2)


@pytest.mark.parametrize("times", [2, 4, 8])
def test_bilinear_kernels_enlarge_bilinearly(times):
    x = normal(1, 6, 5, 3)
    layer = L.Conv2DTranspose(3, 2 * times, times, "same", use_bias=False, kernel_initializer=Bilinear())
    ours, peer = read(layer(x)), read(L.UpSampling2D(times, interpolation="bilinear")(x))
    inner = np.s_[:, times:-times, times:-times]  # at the border the one fades to zero, the other repeats
    np.testing.assert_allclose(ours[inner], peer[inner], atol=1e-6)
    again = L.Conv2DTranspose.from_config(layer.get_config())
    assert isinstance(again.kernel_initializer, Bilinear)
    with pytest.raises(ValueError, match="3 channels to 4"):
        Bilinear()((4, 4, 4, 3))


# --------------------------------------------------------------------------- FCN


def test_fcn_sizes_of_the_released_nets():
    n32, n16, n8 = (plan(getattr(models, f"FCN{s}s")) for s in (32, 16, 8))
    pools = [f"block{i}_pool" for i in range(1, 6)]
    assert [s[0] for s in sizes(n32, "pad100", *pools, "fc2", "score32")] == [
        698,
        349,
        175,
        88,
        44,
        22,
        16,
        16,
    ]
    assert [s[0] for s in sizes(n32, "up1", "up1_crop")] == [544, 500]
    assert n32.get_layer("up1_crop").cropping == ((19, 25), (19, 25))
    assert [s[0] for s in sizes(n16, "up16", "score16", "score16_crop", "up1")] == [34, 44, 34, 560]
    assert n16.get_layer("score16_crop").cropping == ((5, 5), (5, 5))
    assert n16.get_layer("up1_crop").cropping[0][0] == 27
    assert [s[0] for s in sizes(n8, "up16", "fuse16", "up8", "score8", "fuse8", "up1")] == [
        34,
        34,
        70,
        88,
        70,
        568,
    ]
    assert n8.get_layer("score8_crop").cropping[0][0] == 9 and n8.get_layer("up1_crop").cropping[0][0] == 31
    # The last transposed convolution is fixed; in the released nets all of them are, in the paper the last one.
    fixed = [w for w in n32.weights if w.path not in {t.path for t in n32.trainable_weights}]
    assert [w.shape for w in fixed] == [(64, 64, 21, 21)]
    rows = {row.name: row for row in graph.trace(n32)}
    assert rows["score32"].receptive_field == (404, 404)


SMALL_FCN = dict(widths=(4, 4, 4, 4, 4), hidden=8, classes=3)


@pytest.mark.parametrize("name", ["FCN32s", "FCN8s"])
def test_fcn_starts_undecided_trains_and_survives_a_save(name, tmp_path):
    net = getattr(models, name)(input_shape=(37, 50, 3), **SMALL_FCN)
    x = normal(2, 37, 50, 3)
    np.testing.assert_allclose(read(net(x)), 1 / 3, atol=1e-6)  # scores start at zero
    for layer in net.layers:
        if layer.name.startswith("score") and layer.weights:
            layer.set_weights([normal(*w.shape, seed=1) for w in layer.get_weights()])

    def loss(outputs):
        return -keras.ops.mean(keras.ops.log(outputs[..., 1] + 1e-7))

    loss.images = x
    _, found = gradients.of_weights(net, loss)
    kernels = {w.path for w in net.trainable_weights if w.name == "kernel"}
    assert all(np.abs(found[path]).max() > 1e-9 for path in kernels)
    net.save(tmp_path / "net.keras")
    np.testing.assert_array_equal(read(cnnbook.load(tmp_path / "net.keras", trusted=True)(x)), read(net(x)))


def test_fcn_of_any_size_equals_the_one_of_fixed_size():
    free = models.FCN8s(input_shape=(None, None, 3), **SMALL_FCN)
    fixed = models.FCN8s(input_shape=(45, 61, 3), **SMALL_FCN)
    rng = np.random.default_rng(0)
    fixed.set_weights([rng.normal(0, 0.3, w.shape) for w in fixed.get_weights()])
    weights.port(fixed, free)
    x = normal(1, 45, 61, 3)
    np.testing.assert_allclose(read(free(x)), read(fixed(x)), atol=1e-6)


def test_vgg16s_weights_port_into_fcn():
    vgg = models.vgg.VGG(models.vgg.D, widths=(4,) * 5, hidden=8, classes=5, name="vgg16")
    net = models.FCN32s(input_shape=(40, 40, 3), **SMALL_FCN)
    body = keras.Model(net.input, net.get_layer("fc2").output)
    weights.port(vgg, body, partial=True)
    kernel = vgg.get_layer("fc1").get_weights()[0]
    np.testing.assert_array_equal(net.get_layer("fc1").get_weights()[0], kernel.reshape(7, 7, 4, 8))


# --------------------------------------------------------------------------- DeconvNet


def test_deconvnet_mirrors_its_encoder():
    net = plan(models.DeconvNet)
    assert sizes(net, "fc6_conv", "fc7_relu", "fc6_mirror_deconv") == [
        (1, 1, 4096),
        (1, 1, 4096),
        (7, 7, 512),
    ]
    for stage, (side, last) in {5: (14, 512), 4: (28, 256), 3: (56, 128), 2: (112, 64), 1: (224, 64)}.items():
        unpool = net.get_layer(f"deblock{stage}_unpool")
        assert unpool.output.shape[1:3] == (side, side)
        assert unpool.input[1]._keras_history.operation.name == f"block{stage}_pool"
        layer = f"deblock{stage}_{2 if stage < 3 else 3}_relu"
        assert net.get_layer(layer).output.shape[1:] == (side, side, last)
    assert (
        sum(w.shape[0] * w.shape[1] * w.shape[2] * w.shape[3] for w in net.weights if w.name == "kernel")
        == 251_755_520
    )
    assert sum(w.shape[0] for w in net.weights if w.name == "bias") == 16_725


def test_deconvnet_refuses_sizes_with_a_rest():
    with pytest.raises(ValueError, match="nearest are 224 and 256"):
        models.DeconvNet(input_shape=(224, 250, 3))
    assert plan(models.DeconvNet, input_shape=(256, 288, 3)).output_shape == (None, 256, 288, 21)


# --------------------------------------------------------------------------- U-Net

# Fig. 1: the map of each level before the pool; crop and offset; the decoder's maps
FIGURE_1 = {
    1: ((570, 568), 88, (392, 390, 388)),
    2: ((282, 280), 40, (200, 198, 196)),
    3: ((138, 136), 16, (104, 102, 100)),
    4: ((66, 64), 4, (56, 54, 52)),
    5: ((30, 28), None, None),
}


@pytest.mark.parametrize("side", [572, None])
def test_unet_level_by_level(side):
    net = plan(models.UNet, input_shape=(side, side, 1))
    for level, (down, crop, up) in FIGURE_1.items():
        assert net.get_layer(f"down{level}_1_conv").filters == 32 * 2**level
        assert crop is None or net.get_layer(f"up{level}_crop").cropping == ((crop, crop), (crop, crop))
        if side:
            assert tuple(net.get_layer(f"down{level}_{i}_conv").output.shape[1] for i in (1, 2)) == down
            names = [f"up{level}_{part}" for part in ("concat", "1_conv", "2_conv")] if up else []
            assert up is None or tuple(net.get_layer(n).output.shape[1] for n in names) == up
    rows = {row.name: row for row in graph.trace(net)}
    assert rows["down5_2_conv"].receptive_field == (140, 140)
    assert sum("conv" in row.kind.lower() for row in rows.values()) == 23
    assert not any(
        type(layer).__module__.startswith("cnnbook") for layer in net.layers
    )  # opens in plain Keras


@pytest.mark.parametrize("side", [188, 204, 284 + 16 * 7, 1004])
def test_every_valid_size_loses_184_pixels(side):
    assert plan(models.UNet, input_shape=(side, 572, 1)).output_shape == (None, side - 184, 388, 2)


@pytest.mark.parametrize("side, low", [(570, 556), (573, 572), (587, 572), (190, 188)])
def test_sizes_that_cannot_work_name_the_nearest_two(side, low):
    with pytest.raises(ValueError, match=f"the nearest are {low} and {low + 16};"):
        models.UNet(input_shape=(572, side, 1))


def test_valid_unet_of_any_depth():
    for levels in (2, 3, 4, 6):
        widths = (2,) * levels
        smallest = next(n for n in range(1, 2000) if _builds(widths, n))
        net = graph.blueprint(models.UNet, widths=widths, input_shape=(smallest, smallest, 1))
        assert 1 <= net.output_shape[1] <= 2 ** (levels - 1)
        for row in graph.trace(net):
            if row.kind == "MaxPooling2D":
                assert row.operation.input.shape[1] % 2 == 0


def _builds(widths, side):
    try:
        return bool(graph.blueprint(models.UNet, widths=widths, input_shape=(side, side, 1)))
    except ValueError:
        return False


def test_same_unet_keeps_every_size():
    for side in (16, 33, 47, 64):
        net = graph.blueprint(models.UNet, padding="same", input_shape=(side, 50, 3), classes=4)
        assert net.output_shape == (None, side, 50, 4)
    free = models.UNet(padding="same", widths=(2, 2, 2), input_shape=(None, None, 1))
    assert free(np.ones((1, 19, 22, 1), "float32")).shape == (1, 19, 22, 2)


def test_unet_window_by_gradient_equals_the_window_by_walk():
    net = models.UNet(
        widths=(1, 1, 1), dropout=0, input_shape=(92, 92, 1), classes=1, classifier_activation=None
    )
    for layer in net.layers:
        layer.set_weights([np.ones_like(w) / w.size if w.ndim == 4 else w for w in layer.get_weights()])
    # One maximum in every window, so that pooling passes a gradient: values rise to the right and down.
    image = np.add.outer(np.arange(92), np.arange(92)).astype("float32")[None, ..., None] / 92
    row, sizes = graph.trace(net)[-1], []
    for unit in range(24, 28):
        _, found = gradients.of_input(lambda x, u=unit: net(x)[0, u, u, 0], image)
        seen = np.argwhere(found[0, :, :, 0] > 0)
        sizes.append(int((seen.max(0) - seen.min(0) + 1)[0]))
    assert (
        max(sizes) <= row.receptive_field[0] <= max(sizes) + 3
    )  # a pool's gradient reaches its maximum only


# --------------------------------------------------------------------------- U-Net++


def test_unet_plus_plus_has_fifteen_nodes():
    net = plan(models.UNetPlusPlus, deep_supervision=True)
    relus = [layer.name for layer in net.layers if layer.name.endswith("_2_relu")]
    assert set(relus) == {f"x{i}_{j}_2_relu" for i in range(5) for j in range(5 - i)}
    reads = [t._keras_history.operation.name for t in net.get_layer("x0_3_concat").input]
    assert reads == ["x0_0_2_dropout", "x0_1_2_dropout", "x0_2_2_dropout", "x0_3_up"]
    params = [
        sum(np.prod(w.shape) for w in unet_plus_plus.prune(net, level).weights) for level in (1, 2, 3, 4)
    ]
    assert params == sorted(params) and params[0] < params[3] / 20


def test_unet_plus_plus_prunes_and_averages():
    net = models.UNetPlusPlus(deep_supervision=True, widths=(2, 3, 4), input_shape=(12, 15, 1), classes=2)
    x = normal(1, 12, 15, 1)
    full = [read(o) for o in net(x)]
    for level in (1, 2):
        pruned = unet_plus_plus.prune(net, level)
        np.testing.assert_allclose(read(pruned(x)), full[-level], atol=1e-6)
        assert max(int(layer.name[1]) for layer in pruned.layers if layer.name.startswith("x")) == level
    np.testing.assert_allclose(read(unet_plus_plus.average(net)(x)), np.mean(full, 0), atol=1e-6)
    for level in (0, 3, 1.0):
        with pytest.raises(ValueError, match="level is 1 to 2"):
            unet_plus_plus.prune(net, level)
    with pytest.raises(ValueError, match="deep_supervision=True"):
        unet_plus_plus.prune(models.UNetPlusPlus(widths=(2, 2)), 1)


# --------------------------------------------------------------------------- backbones

ODD = (161, 131, 3)
BACKBONES = {
    "VGG16": lambda: models.VGG16(include_top=False, input_shape=ODD),
    "ResNet50": lambda: models.ResNet50(include_top=False, input_shape=ODD),
    "MobileNetV2": lambda: apps.MobileNetV2(weights=None, include_top=False, input_shape=ODD),
    "InceptionV3": lambda: apps.InceptionV3(weights=None, include_top=False, input_shape=ODD),
    "NASNetMobile": lambda: apps.NASNetMobile(weights=None, include_top=False, input_shape=ODD),
}


@functools.cache
def built(backbone):
    return graph.blueprint(BACKBONES[backbone])


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(
    "name, options", [("FCN8s", {}), ("UNet", dict(padding="same")), ("UNetPlusPlus", {})]
)
def test_any_backbone_at_an_odd_size(backbone, name, options, capsys):
    base = built(backbone)
    net = graph.blueprint(getattr(models, name), backbone=base, **options)
    assert net.output_shape[1:3] == (161, 131)
    rows = graph.trace(net)
    assert all(row.known for row in rows) and rows[-1].stride == (1, 1)
    said = capsys.readouterr().out
    assert ("no map at stride 1" in said) == (name != "FCN8s" and backbone != "VGG16")
    cut = {row.name: row for row in rows if row.name.endswith(("_crop", "_match"))}
    assert {row.kind for row in cut.values()} <= {"Cropping2D", "MatchSize"} and cut  # shown in the summary
    place = {row.name: row for row in rows}
    for row in cut.values():
        if name != "FCN8s" and row.name != "decoder1_up_match":
            before = place[row.inputs[0]].output_shape
            assert max(abs(a - b) for a, b in zip(before[:2], row.output_shape[:2], strict=True)) <= 10


def test_forward_on_a_backbone(tmp_path):
    base = apps.MobileNetV2(weights=None, include_top=False, input_shape=(65, 97, 3), alpha=0.35)
    net = models.UNet(padding="same", backbone=base, batch_norm=True, widths=(4, 4, 8, 8, 8), classes=3)
    x = normal(1, 65, 97, 3)
    out = read(net(x, training=False))
    assert out.shape == (1, 65, 97, 3) and np.allclose(out.sum(-1), 1, atol=1e-5)
    net.save(tmp_path / "net.keras")
    np.testing.assert_array_equal(
        read(cnnbook.load(tmp_path / "net.keras", trusted=True)(x, training=False)), out
    )
    assert net.get_layer("block_1_expand") is base.get_layer("block_1_expand")  # used, not copied


def test_a_missing_stride_is_skipped_and_reported(capsys):
    x = inputs = keras.Input((40, 40, 3))
    for i, stride in enumerate((4, 2, 4)):  # strides 4, 8, 32
        x = L.Conv2D(4, 3, stride, padding="same", name=f"c{i}")(x)
    base = keras.Model(inputs, x, name="gaps")
    net = models.UNet(padding="same", backbone=base, widths=(2, 2, 2))
    assert capsys.readouterr().out == "unet: gaps has no map at stride 1, 2, 16; decoded without it\n"
    ups = [(layer.name, layer.strides) for layer in net.layers if isinstance(layer, L.Conv2DTranspose)]
    assert ups == [("decoder8_up", (4, 4)), ("decoder4_up", (2, 2)), ("decoder1_up", (4, 4))]
    assert net.output_shape == (None, 40, 40, 2)
    with pytest.raises(ValueError, match="none from 32 to 32"):
        models.FCN32s(backbone=keras.Model(inputs, base.get_layer("c1").output, name="short"))


def test_a_backbone_by_name_or_with_its_top():
    named = graph.blueprint(models.FCN32s, backbone="resnet18", input_shape=(64, 64, 3), classes=2)
    topped = graph.blueprint(
        lambda: models.FCN32s(backbone=models.ResNet18(input_shape=(64, 64, 3)), classes=2)
    )
    assert named.count_params() == topped.count_params()
    assert "predictions" in [layer.name for layer in topped.layers]  # the pixels', not the classifier's
    assert topped.output_shape == (None, 64, 64, 2)
