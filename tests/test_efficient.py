"""What is special in the efficient nets: MobileNets, ShuffleNets, NAS, NASNet, EfficientNets."""

import keras
import numpy as np
import pytest
from helpers.weights import images, outputs, randomised
from helpers.zoo import plan
from keras import layers as L

from cnnbook import graph, models
from cnnbook.parts import blocks
from cnnbook.parts.layers import ShuffleChannels, TakeChannels

apps = keras.applications
read = keras.ops.convert_to_numpy


def rows(name, **arguments):
    return {row.name: row for row in graph.trace(plan(getattr(models, name), **arguments))}


# --------------------------------------------------------------------------- geometry and widths


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_padding_is_tensorflows_same(kernel):
    x = np.random.default_rng(0).normal(size=(1, 9, 8, 2)).astype("float32")
    inputs = keras.Input((9, 8, 2))
    same = L.Conv2D(3, kernel, 2, "same", use_bias=False, name="same")
    valid = L.Conv2D(3, kernel, 2, use_bias=False, name="valid")
    net = keras.Model(inputs, [same(inputs), valid(blocks.pad_as_tensorflow(inputs, kernel, name="pad"))])
    valid.set_weights(same.get_weights())
    a, b = map(read, net(x))
    assert a.shape == (1, 5, 4, 3)
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_free_side_is_padded_like_an_even_one():
    free, even = (blocks.pad_as_tensorflow(keras.Input((s, s, 1)), 5, name="pad") for s in (None, 8))
    paddings = [t._keras_history.operation.padding for t in (free, even)]
    assert paddings == [((1, 2), (1, 2))] * 2


def test_widths_are_multiples_of_eight_and_never_a_tenth_too_small():
    assert [blocks.divisible(c) for c in (1, 12, 24 * 0.35, 32 * 1.4, 44, 18, 67)] == [
        8,
        16,
        8,
        48,
        48,
        24,
        64,
    ]
    assert all(blocks.divisible(c) % 8 == 0 and blocks.divisible(c) >= 0.9 * c for c in range(1, 500))


def test_squeezed_widths_of_the_papers():
    def squeezed(name, part, **arguments):
        found = rows(name, **arguments)
        return [row.output_shape[-1] for key, row in found.items() if key.endswith(part)]

    assert squeezed("MobileNetV3Large", "squeeze_excite_conv") == [24, 32, 32, 120, 168, 168, 240, 240]
    assert squeezed("MobileNetV3Small", "squeeze_excite_conv") == [8, 24, 64, 64, 32, 40, 72, 144, 144]
    assert squeezed("MobileNetV3Small", "squeeze_excite_conv", minimalistic=True) == []
    # a quarter of what comes into the block, not of the widened map
    expected = [8, 4, 6, 6, 10, 10, 20, 20, 20, 28, 28, 28, 48, 48, 48, 48]
    assert squeezed("EfficientNetB0", "se_reduce") == expected


def test_compound_scaling_rounds_width_and_depth():
    blocks_of = {}
    for key, row in rows("EfficientNetB3").items():
        if key.endswith("project_conv"):
            blocks_of.setdefault(key[:6], []).append(row.output_shape[-1])
    channels, repeats = (24, 32, 48, 96, 136, 232, 384), (2, 3, 3, 5, 5, 6, 2)
    assert list(blocks_of.values()) == [[c] * n for c, n in zip(channels, repeats, strict=True)]


# --------------------------------------------------------------------------- what the papers say of their blocks


def test_depthwise_separable_convolutions_save_what_the_paper_says():
    """Table 4: the same net with full convolutions has 4866 M multiply-adds and 29.3 M parameters."""
    found = rows("MobileNet").values()
    dense = {r.name for r in found if r.name.startswith("conv_pw_") and r.macs}
    depthwise = {r.name for r in found if r.name.startswith("conv_dw_") and r.params}
    macs = sum(9 * r.macs if r.name in dense else r.macs for r in found if r.name not in depthwise)
    params = sum(9 * r.params if r.name in dense else r.params for r in found if r.name not in depthwise)
    assert round(params / 1e6, 1) == 29.3
    assert macs == pytest.approx(4866e6, rel=3e-4)  # 4867.3: the paper left something small out


def test_bottlenecks_are_linear_and_shortcuts_join_equal_shapes():
    net = plan(models.MobileNetV2)
    found = {row.name: row for row in graph.trace(net)}
    readers = {name: [r.kind for r in found.values() if name in r.inputs] for name in found}
    linear = [name for name in found if name.endswith("project_BN")]
    assert len(linear) == 17
    assert not any("Activation" in readers[name] for name in linear)
    adds = [row for row in found.values() if row.kind == "Add"]
    assert len(adds) == 10
    assert all(found[a].output_shape == found[b].output_shape for a, b in (row.inputs for row in adds))


