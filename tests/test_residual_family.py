"""What is special about the nets after ResNet: what the papers say of them, computed from the built nets."""

import keras
import numpy as np
import pytest
from helpers.weights import outputs, randomised
from helpers.zoo import plan
from keras import layers as L

from cnnbook import graph, models
from cnnbook.models import resnest, resnet, resnext, senet, sknet
from cnnbook.parts.layers import SoftmaxSplits, SumSplits

apps = keras.applications
read = keras.ops.convert_to_numpy


def rows(builder, *args, **arguments):
    return {row.name: row for row in graph.trace(plan(builder, *args, **arguments))}


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def one_block(block, shape, *args, name="b", **options):
    """A model of one block, filled with random numbers."""
    x = keras.Input(shape)
    return randomised(keras.Model(x, block(x, *args, name=name, **options)))


def at(model, layer, x):
    return outputs(keras.Model(model.input, model.get_layer(layer).output), x)


# --------------------------------------------------------------------------- what graph says of them


def test_squeeze_and_excitation_gives_global_context_beside_the_local_path():
    found = rows(models.SEResNet50)
    before, gate, after = (found[f"conv2_block1_{n}"] for n in ("3_bn", "se_sigmoid", "se_scale"))
    assert not before.global_context and before.local
    assert gate.global_context and not gate.local and gate.output_shape == (1, 1, 256)
    assert after.global_context and after.local and after.receptive_field == before.receptive_field
    last, plain = found["conv5_block3_out"], rows(models.ResNet50)["conv5_block3_out"]
    assert last.receptive_field == plain.receptive_field == (483, 483) and last.stride == (32, 32)


# --------------------------------------------------------------------------- ResNet V2


def test_v2_biases_stay_where_no_batch_norm_could_take_them_in():
    """A port of random biases, all of them, is among zoo.PORTS."""
    net = plan(models.ResNet50V2)
    biases = [layer.bias.shape[0] for layer in net.layers if isinstance(layer, L.Conv2D) and layer.use_bias]
    assert sum(biases) == 19_008


def test_v2_shortcuts_carry_the_sum_on_unchanged():
    """x_L = x_l + residuals: with the last convolutions of a stage's residuals at zero, its units pass x on."""
    net = models.PreActResNetCIFAR(20, widths=(4, 8, 8), input_shape=(16, 16, 3))
    randomised(net)
    x = noise(2, 16, 16, 3)
    parts = [at(net, f"conv2_block{b}_2_conv", x) for b in (2, 3)]
    whole = at(net, "conv2_block3_out", x)
    np.testing.assert_allclose(whole, at(net, "conv2_block1_out", x) + sum(parts), rtol=1e-5, atol=1e-5)
    assert (whole < 0).any()  # no ReLU behind the sum
    for b in (2, 3):
        layer = net.get_layer(f"conv2_block{b}_2_conv")
        layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])
    np.testing.assert_array_equal(at(net, "conv2_block3_out", x), at(net, "conv2_block1_out", x))


def test_v2_shortcuts_start_behind_the_first_relu_in_the_first_unit_and_where_the_shape_changes():
    found = rows(models.PreActResNetCIFAR, 20)
    starts = {b: found[f"{b}_out"].inputs[0] for b in ("conv2_block1", "conv2_block2", "conv3_block1")}
    assert starts == {
        "conv2_block1": "conv2_block1_preact_relu",
        "conv2_block2": "conv2_block1_out",
        "conv3_block1": "conv3_block1_0_pad",
    }
    assert found["conv3_block1_0_pool"].inputs == ("conv3_block1_preact_relu",)
    deep = rows(models.PreActResNetCIFAR, 164)
    assert deep["conv3_block1_out"].inputs[0] == "conv3_block1_0_conv" and "conv3_block1_0_bn" not in deep
    keras_layout = rows(models.ResNet50V2)
    assert keras_layout["conv2_block3_out"].inputs[0] == "conv2_block3_0_pool"
    assert keras_layout["conv2_block3_0_pool"].inputs == ("conv2_block2_out",)


