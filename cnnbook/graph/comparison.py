"""What changing one line of a builder did, stage by stage and layer by layer."""

import itertools
import re
from dataclasses import replace

from .. import tables
from ..keras_internals import deep_graphs
from .bill import macs_text
from .rows import trace
from .stages import automatic
from .summary import Summary, field_text, record_text

_QUANTITIES = ("params", "MACs", "activations", "receptive field", "output")
_CONSEQUENCES = ("name", "trainable", "dtype", "build_config", "batch_shape")


def compare(a, b):
    """Two models side by side: parameters, multiply-adds, activation memory (numbers per image) and receptive field of
    every stage, and which layers differ in what.

    Stages and layers are matched by name; those that Keras named, conv2d_5, by their order among the layers of their kind,
    unless the models share such names. A cell with one value is the same in both; `3 -> 5` is 3 in the first and 5 in the
    second. The result shows itself; `.to_frame()` gives pandas, `.layers` the layers that differ.
    """
    return Comparison(a, b)


class Comparison:
    """See `compare`. stages: {stage: (record in a or None, record in b or None)}; layers: {name: what differs}."""

    def __init__(self, a, b):
        first, second = trace(a), trace(b)
        self.a = Summary(a, "stage", first)
        self.b = Summary(b, "stage", _named_alike(second, first, b, a))
        self.stages = _side_by_side(*(_by_name(s.records) for s in (self.a, self.b)))
        rows = [{row.name: row for row in s.rows} for s in (self.a, self.b)]
        with deep_graphs():
            differences = {name: _difference(*pair) for name, pair in _side_by_side(*rows).items()}
        self.layers = {name: difference for name, difference in differences.items() if difference}

    @property
    def totals(self):
        """{quantity: (value in a, value in b)} for params, macs, activations, receptive_field and stride."""
        keys = ("params", "macs", "activations", "receptive_field", "stride")
        return {key: (self.a.total[key], self.b.total[key]) for key in keys}

    def to_frame(self):
        """A pandas DataFrame: a row per stage, two columns per quantity."""
        import pandas as pd

        names = _distinct(self.a.model.name, self.b.model.name)
        columns = pd.MultiIndex.from_product([_QUANTITIES, names])
        data = [
            [record[q] if record else None for q in _QUANTITIES for record in pair]
            for pair in self.stages.values()
        ]
        return pd.DataFrame(data, index=pd.Index(self.stages, name="stage"), columns=columns)

    def _cells(self):
        lines = [
            [stage, *(_of_records(*pair, quantity) for quantity in _QUANTITIES)]
            for stage, pair in self.stages.items()
        ]
        both = self.a.total, self.b.total
        params, macs, activations, field = (
            _cell(*(total[key] for total in both), *(text(total) for total in both))
            for key, text in (
                ("params", lambda total: tables.number(total["params"])),
                ("macs", lambda total: macs_text(total["macs"], total["macs_at_least"])),
                ("activations", lambda total: tables.number(total["activations"])),
                ("receptive_field", field_text),
            )
        )
        return [*lines, ["total", params, macs, activations, field, ""]]

    def _title(self):
        return " -> ".join(_distinct(self.a.model.name, self.b.model.name))

    def _differing(self):
        return [[name, difference] for name, difference in self.layers.items()]

    def __repr__(self):
        shown = tables.text(self._title(), ("stage", *_QUANTITIES), self._cells())
        if not self.layers:
            return f"{shown}\n\nno layer differs"
        columns = ("layer", "what differs")
        layers = tables.text(_count(self.layers), columns, self._differing(), left=2, totals=False)
        return f"{shown}\n\n{layers}"

    def _repr_html_(self):
        lines = self._cells()
        marked = {i for i, line in enumerate(lines[:-1]) if any("->" in cell for cell in line)}
        shown = tables.html(self._title(), ("stage", *_QUANTITIES), lines, marked=marked)
        columns = ("layer", "what differs")
        layers = tables.html(_count(self.layers), columns, self._differing(), left=2, totals=False)
        return f"{shown}<details><summary>{_count(self.layers)}</summary>{layers}</details>"


def _count(layers):
    return f"{len(layers) or 'no'} layer{'s differ' if len(layers) > 1 else ' differs'}"