def test_stochastic_depth_drops_whole_images_and_keeps_the_expectation():
    """Huang et al. 2016: a block is skipped for an image or not; more often the deeper; never after training."""
    net = plan(models.EfficientNetB0)
    drops = {layer.name: layer for layer in net.layers if layer.name.endswith("_drop")}
    assert list(drops) == [f"block{b}_drop" for b in ("2b", "3b", "4b", "4c", "5b", "5c", "6b", "6c", "6d")]
    rates = {name: drop.rate for name, drop in drops.items()}
    assert rates["block2b_drop"] == pytest.approx(0.2 * 2 / 16)
    assert rates["block6d_drop"] == pytest.approx(0.2 * 14 / 16)
    config = drops["block6d_drop"].get_config()
    layer = type(drops["block6d_drop"]).from_config({**config, "seed": 3})
    x = np.ones((4000, 2, 2, 3), "float32")
    np.testing.assert_array_equal(read(layer(x, training=False)), x)
    y = read(layer(x, training=True))
    assert (y == y[:, :1, :1, :1]).all()  # one number for the whole image
    kept = y[:, 0, 0, 0] > 0
    np.testing.assert_allclose(y[kept], 1 / (1 - layer.rate), rtol=1e-6)
    assert abs(kept.mean() - (1 - layer.rate)) < 4 * np.sqrt(0.175 * 0.825 / 4000)
    assert abs(y.mean() - 1) < 0.03


def test_shuffle_deals_the_groups_out():
    x = np.arange(12, dtype="float32").reshape(1, 1, 2, 6)
    y = read(ShuffleChannels(2)(x))
    np.testing.assert_array_equal(y[0, 0, 0], [0, 3, 1, 4, 2, 5])
    np.testing.assert_array_equal(read(ShuffleChannels(3)(y)), x)  # 6 = 2 x 3: the way back
    with pytest.raises(ValueError, match="6 channels do not make 4 equal groups"):
        ShuffleChannels(4)(x)
    with pytest.raises(ValueError, match="takes channels 4 to 8"):
        TakeChannels(4, 8)(x)


def test_groups_never_meet_without_the_shuffle():
    def reach(shuffle):
        inputs = keras.Input((1, 1, 6))
        x = L.Conv2D(6, 1, groups=2, use_bias=False, kernel_initializer="ones")(inputs)
        x = ShuffleChannels(2)(x) if shuffle else x
        net = keras.Model(inputs, L.Conv2D(6, 1, groups=2, use_bias=False, kernel_initializer="ones")(x))
        image = np.zeros((1, 1, 1, 6), "float32")
        image[..., 0] = 1
        return (read(net(image)) > 0).sum()

    assert (reach(shuffle=False), reach(shuffle=True)) == (3, 6)


def test_shufflenet_groups_all_but_the_first_pointwise_convolution():
    net = plan(models.ShuffleNet, groups=8)
    groups = [x.groups for x in net.layers if isinstance(x, L.Conv2D) and x.name.startswith("stage")]
    assert groups == [1] + [8] * (2 * 16 - 1)


def test_half_of_a_shufflenet_v2_unit_passes_untouched():
    inputs = keras.Input((4, 4, 8))
    net = keras.Model(inputs, models.shufflenet_v2.unit(inputs, 8, 1, "unit"))
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 8)).astype("float32")
    np.testing.assert_array_equal(read(net(x))[..., ::2], x[..., :4])


def test_nas_net_has_no_loose_ends():
    net = plan(models.NASConvNet)
    read_by_others = {name for row in graph.trace(net) for name in row.inputs}
    assert [r.name for r in graph.trace(net) if r.name not in read_by_others] == ["predictions"]
    plain = plan(models.NASConvNet, skips=False)
    assert not any(isinstance(layer, L.Concatenate) for layer in plain.layers)
    assert plain.get_layer("layer8_conv").kernel.shape == (7, 3, 48, 36)  # taller than wide


# --------------------------------------------------------------------------- what the reader of graphs says


