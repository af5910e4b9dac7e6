"""U-Net. Ronneberger, Fischer & Brox 2015, U-Net: biomedical image segmentation, arXiv:1505.04597, Fig. 1.

New: a decoder as wide as the encoder, with each of the encoder's maps copied, cropped and concatenated, so that the exact
place of things reaches the output.
As in the paper: valid convolutions (572 pixels in, 388 out), He's initialisation, dropout at the end of the contracting
path. `padding="same"`, what most people call a U-Net, keeps the size, takes any size and any backbone; `batch_norm=True`
is later practice too. Change first: padding, or leave the skips out of `expand`.
"""

from functools import partial

from keras import layers as L

from ..parts import blocks, decoders
from .network import per_pixel

WIDTHS = (64, 128, 256, 512, 1024)  # Fig. 1, from the top down
BACKBONE_WIDTHS = (16, 32, 64, 128, 256)  # from stride 1 on; a common choice, not the paper's


def conv(x, filters, kernel, name, *, padding, batch_norm):
    """A convolution and ReLU, batch normalisation between them if wanted."""
    # momentum as in torch: with Keras' 0.99 the statistics of a run of 150 steps are those of its start
    convolve = partial(blocks.conv_bn, momentum=0.9) if batch_norm else blocks.conv
    return convolve(x, filters, kernel, padding=padding, kernel_initializer="he_normal", name=name)


def level(x, filters, name, **how):
    """One level of Fig. 1: two convolutions."""
    return conv(conv(x, filters, 3, f"{name}_1", **how), filters, 3, f"{name}_2", **how)


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
    """The smallest side: 188, or 16 with "same" padding. Raises ValueError for a padding or widths that make no net."""
    if padding not in ("valid", "same"):
        raise ValueError(f'padding is "valid" (the paper) or "same", got {padding!r}')
    levels = len(widths or WIDTHS)
    if levels < 2:
        raise ValueError(f"widths needs at least two levels, got {widths!r}")
    least, step = 2 * lost(levels)[-1] + 9, 2 ** (levels - 1)
    return step if padding == "same" else least + (-4 - least) % step


def check_sides(shape, padding, widths):
    """Raises ValueError for a side at which a pool between valid convolutions would meet an odd map."""
    least, step = smallest("valid", widths), 2 ** (len(widths) - 1)
    for side in shape[:2] if padding == "valid" else ():
        if side is not None and (rest := (side - least) % step):
            raise ValueError(
                f'input_shape {shape}: with padding="valid" every pooled map must be even, so sides are {least} and every '
                f'{step} more; the nearest are {side - rest} and {side - rest + step}; padding="same" takes any'
            )


def on_backbone(maps, *, padding, widths, batch_norm, name):
    """The right side on a backbone's maps, down to stride 1."""
    if padding != "same":
        raise ValueError('the paper\'s net, padding="valid", takes no backbone; padding="same" takes any')
    x, steps = decoders.steps_up(maps, name)
    widths = widths or BACKBONE_WIDTHS
    how = dict(like=maps.model.input, padding=padding, batch_norm=batch_norm)
    for stride, skip, times in steps:
        filters = widths[min(stride.bit_length(), len(widths)) - 1]
        x = expand(x, skip, filters, times, f"decoder{stride}", **how)
    return x


@per_pixel((572, 572, 1), smallest=smallest, classes=2, on_backbone=on_backbone)
def UNet(x, *, padding="valid", widths=None, dropout=0.5, batch_norm=False):
    """Fig. 1 of the paper, or its form with "same" padding, on any backbone.

    padding: "valid", where the output is 184 pixels smaller than the image and sides are 16 b + 60, at least 188; or
    "same", where the output has the image's size and sides are at least 16. widths: filters of the levels from the top
    down, (64, 128, 256, 512, 1024); on a backbone those of the decoder at strides 1, 2, 4, ...: (16, 32, 64, 128, 256).
    dropout: of the two lowest levels. batch_norm: normalise before every ReLU. A backbone takes padding="same".
    """
    widths, how = widths or WIDTHS, dict(padding=padding, batch_norm=batch_norm)
    check_sides(x.shape[1:], padding, widths)
    *skips, x = contract(x, widths, dropout, **how)
    for i, crop in zip(range(len(skips), 0, -1), lost(len(widths)), strict=True):
        crop = crop if padding == "valid" else None
        x = expand(x, skips[i - 1], widths[i - 1], 2, f"up{i}", crop=crop, **how)
    return x
