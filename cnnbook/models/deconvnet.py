"""DeconvNet. Noh, Hong & Han 2015, Learning deconvolution network for semantic segmentation, arXiv:1505.04366, Fig. 2.

New: a decoder as deep as the encoder. Max pooling remembers where each maximum stood (its switches), unpooling puts values
back there, and transposed convolutions learn to fill the gaps.
As in the paper's released net: batch normalisation after every convolution, which keeps its bias. No skips: only switches
reach the decoder, so it takes no other backbone. The paper's object proposals, two-stage training and CRF are left out.
Holds layers of cnnbook: import cnnbook.layers to load it.
Change first: unpooling against stock UpSampling2D, or `window`.
"""

from functools import partial

from keras import layers as L

from ..parts import blocks, decoders
from ..parts.layers import MaxPoolingWithSwitches, MaxUnpooling

# The bias before batch normalisation changes nothing, but the released net has it, and its count is the paper's.
conv = partial(blocks.conv_bn, use_bias=True, momentum=0.9, epsilon=1e-5)

# Fig. 2: filters of each stage, the encoder as VGG16, the decoder in the order it runs
# fmt: off
ENCODER = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
DECODER = ((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64, 64))
# fmt: on


def deconv(x, filters, kernel, padding, name):
    """Transposed convolution at stride 1, batch normalisation, ReLU."""
    x = L.Conv2DTranspose(filters, kernel, padding=padding, name=f"{name}_deconv")(x)
    x = L.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
    return L.Activation("relu", name=f"{name}_relu")(x)


def DeconvNet(
    *,
    window=7,
    hidden=4096,
    thinner=1,
    input_shape=(224, 224, 3),
    classes=21,
    weights=None,
    classifier_activation="softmax",
    name="deconvnet",
):
    """Encoder, two dense layers as convolutions, mirrored decoder.

    window: of the first dense layer and its mirror, 7 at 224 pixels; a net for images of 32 n pixels takes window=n.
    hidden: width of the dense layers. thinner: divides the widths of Fig. 2, for small experiments.
    Sides are multiples of 32, since unpooling needs pools without a rest, and at least 32 * window; they may be None.
    """
    decoders.check_classes(classes, classifier_activation)
    inputs = x = blocks.image(input_shape, smallest=32 * window)
    for side in input_shape[:2]:
        if side is not None and side % 32:
            low = side // 32 * 32
            raise ValueError(
                f"input_shape {input_shape!r}: five pools need sides that 32 divides; the nearest are {low} and {low + 32}"
            )
    switches = []
    for stage, widths in enumerate(ENCODER, 1):
        for i, filters in enumerate(widths, 1):
            x = conv(x, filters // thinner, 3, name=f"block{stage}_{i}")
        x, where = MaxPoolingWithSwitches(name=f"block{stage}_pool")(x)
        switches.append(where)
    x = conv(x, hidden, window, padding="valid", name="fc6")
    x = conv(x, hidden, 1, name="fc7")
    x = deconv(x, ENCODER[-1][-1] // thinner, window, "valid", name="fc6_mirror")
    for stage, widths in zip((5, 4, 3, 2, 1), DECODER, strict=True):
        x = MaxUnpooling(name=f"deblock{stage}_unpool")([x, switches[stage - 1]])
        for i, filters in enumerate(widths, 1):
            x = deconv(x, filters // thinner, 3, "same", name=f"deblock{stage}_{i}")
    x = decoders.per_pixel(x, classes, classifier_activation)
    return blocks.finish(inputs, x, weights=weights, name=name)
