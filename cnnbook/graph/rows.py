"""`trace`: any Keras model as rows, one for each call of each operation, and what they come to in all.

Every table, picture and test of the course reads a network through `trace`, so whoever changes a stride sees all of them
change. Images are channels last; heights come before widths.
"""

import math
from collections import Counter
from dataclasses import dataclass

from ..keras_internals import calls_in
from .bill import Bill, learned_in, refuse_channels_first, sizes
from .fields import Field, union
from .rewrite import flatten
from .rules import rule_of
from .windows import placed


@dataclass(frozen=True)
class Row:
    """One call of one operation.

    kind: the name of its class; group: its kind in one word, a key of `rules.GROUPS`. output_shape: without the batch
    axis; None where the size is free. params: trained numbers (kernels, biases, gamma, beta); state: what is never trained
    (moving means and variances, power iterations); each variable at the first call that has it, and nowhere else. macs:
    multiply-adds for one image of convolutions, dense kernels and products of matrices, also of two tensors (see
    `products`); None where a size is free, and where they are not understood. macs_at_least: what of them is known; None
    where a size is free. activations: numbers in the output. receptive_field, stride: (height, width) in input pixels, of
    the local path; window: the first input pixel that output (0, 0) sees; centre: the middle of what it sees. Behind an
    enlargement windows differ in size and distance: receptive_field is then the largest, centre where the mean of all
    windows puts it, and `windows` has each. global_context: a global pool or a flatten lies before, so in truth the unit
    sees the whole image. known: False for an operation of which it is not known where its units look, and for all that
    follow it; the receptive field is then None. inputs: the names of the rows that it reads; reads: without those of which
    it reads the size alone. local: False for a vector of the whole image, which has no place of its own.
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
    macs_at_least: int | None = None


def trace(model):
    """A `Row` for every call of every operation, in graph order. Nested models are read through.

    `model` is a functional or Sequential keras.Model that has been built, its layers with the channels last; ValueError for
    another. A layer called twice has two rows, its parameters in the first. Bare operations (`x + y`, `keras.ops`) have
    rows too.
    """
    rows, fields, names, calls, bill = [], {}, {}, Counter(), Bill()
    for node in calls_in(flatten(model)):
        row, field = placed(*_row(node, fields, names, calls, bill), rows)
        fields.update((id(t), field) for t in node.outputs)
        names.update((id(t), row.name) for t in node.outputs)
        rows.append(row)
    return rows


def _row(node, fields, names, calls, bill):
    """(the `Row` of a call, the `Field` of its outputs). fields, names: of the tensors before it, by id; calls: how often
    each operation has been called, by id; bill: what has been counted before."""
    operation, rule = node.operation, rule_of(node.operation)
    refuse_channels_first(operation)
    inputs, outputs = ([tuple(t.shape) for t in tensors] for tensors in (node.input_tensors, node.outputs))
    field = Field()
    if inputs:
        before = union([fields[id(t)] for t in node.input_tensors[: rule.reads]])
        field = rule.field(operation, before, inputs, outputs)
    calls[id(operation)] += 1
    first = calls[id(operation)] == 1
    params, state = bill.sizes(operation)
    macs, at_least, copies = bill.macs(node, rule)
    parents = [names[id(t)] for t in node.input_tensors]
    shape = outputs[0][1:]
    row = Row(
        name=operation.name if first else f"{operation.name}:{calls[id(operation)]}",
        kind=type(operation).__name__,
        output_shape=shape,
        params=params,
        state=state,
        macs=macs,
        activations=None if None in shape else copies * sum(math.prod(s[1:]) for s in outputs),
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
        macs_at_least=at_least,
    )
    return row, field


def totals(model, rows=None):
    """The model in one row: input, params, state, macs, activations, and receptive field and stride of its last map.

    params and state are those of the whole model, each variable once: together `model.count_params()`. macs: None where a
    size is free or something in the model is not understood; macs_at_least: what is known of them, None where a size is
    free. receptive_field, stride: of the local path, though a map behind squeeze-and-excitation sees the whole image; None
    where an operation on the way to the last map, or to tokens made of it, is not known: not_known_behind is its name, else
    None. Of several outputs the first is the main one: the last map is on the way to it, not in an auxiliary head. rows:
    those of `trace(model)`, where it has been traced already.
    """
    rows = trace(model) if rows is None else rows
    main = main_rows(rows, model)
    last = _last_map(main)
    unknown = next((r.name for r in main if not r.known), None) if last and not last.known else None
    params, state = sizes(model.weights, learned_in(model))
    return {
        "input": rows[0].output_shape,
        "params": params,
        "state": state,
        "macs": total_of(row.macs for row in rows),
        "macs_at_least": total_of(row.macs_at_least for row in rows),
        "activations": total_of(row.activations for row in rows),
        "receptive_field": last and last.receptive_field,
        "stride": last and last.stride,
        "not_known_behind": unknown,
    }


def _last_map(rows):
    """The last row that is a map, or tokens of one, of which it is not known what they see; None in a net without maps."""
    rows = [r for r in rows if r.local]
    if not any(len(r.output_shape) == 3 for r in rows):
        return None
    return next(
        r for r in reversed(rows) if len(r.output_shape) >= 2 and (len(r.output_shape) == 3 or not r.known)
    )


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