@pytest.mark.parametrize(
    "depth, kernels, units",
    [(110, 2, 54), (164, 3, 54), pytest.param(1001, 3, 333, marks=pytest.mark.every_variant)],
)
def test_depths_of_the_preactivation_paper(depth, kernels, units):
    net = plan(models.PreActResNetCIFAR, depth)
    assert sum(isinstance(layer, L.Add) for layer in net.layers) == units
    inside = [n for n in (layer.name for layer in net.layers) if n.startswith("conv3_block2_")]
    assert sum(n.endswith("_conv") for n in inside) == kernels
    assert kernels * units + 2 == depth


# --------------------------------------------------------------------------- DenseNet


@pytest.mark.parametrize(
    "name, channels",
    [
        ("DenseNet121", [256, 128, 512, 256, 1024, 512, 1024]),
        ("DenseNet169", [256, 128, 512, 256, 1280, 640, 1664]),
        pytest.param("DenseNet201", [256, 128, 512, 256, 1792, 896, 1920], marks=pytest.mark.every_variant),
        pytest.param("DenseNet264", [256, 128, 512, 256, 2304, 1152, 2688], marks=pytest.mark.every_variant),
    ],
)
def test_channels_before_and_behind_each_transition(name, channels):
    found = rows(getattr(models, name))
    ends = ["pool2_bn", "pool2_pool", "pool3_bn", "pool3_pool", "pool4_bn", "pool4_pool", "relu"]
    assert [found[end].output_shape[-1] for end in ends] == channels


def test_densenet_hands_every_earlier_map_on():
    net = models.DenseNetCIFAR(10, 4, bottleneck=False, input_shape=(16, 16, 3))
    x = noise(1, 16, 16, 3)
    first, second, last = (
        at(net, f"conv2_{n}", x) for n in ("block1_1_conv", "block2_1_conv", "block2_concat")
    )
    np.testing.assert_array_equal(last, np.concatenate([at(net, "conv1_conv", x), first, second], -1))
    assert net.get_layer("conv1_conv").filters == 16 and net.get_layer("pool2_conv").filters == 16 + 2 * 4


def test_densenet_bc_bottleneck_compression_and_dropout():
    found = rows(models.DenseNetCIFAR, 16, 12, dropout=0.2)
    assert found["conv1_conv"].output_shape == (32, 32, 24)
    assert found["conv2_block1_1_conv"].output_shape[-1] == 48
    assert found["pool2_conv"].output_shape[-1] == (24 + 2 * 12) // 2
    convs = [n for n in found if n.endswith("_conv")]
    drops = [row for row in found.values() if row.kind == "Dropout"]
    assert len(drops) == len(convs) - 1 == 3 * 2 * 2 + 2  # behind each convolution but the first
    assert not any(row.kind == "Dropout" for row in rows(models.DenseNetCIFAR, 16, 12).values())


# --------------------------------------------------------------------------- ResNeXt


