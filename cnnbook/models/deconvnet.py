"""DeconvNet. Noh, Hong & Han 2015, Learning deconvolution network for semantic segmentation, arXiv:1505.04366, Fig. 2.

New: a decoder as deep as the encoder. Max pooling remembers where each maximum stood (its switches), unpooling puts values
back there, and transposed convolutions learn to fill the gaps.
As in the paper's released net: batch normalisation after every convolution, which keeps its bias. No skips: only switches
reach the decoder, so it takes no other backbone. The paper's object proposals, two-stage training and CRF are left out.
Change first: unpooling against stock UpSampling2D, or `window`.
"""

from functools import partial

from keras import layers as L

from ..parts import blocks
from ..parts.layers import MaxPoolingWithSwitches, MaxUnpooling
from .network import per_pixel

# The bias before batch normalisation changes nothing, but the released net has it, and its count is the paper's.
conv_bn = partial(blocks.conv_bn, use_bias=True, momentum=0.9, epsilon=1e-5)

# Fig. 2: filters of each stage, the encoder as VGG16, the decoder in the order it runs
# fmt: off
ENCODER = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
DECODER = ((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64, 64))
# fmt: on


def deconv(x, filters, kernel, padding, name):
    """Transposed convolution at stride 1, batch normalisation, ReLU."""
    x = L.Conv2DTranspose(filters, kernel, padding=padding, name=f"{name}_deconv")(x)
    x = blocks.batch_norm(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
    return L.Activation("relu", name=f"{name}_relu")(x)


# step: unpooling needs pools without a rest
@per_pixel((224, 224, 3), smallest=lambda window: 32 * window, step=32, classes=21)
def DeconvNet(x, *, window=7, hidden=4096, thinner=1):
    """Encoder, two dense layers as convolutions, mirrored decoder.

    window: of the first dense layer and its mirror, 7 at 224 pixels; a net for images of 32 n pixels takes window=n.
    hidden: width of the dense layers. thinner: divides the widths of Fig. 2, for small experiments.
    Sides are multiples of 32 and at least 32 * window; they may be None.
    """
    switches = []
    for stage, widths in enumerate(ENCODER, 1):
        for i, filters in enumerate(widths, 1):
            x = conv_bn(x, filters // thinner, 3, name=f"block{stage}_{i}")
        x, where = MaxPoolingWithSwitches(name=f"block{stage}_pool")(x)
        switches.append(where)
    x = conv_bn(x, hidden, window, padding="valid", name="fc6")
    x = conv_bn(x, hidden, 1, name="fc7")
    x = deconv(x, ENCODER[-1][-1] // thinner, window, "valid", name="fc6_mirror")
    for stage, widths in zip((5, 4, 3, 2, 1), DECODER, strict=True):
        x = MaxUnpooling(name=f"deblock{stage}_unpool")([x, switches[stage - 1]])
        for i, filters in enumerate(widths, 1):
            x = deconv(x, filters // thinner, 3, "same", name=f"deblock{stage}_{i}")
    return x
