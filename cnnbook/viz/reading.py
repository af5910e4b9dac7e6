"""A net that runs call by call: what every picture of a network stands on.

Layers are called by name, wherever they lie: nested and Sequential models are read as one graph (`graph.flatten`).
The stage's name works too: "conv4" is the last map of conv4_block1_1_conv ... conv4_block6_out.
"""

import contextlib
import difflib
from types import MethodType

import keras
import numpy as np
from keras import layers as L
from keras import ops

from .. import graph
from ..arguments import whole_number
from ..keras_internals import filled_in
from ..training import fast

# Groups of layers that hand pixels on: they see nothing in them.
HAND_ON = ("input", "padding", "preprocessing")

# --------------------------------------------------------------------------- a net, call by call


class Net:
    """A model whose calls can be watched, replaced and skipped. `rows` as `graph.trace` returns them, `nodes` their calls.

    The layers are the model's own, so are the weights; the model itself is never changed. `shape` fills in unknown sizes.
    output: which of several outputs is asked about, its place or its name.
    """

    def __init__(self, model, shape=None, output=0):
        self.model = graph.flatten(model, shape)
        if len(self.model.inputs) != 1 or len(self.model.inputs[0].shape) != 4:
            shapes = [tuple(t.shape[1:]) for t in self.model.inputs]
            raise ValueError(f"{model.name} must take one image (height, width, channels), it takes {shapes}")
        self.rows, self.nodes = graph.trace(self.model), graph.calls_in(self.model)
        self.place = {row.name: i for i, row in enumerate(self.rows)}
        named = {
            id(t): row.name for row, node in zip(self.rows, self.nodes, strict=True) for t in node.outputs
        }
        self.input = named[id(self.model.inputs[0])]
        self.number = _place_of(graph.as_functional(model), output)
        self.output = named[id(self.model.outputs[self.number])]
        # of an operation with several outputs, such as ops.split, the one that the model gives
        self.tensor = {name: self.nodes[i].outputs[0] for name, i in self.place.items()}
        self.tensor[self.output] = self.model.outputs[self.number]

    @property
    def shape(self):
        """(height, width, channels) of the image that the net takes."""
        return self[self.input].output_shape

    def __getitem__(self, name):
        return self.rows[self.place[name]]

    def row(self, layer):
        """The row of a layer, by its name, its stage's name (the stage's last map) or the layer itself."""
        if isinstance(layer, keras.Operation):  # it may go by another name here, where two have one
            named = [row.name for row in self.rows if graph.same_layer(row.operation, layer)]
            layer = named[0] if named else layer.name
        name = layer
        if name in self.place:
            return self[name]
        stage = [r for r in self.rows if graph.stage_of(r) == name and len(r.output_shape) == 3]
        stage = [r for r in stage if r.group != "padding"]
        if stage:
            return stage[-1]
        stages = [s for s in dict.fromkeys(map(graph.stage_of, self.rows)) if s not in self.place]
        close = difflib.get_close_matches(str(name), [*self.place, *stages], 4, 0.4)
        close = close or [r.name for r in self.rows if len(r.output_shape) == 3][-4:]
        has = f" or a stage ({', '.join(stages)})" if stages else ""
        raise ValueError(
            f"{self.model.name} has no layer {name!r}; near it are {', '.join(close)}. "
            f"Any of its {len(self.rows)} layers will do{has}: cnnbook.summary(model) names them"
        )

    def map(self, layer):
        """The row of a layer whose output is a map (height, width, channels); ValueError if it is not."""
        row = self.row(layer)
        if len(row.output_shape) != 3:
            before = [r.name for r in self.rows[: self.place[row.name]] if len(r.output_shape) == 3]
            raise ValueError(
                f"{row.name} of {self.model.name} has no map, its output has the shape {row.output_shape}; "
                f"the last map before it is {before[-1]}"
            )
        return row

    def last_map(self):
        """The row of the map that a class activation map reads: the last before the global pool through which all ways to
        the output lead, so that it speaks for all branches of a block.

        Where none at the coarsest stride does (NASNet's cells read two), it is that of `graph.features`. Of a net whose
        output is a map itself (segmentation) it is the last map at its coarsest stride.
        """
        before, ends_in_map = self._between([self.output], ()), len(self[self.output].output_shape) == 3
        rows = [row for row in self.rows if row.name in before]
        on_every_way = {row.name for row, cut in zip(rows, graph.cuts(rows), strict=True) if cut}
        if ends_in_map:  # skip the class-score maps: they are what is to be explained
            rows = rows[: max((i for i, row in enumerate(rows) if row.params), default=0)]
        maps = [r for r in rows if len(r.output_shape) == 3 and r.group not in HAND_ON]
        maps = [r for r in maps if r.output_shape[:2] != (1, 1)] or maps  # a pooled vector may keep its axes
        if not maps:
            raise ValueError(f"{self.model.name} has no map before its head; name a layer")
        strides = {r.name: max(r.stride) for r in maps if r.known}
        coarsest = max(strides.values(), default=None)
        if ends_in_map:
            return [r for r in maps if not strides or strides.get(r.name) == coarsest][-1]
        separating = [r for r in maps if r.name in on_every_way]
        if separating and (separating[-1] is maps[-1] or strides.get(separating[-1].name) == coarsest):
            return separating[-1]
        ends = [end.name for end in graph.features(self.model).values() if end.name in strides]
        return self[ends[-1]] if ends else (separating or maps)[-1]

    def check_it_leads(self, row):
        """ValueError where a row does not lead to the output that is asked about."""
        if row.name in self.leading_to(self.output):
            return
        tensors = {id(t): r.name for r, node in zip(self.rows, self.nodes, strict=True) for t in node.outputs}
        ends = [tensors[id(tensor)] for tensor in self.model.outputs]
        leads = [i for i, end in enumerate(ends) if row.name in self.leading_to(end)]
        where = " and ".join(f"{i} ({ends[i]})" for i in leads)
        there = f"it leads to the output {where}: output={leads[0]}" if leads else "it leads to no output"
        raise ValueError(
            f"{row.name} of {self.model.name} does not lead to the output {self.number} ({self.output}); {there}"
        )

    def hides_fields(self, row):
        """In words, the first layer on the way to a row behind which no receptive field is known."""
        lost = next(r for r in self.rows if r.name in self.leading_to(row.name) and not r.known)
        return (
            f"where the units of {lost.name} ({lost.kind}) look, the graph of {self.model.name} does not say"
        )

    def leading_to(self, name):
        """The names of the layers that a layer is made of, itself among them."""
        return self._between([name], ())

    def _between(self, wanted, given):
        """Names of the layers that must run to get from the layers `given` to those `wanted`."""
        needed, stack = set(), [name for name in wanted if name not in given]
        while stack:
            name = stack.pop()
            if name not in needed:
                needed.add(name)
                stack += [parent for parent in self[name].inputs if parent not in given]
        return needed

    def run(self, given, wanted, swap=None):
        """The values of the layers `wanted`, {name: tensor}, from those `given`; only what lies between is computed.

        given: {name: tensor}, of the input or of any layer. swap: {id of an operation, or of one call: what to call in its
        place}.
        Always in inference mode.
        """
        swap, values, needed = swap or {}, {}, self._between(wanted, given)
        for name, value in given.items():
            values[id(self.tensor[name])] = value
        if self.input in needed:
            raise ValueError(
                f"{wanted} of {self.model.name} need the image, or more layers than {list(given)}"
            )
        for i in sorted(self.place[name] for name in needed):
            node = self.nodes[i]
            args, kwargs = filled_in(node, values)
            if kwargs.get("training") is not None:
                kwargs["training"] = False
            call = swap.get(id(node), swap.get(id(node.operation), node.operation))
            results = (twin(call) if fast.goes_wrong(call) else call)(*args, **kwargs)
            values.update(zip(map(id, node.outputs), keras.tree.flatten(results), strict=True))
        return {name: values[id(self.tensor[name])] for name in wanted}

    def read(self, images, wanted, batch=32, finite=True):
        """The values of the layers `wanted` for images (n, h, w, c) as NumPy arrays, {name: array}.

        ValueError where they are not finite, unless finite=False.
        """
        parts = []
        for i in range(0, len(images), batch):
            x = ops.convert_to_tensor(images[i : i + batch])
            parts.append({k: ops.convert_to_numpy(v) for k, v in self.run({self.input: x}, wanted).items()})
        values = {name: np.concatenate([part[name] for part in parts]).astype("float32") for name in wanted}
        for name in wanted if finite else ():
            self.refuse_what_is_not_finite(values[name], images)
        return values

    def refuse_what_is_not_finite(self, values, images):
        """ValueError, with the layer it begins in, where values that the net has made of images are not all finite."""
        if np.isfinite(values).all():
            return
        where = self._first_with_wrong_weights()
        if not where:
            made = self.run({self.input: ops.convert_to_tensor(images[:1])}, [row.name for row in self.rows])
            wrong = [row for row in self.rows if not _finite(made[row.name])]
            first = wrong[0] if wrong else self.rows[-1]
            where = f"its weights are finite, and it begins in {first.name} ({first.kind})"
        raise ValueError(f"{self.model.name} answers with numbers that are not finite: {where}")

    def _first_with_wrong_weights(self):
        for row in self.rows:
            weights = [v for v in getattr(row.operation, "weights", ()) if not _finite(v)]
            if weights:
                return (
                    f"the first weights that are not finite are {weights[0].name} of {row.name} ({row.kind})"
                )
        return ""


