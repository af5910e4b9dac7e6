"""Gradients on each backend: the one place where TensorFlow, JAX and PyTorch need their own lines.

Nets are called in a scope that keeps what layers would change: batch norm's moving statistics and dropout's seeds are
afterwards what they were, to the bit. On JAX that is more than tidiness: what a layer stores while a gradient is taken is a
tracer, a number that has no value, and the net's next call would fail.
"""

import contextlib
from collections import Counter

import keras

from ..keras_internals import same_losses
from . import fast

__all__ = ["compiled", "loss_on", "of_input", "of_weights", "paths", "repeated"]


def of_weights(model, loss, *, training=True):
    """The gradient of `loss(model_output)` for every trainable variable: (value, {variable path: array}, see `paths`).

    `model` is called on the images that `loss.images` holds; see `loss_on`. Its moving statistics, its seeds and the
    `losses` that its layers have added are left as they are.
    """
    images = keras.ops.convert_to_tensor(loss.images)
    variables = model.trainable_variables
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with same_losses(model), fast.computing(model, on=False), _unchanged(), tf.GradientTape() as tape:
            value = loss(model(images, training=training))
        # zeros, as on JAX, for what the loss does not depend on
        zero = tf.UnconnectedGradients.ZERO
        gradients = tape.gradient(value, [v.value for v in variables], unconnected_gradients=zero)
    elif keras.backend.backend() == "jax":
        import jax

        def objective(values):
            with _unchanged(variables, values):
                return loss(model(images, training=training))

        with same_losses(model):
            value, gradients = jax.value_and_grad(objective)([v.value for v in variables])
    elif keras.backend.backend() == "torch":
        import torch

        with same_losses(model), fast.computing(model, on=False), _unchanged(), torch.enable_grad():
            value = loss(model(images, training=training))
        value, gradients = _differentiated(value, [v.value for v in variables])
    else:
        raise NotImplementedError(_backend_message())
    arrays = map(keras.ops.convert_to_numpy, gradients)
    return float(value), dict(zip(paths(variables), arrays, strict=True))


def paths(variables):
    """A name for each variable: its path; where nested nets of one family have it too, the second is path:2, and so on."""
    return numbered([variable.path for variable in variables])


def numbered(names):
    """Names, the second of a kind as name:2, and so on; None stays None."""
    seen, unique = Counter(), []
    for name in names:
        seen[name] += 1
        unique.append(name if name is None or seen[name] == 1 else f"{name}:{seen[name]}")
    return unique


def of_input(function, images):
    """The gradient of the scalar `function(images)` for the images: (value, array of their shape), 0 where none leads there.

    The nets that `function` calls keep their moving statistics and their seeds, whatever mode it calls them in.
    """
    x = keras.ops.convert_to_tensor(images)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with _unchanged(), tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        gradient = tape.gradient(value, x, unconnected_gradients="zero")
        return float(value), keras.ops.convert_to_numpy(gradient)
    if keras.backend.backend() == "jax":
        import jax

        def objective(x):
            with _unchanged():
                return function(x)

        value, gradient = jax.value_and_grad(objective)(x)
        return float(value), keras.ops.convert_to_numpy(gradient)
    if keras.backend.backend() == "torch":
        value, gradient = _torchs_of_input(function, x)
        return float(value), keras.ops.convert_to_numpy(gradient)
    raise NotImplementedError(_backend_message())


def repeated(function, variables=()):
    """`of_input` for many calls of equal shapes: a function (x, *others) -> (value, gradient for x), compiled once.

    variables: those of the model inside `function`; their values are read at every call. PyTorch compiles nothing.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        @tf.function
        def value_and_gradient(x, *others):
            with _unchanged(), tf.GradientTape() as tape:
                tape.watch(x)
                value = function(x, *others)
            return value, tape.gradient(value, x, unconnected_gradients="zero")

    elif keras.backend.backend() == "jax":
        import jax

        # The weights come as arguments: as constants they would be compiled in.
        def objective(x, state, *others):
            with _unchanged(variables, state):
                return function(x, *others)

        program = jax.jit(jax.value_and_grad(objective))

        def value_and_gradient(x, *others):
            return program(x, [v.value for v in variables], *others)

    elif keras.backend.backend() == "torch":

        def value_and_gradient(x, *others):
            return _torchs_of_input(function, x, *others)

    else:
        raise NotImplementedError(_backend_message())

    def call(*arrays):
        value, gradient = value_and_gradient(*map(keras.ops.convert_to_tensor, arrays))
        return float(value), keras.ops.convert_to_numpy(gradient)

    return call


def compiled(function):
    """A function of tensors and lists of tensors, compiled: calls of equal shapes run the same program.

    The nets that it calls keep their moving statistics and their seeds. The values of their variables at the first call
    become part of the program; give those that change as arguments, as `model.stateless_call` takes them. On PyTorch the
    function runs as it is written, without the graph that a gradient would need.
    """

    def unchanging(*arguments):
        with _unchanged():
            return function(*arguments)

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(unchanging)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(unchanging)
    if keras.backend.backend() == "torch":
        import torch

        return torch.no_grad()(unchanging)
    raise NotImplementedError(_backend_message())


def _torchs_of_input(function, x, *others):
    """(value, gradient for x) of the scalar `function(x, *others)`, tensors of PyTorch."""
    import torch

    x = x.detach().requires_grad_()
    with _unchanged(), torch.enable_grad():
        value = function(x, *others)
    value, (gradient,) = _differentiated(value, [x])
    return value, gradient


def _differentiated(value, tensors):
    """(a scalar of PyTorch, its gradients for tensors): zeros, as on the others, for what it does not depend on.

    By `torch.autograd.grad`, and not by `backward`, which would add to what the variables hold as `.grad`.
    """
    import torch

    if value.requires_grad:
        gradients = torch.autograd.grad(value, tensors, allow_unused=True, materialize_grads=True)
    else:
        gradients = [torch.zeros_like(tensor) for tensor in tensors]
    return value.detach(), gradients


@contextlib.contextmanager
def _unchanged(variables=(), values=()):
    """The block reads these values in place of the variables' own; what it assigns to any variable is forgotten."""
    with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
        yield


def loss_on(images, labels, *, from_logits=False, loss=None):
    """The mean cross-entropy of predictions on `images`, integer labels (n,) or (n, h, w): a function for `of_weights`.

    Binary for predictions of one unit. loss: another function of labels and predictions, whose mean is taken. Of several
    outputs the first counts.
    """
    labels = keras.ops.convert_to_tensor(labels)

    def cross_entropy(labels, predictions):
        if predictions.shape[-1] == 1:
            labels = keras.ops.cast(labels, predictions.dtype)[..., None]
            return keras.losses.binary_crossentropy(labels, predictions, from_logits=from_logits)
        return keras.losses.sparse_categorical_crossentropy(labels, predictions, from_logits=from_logits)

    def mean_loss(predictions):
        predictions = keras.tree.flatten(predictions)[0]
        return keras.ops.mean((loss or cross_entropy)(labels, predictions))

    mean_loss.images = images
    return mean_loss


def _backend_message():
    return (
        f'gradients work on the "tensorflow" and "jax" backends; KERAS_BACKEND is "{keras.backend.backend()}"'
    )
