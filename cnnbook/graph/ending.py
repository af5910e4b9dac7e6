"""What a net's end is: probabilities or scores, one unit or several. Whoever reads a net's outputs asks `ending`.

The graph is read backwards from an output, through nested models, past what only hands values on, to what made them.
Nothing is guessed: a layer that is not known here, or whose `call` a subclass has replaced, is no answer.
"""

from dataclasses import dataclass, field

import keras
import numpy as np

from ..arguments import whole_number
from ..keras_internals import deep_graphs, producing_call
from .rewrite import as_functional, flatten
from .rules import rule_of

KINDS = {
    "softmax": "probabilities of several classes that sum to 1",
    "sigmoid": "several probabilities, each on its own",
    "probability": "one unit, the probability of class 1",
    "logits": "a score for each class, which nothing squashes",
    "logit": "one unit, the score of class 1, which nothing squashes",
}


@dataclass(frozen=True)
class Ending:
    """How one output of a net is to be read. See `ending`.

    kind: a key of `KINDS`, None where it cannot be known. per: "image" for an output (n,), "pixel" for a map (h, w, n), or
    whatever else has places. units: n; classes: n, 2 for one unit. squashing: the operation that makes probabilities of
    scores, or None; `after`: the operations behind it, in order, which only hand values on (dropout, a cast, names of
    classes, another shape). Called without its softmax or sigmoid, and those called on the result, it gives the logits.
    why: where kind is None the layer that hides it; where there are probabilities and no `squashing`, why there is no
    way back to scores; else "".
    """

    kind: str | None
    per: str
    units: int | None
    classes: int | None
    squashing: object = None
    after: tuple = ()
    why: str = ""
    model: object = field(default=None, repr=False)
    output: int = 0

    @property
    def from_logits(self):
        """What Keras' losses call from_logits; None where it cannot be known."""
        return None if self.kind is None else self.kind in ("logits", "logit")

    @property
    def binary(self):
        """Whether one unit tells two classes apart."""
        return self.units == 1

    @property
    def threshold(self):
        """For one unit: from where on class 1 is meant, 0.5 of a probability, 0 of a logit. ValueError if not known."""
        return 0.0 if self.known().from_logits else 0.5

    def known(self, say=None):
        """Itself; ValueError, with the reason and what to do, where the kind is not known. say: how to tell the caller."""
        if self.kind is None:
            say = say or f"kind= is one of {', '.join(_possible(self.units))}"
            raise ValueError(
                f"it cannot be told whether {self.model.name} gives probabilities or scores: {self.why}. "
                f"End it with a softmax, a sigmoid or a layer without activation, or say it: {say}"
            )
        return self

    @property
    def call(self):
        """The call of `squashing` in `flatten(model)`, as `calls_in` gives it: its operation may be called elsewhere too."""
        if self.squashing is None:
            return None
        tensor = flatten(self.model).outputs[self.output]
        for _ in self.after:
            tensor = producing_call(tensor).input_tensors[0]
        return producing_call(tensor)

    @property
    def scores(self):
        """The tensor of `flatten(model)` that is squashed; None where a layer squashes what it computes itself, whose
        `activation` is then to be made linear."""
        alone = self.squashing is not None and _activation(self.squashing) is not None
        return self.call.input_tensors[0] if alone else None

    def probabilities(self, outputs):
        """The probabilities (n, ..., classes) that outputs (n, ..., units) stand for; for one unit those of 0 and 1."""
        p, kind = _floating(outputs), self.known().kind
        if kind == "logits":
            p = np.exp(p - p.max(-1, keepdims=True))
            return p / p.sum(-1, keepdims=True)
        if kind == "logit":
            small = np.exp(-np.abs(p))
            p = np.where(p >= 0, 1, small) / (1 + small)
        return np.concatenate([1 - p, p], -1) if self.binary else p

    def labels(self, outputs):
        """The classes that outputs (n, ..., units) stand for, int64 (n, ...): the greatest of several; of one unit 1 from
        its `threshold` on."""
        outputs = np.asarray(outputs)
        if self.binary:
            return (outputs[..., 0] >= self.threshold).astype("int64")
        return outputs.argmax(-1)


def _floating(values):
    """As float32 or float64."""
    values = np.asarray(values)
    return values if values.dtype in (np.float32, np.float64) else values.astype("float32")


