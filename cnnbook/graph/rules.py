"""What each kind of operation does: where its units look, what it costs, how its kernels lie, what a drawing says of it.

One `register` holds all of that for a kind of layer, so that a new layer is taught to tables, pictures and readers of
weights at once; our own layers register beside their class (`cnnbook.parts.layers`). Bare operations (`x + y`,
`keras.ops`) go by class name. Whatever is not registered is "unknown" and marked so, never guessed.
"""

import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import keras
from keras import layers as L

from .fields import as_pair, padding_before

GROUPS = {
    "input": "an image, or another input",
    "preprocessing": "scaling of pixels; augmentation, which does nothing at inference",
    "conv": "kernels that read a window of pixels",
    "dense": "a kernel from all numbers of a place to all",
    "pool": "pixels combined, those of a window or all",
    "enlarge": "more pixels, without a kernel",
    "padding": "pixels added or cut off at the edge",
    "attention": "each place reads all others, those of which it knows most from their products",
    "recurrent": "a kernel for each step of a sequence",
    "norm": "normalisation",
    "pointwise": "each number on its own: activations, dropout, arithmetic",
    "channels": "channels permuted, selected or combined, each pixel on its own",
    "merge": "several inputs combined",
    "reshape": "the same numbers in another shape",
    "unknown": "not registered",
}
BOXES = ("input", "conv", "pool", "norm", "dense", "merge", "other", "unknown")

# --------------------------------------------------------------------------- rules, and where they are kept


def same_place(operation, field, inputs, outputs):
    """The field of an operation that leaves every unit where it is."""
    return field


def no_macs(operation, inputs, outputs):
    return 0


def class_name(operation, shape):
    """Words of an operation that has none of its own."""
    name = type(operation).__name__
    return name, str(shape[-1]) if shape else "", name


@dataclass(frozen=True)
class Rule:
    """What there is to know of one kind of operation. Shapes are tuples with the batch axis first, None where free.

    group: a key of `GROUPS`. field: (operation, Field of the inputs, input shapes, output shapes) -> Field of the output.
    macs: (operation, input shapes, output shapes) -> multiply-adds for one entry of the first axis, which is one image; None
    where a size is free. None in place of the function: each call is run on shapes, see `products`. kernels:
    {name of a variable: the names of its axes}, see `kernel_axes`. box: one of `BOXES`, how drawings show it; None where it
    belongs to the layer before. words: (operation, output shape without the batch axis) -> what, numbers and
    text of its `Description`. reads: how many of the inputs it reads the values of, not the size alone; None for all.
    ValueError for another group or box, and for a group that moves pixels or multiplies, without its field or macs.
    """

    group: str
    field: Callable = same_place
    macs: Callable | None = no_macs
    kernels: dict | None = None
    box: str | None = None
    words: Callable = class_name
    reads: int | None = None

    def __post_init__(self):
        if self.group not in GROUPS:
            raise ValueError(f"group is one of {', '.join(GROUPS)}, got {self.group!r}")
        if self.box is not None and self.box not in BOXES:
            raise ValueError(f"box is None or one of {', '.join(BOXES)}, got {self.box!r}")
        moves = self.group in ("conv", "pool", "enlarge", "padding", "reshape", "merge")
        if moves and self.field is same_place:
            raise ValueError(f'a layer of the group "{self.group}" needs field=, where its units look')
        if self.group in ("conv", "dense") and self.macs is no_macs:
            raise ValueError(f'a layer of the group "{self.group}" needs macs=, its multiply-adds')


def _unknown_field(operation, field, inputs, outputs):
    return field.unknown()


UNKNOWN = Rule("unknown", field=_unknown_field, macs=None, box="unknown")
_BY_NAME = {}


@functools.singledispatch
def rule_of(operation):
    """The `Rule` of an operation: the one registered for its class, or for the nearest class that it inherits from."""
    return _BY_NAME.get(type(operation).__name__, UNKNOWN)


@rule_of.register(keras.layers.Layer)
def _of_a_layer(layer):
    """A layer whose class is not registered. That it shares its name with a bare operation says nothing."""
    return _LAYERS_BY_NAME.get(type(layer).__name__, UNKNOWN)


def register(*classes, **parts):
    """Registers one `Rule(**parts)` for layer classes and those that inherit from them; returns it.

    For a layer of your own that treats each number on its own: `graph.register(Mine, group="pointwise")`.
    """
    rule = Rule(**parts)
    for cls in classes:
        rule_of.register(cls, lambda operation: rule)
    return rule


# --------------------------------------------------------------------------- what a drawing says


