"""Gradients on either backend: the one place where TensorFlow and JAX need their own lines."""

import keras

from . import fast

__all__ = ["compiled", "loss_on", "of_input", "of_weights", "repeated"]


def of_weights(model, loss, *, training=True):
    """The gradient of `loss(model_output)` for every trainable variable: (value, {variable path: array}).

    `model` is called on the images that `loss.images` holds; see `loss_on`. Moving statistics are left as they are.
    """
    images = keras.ops.convert_to_tensor(loss.images)
    variables = model.trainable_variables
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        before = [keras.ops.copy(v) for v in model.non_trainable_variables]
        with fast.computing(model, on=False), tf.GradientTape() as tape:
            value = loss(model(images, training=training))
        gradients = tape.gradient(value, [v.value for v in variables])
        for variable, old in zip(model.non_trainable_variables, before, strict=True):
            variable.assign(old)
    elif keras.backend.backend() == "jax":
        import jax

        state = [v.value for v in model.non_trainable_variables]

        def objective(values):
            return loss(model.stateless_call(values, state, images, training=training)[0])

        value, gradients = jax.value_and_grad(objective)([v.value for v in variables])
    else:
        raise NotImplementedError(_backend_message())
    arrays = {v.path: keras.ops.convert_to_numpy(g) for v, g in zip(variables, gradients, strict=True)}
    return float(value), arrays


def of_input(function, images):
    """The gradient of the scalar `function(images)` for the images: (value, array of their shape)."""
    x = keras.ops.convert_to_tensor(images)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        return float(value), keras.ops.convert_to_numpy(tape.gradient(value, x))
    if keras.backend.backend() == "jax":
        import jax

        value, gradient = jax.value_and_grad(function)(x)
        return float(value), keras.ops.convert_to_numpy(gradient)
    raise NotImplementedError(_backend_message())


def repeated(function, variables=()):
    """`of_input` for many calls of equal shapes: a function (x, *others) -> (value, gradient for x), compiled once.

    variables: those of the model inside `function`; their values are read at every call.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        @tf.function
        def value_and_gradient(x, *others):
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = function(x, *others)
            return value, tape.gradient(value, x)

    elif keras.backend.backend() == "jax":
        import jax

        def objective(
            x, state, *others
        ):  # the weights come as arguments: as constants they would be compiled in
            with keras.StatelessScope(state_mapping=list(zip(variables, state, strict=True))):
                return function(x, *others)

        compiled = jax.jit(jax.value_and_grad(objective))

        def value_and_gradient(x, *others):
            return compiled(x, [v.value for v in variables], *others)

    else:
        raise NotImplementedError(_backend_message())

    def call(*arrays):
        value, gradient = value_and_gradient(*map(keras.ops.convert_to_tensor, arrays))
        return float(value), keras.ops.convert_to_numpy(gradient)

    return call


def compiled(function):
    """A function of tensors and lists of tensors, compiled: calls of equal shapes run the same program."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    raise NotImplementedError(_backend_message())


def loss_on(images, labels, *, from_logits=False):
    """The mean cross-entropy of predictions on `images`, integer labels: a function for `of_weights`."""
    labels = keras.ops.convert_to_tensor(labels)

    def loss(predictions):
        cross_entropy = keras.losses.sparse_categorical_crossentropy
        return keras.ops.mean(cross_entropy(labels, predictions, from_logits=from_logits))

    loss.images = images
    return loss


def _backend_message():
    return (
        f'gradients work on the "tensorflow" and "jax" backends; KERAS_BACKEND is "{keras.backend.backend()}"'
    )
