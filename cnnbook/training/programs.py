"""Compiled functions that outlive a run: on JAX, nets that compute alike train, are measured and predict by the same ones.

Keras has JAX compile anew for every model and every `fit`, seconds for a middling net, though the third seed of an
experiment computes exactly what the first did. Here a compiled function belongs to what decides it: the net's layers and
their settings, the shapes of its variables, the loss, the optimiser. Weights, moving statistics, the seeds of dropout,
learning rates and data are its arguments. Nothing is computed in another way: training and measuring are Keras' own
`train_step` and `test_step`.

A net that holds more than Keras and the course know of, a layer or a loss of one's own, say, which can be edited and run
again under the same name, is compiled for itself, as ever.
"""

import collections
import contextlib
import functools
import hashlib
import inspect
import json

import keras
import numpy as np

from ..keras_internals import all_layers, backend_functions, has_weight_decay

__all__ = ["Program", "compiled", "described", "digest_of", "fed", "measuring", "state_of"]

# How many compiled functions are kept, those used last.
MOST = 32
_kept = collections.OrderedDict()


class Program:
    """`function(model, *arrays)`, compiled by JAX for the arrays, for all models of one description.

    It is called with the model for which it computes: where a shape of arrays is new, the function is traced with that one.
    No model is held afterwards. donate: the place of the argument whose memory may be written over. traced: how often the
    function was traced, and so compiled.
    """

    def __init__(self, function, donate=()):
        import jax

        self.function, self.model, self.traced = function, None, 0
        self.compiled = jax.jit(self._traced, donate_argnums=donate)

    def _traced(self, *arrays):
        self.traced += 1
        return self.function(self.model, *arrays)

    def __call__(self, model, *arrays):
        self.model = model
        try:
            return self.compiled(*arrays)
        finally:
            self.model = None


def compiled(function, model, *, loss=None, optimizer=None, donate=()):
    """`function(model, *arrays)` as a function of the arrays, compiled once for all nets like this one, as it is now.

    Every value that may differ between two such nets has to be among the arrays. loss: as `fit` was given it, and
    optimizer, where the function uses them. A net that shares nothing gets a function of its own.
    """
    key = function, described(model), _of_loss(loss), _of_optimizer(optimizer, model)
    if None in key or not can_share(model):
        return functools.partial(Program(function, donate), model)
    program = _kept.pop(key, None) or Program(function, donate)
    _kept[key] = program
    while len(_kept) > MOST:
        _kept.popitem(last=False)
    return functools.partial(program, model)


# --------------------------------------------------------------------------- training


@contextlib.contextmanager
def fed(model, batches, held_out, *, loss=None, size=None):
    """While the block runs, the `model` that `fit` compiled is fitted by shared functions, on JAX; yields what Keras' fit
    takes for batches and held-out images: what was given. Under a keras.distribution Keras compiles as ever."""
    if not can_share(model):
        yield batches, held_out
        return
    train = compiled(train_step, model, loss=loss, optimizer=model.optimizer, donate=0)
    numbers = model.optimizer.schedule.numbers
    with (
        measuring(model, loss=loss),
        keras_calls(model, train_function=lambda state, iterator: train(state, next(iterator), numbers)),
    ):
        yield batches, held_out


@contextlib.contextmanager
def measuring(model, *, loss=None):
    """While the block runs, `model.evaluate` goes by a shared function, on JAX, with the metrics of `fit`."""
    if not can_share(model):
        yield
        return
    test = compiled(test_step, model, loss=loss, donate=0)
    with keras_calls(model, test_function=lambda state, iterator: test(state, next(iterator))):
        yield


def can_share(model):
    """Whether nets can share functions here: on JAX, on one device, where this one is not run operation by operation."""
    return (
        keras.backend.backend() == "jax"
        and keras.distribution.distribution() is None
        and not getattr(model, "run_eagerly", False)
    )


@contextlib.contextmanager
def keras_calls(model, **functions):
    """While the block runs, Keras' loops call these functions of the state and an iterator over batches, train_function and
    test_function, instead of compiling their own."""
    before = {name: getattr(model, name) for name in functions}
    try:
        for name, function in functions.items():
            setattr(model, name, function)
        yield
    finally:
        for name, function in before.items():
            setattr(model, name, function)


def train_step(model, state, data, numbers):
    """(logs, state) after one step on the batch `data`. numbers: those of the optimiser's `Schedule`."""
    with model.optimizer.schedule.computing_with(numbers):
        return model.train_step(state, data)


def test_step(model, state, data):
    """(logs, state) after one batch of held-out images."""
    return model.test_step(state, data)


