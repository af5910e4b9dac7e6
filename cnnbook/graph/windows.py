"""Which pixels each unit of a map sees: followed back from the units to the image, operation by operation.

Where maps only shrink, all units of one have windows of one size at equal distances, and `fields` says where they are.
Behind an enlargement they have not: of a map that has been enlarged twice by nearest neighbours, units 0 and 1 see the same
pixels, and a 3x3 convolution over it sees two or three of the units before, by its place. Every pair is (height, width).
"""

from dataclasses import replace

import numpy as np

from .fields import union

_FAR = 1 << 40  # a unit that sees nothing sees from here to -_FAR


def windows(rows, row):
    """((tops, bottoms), (lefts, rights)): the pixels that each unit of a map can see, bottoms and rights excluded.

    rows: those of `trace`; row: one of them. Arrays of whole numbers, one for each row and each column of the map; they
    may reach beyond the image. A unit that sees no pixel, between the kernels of a transposed convolution with a stride
    larger than its window, has equal ends. ValueError for a row without windows that are known.
    """
    sides = row.output_shape[:2]
    if not row.known or not row.local or len(row.output_shape) != 3 or None in sides:
        raise ValueError(f"{row.name} has no windows that are known from the graph ({row.kind})")
    places = {r.name: i for i, r in enumerate(rows)}
    return tuple(_seen(rows, places, row, axis, np.arange(side)) for axis, side in enumerate(sides))


def placed(row, field, rows):
    """(the `Row` of a call with its window and centre, its `Field`); rows: those before it."""
    if not field.known:
        return replace(row, field=field), field
    if field.regular:
        centre = tuple(first + (size - 1) / 2 for first, size in zip(field.start, field.size, strict=True))
        return replace(row, field=field, centre=centre), field
    row = replace(row, field=field)
    places = {r.name: i for i, r in enumerate(rows)}
    read = [rows[places[name]] for name in row.reads]
    before = union([r.field for r in read])
    if not field.moves and (field.size, field.step, field.start) != (before.size, before.step, before.start):
        field = field.unknown()  # its rule says where units look, but not how they moved there
        row = replace(row, field=field, known=False, receptive_field=None, stride=None, window=None)
    elif not field.local or (not field.moves and len(read) == 1):
        seen = {name: getattr(read[0], name) for name in ("receptive_field", "window", "centre")}
        row = replace(row, **seen)
    else:
        ways = [_along(rows, places, row, axis) for axis in (0, 1)]
        size, first, centre = zip(*ways, strict=True)
        row = replace(row, receptive_field=size, window=first, centre=centre)
    return row, field


def _along(rows, places, row, axis):
    """(the largest window, the first pixel of unit 0, its centre) along an axis: of the units until all repeats."""
    units, step = np.arange(row.field.period[axis]), float(row.field.step[axis])
    first, stop = _seen(rows, places, row, axis, units, edges=False)
    centres = ((first + stop - 1) / 2 - units * step)[stop > first]
    return int((stop - first).max()), int(first[0]), float(centres.mean()) if len(centres) else 0.0


def _seen(rows, places, row, axis, units, edges=True):
    """(first pixels, last + 1) that units see along an axis. edges: whether a repeated edge shows what it repeats."""
    place = places.get(row.name, len(rows))  # a row that is just being made is not among them
    asked, seen = {place: (units, units)}, None
    for i in range(place, -1, -1):
        if i not in asked:
            continue
        here = rows[i] if i < len(rows) else row
        ends, field = asked.pop(i), here.field
        if field.regular:
            start, step, size = field.start[axis], field.step[axis], field.size[axis]
            seen = _together(seen, (ends[0] * step + start, ends[1] * step + start + size - 1))
            continue
        for move in reversed(field.moves):
            ends = _back(move, axis, *ends, edges)
        for parent in here.reads:
            if rows[places[parent]].local:
                asked[places[parent]] = _together(asked.get(places[parent]), ends)
    first, last = seen
    return np.where(first > last, 0, first), np.where(first > last, 0, last + 1)


def _back(move, axis, first, last, edges):
    """The first and last units of its input that an operation reads for the outputs from `first` to `last`."""
    nothing, (kind, *how) = first > last, move
    if kind == "edge":
        side = how[0][axis]
        first, last = (np.clip(first, 0, side - 1), np.clip(last, 0, side - 1)) if edges else (first, last)
    else:
        kernel, stride, before = (pair[axis] for pair in how)
        if kind == "slide":
            first, last = first * stride - before, last * stride - before + kernel - 1
        else:
            first, last = -((kernel - 1 - before - first) // stride), (last + before) // stride
    return np.where(nothing, _FAR, first), np.where(nothing, -_FAR, last)


def _together(a, b):
    """The units of either; a may be None."""
    nothing = b[0] > b[1]
    b = np.where(nothing, _FAR, b[0]), np.where(nothing, -_FAR, b[1])
    return b if a is None else (np.minimum(a[0], b[0]), np.maximum(a[1], b[1]))