def ending(model, output=0, *, kind=None):
    """The `Ending` of a net's output: softmax, sigmoid, or logits where nothing squashes.

    model: a functional or Sequential keras.Model. output: which of several; the first is the main one. kind: where the
    caller knows better, or the net does not show it, a key of `KINDS`, which is believed.

    A mean of logits, or a sum, is logits; a mean of softmaxes is a softmax without logits, while their sum is neither.
    log_softmax is logits as it stands, since softmax(log_softmax(z)) = softmax(z). ReLU and its kin give scores, of which
    one unit alone, never negative, has no threshold: None. hard_sigmoid and sparsemax give probabilities, but no logits.
    tanh, log_sigmoid, exponential, a Lambda or an unknown layer: None. One unit that nothing squashes is a "logit": that it
    might be a regression's value, nothing in a graph can show. ValueError for a model without a graph, an output that it
    does not have, and a kind that does not fit its units.
    """
    graph = as_functional(model)
    output = whole_number(output, "output", 0, len(graph.outputs) - 1)
    tensor = graph.outputs[output]
    shape = tuple(tensor.shape)[1:]
    with deep_graphs():
        found = _Reader().seen(tensor, None) if shape else _unknown("its output has no axis of classes")
    units = shape[-1] if shape else 1
    found = _for_one_unit(found) if units == 1 else found
    one, several = {"sigmoid": "probability", "scores": "logit"}, {"scores": "logits", "positive": "logits"}
    seen = (one if units == 1 else several).get(found.values, found.values)
    if kind is not None:
        _check_kind(kind, units, model)
        found = (
            found
            if kind == seen
            else _Found(kind, why="" if "logit" in kind else "its kind was told, not seen")
        )
    return Ending(
        kind=kind or seen,
        per="pixel" if len(shape) > 1 else "image",
        units=units,
        classes=2 if units == 1 else units,
        squashing=found.squashing,
        after=found.after if found.squashing is not None else (),
        why=found.why,
        model=model,
        output=output,
    )


def _possible(units):
    """The kinds that an output of so many units may be of."""
    return ("probability", "logit") if units == 1 else ("softmax", "sigmoid", "logits")


def _check_kind(kind, units, model):
    if kind not in _possible(units):
        known = ", ".join(_possible(units))
        raise ValueError(f"kind is one of {known} for {model.name}, whose units are {units}; got {kind!r}")


def _for_one_unit(found):
    """What is known of one unit alone."""
    if found.values == "softmax":
        return _unknown("a softmax over one class is always 1")
    if found.values == "positive":
        return _unknown(f"{found.why} is never negative, so no value of one unit means class 0")
    return found


# --------------------------------------------------------------------------- how it is read


@dataclass(frozen=True)
class _Found:
    """What the values of a tensor are: "scores", "positive" (scores that are never negative), "softmax" (they sum to 1 over
    the last axis), "sigmoid" (each from 0 to 1), None if not known, and why; the other fields as those of `Ending`."""

    values: str | None
    squashing: object = None
    after: tuple = ()
    why: str = ""


def _unknown(why):
    return _Found(None, why=why)


def _words(operation):
    activation = getattr(getattr(operation, "activation", None), "__name__", "")
    return f"{operation.name} ({type(operation).__name__}{', ' + activation if activation else ''})"


# Activations by what they give, in lower case. Those with a star squash in a way that no softmax or sigmoid undoes.
_ACTIVATIONS = {
    "softmax": "softmax",
    "softmax*": "sparsemax",
    "sigmoid": "sigmoid",
    "sigmoid*": "hardsigmoid sparsesigmoid",
    "positive": "relu relu6 softplus squareplus sparseplus",
    "scores": "leakyrelu prelu elu selu celu gelu silu swish mish hardsilu hardswish tanhshrink softshrink hardshrink",
    "normalised": "logsoftmax",
    "linear": "linear",
}
_GROUPS = {name: group for group, names in _ACTIVATIONS.items() for name in names.split()}
_LAYERS_THAT_ACTIVATE = "ReLU LeakyReLU PReLU ELU Softmax"
# They hand on values, each as it is, all of them or some.
_HAND_ON = """
Identity Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D GaussianNoise GaussianDropout AlphaDropout
ActivityRegularization Labels Cast StopGradient Reshape Flatten Permute Transpose Squeeze ExpandDims GetItem
Cropping1D Cropping2D Cropping3D MatchSize ShuffleChannels
"""
# Means of values at several places, or of several inputs.
_MEANS = """
Average GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D AveragePooling1D AveragePooling2D
AveragePooling3D AveragePool Mean UpSampling1D UpSampling2D UpSampling3D Resizing Resize RepeatVector
"""
# One of several values, or a zero: of probabilities each is still from 0 to 1, but they no longer sum to 1.
_CHOICES = """
GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D MaxPooling1D MaxPooling2D MaxPooling3D MaxPool Max Amax
MaxUnpooling TakeChannels PadChannels ZeroPadding1D ZeroPadding2D ZeroPadding3D Pad Maxout
"""
_SUMS = "Add Subtract Multiply CustomScaleLayer SumSplits Sum"
_SCALES = "Divide TrueDivide Negative Rescaling Normalization"
_NORMS = "BatchNormalization LayerNormalization GroupNormalization RMSNormalization"
_EXTREMES = "Maximum Minimum"
_ALL = " ".join([_HAND_ON, _MEANS, _CHOICES, _SUMS, _SCALES, _EXTREMES, "Concatenate Stack"])
# Kernels: whatever goes in, sums of any size come out, unless the layer's own activation squashes them.
_KERNELS = """
Dense EinsumDense BaseConv BaseConvTranspose DepthwiseConv1D DepthwiseConv2D SeparableConv1D SeparableConv2D
LocallyConnected2D Matmul Einsum Dot Conv ConvTranspose DepthwiseConv SeparableConv
"""