def _named_alike(rows, others, model, other):
    """The rows of a model, those that Keras named under the names that the other's have, in order for each kind. Where the
    two share such names already, by those."""
    ours, theirs = _names_by_keras(rows, model), _names_by_keras(others, other)
    taken, new = {row.name for row in (*rows, *others)}, {}
    for kind, names in ours.items():
        free = (f"{kind}_{i}" for i in itertools.count(1))
        if not set(names) & set(theirs.get(kind, ())):
            for name, known in itertools.zip_longest(names, theirs.get(kind, ())[: len(names)]):
                new[name] = known or next(n for n in free if n not in taken)
    return [
        replace(
            row,
            name=new.get(row.name, row.name),
            inputs=tuple(new.get(name, name) for name in row.inputs),
            reads=tuple(new.get(name, name) for name in row.reads),
        )
        for row in rows
    ]


def _names_by_keras(rows, model):
    """{kind: the names of its rows that nobody chose, in order}: Keras', and ours for the image of a Sequential model."""
    names = {}
    for row in rows:
        kind = automatic(row)
        if row.group == "input" and re.fullmatch(
            rf"keras_tensor(_\d+)?|{re.escape(model.name)}_input", row.name
        ):
            kind = "input_layer"
        if kind:
            names.setdefault(kind, []).append(row.name)
    return names


def _distinct(a, b):
    return (a, b) if a != b else (f"{a} (first)", f"{b} (second)")


def _by_name(records):
    """{stage: record}; a stage that the graph enters twice has two records, told apart by a number."""
    named = {}
    for record in records:
        name, i = record["name"], 2
        while name in named:
            name, i = f"{record['name']} ({i})", i + 1
        named[name] = record
    return named


def _side_by_side(a, b):
    """{key: (value in a or None, value in b or None)} in an order that keeps both orders where they agree."""
    order, rest = [], list(b)
    for key in a:
        if key in b and key in rest:
            place = rest.index(key)
            order += [k for k in rest[:place] if k not in a]
            rest = rest[place + 1 :]
        order.append(key)
    order += [k for k in rest if k not in a]
    return {key: (a.get(key), b.get(key)) for key in dict.fromkeys(order)}


def _of_records(a, b, quantity):
    values = [record[quantity] if record else None for record in (a, b)]
    return _cell(*values, *(record_text(record, quantity) if record else "-" for record in (a, b)))


def _cell(a, b, text_a, text_b):
    """Two values in one cell, and what each of them is in words."""
    if text_a == text_b:
        return text_a
    shown = f"{text_a} -> {text_b}"
    if isinstance(a, int) and isinstance(b, int) and a:
        shown += f" ({100 * (b - a) / a:+.1f} %)"
    return shown


def _difference(a, b):
    """What differs between two rows of `trace` of the same name, in words; an empty text where nothing does."""
    if a is None or b is None:
        return "only in the second" if a is None else "only in the first"
    if a.kind != b.kind:
        return f"{a.kind} -> {b.kind}"
    first, second = (_settings(row.operation) for row in (a, b))
    changed = [
        f"{key} {_value(first.get(key))} -> {_value(second.get(key))}"
        for key in dict.fromkeys([*first, *second])
        if first.get(key) != second.get(key)
    ]
    if a.inputs != b.inputs:
        changed.append(f"reads {', '.join(a.inputs)} -> {', '.join(b.inputs)}")
    if not changed and a.output_shape != b.output_shape:
        changed.append(f"output {tables.number(a.output_shape)} -> {tables.number(b.output_shape)}")
    return "; ".join(changed)


def _settings(operation):
    try:
        return _own(operation.get_config() if hasattr(operation, "get_config") else {})
    except NotImplementedError:  # a layer that cannot be saved: its kind and its inputs are compared
        return {}


def _own(value):
    """A configuration without what follows from elsewhere, that of layers inside it too."""
    if isinstance(value, dict):
        return {key: _own(v) for key, v in value.items() if key not in _CONSEQUENCES}
    return [_own(v) for v in value] if isinstance(value, (list, tuple)) else value


def _value(value):
    if isinstance(value, dict):
        return value.get("class_name") or value.get("config", {}).get("name", "another")
    return tables.number(tuple(value)) if isinstance(value, (list, tuple)) else str(value)
