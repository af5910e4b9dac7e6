"""What nets with a class per pixel share: backbones, enlarging, bringing maps to one size, the class of every pixel.

A backbone is any keras.Model of images; `graph.features` finds its maps. Its layers are used, not copied: training the
dense net trains the backbone, and two nets on one backbone share it (keras.models.clone_model copies). Whatever follows
the backbone's last map, a classifier for one, is left out.
"""

import itertools

import keras
from keras import layers as L

from .. import graph
from .layers import MatchSize


def encoder(backbone, input_shape, *, name):
    """`graph.features` of a backbone: {stride: Endpoint}, `.model` the net they belong to.

    backbone: a keras.Model, whose input counts: input_shape is None or the same. Raises ValueError for another thing, for
    another input_shape, and for a net without maps of at least two strides.
    """
    if not isinstance(backbone, keras.Model):
        raise ValueError(
            f"{name}: backbone is a keras.Model or a builder's name such as 'ResNet50', got {backbone!r}"
        )
    shape = tuple(backbone.input_shape[1:])
    if input_shape is not None and tuple(input_shape) != shape:
        raise ValueError(
            f"{name}: the backbone {backbone.name} reads {shape}; input_shape is that or None, got {input_shape!r}"
        )
    found = graph.features(backbone)
    if len(found) < 2:
        raise ValueError(f"{name}: the backbone {backbone.name} has maps at strides {list(found)}, needs two")
    return found


def report(name, found, wanted):
    """Says in one line which strides a decoder does without, where there are any."""
    missing = [stride for stride in wanted if stride not in found]
    if missing:
        strides = ", ".join(map(str, missing))
        print(f"{name}: {found.model.name} has no map at stride {strides}; decoded without it")


def factor(coarse, fine, name):
    """How many times a map of stride `coarse` is enlarged to stride `fine`."""
    if coarse % fine:
        raise ValueError(f"{name}: stride {coarse} of the backbone is no multiple of its stride {fine}")
    return coarse // fine


def steps_up(maps, name):
    """A backbone's coarsest map, and the steps from it to stride 1: (stride, the map there or None, times larger)."""
    strides = sorted({1, *maps}, reverse=True)
    report(name, maps, [2**i for i in range(strides[0].bit_length())])
    steps = [
        (fine, maps[fine].tensor if fine in maps else None, factor(coarse, fine, name))
        for coarse, fine in itertools.pairwise(strides)
    ]
    return maps[strides[0]].tensor, steps


def match(x, like, *, name, offset=None):
    """`x` with the height and width of `like`: untouched, cropped, or its edge repeated; `offset` as in `MatchSize`."""
    have, wanted = x.shape[1:3], like.shape[1:3]
    if have == wanted and None not in have and not offset:
        return x
    if None not in (*have, *wanted):
        more = [h - w for h, w in zip(have, wanted, strict=True)]
        first = [m // 2 if offset is None else offset for m in more]
        cropping = tuple((f, m - f) for f, m in zip(first, more, strict=True))
        if min(n for side in cropping for n in side) >= 0:
            return L.Cropping2D(cropping, name=f"{name}_crop")(x)
    return MatchSize(offset, name=f"{name}_match")([x, like])


def per_pixel(x, classes, activation, *, name="predictions"):
    """The class of every pixel, by a 1x1 convolution."""
    return L.Conv2D(classes, 1, activation=activation, name=name)(x)