def _kind_of(operation):
    """The nearest class of Keras or of this course that an operation is of; None if a subclass computes something else."""
    for cls in type(operation).__mro__:
        if cls.__module__.split(".")[0] in ("keras", "cnnbook"):
            same = getattr(type(operation), "call", None) is getattr(cls, "call", None)
            return cls if same else None
    return None


def _named(operation, names):
    """Whether an operation does what the classes of these names do."""
    cls = _kind_of(operation)
    return cls is not None and any(
        c.__name__ in names.split() and getattr(c, "call", None) is getattr(cls, "call", None)
        for c in cls.__mro__
    )


def _activation(operation):
    """The group of `_ACTIVATIONS` of an operation that does nothing but activate, or "?" for an unknown one; None if it
    does something else."""
    if _named(operation, "Activation"):
        return _of_function(operation.activation)
    if isinstance(operation, keras.layers.Layer) and not _named(operation, _LAYERS_THAT_ACTIVATE):
        return None
    cls = _kind_of(operation)
    return None if cls is None else _GROUPS.get(cls.__name__.lower())


def _of_function(function):
    """The group of `_ACTIVATIONS` of an activation function, or "?"."""
    if function is None:
        return "linear"
    if isinstance(function, keras.Operation):
        group = _activation(function)
        return "?" if group is None or not _over_last_axis(function) else group
    home = (getattr(function, "__module__", None) or "").split(".")[0]
    # TensorFlow calls its softmax softmax_v2
    name = getattr(function, "__name__", "").replace("_", "").removesuffix("v2")
    return _GROUPS.get(name, "?") if home in ("keras", "tensorflow", "jax") else "?"


def _over_last_axis(operation, rank=None):
    """Whether a softmax is over the last axis, that of the classes."""
    axis = getattr(operation, "axis", -1)
    axis = axis if isinstance(axis, (tuple, list)) else (axis,)
    return len(axis) == 1 and axis[0] in (-1, None if rank is None else rank - 1)


