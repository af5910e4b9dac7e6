"""Layers that Keras lacks. Importing this module lets `keras.models.load_model` open models that hold them."""

import keras
from keras import ops

from .blocks import deep_graphs


@keras.saving.register_keras_serializable(package="cnnbook")
class LocalResponseNormalization(keras.layers.Layer):
    """Divides each value by a power of the energy of its neighbours in channel order.

    b_i = a_i / (bias + alpha * sum_{|j - i| <= radius} a_j^2)^beta, channels last, shape unchanged, no parameters.

    The defaults are the paper's (Krizhevsky et al. 2012, section 3.3: k=2, n=5, alpha=1e-4, beta=0.75); its sum is not
    divided by n. Caffe and torch divide alpha by n, and the released Caffe models keep bias=1: use alpha=2e-5, bias=1
    to compute what they compute.
    """

    pointwise = True  # along height and width: for cnnbook.graph

    def __init__(self, radius=2, bias=2.0, alpha=1e-4, beta=0.75, **options):
        super().__init__(**options)
        if radius < 0:
            raise ValueError(
                f"radius is the number of neighbouring channels on each side, at least 0, got {radius}"
            )
        self.radius, self.bias, self.alpha, self.beta = radius, bias, alpha, beta

    def call(self, x):
        channels, rank = x.shape[-1], len(x.shape)
        energy = ops.pad(ops.square(x), [[0, 0]] * (rank - 1) + [[self.radius, self.radius]])
        total = sum(energy[..., i : i + channels] for i in range(2 * self.radius + 1))
        return x / ops.power(self.bias + self.alpha * total, self.beta)

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        own = dict(radius=self.radius, bias=self.bias, alpha=self.alpha, beta=self.beta)
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="cnnbook")
class PadChannels(keras.layers.Layer):
    """Appends channels of zeros until there are `filters`: the parameter-free shortcut of He et al. 2016, option A."""

    pointwise = True

    def __init__(self, filters, **options):
        super().__init__(**options)
        self.filters = filters

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


@keras.saving.register_keras_serializable(package="cnnbook")
class Maxout(keras.layers.Layer):
    """The largest of every `pieces` neighbouring channels (Goodfellow et al. 2013, arXiv:1302.4389, equation in section 2).

    h_i = max_j z_{ij}, channels last: (..., filters * pieces) to (..., filters), no parameters. Behind a convolution or
    a dense layer of filters * pieces outputs, an activation function of `pieces` straight lines that is learned.
    """

    pointwise = True

    def __init__(self, pieces=2, **options):
        super().__init__(**options)
        if pieces < 1:
            raise ValueError(f"pieces is the number of channels that compete, at least 1, got {pieces}")
        self.pieces = pieces

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


@keras.saving.register_keras_serializable(package="cnnbook")
class SumSplits(keras.layers.Layer):
    """The sum of the `splits` equal parts that lie side by side along the channels: (..., splits * C) -> (..., C).

    Selective kernels (Li et al. 2019) and split attention (Zhang et al. 2020) add their branches so. ValueError for
    channels that `splits` does not divide.
    """

    pointwise = True

    def __init__(self, splits=2, **options):
        super().__init__(**options)
        if not isinstance(splits, int) or splits < 1:
            raise ValueError(f"splits is a whole number of at least 1, got {splits!r}")
        self.splits = splits

    def build(self, shape):
        if shape[-1] % self.splits:
            raise ValueError(f"{self.name}: {shape[-1]} channels do not part into {self.splits} equal splits")

    def call(self, x):
        return sum(ops.split(x, self.splits, axis=-1))

    def compute_output_shape(self, shape):
        return (*shape[:-1], shape[-1] // self.splits)

    def get_config(self):
        return {**super().get_config(), "splits": self.splits}


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


@keras.saving.register_keras_serializable(package="cnnbook")
class ShuffleChannels(keras.layers.Layer):
    """Deals the channels of `groups` equal groups out in turn: 1 2 3 | a b c becomes 1 a 2 b 3 c.

    (..., channels) to the same shape, no parameters. After it every group of the next grouped convolution sees channels
    of all groups (Zhang et al. 2018, ShuffleNet, figure 1).
    """

    pointwise = True

    def __init__(self, groups, **options):
        super().__init__(**options)
        self.groups = groups

    def build(self, shape):
        if self.groups < 1 or shape[-1] % self.groups:
            raise ValueError(f"{self.name}: {shape[-1]} channels do not make {self.groups} equal groups")

    def call(self, x):
        shape = ops.shape(x)
        x = ops.reshape(x, (*shape[:-1], self.groups, shape[-1] // self.groups))
        return ops.reshape(ops.swapaxes(x, -1, -2), shape)

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "groups": self.groups}


@keras.saving.register_keras_serializable(package="cnnbook")
class TakeChannels(keras.layers.Layer):
    """Channels `start` to `stop`, the last not included: (..., channels) to (..., stop - start), no parameters."""

    pointwise = True

    def __init__(self, start, stop, **options):
        super().__init__(**options)
        self.start, self.stop = start, stop

    def build(self, shape):
        if not 0 <= self.start < self.stop <= shape[-1]:
            raise ValueError(
                f"{self.name} takes channels {self.start} to {self.stop}, but its input has {shape[-1]}"
            )

    def call(self, x):
        return x[..., self.start : self.stop]

    def compute_output_shape(self, shape):
        return (*shape[:-1], self.stop - self.start)

    def get_config(self):
        return {**super().get_config(), "start": self.start, "stop": self.stop}


def load(path, **options):
    """Opens a model saved by `model.save(path)`, our own layers included; `options` as keras.models.load_model."""
    with deep_graphs():
        return keras.models.load_model(path, **options)
