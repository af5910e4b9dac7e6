"""What learns and what stays: freezing by stages, batch normalisation as it was trained, and how much the course advises."""

from dataclasses import dataclass

import keras
from keras import layers as L

from .. import graph, tables
from ..arguments import whole_number

__all__ = ["STRATEGIES", "Frozen", "advice", "freeze"]

STRATEGIES = ("head", "late", "all")


def advice(images_per_class):
    """What to train with so many images a class, one of STRATEGIES: "head" below 50, "late" below 500, else "all".

    "head": only the new classifier learns; "late": the last stage too; "all": every stage. A rule of thumb, to be checked
    on held-out images. ValueError below one image.

    The rule knows the number of images and not the question. Chapter 15 measured a small net: for a question near its own
    "head" was far ahead of a new net, and for one that it had learned to pass over a new net was far ahead of "head".
    """
    number = whole_number(images_per_class, "images_per_class")
    return "head" if number < 50 else "late" if number < 500 else "all"


@dataclass(frozen=True)
class Frozen:
    """What learns and what does not: `rows` of (stage, learned parameters, frozen parameters) in graph order.

    It shows itself as a table.
    """

    name: str
    rows: tuple

    def _table(self):
        lines = [[stage, tables.number(learned), tables.number(kept)] for stage, learned, kept in self.rows]
        total = [tables.number(sum(row[i] for row in self.rows)) for i in (1, 2)]
        return f"{self.name}: what learns", ("stage", "learns", "frozen"), [*lines, ["all", *total]]

    def __repr__(self):
        return tables.text(*self._table())

    def _repr_html_(self):
        return tables.html(*self._table())


def freeze(model, until=None, *, batch_norm=True):
    """Freezes a net up to a stage or layer, with everything that this one is computed from; the rest learns.

    until: a stage ("conv3") or a layer ("conv3_block4_out") by its name; "head" freezes all but the last layer that has
    weights; None freezes no stage. batch_norm: batch normalisation is frozen everywhere, its moving statistics too: in
    Keras 3 only `trainable = False` does that, since `fit` overrides `training=False` in nested calls. Layers that were
    frozen before and are not frozen now learn again. Compile afterwards (training.fit does).
    Returns a `Frozen`. Raises ValueError for an unknown stage; the message names those that there are.
    """
    rows = graph.trace(model)
    stages = [graph.stage_of(row) for row in rows]
    frozen = _ancestors(rows, _last_frozen(model.name, rows, stages, until))
    _thaw(model)
    learned, kept = {}, {}
    for row, stage in zip(rows, stages, strict=True):
        still = row.name in frozen or (batch_norm and isinstance(row.operation, L.BatchNormalization))
        if isinstance(row.operation, L.Layer) and still:
            row.operation.trainable = False
        if row.params:
            counts, others = (kept, learned) if still else (learned, kept)
            counts[stage] = counts.get(stage, 0) + row.params
            others.setdefault(stage, 0)
    return Frozen(model.name, tuple((stage, learned[stage], kept[stage]) for stage in kept))


def _last_frozen(name, rows, stages, until):
    """The names of the layers up to which a net is frozen."""
    with_weights = [row for row in rows if row.params]
    if not with_weights:
        raise ValueError(f"{name} has no layer with weights")
    if until is None:
        return []
    if until == "head":
        return list(with_weights[-1].inputs)
    chosen = [row.name for row, stage in zip(rows, stages, strict=True) if until in (stage, row.name)]
    if not chosen:
        known = dict.fromkeys(stage for row, stage in zip(rows, stages, strict=True) if row.params)
        raise ValueError(f'{name} has no stage or layer {until!r}; stages: {", ".join(known)}; or "head"')
    return chosen


def _ancestors(rows, names):
    """The names of these layers and of all that they are computed from."""
    inputs, pending, ancestors = {row.name: row.inputs for row in rows}, list(names), set()
    while pending:
        name = pending.pop()
        if name not in ancestors:
            ancestors.add(name)
            pending += inputs[name]
    return ancestors


def _thaw(model):
    """All layers learn again, those of nested models too. One by one, since setting a model's flag to what it already is
    does not reach its layers."""
    model.trainable = True
    for layer in model.layers:
        layer.trainable = True
        if isinstance(layer, keras.Model):
            _thaw(layer)
