"""Reads any Keras model as a graph: `trace` (a row per operation), `features`, `flatten`, `summary`.

Every table, picture and test of the course reads a network through `trace`; so whoever changes a stride sees all of them
change. Images are channels last; heights come before widths. Receptive fields follow Araujo, Norris & Sim 2019,
Computing receptive fields of convolutional neural networks: a window of input pixels per unit, walked layer by layer.
"""

import math
import re
from dataclasses import dataclass, replace
from fractions import Fraction

import keras
from keras import layers as L
from keras.src.backend.common import global_state

from .. import tables
from ..keras_internals import deep_graphs

# --------------------------------------------------------------------------- the rows


@dataclass(frozen=True)
class Row:
    """One call of one operation.

    output_shape: without the batch axis; None where the size is free. params: trained numbers (kernels, biases, gamma,
    beta), counted at a layer's first call only; state: what is not trained (moving means and variances). macs:
    multiply-adds of convolutions and dense kernels for one image; None where a size is free. activations: numbers in the
    output. receptive_field, stride: (height, width) in input pixels, of the local path; window: the first input pixel
    that output (0, 0) sees. global_context: a global pool or a flatten lies before, so in truth the unit sees the whole
    image. known: False for an operation that this reader does not understand; the receptive field is then None.
    local: False for a vector of the whole image, which has no place of its own.
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


@dataclass(frozen=True)
class Field:
    """What a tensor's unit sees, per axis: size of its window, step between units, first pixel of unit 0."""

    size: tuple = (1, 1)
    step: tuple = (1, 1)
    start: tuple = (0, 0)
    local: bool = True  # False: a vector for the whole image, with no place of its own
    whole: bool = False  # a global pool or a flatten lies before
    known: bool = True

    def slide(self, kernel, stride, before):
        """The field after a window of `kernel` pixels moves by `stride`, with `before` pixels of padding."""
        return replace(
            self,
            size=tuple(s + (k - 1) * j for s, k, j in zip(self.size, kernel, self.step, strict=True)),
            step=tuple(_tidy(j * s) for j, s in zip(self.step, stride, strict=True)),
            start=tuple(a - p * j for a, p, j in zip(self.start, before, self.step, strict=True)),
        )


def _merge(fields):
    """The field of a merge: the union of its branches' windows. Vectors of the whole image have none to add."""
    whole, known = any(f.whole for f in fields), all(f.known for f in fields)
    local = [f for f in fields if f.local]
    if not local:
        return replace(fields[0], whole=whole, known=known)
    if len({f.step for f in local}) > 1:  # units of different spacing: no one window
        return Field(local=True, whole=whole, known=False)
    start = tuple(min(f.start[a] for f in local) for a in (0, 1))
    end = tuple(max(f.start[a] + f.size[a] for f in local) for a in (0, 1))
    size = tuple(e - s for s, e in zip(start, end, strict=True))
    return Field(size, local[0].step, start, True, whole, known)


# --------------------------------------------------------------------------- what the operations do

# Augmentation inside a net rests outside training, and the net is read at rest. Not RandomCrop, which cuts then, too.
AT_REST = (
    L.RandomFlip,
    L.RandomRotation,
    L.RandomTranslation,
    L.RandomZoom,
    L.RandomContrast,
    L.RandomBrightness,
)
PREPROCESSING = (L.Rescaling, L.Normalization, *AT_REST)
_POINTWISE = (
    *(L.Activation, L.ReLU, L.LeakyReLU, L.PReLU, L.ELU, L.BatchNormalization, L.Identity),
    *(
        L.Dropout,
        L.SpatialDropout2D,
        L.GaussianNoise,
        L.GaussianDropout,
        L.AlphaDropout,
    ),
    *PREPROCESSING,
)
_MERGES = (L.Add, L.Subtract, L.Multiply, L.Average, L.Maximum, L.Minimum, L.Concatenate)
_POINTWISE_OPS = {
    *(
        "Add",
        "Subtract",
        "Multiply",
        "Divide",
        "TrueDivide",
        "Maximum",
        "Minimum",
        "Negative",
        "Absolute",
        "Square",
    ),
    *(
        "Sqrt",
        "Exp",
        "Log",
        "Power",
        "Clip",
        "Relu",
        "Relu6",
        "Sigmoid",
        "Silu",
        "Swish",
        "Tanh",
        "HardSigmoid",
    ),
    "CustomScaleLayer",  # Inception-ResNet in keras.applications: shortcut + scale * branch
    *("HardSwish", "HardSilu", "Gelu", "Softplus", "LeakyRelu", "Elu", "Cast", "Identity"),
}
_GLOBAL_POOLS = (L.GlobalAveragePooling2D, L.GlobalMaxPooling2D)


