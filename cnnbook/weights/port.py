"""Weights from elsewhere: port them from a reference model, by name or by the graph, all or nothing."""

from collections import defaultdict

import keras
import numpy as np
from keras import layers as L

from .. import graph
from ..keras_internals import calls_in, producing_call

_CONVOLUTIONS = (L.Conv2D, L.DepthwiseConv2D, L.SeparableConv2D, L.Conv2DTranspose)
_NORMS = (L.BatchNormalization, L.LayerNormalization, L.GroupNormalization, L.Normalization)


def port(reference, model, *, names=None, partial=False):
    """Copies the weights of `reference` into `model` and returns `model`. All or nothing.

    Layers meet by name, those of nested models too (`graph.flatten` says how they are called where two have one name). Where
    names do not meet, as where Keras has made them (conv2d_94), layers meet by the graph, if both nets are built alike: see
    `pair`. names: a dict from our layer names to the reference's, for those that neither finds. Four forms may differ: a
    dense layer's kernel becomes that of the convolution with the same window (VGG's dense evaluation) and the other way
    round; that of a depthwise convolution becomes that of a convolution with a group for each channel, and back; a
    convolution bias that ours lacks is folded into the batch norm behind it (its moving mean; the outputs then agree to
    float rounding), and a second scaling of the input into the normalisation before it (its variance).
    `partial=True` lets layers of the reference stay unused: a top that ours does not have.
    Raises ValueError naming the first layer that does not fit; nothing has been copied then.
    """
    source, target = _Net(reference), _Net(model)
    theirs, new, biases = dict(source.layers), {}, {}
    names = _met(source, target, names)
    for ours, layer in target.layers.items():
        name = names.get(ours, ours)
        if name not in theirs:
            raise ValueError(
                f"{model.name}: the reference {reference.name} has no layer {name!r} with weights"
                + (" for it alone" if name in source.layers else "")
            )
        values = _values(layer, theirs.pop(name))
        if isinstance(layer, L.Normalization) and not isinstance(target.reader(ours), L.Rescaling):
            values[1] = values[1] / _second_scale(source.reader(name))
        shapes = [tuple(w.shape) for w in layer.weights]
        if _lacks_a_bias(layer) and [v.shape for v in values[:-1]] == shapes:
            biases[ours] = values.pop()
        if [v.shape for v in values] != shapes:
            raise ValueError(f"{ours}: expected shapes {shapes}, {name} has {[v.shape for v in values]}")
        ranks = target.ranks.get(ours), source.ranks.get(name)
        # A convolution over the whole map and a dense layer are one thing, and so are the norms behind them.
        dense = {target.read_by.get(ours), source.read_by.get(name)} == {L.Conv2D, L.Dense}
        if isinstance(layer, _NORMS) and None not in ranks and ranks[0] != ranks[1] and not dense:
            where = [("behind", "before")[rank > 2] for rank in ranks]
            raise ValueError(
                f"{ours} normalises {where[0]} the pool, {name} of {reference.name} {where[1]} it"
            )
        new[ours] = values
    if theirs and not partial:
        raise ValueError(
            f"{model.name} has no layer for {next(iter(theirs))!r} of {reference.name}; partial=True skips"
        )
    for name, bias in biases.items():
        _fold(target, name, bias, new)
    for name, values in new.items():
        target.layers[name].set_weights(values)
        if isinstance(target.layers[name], L.Normalization):
            target.layers[name].finalize_state()  # it computes with copies
    return model


class _Net:
    """The layers of a model that have weights, by name, the rank of their first output, and what reads it in this model."""

    def __init__(self, model):
        self.model, self.layers, self.ranks, self.read_by = model, {}, {}, {}
        # ids of the tensors that a layer makes and an operation reads; the operations that read a tensor
        self.made, self.read, self.readers = defaultdict(set), defaultdict(set), defaultdict(dict)
        if not graph.is_graph(model):  # its layers can be found, not how they are connected
            for layer in (layer for layer in _layers(model) if layer.weights):
                if self.layers.setdefault(layer.name, layer) is not layer:
                    raise ValueError(
                        f"two layers of {model.name} are called {layer.name}, and a {type(model).__name__} has no graph "
                        "that tells them apart: give them names of their own"
                    )
            return
        flat = graph.flatten(model)
        self.ends = {id(t) for t in flat.outputs}
        for call in calls_in(flat):
            operation, inputs = call.operation, {id(t) for t in call.input_tensors}
            self.made[operation.name] |= {id(t) for t in call.outputs}
            self.read[id(operation)] |= inputs
            for tensor in inputs:
                self.readers[tensor][id(operation)] = operation
            if getattr(operation, "weights", None):
                self.layers.setdefault(operation.name, operation)
                self.ranks.setdefault(operation.name, len(call.outputs[0].shape))
                self.read_by.setdefault(operation.name, _last_to_matter(call.input_tensors[0])[0].__class__)

    def reader(self, name):
        """The operation that alone reads what a layer puts out, and reads nothing else; None if there is none."""
        made = self.made.get(name, set())
        operations = {key: operation for t in made for key, operation in self.readers.get(t, {}).items()}
        if len(operations) != 1 or made & self.ends:
            return None
        ((key, reader),) = operations.items()
        return reader if self.read[key] <= made else None


