"""The pieces that several papers share. A piece is a function: tensor in, tensor out, every layer named."""

import contextlib
import contextvars
from functools import partial
from numbers import Real

from keras import layers as L

_given_norm = contextvars.ContextVar("norm", default=(None, []))


@contextlib.contextmanager
def normalising(norm):
    """Within, `norm(name=...)` makes every layer that normalises; None leaves them as they are. Gives the names made."""
    if norm is not None and (not callable(norm) or isinstance(norm, L.Layer)):
        raise ValueError(
            "norm is None (batch normalisation with the paper's constants) or a function that makes a layer of "
            f"norm(name=...), such as functools.partial(keras.layers.GroupNormalization, 8); got {norm!r}"
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
    if isinstance(alpha, bool) or not isinstance(alpha, Real) or not alpha > 0:
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
