"""Random weights for nets of any size, and what two nets with the same weights answer."""

import keras
import numpy as np
from keras import layers as L


def randomised(reference, *, conv_bias=True, seed=0):
    """`reference` filled with random numbers that keep activations near one: variances positive, kernels He-scaled."""
    rng = np.random.default_rng(seed)
    for layer in reference.layers:
        values = []
        for variable in layer.weights:
            shape, kind = tuple(variable.shape), variable.name
            if kind.endswith("kernel"):
                depthwise = kind == "depthwise_kernel" or isinstance(layer, L.DepthwiseConv2D)
                fan_in = np.prod(shape[:2] if depthwise else shape[:-1])
                value = rng.standard_normal(shape, dtype="float32") * np.sqrt(2 / fan_in)
            elif kind in ("gamma", "moving_variance", "variance"):
                value = rng.uniform(0.5, 1.5, shape)
            elif kind == "bias" and isinstance(layer, L.Conv2D) and not conv_bias:
                value = np.zeros(shape)
            else:
                value = rng.normal(0, 0.1, shape)
            values.append(value.astype("float32"))
        if values:
            layer.set_weights(values)
        if isinstance(layer, L.Normalization):
            layer.finalize_state()
    return reference


def images(height, width, seed=1):
    return np.random.default_rng(seed).normal(0, 1, (2, height, width, 3)).astype("float32")


def outputs(model, x):
    """What a model answers at rest, in the structure of its outputs; `predict` takes seconds to compile on TensorFlow."""
    if keras.backend.backend() != "jax":
        return keras.tree.map_structure(keras.ops.convert_to_numpy, model(x, training=False))
    import jax

    # One program, where JAX would otherwise compile one for each operation and shape.
    weights = [
        [v.value for v in group] for group in (model.trainable_variables, model.non_trainable_variables)
    ]
    answer = jax.jit(lambda weights, x: model.stateless_call(*weights, x, training=False)[0])
    return keras.tree.map_structure(keras.ops.convert_to_numpy, answer(weights, x))


def pooled(net):
    return keras.Model(net.input, L.GlobalAveragePooling2D()(net.output))


def difference(a, b, shape):
    x = images(*shape)
    return float(np.abs(outputs(a, x) - outputs(b, x)).max())
