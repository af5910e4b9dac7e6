"""A model as a table, layer by layer or stage by stage."""

from .. import tables
from .bill import macs_text
from .rows import total_of, totals, trace
from .stages import stage_of


class Summary:
    """A table of a model that shows itself: HTML in a notebook, text elsewhere. `.to_frame()` gives pandas."""

    columns = ("name", "kind", "output", "params", "MACs", "activations", "receptive field", "stride")

    def __init__(self, model, by="layer", rows=None):
        """rows: those of `trace(model)`, perhaps under other names."""
        if by not in ("layer", "stage"):
            raise ValueError(f'by is "layer" or "stage", got {by!r}')
        self.model, self.by = model, by
        self.rows = trace(model) if rows is None else rows
        self.total = totals(model, self.rows)
        self.records = [self._record([row]) for row in self.rows] if by == "layer" else self._stages()

    def _stages(self):
        groups = {}  # NASNet's cells overlap in graph order, so rows of a stage need not be neighbours
        for row in self.rows:
            groups.setdefault(stage_of(row), []).append(row)
        return [self._record(rows, stage) for stage, rows in groups.items()]

    def _record(self, rows, name=None):
        last, kinds = rows[-1], [r.kind for r in rows if r.params or r.macs]
        counted = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
        is_map = len(last.output_shape) == 3
        return {
            "name": name or last.name,
            "kind": counted if counted and len(rows) > 1 else last.kind,
            "output": last.output_shape,
            "params": sum(r.params for r in rows),
            "MACs": total_of(r.macs for r in rows),
            "MACs at least": total_of(r.macs_at_least for r in rows),
            "activations": total_of(r.activations for r in rows),
            "receptive field": last.receptive_field if is_map or not last.global_context else "all",
            "stride": last.stride if is_map else None,
        }

    def to_frame(self):
        """The table as a pandas DataFrame, numbers as numbers, pairs as (height, width)."""
        import pandas as pd

        return pd.DataFrame(self.records, columns=self.columns)

    def cells(self):
        """The table as text, with a line of totals: a list of rows of strings."""
        lines = [[record_text(record, c) for c in self.columns] for record in self.records]
        total = self.total
        macs = macs_text(total["macs"], total["macs_at_least"])
        field = total["not_known_behind"] and field_text(total)
        sums = [tables.number(total["params"]), macs, tables.number(total["activations"]), field or ""]
        return [*lines, ["total", "", "", *sums, ""]]

    def __repr__(self):
        return tables.text(self.model.name, self.columns, self.cells(), left=2)

    def _repr_html_(self):
        return tables.html(self.model.name, self.columns, self.cells(), left=2)


def record_text(record, column):
    """One number of a record in words."""
    if column == "MACs":
        return macs_text(record["MACs"], record["MACs at least"])
    return tables.number(record[column])


def field_text(total):
    """The receptive field of `totals` in words."""
    behind = total["not_known_behind"]
    return f"not known behind {behind}" if behind else tables.number(total["receptive_field"])


def summary(model, by="layer"):
    """What is in a model, by "layer" or collapsed by "stage": parameters, multiply-adds, activation memory (numbers per
    image), receptive field and stride. The result shows itself; `.to_frame()` gives a pandas DataFrame."""
    return Summary(model, by)
