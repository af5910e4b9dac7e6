"""What a net costs, call by call: variables, each once, and multiply-adds, by a formula or by looking inside the call."""

import math

import keras

from .. import tables
from ..keras_internals import all_layers, own_trainable_variables
from .products import Count, count, learned_kernels
from .rules import no_macs, rule_of


def learned_in(layer):
    """The ids of the variables that training can learn in a layer or model, frozen or not."""
    return {id(v) for part in [layer, *all_layers(layer)] for v in own_trainable_variables(part)}


def sizes(variables, learned):
    """(trained, state): how many numbers variables hold, whether allocated or not. learned: ids, as of `learned_in`."""
    held = {True: 0, False: 0}
    for variable in variables:
        held[id(variable) in learned] += math.prod(variable.shape)
    return held[True], held[False]


def refuse_channels_first(operation):
    """ValueError for an operation, or a layer in it, that takes channels first: all numbers here are for channels last."""
    inside = all_layers(operation) if isinstance(operation, keras.layers.Layer) else []
    for part in (operation, *inside):
        if getattr(part, "data_format", None) == "channels_first":
            raise ValueError(
                f'{part.name} has data_format="channels_first"; graphs are read with the channels last: build the net with '
                'data_format="channels_last" (keras.config.set_image_data_format), the kernels are the same'
            )


class Bill:
    """What has been counted so far in a net: its variables, and how long the first axis of each tensor is for one image."""

    def __init__(self):
        self._seen, self._first, self._free_batch = set(), {}, True

    def sizes(self, operation):
        """(trained, state) of the variables of an operation that no operation before it has."""
        if not isinstance(operation, keras.layers.Layer):
            return 0, 0
        variables = [v for v in operation.weights if id(v) not in self._seen]
        self._seen.update(map(id, variables))
        return sizes(variables, learned_in(operation)) if variables else (0, 0)

    def macs(self, node, rule):
        """(macs, macs_at_least, copies) of a call: the first two as in `Row`; copies is how many entries of the first axis
        of its output belong to one image, more than 1 where a net cuts its maps into windows."""
        if not node.input_tensors:
            self._first.update((id(t), 1) for t in node.outputs)
            self._free_batch = self._free_batch and all(t.shape[:1] == (None,) for t in node.outputs)
            return 0, 0, 1
        first = [self._first[id(t)] for t in node.input_tensors]
        if rule.macs is None or _must_look_inside(node.operation, rule):
            found = count(node, first)
        else:
            inputs, outputs = (
                [tuple(t.shape) for t in tensors] for tensors in (node.input_tensors, node.outputs)
            )
            macs = rule.macs(node.operation, inputs, outputs)
            macs = None if macs is None else macs * max(first)
            found = Count(macs, macs, (_after(max(first), inputs[0], outputs[0], rule),) * len(outputs))
        axes = found.first_axes or (max(first),) * len(node.outputs)
        if self._free_batch:  # a first axis of a fixed length is not the batch
            axes = [(t.shape[:1] or (1,))[0] or n for n, t in zip(axes, node.outputs, strict=True)]
        self._first.update(zip(map(id, node.outputs), axes, strict=True))
        return found.macs, found.at_least, axes[0]


def _must_look_inside(operation, rule):
    """Whether no formula holds for a layer: it was registered without one, and has kernels; or it inherits the formula of
    a class whose `call` it replaces."""
    if not isinstance(operation, keras.layers.Layer):
        return False
    if rule.macs is no_macs:
        return bool(learned_kernels([operation, *all_layers(operation)]))
    registered = next((cls for cls in type(operation).__mro__ if cls in rule_of.registry), type(operation))
    return type(operation).call is not registered.call


def _after(first, inputs, outputs, rule):
    """The length of the first axis behind a reshape, from the numbers that an entry of it has before and after."""
    if rule.group != "reshape" or None in (*inputs[1:], *outputs[1:]):
        return first
    return first * math.prod(inputs[1:]) // max(math.prod(outputs[1:]), 1)


def macs_text(macs, at_least):
    """A number of multiply-adds in words: "1,234"; "at least 1,234" where more is not understood; "-" for nothing known."""
    return f"at least {tables.number(at_least)}" if macs is None and at_least else tables.number(macs)
