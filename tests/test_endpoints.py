"""What `graph` reads from our nets and from keras.applications' alike: the last map at each stride, windows, strides."""

import keras
import pytest
from helpers.zoo import plan

from cnnbook import graph, models

apps = keras.applications
pytestmark = pytest.mark.jax

MOBILE_V2 = {2: "block_1_expand_relu", 4: "block_3_expand_relu", 8: "block_6_expand_relu",
             16: "block_13_expand_relu", 32: "out_relu"}  # fmt: skip
EFFICIENT = {2: "block2a_expand_activation", 4: "block3a_expand_activation", 8: "block4a_expand_activation",
             16: "block6a_expand_activation", 32: "top_activation"}  # fmt: skip
DENSE = {2: "conv1_relu", 4: "pool2_conv", 8: "pool3_conv", 16: "pool4_conv", 32: "relu"}


# (whose, builder, {stride: name}, strides at which no single map separates: NASNet's cells read two)
ENDPOINTS = [
    (apps, "ResNet50", {2: "conv1_relu", 4: "conv2_block3_out", 8: "conv3_block4_out", 16: "conv4_block6_out",
                        32: "conv5_block3_out"}, []),
    (apps, "MobileNetV2", MOBILE_V2, []),
    (models, "MobileNetV2", MOBILE_V2, []),
    (apps, "EfficientNetB0", EFFICIENT, []),
    (models, "EfficientNetB0", EFFICIENT, []),
    (apps, "DenseNet121", DENSE, []),
    (models, "DenseNet121", DENSE, []),
    (models, "ResNet50V2", {2: "conv1_conv", 4: "conv2_block2_out", 8: "conv3_block3_out",
                            16: "conv4_block5_out", 32: "post_relu"}, []),
    (models, "SENet154", {2: "conv1_3_relu", 4: "conv2_block3_out", 8: "conv3_block8_out",
                          16: "conv4_block36_out", 32: "conv5_block3_out"}, []),
    (models, "ResNeSt50", {2: "conv1_3_relu", 4: "conv2_block3_out", 8: "conv3_block4_out",
                           16: "conv4_block6_out", 32: "conv5_block3_out"}, []),
    (models, "NASNetMobile", {2: "stem_bn1", 4: "reduction_concat_stem_1", 8: "normal_concat_3",
                              16: "normal_concat_8", 32: "relu"}, [4, 8, 16]),
]  # fmt: skip


@pytest.mark.parametrize(
    "source, name, expected, together",
    ENDPOINTS,
    ids=[f"{source.__name__}.{name}" for source, name, *_ in ENDPOINTS],
)
def test_endpoints(source, name, expected, together):
    endpoints = graph.features(plan(getattr(source, name), weights=None))
    assert {stride: e.name for stride, e in endpoints.items()} == expected
    assert [stride for stride, e in endpoints.items() if not e.separates] == together
    assert together or all(max(e.tensor.shape[1:3]) * stride == 224 for stride, e in endpoints.items())


def test_endpoints_of_inception_and_of_nasnets_twin():
    inception = graph.features(plan(apps.InceptionV3, weights=None))
    assert [inception[s].name for s in (8, 16, 32)] == ["mixed2", "mixed7", "mixed10"]
    assert [tuple(inception[s].tensor.shape[1:]) for s in (2, 4)] == [(147, 147, 64), (71, 71, 192)]
    nasnet = graph.features(plan(apps.NASNetMobile, weights=None))
    assert [nasnet[s].name for s in (8, 16)] == ["normal_concat_3", "normal_concat_8"]
    assert [nasnet[s].separates for s in (8, 16)] == [False, False]


def test_endpoints_of_a_chain():
    chain = graph.features(plan(models.VGG16, include_top=False))
    assert {s: e.name for s, e in chain.items()} == {
        1: "block1_conv2", 2: "block2_conv2", 4: "block3_conv3", 8: "block4_conv3", 16: "block5_conv3",
        32: "block5_pool",
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["ResNet50V2", "DenseNet121", "ResNeXt50", "SEResNet50", "SENet154", "SKNet26", "ResNeSt50", "MobileNet",
     "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small", "ShuffleNet", "ShuffleNetV2", "NASNetMobile",
     "EfficientNetB0", "EfficientNetLite0"],
)  # fmt: skip
def test_five_strides_and_no_operation_unknown(name):
    net = plan(getattr(models, name), weights=None)
    assert list(graph.features(net)) == [2, 4, 8, 16, 32]
    assert graph.totals(net)["stride"] == (32, 32)
    assert all(row.known for row in graph.trace(net))


@pytest.mark.parametrize(
    "name", ["MobileNet", "MobileNetV2", "MobileNetV3Small", "EfficientNetB0", "NASNetMobile"]
)
def test_receptive_fields_are_the_twins(name):
    ours, theirs = (graph.totals(plan(getattr(m, name), weights=None)) for m in (models, apps))
    if name == "MobileNetV3Small":  # its twin takes any size
        assert ours["receptive_field"] == (639, 639)
    else:
        assert (ours["receptive_field"], ours["macs"]) == (theirs["receptive_field"], theirs["macs"])
