"""What changing one line of a builder did, stage by stage and layer by layer."""

from .. import tables
from ..keras_internals import deep_graphs
from .summary import summary

_QUANTITIES = ("params", "MACs", "activations", "receptive field", "output")
_CONSEQUENCES = ("name", "trainable", "dtype", "build_config", "batch_shape")


def compare(a, b):
    """Two models side by side: parameters, multiply-adds, activation memory (numbers per image) and receptive field of
    every stage, and which layers differ in what.

    Stages and layers are matched by name. A cell with one value is the same in both; `3 -> 5` is 3 in the first and 5
    in the second. The result shows itself; `.to_frame()` gives pandas, `.layers` the layers that differ.
    """
    return Comparison(a, b)


class Comparison:
    """See `compare`. stages: {stage: (record in a or None, record in b or None)}; layers: {name: what differs}."""

    def __init__(self, a, b):
        self.a, self.b = summary(a, by="stage"), summary(b, by="stage")
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
            [stage, *(_cell(*(record[q] if record else None for record in pair)) for q in _QUANTITIES)]
            for stage, pair in self.stages.items()
        ]
        total = [_cell(*self.totals[key]) for key in ("params", "macs", "activations", "receptive_field")]
        return [*lines, ["total", *total, ""]]

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


def _cell(a, b):
    if a == b:
        return tables.number(a)
    shown = f"{tables.number(a)} -> {tables.number(b)}"
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
    config = operation.get_config() if hasattr(operation, "get_config") else {}
    return {key: value for key, value in config.items() if key not in _CONSEQUENCES}


def _value(value):
    if isinstance(value, dict):
        return value.get("class_name") or value.get("config", {}).get("name", "another")
    return tables.number(tuple(value)) if isinstance(value, (list, tuple)) else str(value)
