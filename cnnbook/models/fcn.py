"""FCN. Long, Shelhamer & Darrell 2015, Fully convolutional networks for semantic segmentation, arXiv:1411.4038, Fig. 3.

New: a classifier slid over the whole image is a segmenter; its coarse scores are enlarged inside the net and added to
scores of finer maps, all trained at once for every pixel.
As in the paper and its released nets: 100 pixels of zeros around the image, so that any size fits; pooling that rounds up;
scores from fc7, pool4 and pool3 that start at zero; transposed convolutions that start bilinear, the last of them fixed.
On another backbone, each map's scores are enlarged to the next one's size; there are then no fc6 and fc7.
Ours trains the three nets from one start; the paper trains 32s, then 16s, then 8s, each from the one before.
The first two dense layers carry the names of VGG16's, so that its weights port:
weights.port(VGG16(weights="imagenet"), keras.Model(net.input, net.get_layer("fc2").output), partial=True).
Holds layers of cnnbook: import cnnbook.layers to load it. Change first: 32 against 8.
"""

from keras import layers as L

from ..parts import blocks, decoders
from ..parts.layers import Bilinear
from . import vgg

COARSEST = 32
# Where a map of the released nets begins in the one it is added to or, at stride 1, where the image begins in the scores.
SKIP_OFFSET = {16: 5, 8: 9}
IMAGE_OFFSET = {32: 19, 16: 27, 8: 31}


def vgg16(inputs, widths, hidden, dropout):
    """The maps of the paper's VGG16 by stride: pool3, pool4, fc7."""
    x = L.ZeroPadding2D(99, name="pad100")(inputs)  # and one more in the first convolution
    maps = {}
    for stage, (n, filters) in enumerate(zip((2, 2, 3, 3, 3), widths, strict=True), 1):
        x = maps[2**stage] = vgg.block(x, (3,) * n, filters, f"block{stage}", pool_padding="same")
    maps[COARSEST] = vgg.sliding(x, 7, hidden, dropout)
    return maps


def enlarge(x, times, name, *, padding, trainable=True):
    """Class scores `times` larger, each class by a kernel of its own to begin with."""
    classes = x.shape[-1]
    return L.Conv2DTranspose(
        classes, 2 * times, times, padding, use_bias=False, kernel_initializer=Bilinear(), trainable=trainable,
        name=name,
    )(x)  # fmt: skip


def FCN(
    finest,
    *,
    widths=(64, 128, 256, 512, 512),
    hidden=4096,
    dropout=0.5,
    input_shape=None,
    classes=21,
    backbone=None,
    weights=None,
    classifier_activation="softmax",
    name="fcn",
):
    """The net whose finest scores have the stride `finest`: 32, 16 or 8.

    widths, hidden, dropout: of VGG16's convolutions and dense layers. backbone: None for the paper's VGG16, else a
    keras.Model or a builder's name, see cnnbook.decoders. input_shape defaults to (500, 500, 3), with a builder's name to
    (224, 224, 3); sides may be None, the smallest is 1, with a backbone the backbone's.
    """
    decoders.check_classes(classes, classifier_activation)
    if backbone is None:
        inputs = blocks.image(input_shape or (500, 500, 3))
        maps, padding = vgg16(inputs, widths, hidden, dropout), "valid"
    else:
        found, padding = decoders.encoder(backbone, input_shape, name=name), "same"
        inputs, maps = found.model.input, {stride: endpoint.tensor for stride, endpoint in found.items()}
        decoders.report(name, found, [s for s in (32, 16, 8) if s >= finest])
    used = sorted((s for s in maps if finest <= s <= COARSEST), reverse=True)
    if not used:
        raise ValueError(
            f"{name}: the backbone has maps at strides {list(maps)}, none from {finest} to {COARSEST}"
        )
    x = before = None
    for stride in used:
        y = L.Conv2D(classes, 1, kernel_initializer="zeros", name=f"score{stride}")(maps[stride])
        if x is not None:
            x = enlarge(x, decoders.factor(before, stride, name), f"up{stride}", padding=padding)
            if backbone is None:
                y = decoders.match(y, x, name=f"score{stride}", offset=SKIP_OFFSET[stride])
            else:
                x = decoders.match(x, y, name=f"up{stride}")
            y = L.Add(name=f"fuse{stride}")([y, x])
        x, before = y, stride
    x = enlarge(x, before, "up1", padding=padding, trainable=False)
    offset = IMAGE_OFFSET[before] if backbone is None else None
    x = decoders.match(x, inputs, name="up1", offset=offset)
    x = L.Activation(classifier_activation, name="predictions")(x)
    return blocks.finish(inputs, x, weights=weights, name=name)


FCN32s = blocks.variant("FCN32s", FCN, 32)
FCN16s = blocks.variant("FCN16s", FCN, 16)
FCN8s = blocks.variant("FCN8s", FCN, 8)