def _finite(values):
    return bool(np.isfinite(ops.convert_to_numpy(values).astype("float32")).all())


def _place_of(model, output):
    """The place of an output among those of a model, which is given by its place or by its name."""
    keys = model.output if isinstance(model.output, dict) else {}
    keys = {id(tensor): key for key, tensor in keys.items()}
    names = [keys.get(id(t), name) for t, name in zip(model.outputs, model.output_names, strict=True)]
    if isinstance(output, str):
        if names.count(output) == 1:
            return names.index(output)
    else:
        with contextlib.suppress(ValueError):
            return whole_number(output, "output", least=0, most=len(names) - 1)
    has = "one output, 0" if len(names) == 1 else f"the outputs 0 to {len(names) - 1} ({', '.join(names)})"
    raise ValueError(f"{model.name} has {has}; got output={output!r}")


def twin(layer, **changed):
    """The same layer with the same variables and other attributes: `twin(conv, activation=keras.activations.linear)`.

    The layer itself stays as it is. (Copying by `copy` would save and load it, with new variables.)
    """
    other = object.__new__(type(layer))
    other.__dict__.update(layer.__dict__, **changed)
    if fast.goes_wrong(layer):
        other.convolution_op = MethodType(fast.split_convolution, layer)
    return other


def unsquashed(ending):
    """What to call in place of what makes probabilities of scores at a net's end, to get the scores (`graph.ending`)."""
    if ending.scores is not None:  # an operation of its own
        return lambda x, **_: x
    return twin(ending.squashing, activation=keras.activations.linear)


