"""Normalisations written out: plain functions of arrays, to read and to try. Networks use the layers of Keras.

Batch, layer and group normalisation are one formula, y = gamma (x - mean) / sqrt(variance + epsilon) + beta, and differ
in the axes that mean and variance are taken over. The variance is the biased one (a mean of squares). Arrays are channels
last, the batch first: (n, height, width, channels) or (n, features); gamma and beta broadcast against them.
The functions compute what happens in training; at test time batch normalisation takes moving averages instead.
"""

from keras import ops


def standardise(x, axes, epsilon):
    """x minus its mean over `axes`, divided by its standard deviation over them: the shape of x.

    epsilon: added to the variance before the root, so that a constant becomes 0.
    """
    mean = ops.mean(x, axis=axes, keepdims=True)
    variance = ops.mean(ops.square(x - mean), axis=axes, keepdims=True)
    return (x - mean) / ops.sqrt(variance + epsilon)


def batch_norm(x, gamma=1.0, beta=0.0, epsilon=1e-3):
    """Each channel over the batch and all places. Ioffe & Szegedy 2015, arXiv:1502.03167, algorithm 1.

    gamma, beta: numbers, or one for each channel. The result has the shape of x, as that of the functions below.
    """
    axes = tuple(range(len(x.shape) - 1))
    return gamma * standardise(x, axes, epsilon) + beta


def layer_norm(x, gamma=1.0, beta=0.0, epsilon=1e-3):
    """Each sample over all of its numbers, whatever else is in the batch. Ba, Kiros & Hinton 2016, arXiv:1607.06450.

    Of a map that is every channel at every place, `keras.layers.LayerNormalization(axis=(1, 2, 3))`; the layer's
    own default is the channels of each place alone.
    """
    axes = tuple(range(1, len(x.shape)))
    return gamma * standardise(x, axes, epsilon) + beta


def group_norm(x, groups, gamma=1.0, beta=0.0, epsilon=1e-3):
    """Each sample over all places and the channels of a group. Wu & He 2018, arXiv:1803.08494.

    One group is layer normalisation, a group for every channel is instance normalisation. ValueError for channels that
    `groups` does not divide.
    """
    if x.shape[-1] % groups:
        raise ValueError(f"{x.shape[-1]} channels do not make {groups} groups of equal size")
    split = ops.reshape(x, (*x.shape[:-1], groups, x.shape[-1] // groups))
    axes = (*range(1, len(x.shape) - 1), len(x.shape))  # all places, and the channels of the group
    return gamma * ops.reshape(standardise(split, axes, epsilon), x.shape) + beta


def weight_norm(v, g):
    """The kernel w = g v / ||v||: length and direction apart. Salimans & Kingma 2016, arXiv:1602.07868, equation 2.

    Weights are normalised, not activations, so there is no batch in it and nothing to average.
    v: a kernel, (height, width, inputs, filters) or (inputs, units); g: the lengths, one for each filter.
    """
    axes = tuple(range(len(v.shape) - 1))
    return g * v / ops.sqrt(ops.sum(ops.square(v), axis=axes, keepdims=True))
