"""Every private name of Keras that cnnbook reads, and one of JAX, in one place, as a function with a name that says what it
gives.

When a release moves one, its test in tests/test_keras_internals.py says which. Nothing else in the package may use a
private name of Keras (a test there, too). Keras is imported by the functions that need it, so that importing this module
stays quick.
"""

import contextlib
import functools
import sys


@contextlib.contextmanager
def deep_graphs(frames=20_000):
    """Room for Keras to walk very deep nets: it recurses once per layer, and ResNet-1202 has 4,200."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, frames))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


@contextlib.contextmanager
def collectives_on_loopback():
    """JAX' processes on CPUs, where they first look for their devices in this block, listen on the loopback alone.

    By itself JAX has them listen at the address of the machine's own name. Yields whether this JAX can be held to it.
    """
    try:
        from jax._src.xla_bridge import _jax

        make = _jax.make_gloo_tcp_collectives
    except (ImportError, AttributeError):
        yield False
        return
    _jax.make_gloo_tcp_collectives = functools.partial(make, hostname="127.0.0.1")
    try:
        yield True
    finally:
        _jax.make_gloo_tcp_collectives = make


# --------------------------------------------------------------------------- the graph


def calls_in(model):
    """The calls that make up a functional model, every one after those it reads.

    Each has .operation, .input_tensors, .outputs (both lists of KerasTensors) and .is_input.
    """
    depths = model._nodes_by_depth
    return [node for depth in sorted(depths, reverse=True) for node in depths[depth]]


def filled_in(call, values):
    """(args, kwargs) of a call with values in place of its KerasTensors. values: {id of a KerasTensor: value}."""
    return call.arguments.fill_in(values)


def calls_its_graph(model):
    """Whether a model's outputs are what its graph says: a functional or Sequential one whose `call` is Keras' own."""
    import keras
    from keras.src.models.functional import Functional

    return type(model).call in (Functional.call, keras.Sequential.call)


def producer(tensor):
    """The operation that made a KerasTensor."""
    return tensor._keras_history.operation


def producing_call(tensor):
    """The call that made a KerasTensor, as in `calls_in`: of an operation called twice the right one."""
    operation, index, _ = tensor._keras_history
    return operation._inbound_nodes[index]


def calls_of(operation):
    """All calls of an operation, in whatever model. Keras keeps them as long as the operation lives."""
    return list(operation._inbound_nodes)


# --------------------------------------------------------------------------- layers and variables


def all_layers(model):
    """The layers in a model and in what is nested in it, models and parts of layers among them; not the model itself."""
    return list(model._flatten_layers(include_self=False))


def own_trainable_variables(layer):
    """The variables that a layer itself learns, without those of layers inside it."""
    return list(layer._trainable_variables)


def kernel_attributes(layer):
    """{attribute: variable} of a layer's kernels. Keras keeps some in `_kernel`, behind a property `kernel`."""
    import keras

    names = ("_kernel", "kernel", "depthwise_kernel", "pointwise_kernel")
    return {
        name: value
        for name, value in vars(layer).items()
        if name in names and isinstance(value, keras.Variable)
    }


def reduced_axes(batch_norm):
    """The axes over which a built BatchNormalization takes its mean and variance."""
    return tuple(batch_norm._reduction_axes)


@contextlib.contextmanager
def same_losses(model):
    """What the layers of a model have added to `losses` is afterwards what it was; a call in the block forgets it."""
    layers = [model, *all_layers(model)]
    before = [(list(layer._losses), set(layer._loss_ids)) for layer in layers]
    try:
        yield
    finally:
        for layer, (losses, numbers) in zip(layers, before, strict=True):
            layer._losses[:] = losses
            layer._loss_ids.clear()
            layer._loss_ids.update(numbers)


def variables_without_memory():
    """Keras' own list of variables that wait for memory, all of which get it when the next stateless scope ends.

    The list itself: what is taken off it never gets memory.
    """
    from keras.src.backend.common import global_state

    return global_state.get_global_attribute("uninitialized_variables", [], set_to_default=True)


# --------------------------------------------------------------------------- training


def build_training(model, batch):
    """Builds the metrics and the loss of a compiled model for batches like this one, (images, targets), as its fit would."""
    model._symbolic_build(data_batch=batch)


# --------------------------------------------------------------------------- optimisers, distribution


def variable_index(optimizer, variable):
    """The place of a variable among those that a built optimizer trains."""
    return optimizer._get_variable_index(variable)


def has_weight_decay(optimizer, variable):
    """Whether an optimiser's weight decay, if it has any, also shrinks this variable."""
    return optimizer._use_weight_decay(variable)


def strategy_at_build(model):
    """The tf.distribute strategy in whose scope a model was built; None if in none."""
    return getattr(model, "_distribute_strategy", None)


def backend_functions(room=None):
    """The module of the backend's own functions, "nn" or "numpy", that keras.ops looks up at every call; None: the module
    above them, where layers look up "rnn"."""
    from keras.src import backend

    return backend if room is None else getattr(backend, room)


def differentiate_cross_entropy_per_pixel():
    """Has Keras on PyTorch hand over predictions per pixel so that PyTorch can differentiate their sparse cross-entropy.

    PyTorch up to 2.13 has a gradient only where the classes lie outermost in memory (pytorch issue 175084: "grad_input must
    be contiguous"), and Keras' maps have them innermost. The numbers are the same.
    """
    module = backend_functions("nn")
    plain = module.sparse_categorical_crossentropy

    @functools.wraps(plain)
    def reordered(target, output, from_logits=False, axis=-1):
        if len(output.shape) == 4:
            output = output.movedim(axis, 1).contiguous().movedim(1, axis)
        return plain(target, output, from_logits=from_logits, axis=axis)

    module.sparse_categorical_crossentropy = reordered


def preparation_of_cells():
    """(class, name) of the method by which a recurrent layer runs its cells once before the first step, in order that their
    dropout masks have a shape. What the cells return then is thrown away."""
    import keras

    return keras.layers.RNN, "_maybe_config_dropout_masks"


def let_processes_feed_themselves(distribution):
    """Has Keras take from several processes what they have cut themselves, which auto_shard_dataset=False asks for.

    Before that was a public property, Keras refused all but a tf.data.Dataset from several processes, whatever was asked.
    """
    if not hasattr(distribution, "auto_shard_dataset"):
        distribution._is_multi_process = False
