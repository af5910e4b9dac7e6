"""Layers that Keras lacks, each with its `graph.register`: what tables and pictures say of it.

Importing this module lets `keras.models.load_model` open models that hold them.
"""

import math

import keras
import numpy as np
from keras import ops

from .. import graph
from ..arguments import integer, plain, whole_number
from ..graph.rules import conv_words, fixed_words, lower_case_words

__all__ = [
    "Bilinear",
    "Labels",
    "LocalResponseNormalization",
    "LocallyConnected2D",
    "MatchSize",
    "MaxPoolingWithSwitches",
    "MaxUnpooling",
    "Maxout",
    "PadChannels",
    "ShuffleChannels",
    "SoftmaxSplits",
    "SumSplits",
    "TakeChannels",
]


def _words_and_channels(what):
    """For a drawing: what a layer does, and how many channels it leaves."""
    return lambda layer, shape: (what, str(shape[-1]), what)


@keras.saving.register_keras_serializable(package="cnnbook")
class LocalResponseNormalization(keras.layers.Layer):
    """Divides each value by a power of the energy of its neighbours in channel order.

    b_i = a_i / (bias + alpha * sum_{|j - i| <= radius} a_j^2)^beta, channels last, shape unchanged, no parameters.

    The defaults are the paper's (Krizhevsky et al. 2012, section 3.3: k=2, n=5, alpha=1e-4, beta=0.75); its sum is not
    divided by n. Caffe and torch divide alpha by n, and the released Caffe models have bias=1: alpha=2e-5, bias=1 here
    gives their numbers.
    """

    def __init__(self, radius=2, bias=2.0, alpha=1e-4, beta=0.75, **options):
        super().__init__(**options)
        self.radius = whole_number(radius, "radius", least=0)
        self.bias, self.alpha, self.beta = map(plain, (bias, alpha, beta))

    def call(self, x):
        channels, rank = x.shape[-1], len(x.shape)
        energy = ops.pad(ops.square(x), [[0, 0]] * (rank - 1) + [[self.radius, self.radius]])
        total = sum(energy[..., i : i + channels] for i in range(2 * self.radius + 1))
        return x / ops.power(self.bias + self.alpha * total, self.beta)

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        settings = dict(radius=self.radius, bias=self.bias, alpha=self.alpha, beta=self.beta)
        return {**super().get_config(), **settings}


graph.register(
    LocalResponseNormalization,
    group="norm",
    box="norm",
    words=fixed_words("local", "norm", "local response norm"),
)