@dataclass(frozen=True)
class Description:
    """What a drawing says of a row.

    kind: one of `BOXES`; None for what belongs to the layer before (activation, batch norm, padding) and has no box. what,
    numbers: the two lines of the box: "3×3 conv", "64, /2". text: both as one line of ASCII: "3x3 conv, 64, /2".
    """

    kind: str | None
    what: str
    numbers: str
    text: str


def describe(row):
    """The `Description` of a row of `trace`."""
    rule = rule_of(row.operation)
    return Description(rule.box, *rule.words(row.operation, row.output_shape))


def size_text(sides, sign="×"):
    """3×3 for 3 or (3, 3); ? for a free side."""
    return sign.join("?" if n is None else str(n) for n in as_pair(sides))


def step_text(strides):
    """ ", /2" for a stride of 2; nothing for 1."""
    stride = max(as_pair(strides))
    return f", /{stride}" if stride > 1 else ""


def fixed_words(what, numbers="", text=None):
    return lambda operation, shape: (what, numbers, text or what)


def lower_case_words(operation, shape):
    """The class name in words, for what has no box: "spatial dropout2d"."""
    name = re.sub("(?<=[a-z])([A-Z])", r" \1", type(operation).__name__).lower()
    return name, "", name


def _activation_words(operation, shape):
    name = getattr(operation.activation, "__name__", "activation")
    name = {"relu": "ReLU", "silu": "swish"}.get(name, name)
    return name, "", name


def _image_words(operation, shape):
    return "image", size_text(shape), f"image, {size_text(shape, ' x ')}"


def _dense_words(operation, shape):
    return "dense", str(shape[-1]), f"dense, {shape[-1]}"


def pool_words(what, text):
    def words(operation, shape):
        window, step = operation.pool_size, step_text(operation.strides)
        return what, size_text(window) + step, f"{size_text(window, 'x')} {text}{step}"

    return words


def _enlarge_words(operation, shape):
    factor = max(as_pair(operation.size))
    return "enlarge", f"×{factor}", f"enlarge, x{factor}"


def conv_words(what, text):
    """Words of a convolution: its window, channels, groups, dilation and stride."""

    def words(operation, shape):
        window, step = operation.kernel_size, step_text(operation.strides)
        dilation, groups = (
            max(as_pair(getattr(operation, "dilation_rate", 1))),
            getattr(operation, "groups", 1),
        )
        spread = f" d{dilation}" if dilation > 1 else ""
        numbers = f"{shape[-1]} in {groups}" if groups > 1 else str(shape[-1])
        line = f"{size_text(window, 'x')} {text}, {shape[-1]}{step}"
        return f"{size_text(window)} {what}{spread}", numbers + step, line

    return words


def _transposed_words(operation, shape):
    window, stride = as_pair(operation.kernel_size), max(as_pair(operation.strides))
    # a stride as large as the window goes without saying
    factor = f", ×{stride}" if stride not in (1, max(window)) else ""
    line = f"{size_text(window, 'x')} transposed, {shape[-1]}{step_text(stride)}"
    return f"{size_text(window)} up-conv", f"{shape[-1]}{factor}", line


# --------------------------------------------------------------------------- fields and costs of Keras' layers

CONVOLUTION = ("height", "width", "in", "out")
DEPTHWISE = ("height", "width", "channel", "multiplier")
DENSE = ("in", "out")


def kernel_axes(operation):
    """{name of a variable: the names of its axes}, for the kernels of an operation; {} if it has none.

    height, width: of the window; in: the inputs of a group; out: the outputs; channel, multiplier: of a depthwise
    kernel, whose output number channel * multipliers + multiplier reads one channel; row, column: the place on the map,
    where each has kernels of its own.
    """
    return rule_of(operation).kernels or {}


def _conv_field(operation, field, inputs, outputs):
    kernel = [(k - 1) * d + 1 for k, d in zip(operation.kernel_size, operation.dilation_rate, strict=True)]
    stride = as_pair(operation.strides)
    return field.slide(kernel, stride, padding_before(operation.padding, kernel, stride, inputs[0][1:3]))


