"""U-Net. Ronneberger, Fischer & Brox 2015, U-Net: convolutional networks for biomedical image segmentation,
arXiv:1505.04597, Fig. 1.

New: a decoder as wide as the encoder, with each of the encoder's maps copied, cropped and concatenated, so that the exact
place of things reaches the output.
As in the paper: valid convolutions (572 pixels in, 388 out), He's initialisation, dropout at the end of the contracting
path. `padding="same"`, what most people call a U-Net, keeps the size, takes any size and any backbone; `batch_norm=True`
is later practice too.
Change first: padding, or leave the skips out of `expand`.
"""

from functools import partial

from keras import layers as L

from ..parts import blocks, decoders
from .network import per_pixel

WIDTHS = (64, 128, 256, 512, 1024)  # Fig. 1, from the top down
# of the decoder on a backbone, at strides 1, 2, 4, 8, 16: a common choice, not the paper's
BACKBONE_WIDTHS = (16, 32, 64, 128, 256)
# momentum as in torch: with Keras' 0.99 the statistics of a run of 150 steps are those of its start
conv_bn = partial(blocks.conv_bn, momentum=0.9, kernel_initializer="he_normal")


def conv(x, filters, name, *, padding, batch_norm):
    """A 3x3 convolution and ReLU."""
    if batch_norm:
        return conv_bn(x, filters, 3, padding=padding, name=name)
    x = L.Conv2D(filters, 3, padding=padding, kernel_initializer="he_normal", name=f"{name}_conv")(x)
    return L.Activation("relu", name=f"{name}_relu")(x)


def level(x, filters, name, **how):
    """One level of Fig. 1: two convolutions."""
    return conv(conv(x, filters, f"{name}_1", **how), filters, f"{name}_2", **how)


def contract(x, widths, dropout, **how):
    """The left side of Fig. 1: the maps of all levels, the image's first."""
    maps = []
    for i, filters in enumerate(widths, 1):
        x = L.MaxPooling2D(2, name=f"down{i}_pool")(x) if i > 1 else x
        x = level(x, filters, f"down{i}", **how)
        if i >= len(widths) - 1:
            x = L.Dropout(dropout, name=f"down{i}_dropout")(x)
        maps.append(x)
    return maps


def expand(x, skip, filters, times, name, *, crop=None, like=None, **how):
    """One step up the right side: enlarge `times`, copy and crop, concatenate, two convolutions.

    skip: the encoder's map, or None. crop: pixels cut from each of its sides; None brings `x` to its size instead, or,
    without a skip, to that of `like`.
    """
    x = L.Conv2DTranspose(filters, times, times, kernel_initializer="he_normal", name=f"{name}_up")(x)
    if crop is None:
        x = decoders.match(x, like if skip is None else skip, name=f"{name}_up")
    if skip is not None:
        skip = skip if crop is None else L.Cropping2D(crop, name=f"{name}_crop")(skip)
        x = L.Concatenate(name=f"{name}_concat")([skip, x])
    return level(x, filters, name, **how)


def lost(levels):
    """Pixels that valid convolutions take from each side of a skip before it is used, from the bottom up: 4, 16, 40, 88."""
    crops, at_border = [], 2
    for _ in range(levels - 1):
        crops.append(2 * at_border)
        at_border = crops[-1] + 4
    return crops


def smallest(padding, widths):
    """The smallest side: the deepest map has a pixel, with padding="valid" the output and the pools fit too."""
    levels = len(widths or WIDTHS)
    if padding != "valid":
        return 2 ** (levels - 1)
    step, rest, border = *grid(levels), lost(levels)[-1] + 4
    side = 2 * border + 1
    return side + (rest - side) % step


def grid(levels):
    """(step, rest): valid sides are step * b + rest, so that every pool meets an even map; 16 b + 60 with five levels."""
    step = 2 ** (levels - 1)
    return step, 4 * (step - 1) % step


def check_valid(input_shape, levels):
    """Refuses sides at which a pool would meet an odd map, naming the nearest that fit."""
    step, rest = grid(levels)
    for side in input_shape[:2]:
        if side is not None and (side - rest) % step:
            low = side - (side - rest) % step
            raise ValueError(
                f'input_shape {tuple(input_shape)}: with padding="valid" every pooled map must be even, so sides are '
                f"{smallest('valid', (0,) * levels)} and every {step} more; the nearest are {low} and {low + step}; "
                'padding="same" takes any'
            )


def check_arguments(padding, widths):
    if padding not in ("valid", "same"):
        raise ValueError(f'padding is "valid" (the paper) or "same", got {padding!r}')
    if widths is not None and len(widths) < 2:
        raise ValueError(f"widths needs at least two levels, got {widths!r}")


def on_backbone(maps, *, padding, widths, batch_norm, name):
    """The right side on a backbone's maps, down to stride 1."""
    check_arguments(padding, widths)
    if padding == "valid":
        raise ValueError('the paper\'s net, padding="valid", takes no backbone; padding="same" takes any')
    widths = widths or BACKBONE_WIDTHS
    before = max(maps)
    decoders.report(name, maps, [2**i for i in range(before.bit_length())])
    x = maps[before].tensor
    for stride in sorted({1, *maps} - {before}, reverse=True):
        skip = maps[stride].tensor if stride in maps else None
        filters = widths[min(stride.bit_length(), len(widths)) - 1]
        times = decoders.factor(before, stride, name)
        how = dict(like=maps.model.input, padding=padding, batch_norm=batch_norm)
        x = expand(x, skip, filters, times, f"decoder{stride}", **how)
        before = stride
    return x


@per_pixel((572, 572, 1), smallest=smallest, classes=2, on_backbone=on_backbone)
def UNet(x, *, padding="valid", widths=None, dropout=0.5, batch_norm=False):
    """Fig. 1 of the paper, or its form with "same" padding, on any backbone.

    padding: "valid", where the output is 184 pixels smaller than the image and sides are 16 b + 60, at least 188; or
    "same", where the output has the image's size and sides are at least 16. widths: filters of the levels from the top
    down, (64, 128, 256, 512, 1024); on a backbone those of the decoder at strides 1, 2, 4, ...: (16, 32, 64, 128, 256).
    dropout: of the two lowest levels. batch_norm: normalise before every ReLU. A backbone takes padding="same".
    """
    check_arguments(padding, widths)
    widths, how = widths or WIDTHS, dict(padding=padding, batch_norm=batch_norm)
    if padding == "valid":
        check_valid(x.shape[1:], len(widths))
    *skips, x = contract(x, widths, dropout, **how)
    for i, crop in zip(range(len(skips), 0, -1), lost(len(widths)), strict=True):
        x = expand(
            x, skips[i - 1], widths[i - 1], 2, f"up{i}", crop=crop if padding == "valid" else None, **how
        )
    return x
