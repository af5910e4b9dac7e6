"""`count`: public questions why a count differs, rebuilt small, each answered by one call."""

import keras
import pytest
from keras import layers

import cnnbook
from cnnbook import models
from cnnbook.counts import Difference


def told(model):
    """(the count, {what differs: parameters}); the differences add up to the difference."""
    count = cnnbook.count(model)
    assert sum(d.params for d in count.differences) == count.params - count.nearest["params"]
    return count, {d.what: d.params for d in count.differences}


def conv_norm(x, filters, kernel=1, strides=1, groups=1, bias=False):
    x = layers.Conv2D(filters, kernel, strides, "same", groups=groups, use_bias=bias)(x)
    return layers.BatchNormalization()(x)


def resnet(block, bias=False):
    """A classifier with the stages of ResNet-34 and 50; block(x, filters, strides, first) writes one block's sum."""
    image = keras.Input((224, 224, 3))
    x = conv_norm(image, 64, 7, 2, bias=bias)
    x = layers.MaxPooling2D(3, 2, "same")(layers.ReLU()(x))
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for number in range(blocks):
            x = block(x, 64 * 2**stage, 2 if stage and not number else 1, not number)
            x = layers.ReLU()(layers.Add()(x))
    return keras.Model(image, layers.Dense(1000)(layers.GlobalAveragePooling2D()(x)))


def test_a_net_of_the_table_is_found():
    count, differences = told(models.ResNet50())
    assert [row["call"] for row in count.matches] == ["ResNet50()"] and not differences
    assert (count.params, count.state, count.macs) == (25_557_032, 53_120, 3_857_973_248)
    assert "As many parameters as ResNet50() [He et al. 2016" in repr(count)
    assert "As many multiply-adds, too." in repr(count)


def test_keras_resnet50_has_biases():
    # davisking/dlib#1977: 25,636,712 by Keras' count_params(), 25,557,032 by PyTorch.
    net = keras.applications.ResNet50(weights=None)
    assert net.count_params() == 25_636_712
    count, differences = told(net)
    assert count.nearest["call"] == "ResNet50()" and differences == {"biases of 53 convolutions": 26_560}
    said = repr(count)
    assert "53,120 moving statistics" in said and "25,636,712" in said and "26,560 more" in said
    assert "<td" in count._repr_html_() and "biases of 53 convolutions" in count._repr_html_()