def _transposed_field(operation, field, inputs, outputs):
    kernel, stride = operation.kernel_size, as_pair(operation.strides)
    if operation.dilation_rate not in (1, (1, 1)) or operation.output_padding is not None:
        return field.unknown()
    same = operation.padding == "same"
    return field.enlarge(
        kernel, stride, [max(k - s, 0) // 2 if same else 0 for k, s in zip(kernel, stride, strict=True)]
    )


def _pool_field(operation, field, inputs, outputs):
    kernel, stride = as_pair(operation.pool_size), as_pair(operation.strides)
    return field.slide(kernel, stride, padding_before(operation.padding, kernel, stride, inputs[0][1:3]))


def _upsampling_field(operation, field, inputs, outputs):
    size = as_pair(operation.size)
    if operation.interpolation not in ("nearest", "bilinear"):
        return field.unknown()
    # a bilinear pixel lies between two, or on one: in the middle of an odd enlargement
    kernel = size if operation.interpolation == "nearest" else tuple(2 * s - s % 2 for s in size)
    return field.enlarge(kernel, size, [(k - s) // 2 for k, s in zip(kernel, size, strict=True)])


def _global_field(operation, field, inputs, outputs):
    return field.of_whole_image()


def _flatten_field(operation, field, inputs, outputs):
    return field.of_whole_image() if len(inputs[0]) > 2 else field.unknown()


def _reshape_field(operation, field, inputs, outputs):
    kept = len(outputs[0]) > 2 and outputs[0][1:3] == inputs[0][1:3]
    # Tokens, each of which still has its place, on no map.
    tokens = len(inputs[0]) == 4 and len(outputs[0]) == 3 and outputs[0][-1] == inputs[0][-1]
    if kept or not field.local:
        return field
    return field.unknown() if tokens else field.of_whole_image()


def _merge_field(operation, field, inputs, outputs):
    along = getattr(operation, "axis", -1)
    # a concatenation side by side moves pixels
    return field if along in (-1, len(outputs[0]) - 1) or not field.local else field.unknown()


def _axes(operation):
    return operation.axis if isinstance(operation.axis, (tuple, list)) else [operation.axis]


def _channel_norm_field(operation, field, inputs, outputs):
    """Of what is computed over `axis`: over the channels alone it stays in its place."""
    channels_only = all(a in (-1, len(inputs[0]) - 1) for a in _axes(operation))
    return field if channels_only or not field.local else field.with_global_context()


def _group_norm_field(operation, field, inputs, outputs):
    return field.with_global_context()


def _mean_field(operation, field, inputs, outputs):
    return field.of_whole_image() if {1, 2} <= set(_axes(operation)) else field.unknown()


def _padding_field(operation, field, inputs, outputs):
    return field.slide((1, 1), (1, 1), [before for before, _ in operation.padding])


def _cropping_field(operation, field, inputs, outputs):
    return field.slide((1, 1), (1, 1), [-before for before, _ in operation.cropping])


def _places(shape):
    return None if None in shape[1:-1] else math.prod(shape[1:-1])


def _dense_macs(operation, inputs, outputs):
    places = _places(inputs[0])
    return None if places is None else places * inputs[0][-1] * outputs[0][-1]


def _conv_macs(operation, inputs, outputs):
    places, window = _places(outputs[0]), math.prod(operation.kernel_size)
    return None if places is None else places * window * inputs[0][-1] * outputs[0][-1] // operation.groups


def _transposed_macs(operation, inputs, outputs):
    places, window = _places(inputs[0]), math.prod(operation.kernel_size)
    return None if places is None else places * window * inputs[0][-1] * outputs[0][-1]


def _depthwise_macs(operation, inputs, outputs):
    places = _places(outputs[0])
    return None if places is None else places * outputs[0][-1] * math.prod(operation.kernel_size)


def _separable_macs(operation, inputs, outputs):
    places, channels = _places(outputs[0]), inputs[0][-1] * operation.depth_multiplier
    return None if places is None else places * channels * (math.prod(operation.kernel_size) + outputs[0][-1])


# --------------------------------------------------------------------------- Keras' layers

# Augmentation does nothing at inference, which is what a graph describes. RandomCrop crops at inference, too, so it is
# not listed.
AT_REST = (
    L.RandomFlip,
    L.RandomRotation,
    L.RandomTranslation,
    L.RandomZoom,
    L.RandomContrast,
    L.RandomBrightness,
)
PREPROCESSING = (L.Rescaling, L.Normalization, *AT_REST)

register(L.InputLayer, group="input", box="input", words=_image_words)
register(*PREPROCESSING, group="preprocessing", words=lower_case_words)

register(
    L.Conv2D,
    group="conv",
    field=_conv_field,
    macs=_conv_macs,
    kernels={"kernel": CONVOLUTION},
    box="conv",
    words=conv_words("conv", "conv"),
)
register(
    L.DepthwiseConv2D,
    group="conv",
    field=_conv_field,
    macs=_depthwise_macs,
    kernels={"kernel": DEPTHWISE},
    box="conv",
    words=conv_words("depthw.", "depthwise"),
)
register(
    L.SeparableConv2D,
    group="conv",
    field=_conv_field,
    macs=_separable_macs,
    kernels={"depthwise_kernel": DEPTHWISE, "pointwise_kernel": CONVOLUTION},
    box="conv",
    words=conv_words("separable", "separable"),
)
register(
    L.Conv2DTranspose,
    group="conv",
    field=_transposed_field,
    macs=_transposed_macs,
    kernels={"kernel": ("height", "width", "out", "in")},
    box="conv",
    words=_transposed_words,
)
register(
    L.Dense,
    group="dense",
    macs=_dense_macs,
    kernels={"kernel": DENSE},
    box="dense",
    words=_dense_words,
)

register(
    L.MaxPooling2D, group="pool", field=_pool_field, box="pool", words=pool_words("max pool", "max pool")
)
register(
    L.AveragePooling2D,
    group="pool",
    field=_pool_field,
    box="pool",
    words=pool_words("avg pool", "average pool"),
)
register(
    L.GlobalAveragePooling2D,
    group="pool",
    field=_global_field,
    box="pool",
    words=fixed_words("global", "average", "global average pool"),
)
register(
    L.GlobalMaxPooling2D,
    group="pool",
    field=_global_field,
    box="pool",
    words=fixed_words("global", "maximum", "global max pool"),
)
register(L.UpSampling2D, group="enlarge", field=_upsampling_field, box="pool", words=_enlarge_words)
register(L.ZeroPadding2D, group="padding", field=_padding_field, words=fixed_words("pad"))
register(L.Cropping2D, group="padding", field=_cropping_field, words=fixed_words("crop"))

register(L.BatchNormalization, group="norm", words=fixed_words("batch norm"))
# Not drawn either, so that a net with norm=GroupNormalization looks like the net with batch norm.
register(L.LayerNormalization, group="norm", field=_channel_norm_field, words=fixed_words("layer norm"))
register(L.GroupNormalization, group="norm", field=_group_norm_field, words=fixed_words("group norm"))

register(L.Activation, group="pointwise", words=_activation_words)
register(L.ReLU, group="pointwise", words=fixed_words("ReLU"))
register(L.LeakyReLU, group="pointwise", words=fixed_words("leaky ReLU"))
register(L.PReLU, group="pointwise", words=fixed_words("PReLU"))
register(L.ELU, group="pointwise", words=fixed_words("ELU"))
register(
    *(L.Identity, L.Dropout, L.SpatialDropout2D, L.GaussianNoise, L.GaussianDropout, L.AlphaDropout),
    group="pointwise",
    words=lower_case_words,
)
register(L.Softmax, group="pointwise", field=_channel_norm_field, words=lower_case_words)

register(L.Flatten, group="reshape", field=_flatten_field, words=lower_case_words)
register(L.Reshape, group="reshape", field=_reshape_field, words=lower_case_words)


def _merge(symbol, name):
    return dict(group="merge", field=_merge_field, box="merge", words=fixed_words(symbol, text=name))


# The layers that join several inputs; of the bare operations those with the same name do the same.
_MERGES = {
    "Add": _merge("+", "add"),
    "Subtract": _merge("−", "subtract"),
    "Multiply": _merge("×", "multiply"),
    "Average": _merge("mean", "average"),
    "Maximum": _merge("max", "maximum"),
    "Minimum": _merge("min", "minimum"),
    "Concatenate": _merge("concat", "concatenate"),
}
for _name, _parts in _MERGES.items():
    register(getattr(L, _name), **_parts)

# --------------------------------------------------------------------------- bare operations, by class name

# Inception-ResNet in keras.applications: shortcut + scale * branch. ConvNeXt there: a factor for each channel, and blocks
# that are left out in training. Keras does not export these classes.
_LAYERS_BY_NAME = {
    "CustomScaleLayer": Rule(**_MERGES["Add"]),
    "LayerScale": Rule("pointwise", words=lower_case_words),
    "StochasticDepth": Rule("pointwise", macs=None, words=lower_case_words),
}
_BY_NAME |= {name: Rule(**parts) for name, parts in _MERGES.items() if name != "Average"}
_POINTWISE_OPERATIONS = """
Divide TrueDivide Negative Absolute Square Sqrt Exp Log Power Clip Relu Relu6 Sigmoid Silu
Swish Tanh HardSigmoid HardSwish HardSilu Gelu Softplus LeakyRelu Elu Cast Identity
"""
_BY_NAME |= {name: Rule("pointwise", box="other") for name in _POINTWISE_OPERATIONS.split()}
_BY_NAME["Mean"] = Rule("pool", field=_mean_field, box="other")
_BY_NAME["Reshape"] = Rule("reshape", field=_reshape_field, box="other")
_BY_NAME["ExtractPatches"] = Rule("reshape", field=_unknown_field, box="other")
_BY_NAME["Pad"] = Rule("padding", field=_unknown_field, words=lower_case_words)