def _pair(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _padding_before(padding, kernel, stride, sides):
    """Pixels of padding above and to the left; "same" puts the odd pixel below and to the right."""
    if padding != "same":
        return 0, 0
    result = []
    for k, s, n in zip(kernel, stride, sides, strict=True):
        total = max((math.ceil(n / s) - 1) * s + k - n, 0) if n else max(k - s, 0)
        result.append(total // 2)
    return tuple(result)


def _transposed(field, kernel, stride, before):
    """A transposed convolution or an enlargement: steps shrink; a unit sees at most ceil(kernel / stride) inputs."""
    starts, sizes = [], []
    for a, (k, s, p) in enumerate(zip(kernel, stride, before, strict=True)):
        seen = [
            (math.ceil((o + p - k + 1) / s), (o + p) // s) for o in range(s)
        ]  # inputs of outputs 0 .. s-1
        widest = max(range(s), key=lambda o: seen[o][1] - seen[o][0])
        first, last = seen[widest]
        step = field.step[a]
        sizes.append(field.size[a] + max(last - first, 0) * step)
        starts.append(field.start[a] + first * step - widest * Fraction(step) / s)
    step = tuple(_tidy(Fraction(j) / s) for j, s in zip(field.step, stride, strict=True))
    return replace(field, size=tuple(map(_tidy, sizes)), step=step, start=tuple(map(_tidy, starts)))


def _tidy(number):
    return int(number) if number == int(number) else number


def _field(operation, fields, inputs, outputs):
    """The field of the output, from those of the inputs."""
    # Our own layers tell about themselves: `reads`, the number of inputs whose values count; `slide`, as Field.slide
    field, shape = _merge(fields[: getattr(operation, "reads", None)]), inputs[0].shape
    unknown = replace(field, known=False)
    if isinstance(operation, (L.Conv2D, L.DepthwiseConv2D, L.SeparableConv2D)):
        kernel = tuple(
            (k - 1) * d + 1 for k, d in zip(operation.kernel_size, operation.dilation_rate, strict=True)
        )
        stride = _pair(operation.strides)
        return field.slide(kernel, stride, _padding_before(operation.padding, kernel, stride, shape[1:3]))
    if isinstance(operation, L.Conv2DTranspose):
        kernel, stride = operation.kernel_size, _pair(operation.strides)
        if operation.dilation_rate not in (1, (1, 1)) or operation.output_padding is not None:
            return unknown
        cut = [
            max(k - s, 0) // 2 if operation.padding == "same" else 0
            for k, s in zip(kernel, stride, strict=True)
        ]
        return _transposed(field, kernel, stride, cut)
    if isinstance(operation, (L.MaxPooling2D, L.AveragePooling2D)):
        kernel, stride = _pair(operation.pool_size), _pair(operation.strides)
        return field.slide(kernel, stride, _padding_before(operation.padding, kernel, stride, shape[1:3]))
    if isinstance(operation, L.UpSampling2D):
        size = _pair(operation.size)
        kernel = size if operation.interpolation == "nearest" else tuple(2 * s for s in size)
        if operation.interpolation not in ("nearest", "bilinear"):
            return unknown
        cut = [(k - s) // 2 for k, s in zip(kernel, size, strict=True)]
        return _transposed(field, kernel, size, cut)
    if isinstance(operation, L.ZeroPadding2D):
        return field.slide((1, 1), (1, 1), [p[0] for p in operation.padding])
    if isinstance(operation, L.Cropping2D):
        return field.slide((1, 1), (1, 1), [-c[0] for c in operation.cropping])
    if isinstance(operation, _GLOBAL_POOLS) or (isinstance(operation, L.Flatten) and len(shape) > 2):
        return replace(field, local=False, whole=True)
    if isinstance(operation, (L.Dense, *_POINTWISE)) or getattr(operation, "pointwise", False):
        return field
    if hasattr(operation, "slide"):
        return field.slide(*operation.slide(*(t.shape for t in inputs)))
    if isinstance(operation, _MERGES):
        along = getattr(operation, "axis", -1)  # a concatenation side by side moves pixels
        return field if along in (-1, len(outputs[0].shape) - 1) or not field.local else unknown
    if isinstance(operation, (L.LayerNormalization, L.Softmax)):
        axes = operation.axis if isinstance(operation.axis, (tuple, list)) else [operation.axis]
        inside = all(a in (-1, len(shape) - 1) for a in axes) or not field.local
        return field if inside else replace(field, whole=True)
    if isinstance(operation, L.GroupNormalization):
        return replace(field, whole=True)
    if isinstance(operation, L.Reshape) or type(operation).__name__ == "Reshape":
        kept = len(outputs[0].shape) > 2 and tuple(outputs[0].shape[1:3]) == tuple(shape[1:3])
        return field if kept or not field.local else replace(field, local=False, whole=True)
    if type(operation).__name__ in _POINTWISE_OPS:
        return field
    if type(operation).__name__ == "Mean" and not isinstance(operation, keras.layers.Layer):
        axes = operation.axis if isinstance(operation.axis, (tuple, list)) else [operation.axis]
        return replace(field, local=False, whole=True) if {1, 2} <= set(axes) else unknown
    return unknown


def _macs(operation, inputs, outputs):
    """Multiply-adds of one image; 0 for what is no convolution and no dense layer; None where a size is free."""
    if hasattr(operation, "multiply_adds"):  # our own layers with kernels tell themselves
        return operation.multiply_adds(*(t.shape for t in inputs))
    if not isinstance(
        operation, (L.Dense, L.Conv2D, L.DepthwiseConv2D, L.SeparableConv2D, L.Conv2DTranspose)
    ):
        return 0
    into, out = inputs[0].shape, outputs[0].shape
    places = into[1:-1] if isinstance(operation, (L.Conv2DTranspose, L.Dense)) else out[1:-1]
    if None in places:
        return None
    places = math.prod(places)
    if isinstance(operation, L.Dense):
        return places * into[-1] * out[-1]
    window = math.prod(operation.kernel_size)
    if isinstance(operation, L.SeparableConv2D):
        middle = into[-1] * operation.depth_multiplier
        return places * middle * (window + out[-1])
    if isinstance(operation, L.DepthwiseConv2D):
        return places * out[-1] * window
    return places * window * into[-1] * out[-1] // getattr(operation, "groups", 1)


# Variables that training does not learn; told by name, since freezing a layer makes all of its variables untrainable.
_STATE = {"moving_mean", "moving_variance", "mean", "variance", "count", "seed_generator_state"}


def _sizes(operation):
    """(trained, state): how many numbers an operation's variables hold, whether allocated or not."""
    variables = getattr(operation, "weights", [])
    state = sum(math.prod(v.shape) for v in variables if v.name in _STATE)
    return sum(math.prod(v.shape) for v in variables) - state, state


# --------------------------------------------------------------------------- reading a model


def trace(model):
    """A `Row` for every call of every operation, in graph order. Nested models are read through.

    `model` is a functional or Sequential keras.Model that has been built; ValueError for another. A layer called twice
    has two rows, its parameters in the first. Bare operations (`x + y`, `keras.ops`) have rows too.
    """
    model = as_functional(model)
    if any(isinstance(op, keras.Model) for op in model.operations):
        model = flatten(model)
    rows, fields, named, seen = [], {}, {}, set()
    for node in calls_in(model):
        operation, inputs, outputs = node.operation, list(node.input_tensors), list(node.outputs)
        field = _field(operation, [fields[id(t)] for t in inputs], inputs, outputs) if inputs else Field()
        for t in outputs:
            fields[id(t)] = field
        params, state = _sizes(operation) if id(operation) not in seen else (0, 0)
        seen.add(id(operation))
        calls = sum(row.operation is operation for row in rows) if len(operation._inbound_nodes) > 1 else 0
        name = operation.name if not calls else f"{operation.name}:{calls + 1}"
        shape = tuple(outputs[0].shape[1:])
        row = Row(
            name=name,
            kind=type(operation).__name__,
            output_shape=shape,
            params=params,
            state=state,
            macs=_macs(operation, inputs, outputs) if inputs else 0,
            activations=None if None in shape else sum(math.prod(t.shape[1:]) for t in outputs),
            receptive_field=field.size if field.known else None,
            stride=field.step if field.known else None,
            window=field.start if field.known else None,
            global_context=field.whole,
            known=field.known or not inputs,
            inputs=tuple(dict.fromkeys(named[id(t)] for t in inputs)),
            tensor=outputs[0],
            operation=operation,
            local=field.local,
        )
        named.update((id(t), name) for t in outputs)
        rows.append(row)
    return rows


def as_functional(model):
    """The functional form of a model: itself, or a Sequential one's chain with the same layers."""
    if isinstance(model, keras.Sequential):
        if not model.built:
            raise ValueError(
                f"{model.name} has not been built; give it a keras.Input or call it on an image first"
            )
        x = inputs = keras.Input(
            model.inputs[0].shape[1:], dtype=model.inputs[0].dtype, name=f"{model.name}_input"
        )
        for layer in model.layers:
            x = layer(x)
        return keras.Model(inputs, x, name=model.name)
    if not isinstance(model, keras.Model) or not getattr(model, "operations", None):
        raise ValueError(
            f"only functional and Sequential models can be read as a graph, got {type(model).__name__}"
        )
    return model


def calls_in(model):
    """The calls that make up a functional model, every one after those it reads."""
    depths = model._nodes_by_depth
    return [node for depth in sorted(depths, reverse=True) for node in depths[depth]]


def flatten(model):
    """An equal functional model with nested models inlined: the same layers, so the same weights, at one level."""

    def inline(inner, *args, **kwargs):
        if not isinstance(inner, keras.Model):
            return inner(*args, **kwargs)
        inner = as_functional(inner)
        made = dict(zip(map(id, inner.inputs), keras.tree.flatten(args[0]), strict=True))
        for node in calls_in(inner):
            if not node.is_input:
                args, kwargs = node.arguments.fill_in(made)
                results = keras.tree.flatten(inline(node.operation, *args, **kwargs))
                made.update(zip(map(id, node.outputs), results, strict=True))
        return keras.tree.map_structure(lambda tensor: made[id(tensor)], inner.output)

    model = as_functional(model)
    copy = {id(t): keras.Input(t.shape[1:], dtype=t.dtype, name=t.name) for t in model.inputs}
    inputs = keras.tree.map_structure(lambda tensor: copy[id(tensor)], model.input)
    with deep_graphs():
        return keras.Model(inputs, inline(model, inputs), name=model.name)


def blueprint(builder, *args, **arguments):
    """`builder(...)` without memory for its weights: VGG19 in a blink. Count it; it cannot run."""
    # Keras lists variables that have no memory yet and gives it to all of them when the next stateless call ends, be it a
    # gradient of another net or a training step on JAX: gigabytes for plans. So ours leave the list.
    waiting = global_state.get_global_attribute("uninitialized_variables", [], set_to_default=True)
    before = len(waiting)
    try:
        with keras.StatelessScope(initialize_variables=False):
            return builder(*args, **arguments)
    finally:
        del waiting[before:]


def totals(model):
    """The model in one row: input, params, state, macs, activations, and receptive field and stride of its last map.

    Those are of the local path, though a map behind squeeze-and-excitation sees the whole image. Of several outputs the
    first is the main one: the last map is on the way to it, not in an auxiliary head.
    """
    rows = trace(model)
    maps = [r for r in main_rows(rows, model) if len(r.output_shape) == 3 and r.local and r.known]
    macs, activations = [r.macs for r in rows], [r.activations for r in rows]
    return {
        "input": rows[0].output_shape,
        "params": sum(row.params for row in rows),
        "state": sum(row.state for row in rows),
        "macs": None if None in macs else sum(macs),
        "activations": None if None in activations else sum(activations),
        "receptive_field": maps[-1].receptive_field if maps else None,
        "stride": maps[-1].stride if maps else None,
    }


def main_rows(rows, model):
    """The rows on the way to the model's first output; all where there is but one."""
    needed = {row.name for row in rows if row.tensor is model.outputs[0]}
    if len(model.outputs) == 1 or not needed:
        return rows
    for row in reversed(rows):
        needed.update(row.inputs if row.name in needed else ())
    return [row for row in rows if row.name in needed]


# --------------------------------------------------------------------------- the stages of a backbone


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


_NOT_COUNTED = (L.InputLayer, L.ZeroPadding2D, L.Cropping2D, *PREPROCESSING)


def features(model):
    """`{stride: Endpoint}`: for every stride the last map through which all later layers depend on the input.

    Not counted: padding, cropping, preprocessing, and whatever follows the first global pool of the main path. Where no
    single map separates (NASNet's cells read two), the last merge that sees most, marked separates=False. Strides are
    the larger of height's and width's. Auxiliary heads (outputs after the first) are not counted either. For a nested
    model the tensors belong to `.model`, its flattened form.
    """
    model = as_functional(model)
    if any(isinstance(op, keras.Model) for op in model.operations):
        model = flatten(model)
    rows = main_rows(trace(model), model)
    place = {row.name: i for i, row in enumerate(rows)}
    reach = [0] * len(rows)  # how far down the graph an edge leads that starts at or above row i
    for i, row in enumerate(rows):
        for parent in row.inputs:
            reach[place[parent]] = max(reach[place[parent]], i)
    cuts, farthest = [], 0
    for i in range(len(rows)):  # nothing above row i leads past it
        cuts.append(farthest <= i)
        farthest = max(farthest, reach[i])
    endpoints, seen = Endpoints(), {}
    for separates in (False, True):
        for row, cut in zip(rows, cuts, strict=True):
            if not _is_map(row) or isinstance(row.operation, _NOT_COUNTED):
                continue
            if cut if separates else isinstance(row.operation, _MERGES):
                stride = max(row.stride)
                if not separates and row.receptive_field < seen.setdefault(stride, row.receptive_field):
                    continue  # a merge of something earlier, as NASNet's cells make of their second input
                endpoints[stride] = Endpoint(row.name, row.tensor, stride, separates)
                seen[stride] = row.receptive_field
    endpoints = Endpoints(sorted(endpoints.items()))
    endpoints.model = model
    return endpoints


def _is_map(row):
    return (
        row.known and len(row.output_shape) == 3 and max(row.stride) >= 1 and row.output_shape[:2] != (1, 1)
    )


# --------------------------------------------------------------------------- the table


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
    """The stage that a layer's name gives: conv4 of conv4_block6_out, mixed_5b of mixed_5b_conv; else the name itself."""
    for pattern, stage in _STAGES_OF_TWINS:
        if match := pattern.match(row.name):
            return match.expand(stage)
    kind = re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", row.kind)).lower()
    automatic = re.fullmatch(r"(.*?)(_\d+)?", row.name).group(1) == kind  # Keras' own name: conv2d_5
    match = _STAGE.match(row.name)
    return match["stage"] if match and not automatic else row.name


class Summary:
    """A table of a model that shows itself: HTML in a notebook, text elsewhere. `.to_frame()` gives pandas."""

    columns = ("name", "kind", "output", "params", "MACs", "activations", "receptive field", "stride")

    def __init__(self, model, by="layer"):
        if by not in ("layer", "stage"):
            raise ValueError(f'by is "layer" or "stage", got {by!r}')
        self.model, self.by = model, by
        self.rows = trace(model)
        self.total = totals(model)
        self.records = [self._record([row]) for row in self.rows] if by == "layer" else self._stages()

    def _stages(self):
        groups = {}  # NASNet's cells overlap in graph order, so rows of a stage need not be neighbours
        for row in self.rows:
            groups.setdefault(stage_of(row), []).append(row)
        return [self._record(rows, stage) for stage, rows in groups.items()]

    def _record(self, rows, name=None):
        last, macs, activations = rows[-1], [r.macs for r in rows], [r.activations for r in rows]
        kinds = [r.kind for r in rows if r.params or r.macs]
        kind = (
            last.kind if len(rows) == 1 else ", ".join(f"{kinds.count(k)} {k}" for k in dict.fromkeys(kinds))
        )
        return {
            "name": name or last.name,
            "kind": kind or last.kind,
            "output": last.output_shape,
            "params": sum(r.params for r in rows),
            "MACs": None if None in macs else sum(macs),
            "activations": None if None in activations else sum(activations),
            "receptive field": last.receptive_field
            if not last.global_context or len(last.output_shape) == 3
            else "all",
            "stride": last.stride if len(last.output_shape) == 3 else None,
        }

    def to_frame(self):
        """The table as a pandas DataFrame, numbers as numbers, pairs as (height, width)."""
        import pandas as pd

        return pd.DataFrame(self.records, columns=self.columns)

    def cells(self):
        """The table as text, with a line of totals: a list of rows of strings."""
        lines = [[tables.number(record[c]) for c in self.columns] for record in self.records]
        t = self.total
        lines.append(
            ["total", "", "", *(tables.number(t[k]) for k in ("params", "macs", "activations")), "", ""]
        )
        return lines

    def __repr__(self):
        return tables.text(self.model.name, self.columns, self.cells(), left=2)

    def _repr_html_(self):
        return tables.html(self.model.name, self.columns, self.cells(), left=2)


def summary(model, by="layer"):
    """What is in a model, by "layer" or collapsed by "stage": parameters, multiply-adds, activation memory (numbers per
    image), receptive field and stride. The result shows itself; `.to_frame()` gives a pandas DataFrame."""
    return Summary(model, by)