def predict_step(model, state, images):
    """The net's output for a batch, the first one where it has several, in inference mode."""
    return keras.tree.flatten(model.stateless_call(*state, images, training=False)[0])[0]


def state_of(model):
    """The values of a net's variables, (trainable, other), as `model.stateless_call` takes them."""
    return [v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables]


# --------------------------------------------------------------------------- what decides a compiled function


def described(model):
    """What two nets share only where they compute alike, whatever their layers are called; None for a net that holds
    something of which its configuration may not tell."""
    layers = [model, *all_layers(model)]
    patches = [_patches(layer) for layer in layers]
    if not all(map(_tells_all, layers)) or None in patches:
        return None
    config = _configuration(model, layers)
    if config is None:
        return None
    # What is read beside the configuration: which variables learn, the names of curves, what Keras is set to.
    variables = tuple((v.name, tuple(v.shape), str(v.dtype), v.trainable) for v in model.variables)
    outputs = tuple(model.output_names) if len(model.outputs) > 1 else ()
    settings = keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format()
    settings = *settings, backend_functions("nn").conv  # another one where `numerics.rounded_products` is on
    return config, tuple(map(type, layers)), tuple(patches), variables, outputs, settings


def digest_of(model):
    """A digest of a net's layers and their settings, whatever they are called; None for a net with layers of one's own, or
    with Lambdas, whose configuration also says where a function was written."""
    layers = [model, *all_layers(model)]
    if not all(map(_known, layers)) or any(isinstance(layer, keras.layers.Lambda) for layer in layers):
        return None
    return _configuration(model, layers)


def _configuration(model, layers):
    """A digest of a net's configuration without the names in it; None where it has none that can be compared."""
    names = {layer.name for layer in layers}
    names |= {operation.name for inner in layers for operation in getattr(inner, "operations", ())}
    try:
        config = json.dumps(_anonymous(model.get_config(), names, {}), sort_keys=True)
    except (TypeError, NotImplementedError):
        return None
    return hashlib.sha256(config.encode()).hexdigest()


def _tells_all(thing):
    """Whether a layer or loss is Keras' or the course's, and holds no array, and no function of anybody else's.

    What a model holds beside its layers belongs to a run, not to the net.
    """
    held = [] if isinstance(thing, keras.Model) else keras.tree.flatten(list(vars(thing).values()))
    return _known(thing) and not any(_is_array(v) or (callable(v) and not _known(v)) for v in held)


def _known(thing):
    origin = getattr(thing, "__module__", None) or ""
    return origin.partition(".")[0] in ("keras", "cnnbook")


def _is_array(value):
    import jax

    return isinstance(value, np.ndarray | jax.Array)


# Methods that Keras itself puts on every layer.
_WRAPPED = {"build", "quantize"}


def _patches(layer):
    """((method, function), ...) that stand in place of a layer's own, as `training.fast` puts them there; None where they
    are somebody else's."""
    names = [
        name for name in vars(layer) if name not in _WRAPPED and callable(getattr(type(layer), name, None))
    ]
    functions = [getattr(vars(layer)[name], "__func__", vars(layer)[name]) for name in names]
    return tuple(zip(names, functions, strict=True)) if all(map(_known, functions)) else None


def _anonymous(config, names, numbers):
    """A configuration with a number in place of each of the `names`, in the order in which they first appear."""
    if isinstance(config, dict):
        return {
            key: _number(value, names, numbers) if key == "name" else _anonymous(value, names, numbers)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        if len(config) == 3 and isinstance(config[0], str) and config[0] in names:  # [layer, call, output]
            return [_number(config[0], names, numbers), *config[1:]]
        return [_anonymous(value, names, numbers) for value in config]
    return config


def _number(name, names, numbers):
    return numbers.setdefault(name, len(numbers)) if name in names else name


def _of_loss(loss):
    if loss is None or isinstance(loss, str):
        return "loss", loss
    if isinstance(loss, keras.losses.Loss) and _tells_all(loss):
        return type(loss), json.dumps(loss.get_config(), sort_keys=True)
    return ("loss", loss) if inspect.isfunction(loss) and _known(loss) else None


def _of_optimizer(optimizer, model):
    if optimizer is None:
        return ()
    config = {k: v for k, v in optimizer.get_config().items() if k not in ("learning_rate", "name")}
    decayed = tuple(has_weight_decay(optimizer, v) for v in model.trainable_variables)
    return type(optimizer), optimizer.schedule.kind, json.dumps(config, sort_keys=True), decayed
