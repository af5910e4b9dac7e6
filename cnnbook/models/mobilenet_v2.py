"""MobileNetV2. Sandler et al. 2018, MobileNetV2: inverted residuals and linear bottlenecks, arXiv:1801.04381, Table 2.

New: the residual block turned inside out. Shortcuts join the narrow maps; between them a 1x1 convolution widens the map
six times, a depthwise convolution filters it, and a 1x1 convolution without ReLU (a linear bottleneck) narrows it again.
As in the paper. Numbers of channels are multiples of 8 at every width, as in the released nets. ImageNet weights exist for
alpha 0.35, 0.5, 0.75, 1, 1.3 and 1.4 at 96, 128, 160, 192 and 224 pixels (others take those of 224); they want RGB from
-1 to 1 (`models.preprocess`).
Change first: alpha, or a row of Table 2 below.
"""

from functools import partial

from keras import layers as L

from ..parts import blocks

conv_bn = partial(blocks.conv_bn, activation="relu6", momentum=0.999, parts=("{}", "{}_BN", "{}_relu"))
STEM, HEAD = ("{}", "bn_{}", "{}_relu"), ("{}", "{}_bn", "out_relu")

# Table 2: expansion, channels, repeats, stride of the first
# fmt: off
TABLE_2 = [(1,  16, 1, 1),
           (6,  24, 2, 2),
           (6,  32, 3, 2),
           (6,  64, 4, 2),
           (6,  96, 3, 1),
           (6, 160, 3, 2),
           (6, 320, 1, 1)]
# fmt: on


def inverted_residual(
    x,
    filters,
    kernel,
    strides,
    expanded,
    *,
    name,
    conv=conv_bn,
    squeeze=None,
    drop=0,
    parts=("{}_expand", "{}_pad", "{}_depthwise", "{}_project"),
):
    """Figure 4 (d): 1x1 to `expanded` channels, depthwise, 1x1 without ReLU to `filters`; a shortcut where shapes agree.

    The later mobile nets add to it: squeeze, a function of the depthwise map and a name; drop, the chance that an image
    skips the block while training (stochastic depth). parts: the names around `name`, as in `blocks.conv_bn`.
    """
    expand, pad, depthwise, project = (part.format(name) for part in parts)
    y = conv(x, expanded, 1, name=expand) if expanded != x.shape[-1] else x
    y = blocks.pad_as_tensorflow(y, kernel, name=pad) if strides == 2 else y
    y = conv(y, None, kernel, strides, padding="valid" if strides == 2 else "same", name=depthwise)
    y = squeeze(y, name) if squeeze else y
    y = conv(y, filters, 1, activation=None, name=project)
    if strides > 1 or x.shape[-1] != filters:
        return y
    y = L.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(y) if drop else y
    return L.Add(name=f"{name}_add")([x, y])


@blocks.pretrained
def MobileNetV2(
    *,
    alpha=1.0,
    input_shape=(224, 224, 3),
    classes=1000,
    include_top=True,
    pooling=None,
    weights=None,
    classifier_activation="softmax",
    name="mobilenetv2",
):
    """MobileNetV2; `alpha` multiplies the numbers of channels, of the last convolution only if it is above 1.

    The smallest side is 32.
    """
    blocks.width_multiplier(alpha)
    x = inputs = blocks.image(input_shape, smallest=32)
    x = conv_bn(x, blocks.divisible(32 * alpha), 3, 2, padding="same", name="Conv1", parts=STEM)
    rows = [(t, c, s if i == 0 else 1) for t, c, n, s in TABLE_2 for i in range(n)]
    for b, (expansion, channels, strides) in enumerate(rows):
        filters, expanded = blocks.divisible(int(channels * alpha)), expansion * x.shape[-1]
        x = inverted_residual(x, filters, 3, strides, expanded, name=f"block_{b}" if b else "expanded_conv")
    x = conv_bn(x, blocks.divisible(1280 * max(1, alpha)), 1, name="Conv_1", parts=HEAD)
    top = dict(classes=classes, include_top=include_top, classifier_activation=classifier_activation)
    return blocks.pooled_classifier(inputs, x, **top, pooling=pooling, weights=weights, name=name)