def before_activation(operation):
    """What to call in place of a layer to get what its own activation receives; None if it has none."""
    if isinstance(operation, (L.Activation, L.ReLU, L.Softmax)) or type(operation).__name__ in (
        "Relu",
        "Relu6",
    ):
        return lambda x, **_: x
    if getattr(operation, "activation", None) in (None, keras.activations.linear):
        return None
    return twin(operation, activation=keras.activations.linear)


# --------------------------------------------------------------------------- maps on the image


def spread(values, row, size):
    """Maps (h, w, ...) brought to the image's size (height, width): every unit stands at the centre of its receptive
    field (of an enlarged map at equal distances, which is right in the mean), values between are linear and beyond the
    first and last unit constant. Where the field is not known the map is stretched over the image."""
    matrices = []
    for axis in (0, 1):
        n, pixels = values.shape[axis], np.arange(size[axis])
        if row.known and row.stride is not None and row.stride[axis]:
            centres = float(row.centre[axis]) + float(row.stride[axis]) * np.arange(n)
        else:
            centres = (np.arange(n) + 0.5) * size[axis] / n - 0.5
        matrices.append(np.stack([np.interp(pixels, centres, unit) for unit in np.eye(n)], axis=1))
    return np.einsum("yh,hw...,xw->yx...", matrices[0], values, matrices[1], optimize=True)