def test_the_three_equivalent_forms_of_resnext():
    """Fig. 3: (c) one grouped convolution, (b) separate paths joined, (a) each path's last 1x1 and their sum."""
    paths, d, filters = 4, 2, 8
    x = noise(2, 9, 9, 32)
    own = dict(cardinality=paths, width=64 * d // filters)
    net = one_block(resnext.block, (9, 9, 32), filters, 2, "B", **own)
    w = {layer.name: [keras.ops.convert_to_tensor(v) for v in layer.get_weights()] for layer in net.layers}
    conv = keras.ops.conv

    def norm(y, name, part=slice(None)):
        gamma, beta, mean, variance = (v[part] for v in w[name])
        return (y - mean) / keras.ops.sqrt(variance + 1.001e-5) * gamma + beta

    joined, summed = [], 0
    for p in range(paths):
        part = slice(p * d, (p + 1) * d)
        y = conv(x, w["b_1_conv"][0][..., part], 1, "valid")
        y = keras.ops.pad(keras.ops.relu(norm(y, "b_1_bn", part)), [[0, 0], [1, 1], [1, 1], [0, 0]])
        y = conv(y, w["b_2_conv"][0][..., part], 2, "valid")
        y = keras.ops.relu(norm(y, "b_2_bn", part))
        joined.append(y)
        summed += conv(y, w["b_3_conv"][0][:, :, part], 1, "valid")
    concatenated = conv(keras.ops.concatenate(joined, -1), w["b_3_conv"][0], 1, "valid")
    grouped = at(net, "b_3_bn", x)
    assert net.get_layer("b_2_conv").groups == paths and grouped.shape == (2, 5, 5, 32)
    np.testing.assert_allclose(read(norm(concatenated, "b_3_bn")), grouped, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(read(norm(summed, "b_3_bn")), grouped, rtol=1e-4, atol=1e-5)


def test_one_path_of_full_width_is_a_resnet_with_its_stride_in_the_3x3():
    one = graph.totals(plan(models.ResNeXt50, cardinality=1, width=64))
    assert (one["params"], one["macs"]) == (25_557_032, 4_089_184_256)  # ResNet-50, "v1.5"


# --------------------------------------------------------------------------- SENet


def test_squeeze_and_excitation_by_its_formula():
    x = noise(2, 5, 7, 8)
    net = one_block(senet.squeeze_excite, (5, 7, 8), ratio=4)
    (w1, b1), (w2, b2) = (net.get_layer(f"b_se_{part}").get_weights() for part in ("reduce", "expand"))
    w1, w2 = w1[0, 0], w2[0, 0]
    weight = 1 / (1 + np.exp(-(np.maximum(x.mean((1, 2)) @ w1 + b1, 0) @ w2 + b2)))
    assert w1.shape == (8, 2)  # 1x1 convolutions over one place are dense layers
    np.testing.assert_allclose(outputs(net, x), x * weight[:, None, None], rtol=1e-5)


def test_what_makes_a_senet154():
    found = rows(models.SENet154)
    assert [found[f"conv1_{i}_conv"].output_shape for i in (1, 2, 3)] == [
        (112, 112, 64), (112, 112, 64), (112, 112, 128)]  # fmt: skip
    inside = [found[f"conv2_block1_{i}_conv"].output_shape[-1] for i in (1, 2, 3)]
    assert inside == [128, 256, 256] and found["conv2_block1_2_conv"].operation.groups == 64
    kernels = [found[f"conv{s}_block1_0_conv"].operation.kernel_size for s in (2, 3, 4, 5)]
    assert kernels == [(1, 1), (3, 3), (3, 3), (3, 3)]
    assert found["dropout"].operation.rate == 0.2 and found["dropout"].inputs == ("avg_pool",)
    assert found["conv3_block1_1_conv"].stride == (4, 4) and found["conv3_block1_2_conv"].stride == (8, 8)


# --------------------------------------------------------------------------- SKNet and ResNeSt


def test_splits():
    x = noise(2, 3, 4, 6)
    a, b, c = x[..., :2], x[..., 2:4], x[..., 4:]
    np.testing.assert_allclose(read(SumSplits(3)(x)), a + b + c, rtol=1e-6)
    total = np.exp(a) + np.exp(b) + np.exp(c)
    expected = np.concatenate([np.exp(v) / total for v in (a, b, c)], -1)
    np.testing.assert_allclose(read(SoftmaxSplits(3)(x)), expected, rtol=1e-5)
    assert SoftmaxSplits(3)(keras.Input((None, None, 6))).shape == (None, None, None, 6)
    assert SumSplits.from_config(SumSplits(3, name="s").get_config()).splits == 3
    with pytest.raises(ValueError, match="6 channels cannot be divided into 4"):
        SumSplits(4, name="s")(x)
    with pytest.raises(ValueError, match="at least 1"):
        SumSplits(0)


@pytest.mark.parametrize("side", [8, 9])
def test_a_dilated_kernel_with_stride_reads_every_second_pixel(side):
    """Keras refuses dilation with stride; we subsample first. Here the paper's way: all places, then every second."""
    x = noise(1, side, side, 4)
    net = one_block(sknet.dilated, (side, side, 4), 2, 2, 2)
    kernel = net.get_layer("b_conv").get_weights()[0]
    everywhere = L.Conv2D(4, 3, padding="same", dilation_rate=2, groups=2, use_bias=False)
    everywhere.build(x.shape)
    everywhere.set_weights([kernel])
    np.testing.assert_allclose(at(net, "b_conv", x), read(everywhere(x))[:, ::2, ::2], rtol=1e-4, atol=1e-5)
    row = graph.trace(net)[-1]
    assert row.receptive_field == (5, 5) and row.stride == (2, 2)


def attention_by_hand(net, maps, name):
    """Fuse and select in NumPy, from the maps (n, h, w, C) of each branch."""
    w = {part: net.get_layer(f"{name}_{part}").get_weights() for part in ("reduce", "reduce_bn", "expand")}
    bias = {part: w[part][1] if len(w[part]) == 2 else 0 for part in ("reduce", "expand")}
    gamma, beta, mean, variance = w["reduce_bn"]
    z = sum(maps).mean((1, 2)) @ w["reduce"][0] + bias["reduce"]
    z = np.maximum((z - mean) / np.sqrt(variance + 1.001e-5) * gamma + beta, 0)
    logits = np.split(z @ w["expand"][0] + bias["expand"], len(maps), axis=-1)
    total = sum(np.exp(v) for v in logits)
    return sum(m * (np.exp(v) / total)[:, None, None] for m, v in zip(maps, logits, strict=True))


def test_selective_kernels_by_their_formula():
    x = noise(2, 8, 8, 4)
    net = one_block(sknet.selective, (8, 8, 4), 1, groups=2)
    maps = [at(net, f"b_kernel{i}_relu", x) for i in (1, 2)]
    np.testing.assert_allclose(outputs(net, x), attention_by_hand(net, maps, "b"), rtol=1e-4, atol=1e-5)
    assert net.get_layer("b_reduce").units == 32  # 4 / 16, but at least 32
    weights_of_both = read(SumSplits(2)(at(net, "b_softmax", x)))
    np.testing.assert_allclose(weights_of_both, 1, rtol=1e-6)


def test_split_attention_by_its_formula():
    x = noise(2, 9, 8, 4)
    net = one_block(resnest.split_attention, (9, 8, 4), 2)
    maps = np.split(at(net, "b_relu", x), 2, axis=-1)
    mixed = attention_by_hand(net, maps, "b")
    zeros = np.pad(mixed, [(0, 0), (1, 1), (1, 1), (0, 0)])
    mean = sum(zeros[:, i : i + 9 : 2, j : j + 8 : 2] for i in range(3) for j in range(3)) / 9  # zeros count
    np.testing.assert_allclose(outputs(net, x), mean, rtol=1e-4, atol=1e-5)
    assert net.get_layer("b_conv").groups == 2 and net.get_layer("b_reduce").units == 32


def test_projections_of_resnest_see_means_of_four_pixels():
    x = noise(1, 5, 6, 4)
    image = keras.Input((5, 6, 4))
    net = keras.Model(image, resnest.split_bottleneck(image, 8, 2, "B", "b", radix=2, fast=False))
    means = outputs(keras.Model(image, net.get_layer("b_0_pool").output), x)
    np.testing.assert_allclose(means[0, 0, 0], x[0, :2, :2].mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(
        means[0, 2, 2], x[0, 4, 4:].mean(0), rtol=1e-5
    )  # the edge: two pixels, not four
    assert net.get_layer("b_0_conv").strides == (1, 1)


def test_bottleneck_takes_its_stride_in_the_first_convolution():
    plain = graph.blueprint(lambda: one_shape(resnet.bottleneck))
    assert [layer.name for layer in plain.layers if layer.name.startswith("b_0")] == ["b_0_conv", "b_0_bn"]
    assert plain.get_layer("b_1_conv").strides == (2, 2) and plain.get_layer("b_2_conv").strides == (1, 1)


def one_shape(block):
    x = keras.Input((8, 8, 4))
    return keras.Model(x, block(x, 2, 2, "B", "b"))


# --------------------------------------------------------------------------- scaling, very deep nets


def test_scaling_as_in_keras_applications():
    rgb = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype("float32")
    for name, twin in (("ResNet101V2", apps.resnet_v2), ("DenseNet169", apps.densenet)):
        expected = twin.preprocess_input(rgb.copy())
        np.testing.assert_allclose(models.preprocess(name)(rgb), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.every_variant
@pytest.mark.parametrize(
    "name, arguments, side, params",
    [
        ("PreActResNetCIFAR", dict(depth=1001, input_shape=(8, 8, 3)), 8, 10_327_706),
        ("DenseNet264", dict(input_shape=(32, 32, 3)), 32, 33_337_704),
    ],
)
def test_the_deepest_nets_run(name, arguments, side, params):
    net = getattr(models, name)(**arguments)
    assert graph.totals(net)["params"] == params
    probabilities = outputs(net, noise(1, side, side, 3))
    assert np.isfinite(probabilities).all() and abs(probabilities.sum() - 1) < 1e-4