def test_stages_by_the_twins_names():
    def stages(name):
        return [record["name"] for record in graph.summary(plan(getattr(models, name)), by="stage").records]

    assert stages("MobileNet")[1:5] == ["conv1", "block_1", "block_2", "block_3"]
    assert stages("MobileNetV2")[1:5] == ["Conv1", "expanded_conv", "block_1", "block_2"]
    assert stages("MobileNetV3Small")[2:5] == ["conv", "expanded_conv", "expanded_conv_1"]
    assert stages("EfficientNetB0")[3:12] == ["stem", *(f"block{i}" for i in range(1, 8)), "top"]
    nasnet = stages("NASNetMobile")
    assert nasnet[1:5] == ["stem", "cell_stem_1", "cell_stem_2", "cell_0"]
    assert len(nasnet) == len(set(nasnet)) == 22 and "cell_reduce_4" in nasnet
    assert stages("ShuffleNetV2")[1:6] == ["conv1", "pool1", "stage2", "stage3", "stage4"]


# --------------------------------------------------------------------------- ImageNet weights without a network


@pytest.fixture
def offline(monkeypatch):
    """keras.applications as with a network, random numbers for the files; what was loaded is in the list."""
    loaded = []

    def load_weights(model, path):
        randomised(model)
        normalisation = [x for x in model.layers if isinstance(x, L.Normalization)]
        for layer in normalisation:  # as in the released files: the deviation in the variance's place
            layer.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]), np.array(0)])
            layer.finalize_state()
        loaded.append((path, model))

    for module in (apps.mobilenet, apps.mobilenet_v2, apps.mobilenet_v3, apps.efficientnet, apps.nasnet):
        source = __import__(module.preprocess_input.__module__, fromlist=["file_utils"])
        monkeypatch.setattr(source.file_utils, "get_file", lambda name, *_, **__: name)
    monkeypatch.setattr(keras.Model, "load_weights", load_weights)
    return loaded


def test_efficientnets_second_scaling_is_folded(offline):
    """With ImageNet weights the twin has a Rescaling more; our graph is the same in both cases."""
    ours = models.EfficientNetB0(
        weights="imagenet", include_top=False, input_shape=(64, 64, 3), pooling="avg"
    )
    ((path, twin),) = offline
    assert path == "efficientnetb0_notop.h5"
    assert [type(x).__name__ for x in twin.layers[1:4]] == ["Rescaling", "Normalization", "Rescaling"]
    assert [type(x).__name__ for x in ours.layers[1:4]] == ["Rescaling", "Normalization", "ZeroPadding2D"]
    mean, variance, _ = ours.get_layer("input_normalization").get_weights()
    np.testing.assert_allclose(mean, [0.485, 0.456, 0.406], rtol=1e-6)
    np.testing.assert_allclose(variance, np.square([0.229, 0.224, 0.225]), rtol=1e-6)
    x = 128 + 64 * images(64, 64)
    expected = read(keras.ops.mean(twin(x, training=False), axis=(1, 2)))
    # float rounding: one division by sqrt(v * s) against one by sqrt(v) and a product
    np.testing.assert_allclose(outputs(ours, x), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_imagenet_weights_of_the_width_and_size_asked_for(offline, recwarn):
    models.MobileNet(alpha=0.25, input_shape=(128, 128, 3), weights="imagenet")
    models.MobileNet(alpha=0.25, input_shape=(100, 90, 3), include_top=False, weights="imagenet")
    models.MobileNetV2(alpha=0.35, input_shape=(96, 96, 3), weights="imagenet", include_top=False)
    models.MobileNetV3Small(alpha=0.75, input_shape=(64, 64, 3), weights="imagenet")
    assert [path for path, _ in offline] == [
        "mobilenet_2_5_128_tf.h5",
        "mobilenet_2_5_224_tf_no_top.h5",
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5",
        "weights_mobilenet_v3_small_224_0.75_float.h5",
    ]
    assert not [w for w in recwarn if "input_shape" in str(w.message)]
    with pytest.raises(ValueError, match="alpha can be one of"):
        models.MobileNet(alpha=0.3, weights="imagenet")


def test_scalings():
    rgb = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype("float32")
    for name, module in (("MobileNet", apps.mobilenet), ("MobileNetV2", apps.mobilenet_v2), ("NASNetMobile", apps.nasnet),
                         ("MobileNetV3Large", apps.mobilenet_v3), ("EfficientNetB7", apps.efficientnet)):  # fmt: skip
        np.testing.assert_allclose(
            models.preprocess(name)(rgb), module.preprocess_input(rgb.copy()), atol=1e-6
        )
    np.testing.assert_allclose(models.preprocess(models.EfficientNetLite0)(rgb), (rgb - 127) / 128)
    assert {source.scaling for source in models.imagenet_sources().values()} == {
        "caffe",
        "tf",
        "torch",
        "identity",
        "lite",
    }
    assert models.scaling("mobilenetv2") == "tf" and models.scaling("ResNet18") is None