@keras.saving.register_keras_serializable(package="cnnbook")
class PadChannels(keras.layers.Layer):
    """Appends channels of zeros until there are `filters`: the parameter-free shortcut of He et al. 2016, option A."""

    def __init__(self, filters, **options):
        super().__init__(**options)
        self.filters = whole_number(filters, "filters")

    def build(self, shape):
        if shape[-1] > self.filters:
            raise ValueError(
                f"{self.name} pads to {self.filters} channels, but its input has {shape[-1]} already"
            )

    def call(self, x):
        return ops.pad(x, [[0, 0]] * (len(x.shape) - 1) + [[0, self.filters - x.shape[-1]]])

    def compute_output_shape(self, shape):
        return (*shape[:-1], self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


graph.register(PadChannels, group="channels", words=lower_case_words)


@keras.saving.register_keras_serializable(package="cnnbook")
class Maxout(keras.layers.Layer):
    """The largest of every `pieces` neighbouring channels (Goodfellow et al. 2013, arXiv:1302.4389, equation in section 2).

    h_i = max_j z_{ij}, channels last: (..., filters * pieces) to (..., filters), no parameters. Behind a convolution or
    a dense layer of filters * pieces outputs, an activation function of `pieces` straight lines that is learned.
    """

    def __init__(self, pieces=2, **options):
        super().__init__(**options)
        self.pieces = whole_number(pieces, "pieces")

    def build(self, shape):
        if shape[-1] % self.pieces:
            raise ValueError(
                f"{self.name} takes the largest of {self.pieces} channels, but its input has {shape[-1]}: "
                f"give the layer before a multiple of {self.pieces}"
            )

    def call(self, x):
        shape = ops.shape(x)
        return ops.max(ops.reshape(x, (*shape[:-1], x.shape[-1] // self.pieces, self.pieces)), axis=-1)

    def compute_output_shape(self, shape):
        return (*shape[:-1], shape[-1] // self.pieces)

    def get_config(self):
        return {**super().get_config(), "pieces": self.pieces}


graph.register(Maxout, group="channels", box="other")


@keras.saving.register_keras_serializable(package="cnnbook")
class SumSplits(keras.layers.Layer):
    """The sum of the `splits` equal parts that lie side by side along the channels: (..., splits * C) -> (..., C).

    Selective kernels (Li et al. 2019) and split attention (Zhang et al. 2020) add their branches this way. ValueError if
    `splits` does not divide the channels.
    """

    def __init__(self, splits=2, **options):
        super().__init__(**options)
        self.splits = whole_number(splits, "splits")

    def build(self, shape):
        if shape[-1] % self.splits:
            raise ValueError(
                f"{self.name}: {shape[-1]} channels cannot be divided into {self.splits} equal splits"
            )

    def call(self, x):
        return sum(ops.split(x, self.splits, axis=-1))

    def compute_output_shape(self, shape):
        return (*shape[:-1], shape[-1] // self.splits)

    def get_config(self):
        return {**super().get_config(), "splits": self.splits}


graph.register(SumSplits, group="channels", box="other", words=_words_and_channels("sum splits"))


@keras.saving.register_keras_serializable(package="cnnbook")
class SoftmaxSplits(SumSplits):
    """A softmax over the `splits` parts of the channels, for each of the C channels alone: the shape is unchanged.

    The splits' values of one channel add up to one, so multiplying by them and `SumSplits` take a weighted mean.
    """

    def call(self, x):
        parts = ops.softmax(ops.stack(ops.split(x, self.splits, axis=-1), axis=-2), axis=-2)
        return ops.concatenate(ops.unstack(parts, self.splits, axis=-2), axis=-1)

    def compute_output_shape(self, shape):
        return shape


graph.register(SoftmaxSplits, group="channels", box="other", words=_words_and_channels("softmax"))


@keras.saving.register_keras_serializable(package="cnnbook")
class ShuffleChannels(keras.layers.Layer):
    """Interleaves the channels of `groups` equal groups: 1 2 3 | a b c becomes 1 a 2 b 3 c.

    (..., channels) to the same shape, no parameters. After it every group of the next grouped convolution sees channels
    of all groups (Zhang et al. 2018, ShuffleNet, figure 1).
    """

    def __init__(self, groups, **options):
        super().__init__(**options)
        self.groups = whole_number(groups, "groups")

    def build(self, shape):
        if shape[-1] % self.groups:
            raise ValueError(f"{self.name}: {shape[-1]} channels do not make {self.groups} equal groups")

    def call(self, x):
        shape = ops.shape(x)
        x = ops.reshape(x, (*shape[:-1], self.groups, shape[-1] // self.groups))
        return ops.reshape(ops.swapaxes(x, -1, -2), shape)

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "groups": self.groups}


graph.register(ShuffleChannels, group="channels", box="other", words=_words_and_channels("shuffle"))


@keras.saving.register_keras_serializable(package="cnnbook")
class TakeChannels(keras.layers.Layer):
    """Channels `start` to `stop`, counted from 0, the last not included: (..., channels) to (..., stop - start), no
    parameters."""

    def __init__(self, start, stop, **options):
        super().__init__(**options)
        self.start, self.stop = whole_number(start, "start", least=0), whole_number(stop, "stop")

    def build(self, shape):
        if not self.start < self.stop <= shape[-1]:
            raise ValueError(
                f"{self.name} takes channels {self.start} to {self.stop}, but its input has {shape[-1]}"
            )

    def call(self, x):
        return x[..., self.start : self.stop]

    def compute_output_shape(self, shape):
        return (*shape[:-1], self.stop - self.start)

    def get_config(self):
        return {**super().get_config(), "start": self.start, "stop": self.stop}


graph.register(TakeChannels, group="channels", box="other", words=_words_and_channels("take"))


@keras.saving.register_keras_serializable(package="cnnbook")
class MaxPoolingWithSwitches(keras.layers.Layer):
    """Max pooling over windows of `size` x `size` that also says where each maximum stood (Noh et al. 2015, Fig. 3).

    (n, h, w, c) -> pooled (n, h // size, w // size, c), equal to MaxPooling2D(size), and switches of the same shape,
    int32: the place of the maximum in its window, row by row from 0 to size * size - 1; the first of several equal ones.
    No parameters.
    """

    def __init__(self, size=2, **options):
        super().__init__(**options)
        self.size = whole_number(size, "size", least=2)

    def call(self, x):
        s, (_, h, w, c) = self.size, ops.shape(x)
        h, w = h // s, w // s
        x = ops.reshape(x[:, : h * s, : w * s], (-1, h, s, w, s, c))
        windows = ops.reshape(ops.transpose(x, (0, 1, 3, 5, 2, 4)), (-1, h, w, c, s * s))
        return ops.max(windows, -1), ops.cast(ops.argmax(windows, -1), "int32")

    def compute_output_shape(self, shape):
        n, h, w, c = shape
        pooled = (n, h and h // self.size, w and w // self.size, c)
        return pooled, pooled

    def compute_output_spec(self, x):
        pooled, switches = self.compute_output_shape(x.shape)
        return keras.KerasTensor(pooled, x.dtype), keras.KerasTensor(switches, "int32")

    def get_config(self):
        return {**super().get_config(), "size": self.size}


def _pooled_field(layer, field, inputs, outputs):
    return field.slide((layer.size,) * 2, (layer.size,) * 2, (0, 0))


def _pooled_words(layer, shape):
    side = layer.size
    return "max pool", f"{side}×{side}, /{side}", f"{side}x{side} max pool, /{side}"


graph.register(MaxPoolingWithSwitches, group="pool", field=_pooled_field, box="pool", words=_pooled_words)


@keras.saving.register_keras_serializable(package="cnnbook")
class MaxUnpooling(keras.layers.Layer):
    """Puts each value back to where its switch says, zeros elsewhere: (n, h, w, c) -> (n, h * size, w * size, c).

    Called on [values, switches], both of that shape. It undoes the pooling of `MaxPoolingWithSwitches`, which returned
    the switches, as far as possible (Noh et al. 2015, Fig. 3). No parameters.
    """

    def __init__(self, size=2, **options):
        super().__init__(**options)
        self.size = whole_number(size, "size", least=2)

    def build(self, shapes):
        values, switches = (tuple(shape[1:]) for shape in shapes)
        if values != switches:
            raise ValueError(f"{self.name}: values {values} and switches {switches} must have one shape")

    def call(self, inputs):
        values, switches = inputs
        s, (_, h, w, c) = self.size, ops.shape(values)
        x = ops.expand_dims(values, -1) * ops.one_hot(switches, s * s, dtype=values.dtype)
        x = ops.transpose(ops.reshape(x, (-1, h, w, c, s, s)), (0, 1, 4, 2, 5, 3))
        return ops.reshape(x, (-1, h * s, w * s, c))

    def compute_output_shape(self, shapes):
        n, h, w, c = shapes[0]
        return n, h and h * self.size, w and w * self.size, c

    def get_config(self):
        return {**super().get_config(), "size": self.size}


def _unpooled_field(layer, field, inputs, outputs):
    return field.enlarge((layer.size,) * 2, (layer.size,) * 2, (0, 0))


def _unpooled_words(layer, shape):
    return "unpool", f"×{layer.size}", f"unpool, x{layer.size}"


graph.register(MaxUnpooling, group="enlarge", field=_unpooled_field, box="pool", words=_unpooled_words)


@keras.saving.register_keras_serializable(package="cnnbook")
class LocallyConnected2D(keras.layers.Layer):
    """A convolution whose weights are not shared: every output position has a kernel of its own (Taigman et al. 2014).

    (n, h, w, c) -> (n, rows, columns, filters), no padding: rows = (h - kernel) // stride + 1. `kernel` has the shape
    (rows, columns, kernel height, kernel width, c, filters), so `kernel[i, j]` is laid out as that of a Conv2D, and a
    Conv2D's kernel assigned to all positions gives its numbers; `bias` (rows, columns, filters). Sizes must be fixed.
    The initialiser sees the fan-in of one position: He's rule draws sqrt(2 / (kernel height * kernel width * c)).
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        *,
        activation=None,
        use_bias=True,
        kernel_initializer="he_normal",
        bias_initializer="zeros",
        **options,
    ):
        super().__init__(**options)
        self.filters, self.use_bias = whole_number(filters, "filters"), use_bias
        self.kernel_size, self.strides = _sides("kernel_size", kernel_size), _sides("strides", strides)
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build(self, shape):
        if len(shape) != 4 or None in shape[1:]:
            raise ValueError(
                f"{self.name} has weights for every position, so it reads maps (n, h, w, c) of a fixed size, got {shape}"
            )
        positions = self.compute_output_shape(shape)[1:3]
        window = (*self.kernel_size, shape[-1])
        self.kernel = self.add_weight(
            shape=(*positions, *window, self.filters), initializer=self._draw, name="kernel"
        )
        if self.use_bias:
            self.bias = self.add_weight(
                shape=(*positions, self.filters), initializer=self.bias_initializer, name="bias"
            )

    def _draw(self, shape, dtype=None):
        """All kernels side by side as those of one convolution: the initialiser then counts one window as the fan-in."""
        rows, columns, *window, filters = shape
        drawn = self.kernel_initializer((*window, rows * columns * filters), dtype=dtype)
        return ops.transpose(ops.reshape(drawn, (*window, rows, columns, filters)), (3, 4, 0, 1, 2, 5))

    def call(self, x):
        # Positions first and images last, so that a patch is gathered in long pieces and each position is one product of
        # matrices; one row of the window at a time, which needs 1 / kernel_height of the memory.
        (kernel_height, kernel_width), (down, right) = self.kernel_size, self.strides
        _, h, w, c = x.shape
        rows, columns = self.kernel.shape[:2]
        positions, in_row = rows * columns, np.arange(kernel_width)
        pixels = ops.reshape(ops.transpose(x, (1, 2, 3, 0)), (h * w, c, -1))
        kernel = ops.reshape(self.kernel, (positions, kernel_height, kernel_width * c, self.filters))
        kernel = ops.unstack(ops.transpose(kernel, (1, 0, 3, 2)), kernel_height)
        # the pixels of each window's first row, numbered row by row
        first = np.arange(rows)[:, None, None] * down * w + np.arange(columns)[:, None] * right + in_row
        total = 0
        for u in range(kernel_height):
            patches = ops.take(pixels, first.reshape(positions, kernel_width) + u * w, axis=0)
            total = total + ops.matmul(kernel[u], ops.reshape(patches, (positions, kernel_width * c, -1)))
        total = ops.transpose(ops.reshape(total, (rows, columns, self.filters, -1)), (3, 0, 1, 2))
        return self.activation(total + self.bias if self.use_bias else total)

    def compute_output_shape(self, shape):
        sides = []
        for n, k, s in zip(shape[1:3], self.kernel_size, self.strides, strict=True):
            if n is not None and n < k:
                raise ValueError(
                    f"{self.name} slides a window of {self.kernel_size} over a map of {shape[1:3]}"
                )
            sides.append(n and (n - k) // s + 1)
        return shape[0], *sides, self.filters

    def get_config(self):
        settings = dict(
            filters=self.filters,
            kernel_size=self.kernel_size,
            strides=self.strides,
            activation=keras.activations.serialize(self.activation),
            use_bias=self.use_bias,
            kernel_initializer=keras.initializers.serialize(self.kernel_initializer),
            bias_initializer=keras.initializers.serialize(self.bias_initializer),
        )
        return {**super().get_config(), **settings}


def _local_field(layer, field, inputs, outputs):
    return field.slide(layer.kernel_size, layer.strides, (0, 0))


def _local_macs(layer, inputs, outputs):
    """Each weight works once for one image."""
    return math.prod(layer.kernel.shape)


graph.register(
    LocallyConnected2D,
    group="conv",
    field=_local_field,
    macs=_local_macs,
    kernels={"kernel": ("row", "column", "height", "width", "in", "out")},
    box="conv",
    words=conv_words("local", "local"),
)


def _sides(name, value):
    """(height, width) from 3 or (3, 5); ValueError if value is not a size."""
    value = plain(value)
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2 or not all((integer(n) or 0) > 0 for n in pair):
        raise ValueError(f"{name} is a whole number of at least 1, or (height, width), got {value!r}")
    return pair


@keras.saving.register_keras_serializable(package="cnnbook")
class MatchSize(keras.layers.Layer):
    """Crops a map, or repeats its edge, to the height and width of another: [x, like] -> x with the size of `like`.

    x (n, h, w, c), like (n, height, width, any). offset: the first row and column that are kept; None shares the
    difference between both sides, an odd pixel below and to the right. Of `like` only the size is read. No parameters.
    """

    def __init__(self, offset=None, **options):
        super().__init__(**options)
        if offset is not None and integer(offset) is None:
            raise ValueError(f"offset is None or a whole number, got {offset!r}")
        self.offset = plain(offset)

    def call(self, inputs):
        x, like = inputs
        for axis in (1, 2):
            have, wanted = ops.shape(x)[axis], ops.shape(like)[axis]
            more = have - wanted
            first = ops.maximum(more, 0) // 2 - ops.maximum(-more, 0) // 2
            first = first if self.offset is None else self.offset
            x = ops.take(x, ops.clip(ops.arange(wanted) + first, 0, have - 1), axis=axis)
        return x

    def compute_output_shape(self, shapes):
        (n, _, _, c), (_, height, width, _) = shapes
        return n, height, width, c

    def get_config(self):
        return {**super().get_config(), "offset": self.offset}


def _matched_field(layer, field, inputs, outputs):
    """That of the map, moved by the rows and columns that are cut off or repeated above and to the left."""
    x, like = inputs
    differences = [h - w if h and w else 0 for h, w in zip(x[1:3], like[1:3], strict=True)]
    shared = [max(d, 0) // 2 - max(-d, 0) // 2 for d in differences]
    first = shared if layer.offset is None else [layer.offset] * 2
    if any(h and w and (f < 0 or f + w > h) for f, h, w in zip(first, x[1:3], like[1:3], strict=True)):
        field = field.repeat_edge(x[1:3])
    return field.slide((1, 1), (1, 1), [-f for f in first])


graph.register(MatchSize, group="padding", field=_matched_field, words=lower_case_words, reads=1)


@keras.saving.register_keras_serializable(package="cnnbook")
class Bilinear(keras.initializers.Initializer):
    """Kernel (height, width, channels, channels) with which a transposed convolution enlarges bilinearly.

    Each channel goes to itself; a kernel of 2 f at stride f enlarges f times (Long et al. 2015, section 3.3).
    """

    def __call__(self, shape, dtype=None):
        height, width, out, into = shape
        if out != into:
            raise ValueError(f"Bilinear fills kernels from a channel to itself, got {into} channels to {out}")
        tents = []
        for side in (height, width):
            factor = (side + 1) // 2
            centre = (side - 1) / 2
            tents.append([1 - abs(i - centre) / factor for i in range(side)])
        tent = ops.outer(*(ops.convert_to_tensor(t, "float32") for t in tents))
        kernel = tent[:, :, None, None] * ops.eye(out, dtype="float32")
        return ops.cast(kernel, dtype or keras.config.floatx())


@keras.saving.register_keras_serializable(package="cnnbook")
class Labels(keras.layers.Layer):
    """Probabilities (n, classes) unchanged; its configuration holds the names of the classes, in order."""

    def __init__(self, names, **options):
        super().__init__(**options)
        self.names = tuple(names)

    def build(self, shape):
        if shape[-1] != len(self.names):
            raise ValueError(f"{self.name} has {len(self.names)} names for {shape[-1]} classes")

    def call(self, x):
        return x

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "names": list(self.names)}


graph.register(Labels, group="pointwise", box="other")
