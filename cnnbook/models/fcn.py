"""FCN. Long, Shelhamer & Darrell 2015, Fully convolutional networks for semantic segmentation, arXiv:1411.4038, Fig. 3.

New: a classifier slid over the whole image is a segmenter; its coarse scores are enlarged inside the net and added to
scores of finer maps, all trained at once for every pixel.
As in the paper and its released nets: 100 pixels of zeros around the image, so that any size fits; pooling that rounds up;
scores from fc7, pool4 and pool3 that start at zero; transposed convolutions that start bilinear, the last of them fixed.
On another backbone, each map's scores are enlarged to the next one's size; there are then no fc6 and fc7.
Ours trains the three nets from one start; the paper trains 32s, then 16s, then 8s, each from the one before.
The first two dense layers carry the names of VGG16's, so that its weights port:
weights.port(VGG16(weights="imagenet"), keras.Model(net.input, net.get_layer("fc2").output), partial=True).
Change first: 32 against 8.
"""

from keras import layers as L

from ..parts import decoders
from ..parts.layers import Bilinear
from . import vgg
from .network import per_pixel, variant

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


def score(x, stride, classes):
    """The class scores of one map; they start at zero."""
    return L.Conv2D(classes, 1, kernel_initializer="zeros", name=f"score{stride}")(x)


def on_backbone(maps, finest, *, classes, classifier_activation, name):
    """The scores of another backbone's maps, each enlarged to the size of the next one's."""
    decoders.report(name, maps, [stride for stride in (32, 16, 8) if stride >= finest])
    strides = sorted((stride for stride in maps if finest <= stride <= COARSEST), reverse=True)
    if not strides:
        raise ValueError(
            f"{name}: the backbone has maps at strides {list(maps)}, none from {finest} to {COARSEST}"
        )
    before, *finer = strides
    x = score(maps[before].tensor, before, classes)
    for stride in finer:
        x = enlarge(x, decoders.factor(before, stride, name), f"up{stride}", padding="same")
        y = score(maps[stride].tensor, stride, classes)
        x = L.Add(name=f"fuse{stride}")([y, decoders.match(x, y, name=f"up{stride}")])
        before = stride
    x = enlarge(x, before, "up1", padding="same", trainable=False)
    x = decoders.match(x, maps.model.input, name="up1")
    return L.Activation(classifier_activation, name="predictions")(x)


@per_pixel((500, 500, 3), smallest=1, classes=21, head=None, on_backbone=on_backbone, norm=False)
def FCN(
    image,
    finest,
    *,
    widths=(64, 128, 256, 512, 512),
    hidden=4096,
    dropout=0.5,
    classes,
    classifier_activation,
):
    """The net whose finest scores have the stride `finest`: 32, 16 or 8.

    widths, hidden, dropout: of VGG16's convolutions and dense layers. backbone: None for the paper's VGG16, else a
    keras.Model or a builder's name, see cnnbook.parts.decoders. Sides may be None.
    """
    maps = vgg16(image, widths, hidden, dropout)
    x = score(maps[32], 32, classes)
    for stride in (16, 8):
        if stride >= finest:
            x = enlarge(x, 2, f"up{stride}", padding="valid")
            y = score(maps[stride], stride, classes)
            y = decoders.match(y, x, name=f"score{stride}", offset=SKIP_OFFSET[stride])
            x = L.Add(name=f"fuse{stride}")([y, x])
    x = enlarge(x, finest, "up1", padding="valid", trainable=False)
    x = decoders.match(x, image, name="up1", offset=IMAGE_OFFSET[finest])
    return L.Activation(classifier_activation, name="predictions")(x)


FCN32s = variant("FCN32s", FCN, 32)
FCN16s = variant("FCN16s", FCN, 16)
FCN8s = variant("FCN8s", FCN, 8)