def _met(source, target, names):
    """{our layer: the reference's} where names do not meet: those given, or found by the graph, or the only ones left.

    Where the graph does not say it, layers whose names Keras has counted out do not meet by them: conv2d_1 is another layer
    in every process.
    """
    missing = [name for name in target.layers if name not in source.layers]
    if names is not None or not missing:
        return names or {}
    try:
        found = pair(source.model, target.model)
        for ours, theirs in found.items():
            if ours != theirs and ours in source.layers and not _named_by_keras(ours, source.layers[ours]):
                raise ValueError(f"by the graph {ours} would meet {theirs}, by its name {ours}")
        return found
    except ValueError as error:
        rest = {name: layer for name, layer in source.layers.items() if name not in target.layers}
        found = {ours: _only_one(target, missing, ours, rest) for ours in missing}
        met = [name for name in target.layers if name in source.layers]
        counted_out = [name for name in met if _named_by_keras(name, source.layers[name])]
        if None not in found.values() and not counted_out:
            return found
        first = next((ours for ours, theirs in found.items() if theirs is None), missing[0])
        raise ValueError(
            f"{target.model.name}: the reference {source.model.name} has no layer {first!r} with weights, and the two "
            f"cannot be paired by their graphs ({error}); names={{ours: theirs}} says which layers meet"
        ) from None


def _only_one(target, missing, ours, rest):
    """The name of the only layer left in the reference that can be ours: the only one of its class on both sides."""
    kind = target.layers[ours].__class__
    alike = [name for name, layer in rest.items() if layer.__class__ is kind]
    same = [name for name in missing if target.layers[name].__class__ is kind]
    return alike[0] if len(alike) == len(same) == 1 else None


def _named_by_keras(name, layer):
    return graph.is_automatic(name.rpartition(graph.SEPARATOR)[2], layer.__class__.__name__)


def _values(layer, source):
    """The weights of a reference's layer in the form of ours."""
    values, shapes = source.get_weights(), [tuple(w.shape) for w in layer.weights]
    kinds = {layer.__class__, source.__class__}
    if kinds == {L.Conv2D, L.Dense}:
        rows = [(int(np.prod(shape[:-1])), shape[-1]) for shape in (values[0].shape, shapes[0])]
        values[0] = values[0].reshape(shapes[0]) if rows[0] == rows[1] else values[0]
    elif kinds == {L.Conv2D, L.DepthwiseConv2D}:
        height, width, *channels = values[0].shape
        depthwise = (source if layer.__class__ is L.Conv2D else layer).kernel.shape
        # output channel * multipliers + multiplier of the one is filter number so and so of the other
        forms = {tuple(depthwise), (height, width, 1, depthwise[2] * depthwise[3])}
        if {values[0].shape, shapes[0]} == forms:
            values[0] = values[0].reshape(shapes[0])
    return values


def _second_scale(reader):
    """The square of the scale that a Rescaling behind a normalisation brings in, 1 without one."""
    rescales = isinstance(reader, L.Rescaling) and not np.any(reader.offset)
    return np.square(reader.scale, dtype="float32") if rescales else np.float32(1)


def _lacks_a_bias(layer):
    return isinstance(layer, _CONVOLUTIONS) and not layer.use_bias


def _fold(net, name, bias, new):
    """Takes a convolution's bias off the moving mean of the batch norm that alone reads it."""
    norm, activation = net.reader(name), net.layers[name].activation
    if not isinstance(norm, L.BatchNormalization) or activation is not keras.activations.linear:
        raise ValueError(
            f"{name} has no bias, the reference has one, and no batch norm follows to take it in"
        )
    index = [id(w) for w in norm.weights].index(id(norm.moving_mean))
    new[norm.name][index] = new[norm.name][index] - bias


def pair(reference, model):
    """{our layer: the reference's} where names say nothing (conv2d_94): the `names` of such a KerasApplication.

    The two graphs are walked together from the (first) output back: a layer with weights meets one with weights, and
    the branches of a merge meet in the order of its arguments. So it does not matter what was built before. Passed
    over on either side: layers of one input without weights (padding, activation, pooling). Nested models are read through.
    Raises ValueError naming the first two layers that do not meet; `port` checks the shapes.
    """
    flat = [graph.flatten(net) for net in (model, reference)]
    names, seen, todo = {}, set(), [tuple(net.outputs[0] for net in flat)]
    while todo:
        (ours, into), (theirs, from_) = map(_last_to_matter, todo.pop())
        if (ours, theirs) in seen:
            continue
        seen.add((ours, theirs))
        weighted = [bool(getattr(operation, "weights", [])) for operation in (ours, theirs)]
        agree = weighted[0] == weighted[1] and len(into) == len(from_)
        if not agree or (weighted[0] and names.setdefault(ours.name, theirs.name) != theirs.name):
            raise ValueError(
                f"{model.name} is not built like {reference.name}: {ours.name} ({type(ours).__name__}, "
                f"{len(into)} inputs) stands where {theirs.name} ({type(theirs).__name__}, {len(from_)} inputs) does"
            )
        todo += zip(into, from_, strict=True)
    return names


def _last_to_matter(tensor):
    """The operation behind a tensor, and its inputs: the first on the way back with weights or not just one input."""
    while True:
        call = producing_call(tensor)
        operation, inputs = call.operation, call.input_tensors
        if getattr(operation, "weights", []) or len(inputs) != 1:
            return operation, inputs
        tensor = inputs[0]


def _layers(model):
    """All layers, those of nested models too."""
    for layer in model.layers:
        yield from _layers(layer) if isinstance(layer, keras.Model) else [layer]
