"""Every refusal says what was given or what is possible: one table for models, decoders and drawings."""

import keras
import numpy as np
import pytest
from helpers import nets

from cnnbook import models, viz
from cnnbook.parts import decoders

pytestmark = pytest.mark.jax

MASK = np.array([[0, 0, 1, 1], [0, 2, 2, 1]])
CLASSES = ("background", "shoe", "bag")


def chain():
    inputs = keras.Input((2, 4, 1))
    return keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs))


def landscape(**options):
    return viz.landscape(nets.cam_net(), nets.image((6, 16, 20, 3)), np.arange(6) % 5, **options)


@pytest.mark.parametrize(
    "call, message",
    [
        # classifiers
        (lambda: models.ResNet18(shortcut="D"), 'shortcut is "A", "B" or "C"'),
        (lambda: models.ResNetCIFAR(21), r"depth is 6n \+ 2"),
        (lambda: models.AlexNet(towers=3), "towers is 2"),
        (lambda: models.VGG16(kernel=5), "pairs to replace"),
        (lambda: models.VGG16(kernel=7), "kernel is 3"),
        (lambda: models.VGG16(widths=(64, 128)), "each of the 5 stages"),
        (lambda: models.ResNet50(classes=0), "at least 1"),
        (lambda: models.ResNetCIFAR(8, classes=1), "softmax over one class is always 1"),
        (lambda: models.LeNet5(classes=1), "softmax over one class"),
        (lambda: models.NiN(classes=1), "softmax over one class"),
        (
            lambda: models.LeNet5(classes=1, classifier_activation=keras.layers.Softmax()),
            "softmax over one class",
        ),
        (
            lambda: models.VGG11(classes=1, classifier_activation=keras.activations.softmax),
            "softmax over one class",
        ),
        (lambda: models.DSN(classes=1), "softmax over one class"),
        (lambda: models.ResNet50(include_top=False, pooling="mean"), '"avg" or "max"'),
        (lambda: models.ResNet50(input_shape=(224, 224)), r"\(height, width, channels\)"),
        (lambda: models.ResNet50(input_shape=(224, 224, None)), "fixed number of channels"),
        (lambda: models.VGG16(input_shape=(None, None, 3)), "need a fixed size"),
        (lambda: models.builder("ResNet51"), "there are LeNet5"),
        (lambda: models.decode(np.zeros((2, 10))), r"\(n, 1000\)"),
        (lambda: models.decode(np.linspace(-2, 3, 1000)[None]), "from 0 to 1.* from -2 to 3.*softmax"),
        # the residual family
        (lambda: models.PreActResNetCIFAR(29), r"depth is 6n \+ 2 .*bottleneck=True.*got 29"),
        (lambda: models.PreActResNetCIFAR(166), r"9n \+ 2"),
        (lambda: models.PreActResNetCIFAR(20, shortcut="C"), 'shortcut is "A" or "B"'),
        (lambda: models.DenseNetCIFAR(41, 12), r"depth is 6n \+ 4"),
        (lambda: models.DenseNetCIFAR(39, 12, bottleneck=False), r"3n \+ 4"),
        (lambda: models.DenseNetCIFAR(40, 0), "growth is the number of channels"),
        (lambda: models.ResNeXtCIFAR(28), r"depth is 9n \+ 2"),
        (lambda: models.ResNeXt50(width=0), "leave a path no channel"),
        (lambda: models.SEResNet50(ratio=1000), "at most the 256 channels"),
        (lambda: models.SKNet26(dilations=(1, 3)), "dilations holds 1 or even numbers"),
        (lambda: models.ResNeSt50(radix=1), "radix is at least 2"),
        (lambda: models.SENet154(weights="imagenet"), "no ImageNet weights are known for SENet154"),
        (lambda: models.DenseNet264(weights="imagenet"), "no ImageNet weights are known for DenseNet264"),
        # efficient nets
        (lambda: models.MobileNet(alpha=0), "alpha multiplies .* above 0"),
        (lambda: models.MobileNetV2(alpha="wide"), "alpha multiplies"),
        (lambda: models.MobileNetV3Large(classes=0), "at least 1"),
        (lambda: models.ShuffleNet(groups=5), "groups is 1, 2, 3, 4, 8"),
        (lambda: models.ShuffleNet(scale=0.33), "equal groups"),
        (lambda: models.ShuffleNetV2(scale=3), "scale is 0.5, 1.0, 1.5, 2.0"),
        (
            lambda: models.NASNetMobile(input_shape=(None, None, 3), include_top=False),
            "pads its maps by their sizes",
        ),
        (lambda: models.NASNetMobile(penultimate=100), "multiple of 24"),
        (lambda: models.MobileNet(weights="imagenet", classes=3), "1000 classes"),
        # a class per pixel
        (lambda: models.UNet(padding="full"), '"valid" .* or "same"'),
        (lambda: models.UNet(backbone="VGG16"), "takes no backbone"),
        (lambda: models.UNet(padding="same", backbone=3), "keras.Model or a builder's name"),
        (lambda: models.UNet(padding="same", backbone="VGG61"), "no builder is called"),
        (lambda: models.UNet(widths=(4,)), "at least two levels"),
        (lambda: models.UNet(classes=1), "softmax over one class"),
        (lambda: models.UNet(classes=0), "at least 1"),
        (lambda: models.FCN32s(classes=1), "softmax over one class"),
        (lambda: models.FCN32s(weights="imagenet"), "no ImageNet weights are known for FCN32s"),
        (lambda: models.UNet(padding="same", input_shape=(15, 64, 3)), "at least 16 pixels"),
        (
            lambda: models.FCN32s(backbone=models.LeNet5(), input_shape=(64, 64, 1)),
            r"reads \(32, 32, 1\); input_shape is that or None",
        ),
        (
            lambda: decoders.encoder(
                keras.Sequential([keras.Input((8, 8, 1)), keras.layers.ReLU()]), None, name="net"
            ),
            "needs two",
        ),
        # films
        (lambda: viz.Film(None, []), "at least one layer"),
        (lambda: viz.Film(None, "conv1", channels=0), "channels is a whole number"),
        (lambda: viz.Film(None, "conv1", frames=1), "frames is a whole number of at least 2"),
        (lambda: viz.Film(None, "conv1").figure(), "no frames"),
        (lambda: viz.browse(nets.cam_net(), nets.image((16, 20, 3)), most=0), "most is a whole number"),
        # a kernel on a grid
        (lambda: viz.slide(np.zeros((3, 3, 1)), MASK), r"image is a grid .*\(3, 3, 1\)"),
        (lambda: viz.slide(np.full((3, 3), np.nan), [[1.0]]), "image has numbers that are not finite"),
        (lambda: viz.slide(np.zeros((13, 5)), [[1.0]]), "13 x 5 cells cannot be read; 12 a side"),
        (lambda: viz.slide(np.zeros((9, 9)), [[1.0]]), "81 frames are too many"),
        (lambda: viz.slide(np.zeros((4, 5)), np.ones((3, 3)), dilation=2), "5 x 5 does not fit into 4 x 5"),
        (lambda: viz.slide(np.zeros((4, 5)), [[1.0]], stride=0), "stride is a whole number of at least 1"),
        (lambda: viz.slide(np.zeros((4, 5)), [[1.0]], padding=-1), "padding is a whole number of at least 0"),
        # drawings of masks
        (lambda: viz.overlay(np.zeros((4, 4)), np.zeros((4, 5), int), CLASSES), "differ in size"),
        (lambda: viz.overlay(np.zeros((4, 4)), np.full((4, 4), 3), CLASSES), "labels are 0 to 2"),
        (lambda: viz.overlay(np.zeros((4, 4, 2)), np.zeros((4, 4), int), CLASSES), r"\(h, w, 3\)"),
        (lambda: viz.errors(MASK, MASK[:1]), "two masks"),
        (lambda: viz.skips(chain(), np.zeros((2, 4, 1))), "no layer that joins maps"),
        (
            lambda: viz.skips(
                models.UNet(padding="same", widths=(2, 2), input_shape=(8, 8, 1)), None, "up3_concat"
            ),
            "it has up1_concat",
        ),
        # landscapes of the loss
        (lambda: landscape(dimensions=3), "1 .a curve. or 2"),
        (lambda: landscape(points=4), "odd number"),
        (lambda: landscape(span=0), "positive"),
        (lambda: landscape(statistics="mean"), '"kept" or "batch"'),
        (lambda: landscape(directions=[[np.zeros(3)]]), "list of .* arrays"),
        (lambda: landscape(directions=[]), "as many directions, got 0"),
    ],
)
def test_wrong_arguments_say_what_is_possible(call, message):
    with pytest.raises(ValueError, match=message):
        call()
