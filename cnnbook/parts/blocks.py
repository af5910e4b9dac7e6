"""The pieces that several papers share. A piece is a function: tensor in, tensor out, every layer named."""

import functools
import inspect

import keras
from keras import layers as L

from .. import weights as weights_
from ..keras_internals import deep_graphs


def conv(x, filters, kernel, strides=1, *, name, activation="relu", padding="symmetric", **options):
    """Convolution and activation: `{name}_conv`, `{name}_relu`. Padding as in `conv_bn`."""
    x, padding = _pad(x, kernel, strides, padding, name)
    x = L.Conv2D(filters, kernel, strides, padding, name=f"{name}_conv", **options)(x)
    return L.Activation(activation, name=f"{name}_{activation}")(x) if activation else x


def conv_bn(
    x,
    filters,
    kernel,
    strides=1,
    *,
    name,
    activation="relu",
    padding="symmetric",
    epsilon=1e-3,
    momentum=0.99,
    use_bias=False,
    scale=True,
    parts=("{}_conv", "{}_bn", None),
    **options,
):
    """Convolution, batch normalisation, activation: `{name}_conv`, `{name}_bn`, `{name}_relu`.

    filters: None for a depthwise convolution, one filter for each channel. parts: the three layers' names around `name`,
    where keras.applications has others (None: the activation's own name behind it).

    `padding="symmetric"` adds kernel // 2 zeros on every side, as Caffe and torch do. Keras' own "same" pads a
    strided convolution on one side only: the same shapes, other numbers. At stride 1 the two agree.
    scale: whether batch normalisation has a trained gamma (behind a ReLU the next convolution can do its work).
    """
    x, padding = _pad(x, kernel, strides, padding, name)
    conv, bn, act = ((part or f"{{}}_{activation}").format(name) for part in parts)
    options = dict(strides=strides, padding=padding, use_bias=use_bias, name=conv, **options)
    if filters is None and "kernel_initializer" in options:
        options["depthwise_initializer"] = options.pop("kernel_initializer")
    x = (L.DepthwiseConv2D(kernel, **options) if filters is None else L.Conv2D(filters, kernel, **options))(x)
    x = L.BatchNormalization(momentum=momentum, epsilon=epsilon, scale=scale, name=bn)(x)
    return L.Activation(activation, name=act)(x) if activation else x


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

    def dense(y, filters, function, conv, own):
        conv = L.Conv2D(filters, 1, activation=None if own else function, name=f"{name}_{conv}", **options)
        return L.Activation(function, name=f"{name}_{own}")(conv(y)) if own else conv(y)

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
    x = L.BatchNormalization(momentum=momentum, epsilon=epsilon, name=f"{name}bn")(x)
    return L.Activation("relu", name=f"{name}relu")(x)


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
    return weights_.load_into(model, weights)


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
            arguments["weights"] = weights_.imagenet(network.__name__, **arguments)
        return network(**arguments)

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
        if arguments["weights"] == "imagenet":
            arguments["weights"] = weights_.imagenet(title, **arguments)
        return network(*leading, *given.args, **given.kwargs)

    build.__name__ = build.__qualname__ = title
    build.__module__ = network.__module__
    fixed = [*(getattr(a, "__name__", repr(a)) for a in leading)]
    fixed += [f"{k}={v!r}" for k, v in defaults.items() if k != "name"]
    build.__doc__ = f"{title} is {network.__name__}({', '.join(fixed)}).\n\n{inspect.getdoc(network) or ''}"
    build.__signature__ = signature
    return build
