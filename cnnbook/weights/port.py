"""Weights from elsewhere: port them from a reference model, by name, all or nothing."""

import keras
import numpy as np
from keras import layers as L

from ..keras_internals import consumers, producing_call


def port(reference, model, *, names=None, partial=False):
    """Copies the weights of `reference` into `model` and returns `model`. All or nothing.

    Layers meet by name, or by `names`, a dict from our layer names to the reference's. Three forms may differ: a dense
    layer's kernel becomes that of the convolution with the same window (VGG's dense evaluation) and the other way round;
    a convolution bias that ours lacks is folded into the batch norm behind it (its moving mean; the outputs then agree to
    float rounding), and a second scaling of the input into the normalisation before it (its variance).
    `partial=True` lets layers of the reference stay unused: a top that ours does not have.
    Raises ValueError naming the first layer that does not fit; nothing has been copied then.
    """
    theirs = {layer.name: layer for layer in _layers(reference) if layer.weights}
    ours = {layer.name: layer for layer in _layers(model)}
    new, biases = {}, {}
    for layer in (layer for layer in ours.values() if layer.weights):
        name = (names or {}).get(layer.name, layer.name)
        if name not in theirs:
            raise ValueError(
                f"{model.name}: the reference {reference.name} has no layer {name!r} with weights"
            )
        source = theirs.pop(name)
        values, shapes = source.get_weights(), [tuple(w.shape) for w in layer.weights]
        if isinstance(layer, L.Conv2D) and not layer.use_bias and len(values) == 2:
            biases[layer.name] = values.pop()
        if {type(layer), type(source)} == {L.Conv2D, L.Dense}:
            rows = [(int(np.prod(shape[:-1])), shape[-1]) for shape in (values[0].shape, shapes[0])]
            values[0] = values[0].reshape(shapes[0]) if rows[0] == rows[1] else values[0]
        if isinstance(layer, L.Normalization) and not isinstance(_only_consumer(layer), L.Rescaling):
            second = _only_consumer(source)
            if isinstance(second, L.Rescaling) and not np.any(second.offset):
                values[1] = values[1] / np.square(second.scale, dtype="float32")
        if [v.shape for v in values] != shapes:
            raise ValueError(
                f"{layer.name}: expected shapes {shapes}, {name} has {[v.shape for v in values]}"
            )
        new[layer.name] = values
    if theirs and not partial:
        raise ValueError(
            f"{model.name} has no layer for {next(iter(theirs))!r} of {reference.name}; partial=True skips"
        )
    for name, bias in biases.items():
        norm = _only_consumer(ours[name])
        if not isinstance(norm, L.BatchNormalization):
            raise ValueError(
                f"{name} has no bias, the reference has one, and no batch norm follows to take it in"
            )
        index = [w.path for w in norm.weights].index(norm.moving_mean.path)
        new[norm.name][index] = new[norm.name][index] - bias
    for name, values in new.items():
        ours[name].set_weights(values)
        if isinstance(ours[name], L.Normalization):
            ours[name].finalize_state()  # it computes with copies
    return model


def pair(reference, model):
    """{our layer: the reference's} where names say nothing (conv2d_94): the `names` of such a KerasApplication.

    The two graphs are walked together from the (first) output back: a layer with weights meets one with weights, and
    the branches of a merge meet in the order of its arguments. So it does not matter what was built before. Passed
    over on either side: layers of one input without weights (padding, activation, pooling). Raises ValueError naming
    the first two layers that do not meet; `port` checks the shapes.
    """
    names, seen, todo = {}, set(), [(model.outputs[0], reference.outputs[0])]
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


def _only_consumer(layer):
    readers = consumers(layer)  # each once, though copies of a model share layers
    return readers[0] if len(readers) == 1 else None