class _Reader:
    """Reads tensors backwards. scope: {id of a nested model's input: (tensor outside, its scope)}, None outside."""

    def __init__(self):
        self.known = {}

    def seen(self, tensor, scope):
        """The `_Found` of a tensor."""
        key = id(tensor), id(scope)
        if key not in self.known:
            # the scope is kept, so that no other can have its id
            self.known[key] = self._read(tensor, scope), scope
        return self.known[key][0]

    def _read(self, tensor, scope):
        if scope and id(tensor) in scope:
            return self.seen(*scope[id(tensor)])
        call = producing_call(tensor)
        if call.is_input:
            return _unknown(f"{call.operation.name} is its input")
        if isinstance(call.operation, keras.Model):
            return self._inside(call, tensor, scope)
        return self._operation(call, scope)

    def _inside(self, call, tensor, scope):
        try:
            inner = as_functional(call.operation)
        except ValueError:
            return _unknown(f"{_words(call.operation)} has no graph")
        place = next(i for i, output in enumerate(call.outputs) if output is tensor)
        if len(inner.inputs) != len(call.input_tensors):
            return _unknown(f"{_words(call.operation)} is called with other inputs than it was made of")
        pairs = zip(inner.inputs, call.input_tensors, strict=True)
        return self.seen(inner.outputs[place], {id(own): (given, scope) for own, given in pairs})

    def _operation(self, call, scope):
        operation = call.operation
        activation = _activation(operation)
        if activation is not None:
            return self._activated(call, activation, scope, alone=True)
        if _named(operation, _KERNELS) or rule_of(operation).group in ("conv", "dense"):
            if _kind_of(operation) is None:
                return _unknown(f"{_words(operation)} has a call of its own")
            return self._activated(call, _of_function(getattr(operation, "activation", None)), scope)
        if _named(operation, "TimeDistributed"):
            group = _of_function(getattr(operation.layer, "activation", None))
            if not _named(operation.layer, _KERNELS) or group not in ("softmax", "sigmoid", "linear"):
                return _unknown(_hides(operation))
            why = f"{_words(operation)} squashes inside the layer that it wraps"
            return _Found("scores") if group == "linear" else _Found(group, why=why)
        if _named(operation, _NORMS):
            return _Found("scores")
        return self._combined(call, scope)

    def _activated(self, call, group, scope, alone=False):
        """What an activation gives; alone: where it is an operation of its own, and not the end of a layer's."""
        operation = call.operation
        if group in ("softmax", "softmax*", "normalised") and not _over_last_axis(
            operation if alone else None, len(call.outputs[0].shape)
        ):
            return _unknown(f"{_words(operation)} is not over the last axis, that of the classes")
        if group in ("softmax", "sigmoid"):
            return _Found(group, squashing=operation)
        if group in ("softmax*", "sigmoid*"):
            return _Found(group[:-1], why=f"{_words(operation)} squashes in a way that cannot be undone")
        if group == "?":
            return _unknown(_hides(operation))
        if not alone:
            values = "positive" if group == "positive" else "scores"
            return _Found(values, why=_words(operation) if values == "positive" else "")
        before = self.seen(call.input_tensors[0], scope)
        if group == "linear":
            return _further(before, operation)
        if before.values in ("softmax", "sigmoid"):
            return _unknown(f"{_words(operation)} changes probabilities")
        if group == "normalised" or before.values is None:
            return _Found("scores") if group == "normalised" else before
        return _Found(group, why=_words(operation) if group == "positive" else "")

    def _combined(self, call, scope):
        """What an operation gives that has neither a kernel nor an activation."""
        operation = call.operation
        inputs = call.input_tensors[: rule_of(operation).reads]
        if not inputs or not _named(operation, _ALL):
            return _unknown(_hides(operation))
        found = [self.seen(tensor, scope) for tensor in inputs]
        ranks = inputs[0].shape, call.outputs[0].shape
        if _named(operation, _HAND_ON):
            return _handed_on(operation, found[0], *ranks)
        values = {one.values for one in found}
        if "scores" in values and _named(operation, f"{_SUMS} {_MEANS} {_EXTREMES}"):
            return _Found("scores")  # whatever comes to a score leaves a score
        if len(values) > 1 or None in values:
            hidden = next((one for one in found if one.values is None), None)
            return hidden or _unknown(f"{_words(operation)} joins {' and '.join(sorted(values))}")
        kept = _kept_by(operation, *values, len(found), *ranks)
        if kept is None:
            return _unknown(f"{_words(operation)} makes something else of probabilities")
        mixed = f"{_words(operation)} mixes probabilities, and no scores lie behind it"
        return _Found(kept, why={"scores": "", "positive": found[0].why}.get(kept, mixed))


def _hides(operation):
    return f"{_words(operation)} shows neither that it gives probabilities nor that it gives scores"


def _further(before, operation):
    """The same values behind one more operation."""
    return _Found(before.values, before.squashing, (*before.after, operation), before.why)


def _handed_on(operation, before, given, made):
    """Values in another shape, or as they were: a softmax only where the last axis is still that of the classes."""
    moved = tuple(given) != tuple(made) or _named(operation, "Permute Transpose")
    stays = given[-1] == made[-1]
    if _named(operation, "Permute"):
        stays = tuple(operation.dims)[-1] == len(given) - 1
    if _named(operation, "Transpose"):
        axes = operation.axes
        stays = axes is not None and axes[-1] in (-1, len(given) - 1)
    if before.values == "softmax" and moved and not stays:
        return _unknown(f"{_words(operation)} moves the classes away from the last axis")
    return _further(before, operation)


def _kept_by(operation, values, count, given, made):
    """What an operation makes of values that are all of one sort: the same sort, another, or None."""
    axis = getattr(operation, "axis", None)
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    joins = _named(operation, "Concatenate Stack")
    last = bool({-1, len(made if joins else given) - 1} & {*axes})
    if _named(operation, _MEANS):
        mixes_classes = _named(operation, "Mean") and (axis is None or last)
        # bicubic overshoots
        overshoots = getattr(operation, "interpolation", "nearest") not in ("nearest", "bilinear")
        fails = values == "softmax" and mixes_classes or values in ("softmax", "sigmoid") and overshoots
        return None if fails else values
    if joins:
        return None if values == "softmax" and last else values
    if _named(operation, _CHOICES):
        return None if values == "softmax" else values
    if values == "sigmoid" and count > 1 and _named(operation, f"{_EXTREMES} Multiply"):
        return values
    if values in ("softmax", "sigmoid"):
        return None
    if count == 1 and _named(operation, _EXTREMES):
        return "positive" if _named(operation, "Maximum") else "scores"
    return values if _named(operation, "Multiply Divide TrueDivide") or count > 1 else "scores"
