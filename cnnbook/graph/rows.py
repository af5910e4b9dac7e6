"""`trace`: any Keras model as rows, one for each call of each operation, and what they come to in all.

Every table, picture and test of the course reads a network through `trace`, so whoever changes a stride sees all of them
change. Images are channels last; heights come before widths.
"""

import math
from collections import Counter
from dataclasses import dataclass

from ..keras_internals import calls_in
from .fields import Field, union
from .rewrite import flatten
from .rules import rule_of
from .windows import placed


@dataclass(frozen=True)
class Row:
    """One call of one operation.

    kind: the name of its class; group: its kind in one word, a key of `rules.GROUPS`. output_shape: without the batch
    axis; None where the size is free. params: trained numbers (kernels, biases, gamma, beta), counted at a layer's first
    call only; state: what is not trained (moving means and variances). macs: multiply-adds of convolutions and dense
    kernels for one image; None where a size is free, and of a kernel in an unknown operation. activations: numbers in
    the output. receptive_field, stride: (height, width) in input pixels, of the local path; window: the first input
    pixel that output (0, 0) sees; centre: the middle of what it sees. Behind an enlargement windows differ in size and
    distance: receptive_field is then the largest, centre where the mean of all windows puts it, and `windows` has each.
    global_context: a global pool or a flatten lies before, so in truth the unit sees the
    whole image. known: False for an unregistered operation and all that follow it; the receptive field is then None.
    inputs: the names of the rows that it reads; reads: without those of which it reads the size alone. local:
    False for a vector of the whole image, which has no place of its own.
    """

    name: str
    kind: str
    output_shape: tuple
    params: int
    state: int
    macs: int | None
    activations: int | None
    receptive_field: tuple | None
    stride: tuple | None
    window: tuple | None
    global_context: bool
    known: bool
    inputs: tuple
    tensor: object = None
    operation: object = None
    local: bool = True
    group: str = "unknown"
    reads: tuple = ()
    centre: tuple | None = None
    field: Field | None = None


# Variables that training does not learn; told by name, since freezing a layer makes all of its variables untrainable.
_STATE = {"moving_mean", "moving_variance", "mean", "variance", "count", "seed_generator_state"}


def trace(model):
    """A `Row` for every call of every operation, in graph order. Nested models are read through.

    `model` is a functional or Sequential keras.Model that has been built; ValueError for another. A layer called twice
    has two rows, its parameters in the first. Bare operations (`x + y`, `keras.ops`) have rows too.
    """
    rows, fields, names, calls = [], {}, {}, Counter()
    for node in calls_in(flatten(model)):
        row, field = placed(*_row(node, fields, names, calls), rows)
        fields.update((id(t), field) for t in node.outputs)
        names.update((id(t), row.name) for t in node.outputs)
        rows.append(row)
    return rows


def _row(node, fields, names, calls):
    """(the `Row` of a call, the `Field` of its outputs). fields, names: of the tensors before it, by id; calls: how often
    each operation has been called, by id."""
    operation, rule = node.operation, rule_of(node.operation)
    inputs, outputs = ([tuple(t.shape) for t in tensors] for tensors in (node.input_tensors, node.outputs))
    field = Field()
    if inputs:
        before = union([fields[id(t)] for t in node.input_tensors[: rule.reads]])
        field = rule.field(operation, before, inputs, outputs)
    calls[id(operation)] += 1
    first = calls[id(operation)] == 1
    params, state = _sizes(operation) if first else (0, 0)
    parents = [names[id(t)] for t in node.input_tensors]
    shape = outputs[0][1:]
    row = Row(
        name=operation.name if first else f"{operation.name}:{calls[id(operation)]}",
        kind=type(operation).__name__,
        output_shape=shape,
        params=params,
        state=state,
        macs=rule.macs(operation, inputs, outputs) if inputs else 0,
        activations=None if None in shape else sum(math.prod(s[1:]) for s in outputs),
        receptive_field=field.size if field.known else None,
        stride=field.step if field.known else None,
        window=field.start if field.known else None,
        global_context=field.global_context,
        known=field.known or not inputs,
        inputs=tuple(dict.fromkeys(parents)),
        tensor=node.outputs[0],
        operation=operation,
        local=field.local,
        # x + 1 is no merge
        group="pointwise" if rule.group == "merge" and len(inputs) == 1 else rule.group,
        reads=tuple(dict.fromkeys(parents[: rule.reads])),
    )
    return row, field


def _sizes(operation):
    """(trained, state): how many numbers an operation's variables hold, whether allocated or not."""
    variables = getattr(operation, "weights", [])
    state = sum(math.prod(v.shape) for v in variables if v.name in _STATE)
    return sum(math.prod(v.shape) for v in variables) - state, state


def totals(model, rows=None):
    """The model in one row: input, params, state, macs, activations, and receptive field and stride of its last map, None
    where a layer on the way to it is not known.

    Those are of the local path, though a map behind squeeze-and-excitation sees the whole image. Of several outputs the
    first is the main one: the last map is on the way to it, not in an auxiliary head. rows: those of `trace(model)`,
    where it has been traced already.
    """
    rows = trace(model) if rows is None else rows
    maps = [r for r in main_rows(rows, model) if len(r.output_shape) == 3 and r.local]
    return {
        "input": rows[0].output_shape,
        "params": sum(row.params for row in rows),
        "state": sum(row.state for row in rows),
        "macs": total_of(row.macs for row in rows),
        "activations": total_of(row.activations for row in rows),
        "receptive_field": maps[-1].receptive_field if maps else None,
        "stride": maps[-1].stride if maps else None,
    }


def total_of(numbers):
    """Their sum; None if one of them is not known."""
    numbers = list(numbers)
    return None if None in numbers else sum(numbers)


def main_rows(rows, model):
    """Of the rows of a model those on the way to its first output; all where there is but one."""
    output = flatten(model).outputs[0]
    needed = {row.name for row in rows if row.tensor is output}
    if len(model.outputs) == 1 or not needed:
        return rows
    for row in reversed(rows):
        needed.update(row.inputs if row.name in needed else ())
    return [row for row in rows if row.name in needed]
