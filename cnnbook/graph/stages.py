"""Stages of a network: what its layers' names say, and the last map at each stride."""

import re
from dataclasses import dataclass

from .rewrite import flatten, prefix_of
from .rows import main_rows, trace

# --------------------------------------------------------------------------- by name

_STAGE = re.compile(r"^(?P<stage>[a-z]+_?\d+[a-z]?)(?:_|$)")
# Families whose names, those of keras.applications, say it otherwise: EfficientNet's block2b_bn, MobileNetV2's and V3's
# block_3_expand and expanded_conv_3_expand, MobileNet's conv_dw_3_bn, NASNet's normal_conv_1_7 and adjust_bn_reduce_4.
_STAGES_OF_TWINS = [
    (re.compile(r"^(stem|top)_.*"), r"\1"),
    (re.compile(r"^(?:bn_)?([Cc]onv_?\d*)(?:_(?:bn|relu|activation))?$"), r"\1"),
    (re.compile(r"^(block\d+)[a-z]_"), r"\1"),
    (re.compile(r"^((?:block|expanded_conv)(?:_\d+)?)_[a-z].*"), r"\1"),
    (re.compile(r"^conv_(?:dw|pw|pad)_(\d+).*"), r"block_\1"),
    (
        re.compile(r"^(?:normal|reduction|adjust|separable_conv)_.*?_((?:stem_|reduce_)?\d+)(?:_relu)?$"),
        r"cell_\1",
    ),
]


def stage_of(row):
    """The stage that a layer's name gives: conv4 of conv4_block6_out, mixed_5b of mixed_5b_conv; else the name itself.

    Each of two nested nets whose layers have the same names has stages of its own: one.conv4 of one.conv4_block6_out.
    """
    prefix = prefix_of(row.operation)
    return prefix + _stage(row.name.removeprefix(prefix), row.kind)


def _stage(name, kind):
    for pattern, stage in _STAGES_OF_TWINS:
        if match := pattern.match(name):
            return match.expand(stage)
    match = _STAGE.match(name)
    return match["stage"] if match and not is_automatic(name, kind) else name


def is_automatic(name, kind):
    """Whether Keras has made the name of a layer of this class: conv2d_5 of Conv2D."""
    return re.fullmatch(r"(.*?)(_\d+)?", name).group(1) == _in_lower_case(kind)


def automatic(row):
    """The kind of a row in Keras' way to write it, where Keras made the name of it: conv2d for conv2d_5; else None."""
    name = row.name.removeprefix(prefix_of(row.operation)).partition(":")[0]
    return _in_lower_case(row.kind) if is_automatic(name, row.kind) else None


def _in_lower_case(kind):
    return re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", kind)).lower()


# --------------------------------------------------------------------------- by the graph


@dataclass(frozen=True)
class Endpoint:
    """The last map at one stride. separates: all later layers depend on the input through it alone."""

    name: str
    tensor: object
    stride: int
    separates: bool


class Endpoints(dict):
    """{stride: Endpoint}, with the model they belong to: `keras.Model(e.model.inputs, e[8].tensor)` is a backbone."""

    model = None


def features(model):
    """`{stride: Endpoint}`: for every stride the last map through which all later layers depend on the input.

    Not counted: padding, cropping, preprocessing, and whatever follows the first global pool of the main path. Where no
    single map separates (NASNet's cells read two), the last merge that sees most, marked separates=False. Strides are
    the larger of height's and width's. Auxiliary heads (outputs after the first) are not counted either. For a nested
    model the tensors belong to `.model`, its flattened form.
    """
    model = flatten(model)
    rows = main_rows(trace(model), model)
    maps = [(row, cut) for row, cut in zip(rows, cuts(rows), strict=True) if _counts(row)]
    endpoints, seen = {}, {}
    for row, _ in maps:
        if row.group == "merge":
            stride = max(row.stride)
            # not a merge of something earlier, as NASNet's cells make of their second input
            if row.receptive_field >= seen.setdefault(stride, row.receptive_field):
                endpoints[stride] = Endpoint(row.name, row.tensor, stride, separates=False)
                seen[stride] = row.receptive_field
    for row, cut in maps:
        if cut:
            stride = max(row.stride)
            endpoints[stride] = Endpoint(row.name, row.tensor, stride, separates=True)
    endpoints = Endpoints(sorted(endpoints.items()))
    endpoints.model = model
    return endpoints


def cuts(rows):
    """For each row of a net whether all later ones depend on the earlier ones through it alone: no edge leads past it."""
    place = {row.name: i for i, row in enumerate(rows)}
    reach = [0] * len(rows)  # how far down the graph an edge leads that starts at row i
    for i, row in enumerate(rows):
        for parent in row.inputs:
            reach[place[parent]] = max(reach[place[parent]], i)
    found, farthest = [], 0
    for i in range(len(rows)):
        found.append(farthest <= i)
        farthest = max(farthest, reach[i])
    return found


def _counts(row):
    """Whether a row is a map with a place at some stride, and more than padding or preprocessing."""
    is_map = len(row.output_shape) == 3 and row.output_shape[:2] != (1, 1)
    if not is_map or not row.known or max(row.stride) < 1:
        return False
    return row.group not in ("input", "padding", "preprocessing")
