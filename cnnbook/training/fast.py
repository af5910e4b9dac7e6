"""The same numbers, sooner: one model's stock Keras layers compute in quicker ways while a block runs.

Two things cost a CPU far more in stock Keras than they need to. The gradient of a grouped convolution runs many times slower
than a dense one; cut into one convolution per group it runs at dense speed or above. And batch normalisation on the
TensorFlow backend is written as separate operations, though TensorFlow has a fused one, which it also merges into the
convolution before it when a net only predicts. `computing` switches both, and bfloat16 on request. A layer
keeps its class, its weights, its configuration and its name: a model trained so, saved and opened by plain Keras
predicts the same. book/speed.md has what it gains.

One TensorFlow bug is worked around even with on=False: see `goes_wrong`. And one of PyTorch, in the whole process from the
import of this file on: see `keras_internals.differentiate_cross_entropy_per_pixel`.
"""

import contextlib
import functools
import types
import warnings

import keras
from keras import layers as L
from keras import ops

from .. import machine
from ..keras_internals import differentiate_cross_entropy_per_pixel, producer, reduced_axes
from .devices import PREDICT_FUNCTION
from .protocol import PRECISIONS, one_of

__all__ = ["computing", "goes_wrong", "multiplies_bfloat16"]

if keras.backend.backend() == "torch":
    differentiate_cross_entropy_per_pixel()

# What a processor's list of flags calls instructions that multiply bfloat16: x86 (Intel, AMD), Arm.
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


@contextlib.contextmanager
def computing(model, on=True, precision=None):
    """While the block runs, grouped convolutions are split and batch norm is fused; yields how many layers changed.

    Numbers agree with stock Keras to float32 rounding. `on=False` changes only the layers whose gradients TensorFlow gets
    wrong, which are corrected either way (`goes_wrong`). precision="mixed_bfloat16" computes all layers but the last in
    bfloat16, eight bits of mantissa, from weights that stay float32, and numbers agree to about two digits; it gains on GPUs
    and on processors that multiply bfloat16 themselves, and warns once on others. A file that is saved inside the block
    holds that precision. At the end of the block functions compiled in it are dropped, those from before are back, and so
    are the layers' dtype policies: what runs afterwards is stock Keras.
    Raises ValueError for another precision.
    """
    one_of("precision", precision, PRECISIONS)
    policies = [(layer, layer.dtype_policy) for layer in _lowered(model)] if precision else []
    if policies:
        _warn_where_bfloat16_is_slow()
    functions = {name: getattr(model, name, None) for name in _COMPILED}
    changed = []
    try:
        for layer, _ in policies:
            layer.dtype_policy = precision
        changed += _changes(model, on)
        for layer, method, replacement in changed:
            setattr(layer, method, types.MethodType(replacement, layer))
        if changed or policies:
            _set_compiled(model, dict.fromkeys(_COMPILED))
        yield len(changed)
    finally:
        for layer, method, _ in changed:
            vars(layer).pop(method, None)
        for layer, policy in policies:
            layer.dtype_policy = policy
        if changed or policies:
            _set_compiled(model, functions)


# What a model keeps of its compiled functions: Keras' three, and that of `devices.predict`.
_COMPILED = ("train_function", "test_function", "predict_function", PREDICT_FUNCTION)


def _set_compiled(model, functions):
    for name, function in functions.items():
        setattr(model, name, function)


def _lowered(model):
    """The layers that compute in float32 and may do so in bfloat16: all but those that compute its outputs."""
    last = {id(producer(output)) for output in model.outputs}
    return [
        layer
        for layer in {id(layer): layer for layer in _layers(model)}.values()
        if layer.dtype_policy.name == "float32" and id(layer) not in last
    ]


@functools.cache  # warns once
def _warn_where_bfloat16_is_slow():
    if multiplies_bfloat16() is False:
        warnings.warn(
            "this processor has no instructions for bfloat16 (AVX512-BF16, AMX): mixed_bfloat16 will be slower than float32 "
            "here, and coarser. Leave precision out, or use a GPU",
            stacklevel=4,
        )


