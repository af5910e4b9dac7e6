"""The same numbers, sooner: how some stock Keras layers compute, replaced for a while in one model's instances.

Two things cost a CPU far more in stock Keras than they must. The gradient of a grouped convolution runs 15 to 166 times
slower than a dense one; cut into one convolution per group it runs at dense speed. And batch normalisation on the
TensorFlow backend is written as separate operations, though TensorFlow has a fused one. `computing` switches both. A
layer keeps its class, its weights, its configuration and its name: a model trained so, saved and opened by plain Keras
predicts the same. benchmarks/ has what it gains.
"""

import contextlib
import types

import keras
from keras import layers as L
from keras import ops


@contextlib.contextmanager
def computing(model, on=True):
    """While the block runs, grouped convolutions are split and batch norm is fused; yields how many layers changed.

    `on=False` changes nothing. Functions that Keras compiled in the block are dropped at its end, so that what runs
    afterwards is stock Keras again. Numbers agree with stock Keras to float32 rounding.
    """
    changed = list(_changes(model)) if on else []
    for layer, method, replacement in changed:
        setattr(layer, method, types.MethodType(replacement, layer))
    try:
        yield len(changed)
    finally:
        for layer, method, _ in changed:
            delattr(layer, method)
        if changed:
            model.train_function = model.test_function = model.predict_function = None


def _changes(model):
    """(layer, name of its method, the method that replaces it) for every layer that has something to gain."""
    seen = set()
    for layer in _layers(model):
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        if type(layer) is L.Conv2D and layer.groups > 1 and layer.data_format == "channels_last":
            yield layer, "convolution_op", split_convolution
        elif type(layer) is L.BatchNormalization and _can_be_fused(layer):
            yield layer, "call", fused_batch_norm


def _layers(model):
    for layer in model.layers:
        yield from _layers(layer) if isinstance(layer, keras.Model) else [layer]


def split_convolution(layer, x, kernel):
    """Conv2D(groups=g) as g convolutions: x (n, h, w, c), kernel (k, k, c / g, filters); the same sums."""
    parts = zip(ops.split(x, layer.groups, axis=-1), ops.split(kernel, layer.groups, axis=-1), strict=True)
    geometry = dict(strides=layer.strides, padding=layer.padding, dilation_rate=layer.dilation_rate)
    return ops.concatenate([ops.conv(part, filters, **geometry) for part, filters in parts], axis=-1)


def _can_be_fused(layer):
    plain = layer.scale and layer.center and not layer.renorm and not layer.synchronized
    maps = layer.built and layer.axis in (-1, 3) and len(layer._reduction_axes) == 3
    return keras.backend.backend() == "tensorflow" and plain and maps and layer.compute_dtype == "float32"


def fused_batch_norm(layer, x, training=None, mask=None):
    """BatchNormalization.call for maps (n, h, w, c) by TensorFlow's fused kernel; at inference Keras' own call.

    The kernel reports the variance with n - 1 in its denominator; Keras keeps the one with n.
    """
    if not (training and layer.trainable) or mask is not None:
        return type(layer).call(layer, x, training=training, mask=mask)
    import tensorflow as tf

    y, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        x, layer.gamma, layer.beta, epsilon=layer.epsilon, is_training=True
    )
    values = tf.cast(tf.size(x) // tf.shape(x)[-1], variance.dtype)
    variance *= (values - 1) / values
    rate = 1 - layer.momentum
    layer.moving_mean.assign(layer.moving_mean * layer.momentum + mean * rate)
    layer.moving_variance.assign(layer.moving_variance * layer.momentum + variance * rate)
    return y