def test_shortcuts_without_weights():
    # davisking/dlib#1977: 22,803,176 by dlib, whose shortcuts have no weights and whose convolutions have biases.
    def block(x, filters, strides, first):
        y = layers.ReLU()(conv_norm(x, filters, 1, strides, bias=True))
        y = conv_norm(layers.ReLU()(conv_norm(y, filters, 3, bias=True)), 4 * filters, bias=True)
        x = layers.AveragePooling2D(strides)(x) if strides > 1 else x
        missing = y.shape[-1] - x.shape[-1]
        return layers.Concatenate()([x, *[x] * (missing // x.shape[-1])]) if missing else x, y

    count, differences = told(resnet(block, bias=True))
    assert count.params == 22_803_176
    assert count.nearest["call"] == "ResNet50()"
    assert differences["biases of 49 convolutions"] == 22_720
    assert differences["Conv2D 1 x 1, 1024 -> 2048 fewer"] == -2_097_152


def test_a_projection_more():
    # keras-team/keras#16363: a ResNet-34 with 21,810,472 trained parameters, 21,827,624 in all.
    def block(x, filters, strides, first):
        y = layers.ReLU()(conv_norm(x, filters, 3, strides, bias=True))
        return conv_norm(x, filters, 1, strides, bias=True) if first else x, conv_norm(
            y, filters, 3, bias=True
        )

    net = resnet(block, bias=True)
    assert net.count_params() == 21_827_624
    count, differences = told(net)
    assert count.params == 21_810_472 and count.nearest["call"] == "ResNet34()"
    assert differences == {
        "biases of 36 convolutions": 8_512,
        "Conv2D 1 x 1, 64 -> 64 more": 4_160,
        "BatchNormalization of 64 more": 128,
    }


def test_wider_ends_of_blocks():
    # titu1994/Keras-ResNeXt#6: 89,599,808 instead of 34.4 M for ResNeXt-29, 8x64d.
    image = keras.Input((32, 32, 3))
    x = layers.ReLU()(conv_norm(image, 64, 3))
    for stage in range(3):
        for block in range(3):
            filters, strides = 512 * 2**stage, 2 if stage and not block else 1
            shortcut = x if block else conv_norm(x, 2 * filters, 1, strides)
            y = layers.ReLU()(conv_norm(x, filters))
            y = layers.ReLU()(conv_norm(y, filters, 3, strides, groups=8))
            y = conv_norm(y, 2 * filters)
            x = layers.ReLU()(layers.Add()([shortcut, y]))
    net = keras.Model(image, layers.Dense(10, use_bias=False)(layers.GlobalAveragePooling2D()(x)))
    assert net.count_params() == 89_700_288
    count, differences = told(net)
    assert count.params == 89_599_808 and count.nearest["call"] == "ResNeXtCIFAR()"
    # Each block ends in four times too many maps.
    assert (
        differences["3 times: Conv2D 1 x 1, 2048 -> 4096 instead of 1 x 1, 2048 -> 1024"] == 3 * 2048 * 3072
    )
    assert (
        differences["2 times: Conv2D 1 x 1, 4096 -> 2048 instead of 1 x 1, 1024 -> 2048"] == 2 * 2048 * 3072
    )


def test_another_classifier_and_none():
    net = models.ResNet50(classes=10)
    count, differences = told(net)
    assert count.nearest["call"] == "ResNet50()"
    assert differences == {"Dense 2048 -> 10 instead of 2048 -> 1000": -2_028_510}
    (difference,) = count.differences
    assert difference == Difference(
        -2_028_510, -2_027_520, "Dense 2048 -> 10 instead of 2048 -> 1000", axes=1
    )
    _, differences = told(models.ResNet50(include_top=False))
    assert differences == {"Dense 2048 -> 1000 fewer": -2_049_000}


def test_the_same_layers_on_larger_maps():
    # The stride in the 3x3 convolutions, as torchvision has it: 4.09 G.
    def block(x, filters, strides, first):
        y = layers.ReLU()(conv_norm(x, filters))
        y = conv_norm(layers.ReLU()(conv_norm(y, filters, 3, strides)), 4 * filters)
        return conv_norm(x, 4 * filters, 1, strides) if first else x, y

    count = cnnbook.count(resnet(block))
    assert count.macs == 4_089_184_256 and count.matches[0]["call"] == "ResNet50()"
    assert {(d.params, d.macs, d.what) for d in count.differences} == {
        (0, 77_070_336, "Conv2D 1 x 1, 256 -> 128, on a map of 56 instead of 28"),
        (0, 77_070_336, "Conv2D 1 x 1, 512 -> 256, on a map of 28 instead of 14"),
        (0, 77_070_336, "Conv2D 1 x 1, 1024 -> 512, on a map of 14 instead of 7"),
    }
    assert "Its layers differ from that net's all the same" in repr(count)


def test_nets_that_are_the_same_by_count():
    count = cnnbook.count(models.Plain18())
    assert {row["call"] for row in count.matches} == {"Plain18()", "ResNet18(shortcut='A')"}
    assert "so have ResNet18(shortcut='A')" in repr(count) or "so have Plain18()" in repr(count)


def test_another_size_of_input_and_a_free_one():
    count = cnnbook.count(models.ResNet18(input_shape=(64, 64, 3)))
    assert count.matches and not count.differences
    assert "1,814,073,344 multiply-adds are published for an input of another size" in repr(count)
    count = cnnbook.count(models.ResNet18(input_shape=(None, None, 3), include_top=False))
    assert count.macs is None and [d.what for d in count.differences] == ["Dense 512 -> 1000 fewer"]


def test_a_net_of_nobody():
    net = keras.Sequential(
        [keras.Input((28, 28, 1)), layers.Conv2D(8, 3), layers.Flatten(), layers.Dense(10)]
    )
    count = cnnbook.count(net)
    assert not count.near and not count.matches and count.params == 54_170
    assert "No published figure is near." in repr(count) and "fewer" not in repr(count)


def test_what_is_no_graph_is_refused():
    with pytest.raises((TypeError, ValueError)):
        cnnbook.count("ResNet50")
