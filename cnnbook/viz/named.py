"""The names of classes: those that are given, those that a net carries, and which class a name means."""

import numpy as np

from ..parts.layers import Labels


def names_of(net, names, classes):
    """The names of a net's classes, a tuple of str: `names`, or where none are given those of its `Labels`; else None.

    net: a `reading.Net`. ValueError where there are not as many names as classes.
    """
    if names is None:
        return _carried(net, classes)
    names = _listed(names)
    if len(names) != classes:
        units = " (one unit tells two classes, 0 and 1)" if _units(net) == 1 else ""
        raise ValueError(
            f"names has {len(names)} names, {net.model.name} has {classes} classes{units}: one name for each, in order"
        )
    return names


def names_for(net, names, labels):
    """The names for labels, whole numbers: as `names_of`, but of a net's own only where each label has one.

    ValueError where a label has no name.
    """
    most = int(np.max(labels))
    if names is None:
        carried = _carried(net, None)
        return carried if carried and most < len(carried) else None
    names = _listed(names)
    if most >= len(names):
        raise ValueError(
            f"names has {len(names)} names, the labels go up to {most}: one name for each class, in order"
        )
    return names


def labels_of(labels, images):
    """Labels as an array of whole numbers, one for each of so many images; ValueError otherwise."""
    labels = np.asarray(labels).ravel()
    if len(labels) != images:
        raise ValueError(f"one label for each image is needed; got {len(labels)} for {images}")
    if labels.dtype.kind not in "ui" or (images and labels.min() < 0):
        raise ValueError(
            f"labels are whole numbers from 0 on, the images' classes; got {labels.dtype}, {labels[:4]} ..."
        )
    return labels


def _carried(net, classes):
    on_the_way = net.leading_to(net.output)
    for row in reversed(net.rows):
        if isinstance(row.operation, Labels) and row.name in on_the_way:
            return row.operation.names if classes in (None, len(row.operation.names)) else None
    return None


def _units(net):
    shape = net[net.output].output_shape
    return shape[-1] if shape else 0


def _listed(names):
    if isinstance(names, (str, dict)):
        raise ValueError(
            f"names is a list of the classes' names in their order, got {type(names).__name__} {names!r:.80}"
        )
    return tuple(map(str, names))