def multiplies_bfloat16():
    """Whether bfloat16 is quick here: True with a GPU or TPU, else as the processor's flags say; None where it has none."""
    if not all(device.startswith("cpu") for device in keras.distribution.list_devices()):
        return True
    flags = machine.processor_flags()
    return bool(BFLOAT16_FLAGS & flags) if flags else None


def _changes(model, on):
    """(layer, name of its method, the method that replaces it) for every layer that has something to gain."""
    seen = set()
    for layer in _layers(model):
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        grouped = type(layer) is L.Conv2D and layer.groups > 1 and layer.data_format == "channels_last"
        if (on and grouped) or goes_wrong(layer):
            yield layer, "convolution_op", split_convolution
        elif on and type(layer) is L.BatchNormalization and _can_be_fused(layer):
            yield layer, "call", fused_batch_norm


def goes_wrong(layer):
    """Whether TensorFlow's oneDNN would give this layer's kernel a wrong gradient: a few channels, 1x1, with a stride.

    Seen with TensorFlow 2.21 on a processor with AVX2, for 1 to 7 channels at stride 2: other numbers, or memory
    overwritten and the process ended. A register holds 8 numbers there, with AVX-512 16, hence the limit. Such a layer
    is given every stride-th pixel instead.
    """
    return (
        keras.backend.backend() == "tensorflow"
        and isinstance(layer, L.Conv2D)
        and layer.kernel_size == (1, 1)
        and max(layer.strides) > 1
        and layer.built
        and layer.kernel.shape[2] < 16
        and layer.data_format == "channels_last"
    )


def _layers(model):
    for layer in model.layers:
        yield from _layers(layer) if isinstance(layer, keras.Model) else [layer]


def split_convolution(layer, x, kernel):
    """Conv2D(groups=g) as g convolutions: x (n, h, w, c), kernel (k, k, c / g, filters); the same sums."""
    strides = layer.strides
    if layer.kernel_size == (1, 1):  # it does not read the pixels between
        x, strides = x[:, :: strides[0], :: strides[1]], 1
    parts = zip(ops.split(x, layer.groups, axis=-1), ops.split(kernel, layer.groups, axis=-1), strict=True)
    geometry = dict(strides=strides, padding=layer.padding, dilation_rate=layer.dilation_rate)
    return ops.concatenate([ops.conv(part, filters, **geometry) for part, filters in parts], axis=-1)


def _can_be_fused(layer):
    # Keras has renorm from 3.14 on; a layer without it normalises plainly.
    renormalises = getattr(layer, "renorm", False)
    plain = layer.scale and layer.center and not renormalises and not layer.synchronized
    maps = layer.built and layer.axis in (-1, 3) and len(reduced_axes(layer)) == 3
    computed = layer.compute_dtype in ("float32", "bfloat16") and layer.variable_dtype == "float32"
    return keras.backend.backend() == "tensorflow" and plain and maps and computed


def fused_batch_norm(layer, x, training=None, mask=None):
    """BatchNormalization.call for maps (n, h, w, c) by TensorFlow's fused kernel.

    In training the kernel reports the variance with n - 1 in its denominator; Keras keeps the one with n. For inference
    TensorFlow merges the kernel with the convolution before it: quicker, but far slower for a batch of one
    image, since oneDNN then normalises number by number. So a batch of one, or of any size, is left to Keras.
    """
    if mask is not None:
        return type(layer).call(layer, x, training=training, mask=mask)
    import tensorflow as tf

    fused = tf.compat.v1.nn.fused_batch_norm
    if not (training and layer.trainable):
        if x.shape[0] in (None, 1):
            return type(layer).call(layer, x, training=training)
        moving = dict(mean=layer.moving_mean, variance=layer.moving_variance)
        return fused(x, layer.gamma, layer.beta, **moving, epsilon=layer.epsilon, is_training=False)[0]
    y, mean, variance = fused(x, layer.gamma, layer.beta, epsilon=layer.epsilon, is_training=True)
    values = tf.cast(tf.size(x) // tf.shape(x)[-1], variance.dtype)
    variance *= (values - 1) / values
    rate = 1 - layer.momentum
    layer.moving_mean.assign(layer.moving_mean * layer.momentum + mean * rate)
    layer.moving_variance.assign(layer.moving_variance * layer.momentum + variance * rate)
    return y
