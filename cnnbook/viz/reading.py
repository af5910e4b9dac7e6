"""A net that runs call by call, and images that fit it: what every picture of a network stands on.

Layers are called by name, wherever they lie: nested and Sequential models are read as one graph (`graph.flatten`).
The stage's name works too: "conv4" is the last map of conv4_block1_1_conv ... conv4_block6_out.
"""

import difflib
from types import MethodType

import keras
import numpy as np
from keras import layers as L
from keras import ops

from .. import graph
from ..keras_internals import filled_in
from ..training import fast
from .picture import in_unit_range

# Groups of layers that hand pixels on: they see nothing in them.
HAND_ON = ("input", "padding", "preprocessing")

# --------------------------------------------------------------------------- a net, call by call


class Net:
    """A model whose calls can be watched, replaced and skipped. `rows` as `graph.trace` returns them, `nodes` their calls.

    The layers are the model's own, so are the weights; the model itself is never changed. `shape` fills in unknown sizes.
    """

    def __init__(self, model, shape=None):
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
        self.output = named[id(self.model.outputs[0])]  # of several outputs the first

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

        given: {name: tensor}, of the input or of any layer. swap: {id of an operation: what to call in its place}.
        Always in inference mode.
        """
        swap, values, needed = swap or {}, {}, self._between(wanted, given)
        for name, value in given.items():
            values[id(self.nodes[self.place[name]].outputs[0])] = value
        if self.input in needed:
            raise ValueError(
                f"{wanted} of {self.model.name} need the image, or more layers than {list(given)}"
            )
        for i in sorted(self.place[name] for name in needed):
            node = self.nodes[i]
            args, kwargs = filled_in(node, values)
            if kwargs.get("training") is not None:
                kwargs["training"] = False
            call = swap.get(id(node.operation), node.operation)
            results = (twin(call) if fast.goes_wrong(call) else call)(*args, **kwargs)
            values.update(zip(map(id, node.outputs), keras.tree.flatten(results), strict=True))
        return {name: values[id(self.nodes[self.place[name]].outputs[0])] for name in wanted}

    def read(self, images, wanted, batch=32):
        """The values of the layers `wanted` for images (n, h, w, c) as NumPy arrays, {name: array}."""
        parts = []
        for i in range(0, len(images), batch):
            x = ops.convert_to_tensor(images[i : i + batch])
            parts.append({k: ops.convert_to_numpy(v) for k, v in self.run({self.input: x}, wanted).items()})
        return {name: np.concatenate([part[name] for part in parts]).astype("float32") for name in wanted}


def twin(layer, **changed):
    """The same layer with the same variables and other attributes: `twin(conv, activation=keras.activations.linear)`.

    The layer itself stays as it is. (Copying by `copy` would save and load it, with new variables.)
    """
    other = object.__new__(type(layer))
    other.__dict__.update(layer.__dict__, **changed)
    if fast.goes_wrong(layer):
        other.convolution_op = MethodType(fast.split_convolution, layer)
    return other


def logits(operation):
    """What to call instead of the last operation to get the scores before its softmax or sigmoid; None if it has neither."""
    squashing = (keras.activations.softmax, keras.activations.sigmoid)
    if getattr(operation, "activation", None) in squashing:
        return twin(operation, activation=keras.activations.linear)
    if isinstance(operation, L.Softmax) or type(operation).__name__ in ("Softmax", "Sigmoid"):
        return lambda x, **_: x
    return None


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


# --------------------------------------------------------------------------- an image that fits


def prepare(model, image, preprocess=None):
    """(net, x, shown): the net, the image as it takes it (1, h, w, c) float32, and the picture to show, 0 to 1."""
    pixels = np.asarray(image)
    if pixels.ndim == 4 and len(pixels) == 1:
        pixels = pixels[0]
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3:
        raise ValueError(
            f"one image (height, width, channels) is needed, got an array of shape {np.shape(image)}"
        )
    net, x = fit(model, pixels[None], preprocess)
    return net, x, show(pixels)


def fit(model, images, preprocess=None):
    """(net, x): the net and the images (n, h, w, c) as it takes them, float32. ValueError says what does not fit.

    `preprocess` is the net's input scaling, a function of images as they are seen (0 to 255, or 0 to 1).
    """
    images = np.asarray(images)
    if images.ndim != 4 or not len(images):
        raise ValueError(f"images have the shape (n, height, width, channels), got {images.shape}")
    if images.dtype.kind not in "uifb" or not np.isfinite(images).all():
        raise ValueError(f"images are finite numbers, got {images.dtype} with values that are not")
    low, high = float(images.min()), float(images.max())
    if preprocess is not None and (low < 0 or high > 255):
        raise ValueError(
            f"preprocess takes images as they are seen, from 0 to 255; these go from {low:.4g} to {high:.4g}, "
            "as if it had been applied already: leave one of the two out"
        )
    x = np.asarray(preprocess(images) if preprocess else images).astype("float32")
    net = Net(model, x.shape[1:])
    if any(have is not None and have != got for have, got in zip(net.shape, x.shape[1:], strict=True)):
        raise ValueError(
            f"{model.name} takes images of shape {net.shape}, got {x.shape[1:]}; data.resize(images, size) resizes"
        )
    if preprocess is None:
        _check_range(net, images.dtype, low, high)
    return net, x


def _check_range(net, dtype, low, high):
    scale = scales_pixels(net)
    if scale and (low < 0 or high > 255 or (dtype.kind == "f" and 0 < high <= 1)):
        raise ValueError(
            f"{net.model.name} begins with {scale}: it takes values from 0 to 255, these go from {low:.4g} to {high:.4g}"
        )
    if not scale and dtype == np.uint8:
        raise ValueError(
            f"{net.model.name} does not scale its input, and these are raw pixels from 0 to 255: give the images as it "
            "was trained on them, or preprocess=..., their scaling; if it was trained on raw pixels, x.astype('float32')"
        )


def scales_pixels(net):
    """The name of the layer that divides pixels of 0 to 255 at the entrance of a net, "" if there is none."""
    at = net.input
    for row in net.rows:
        if row.inputs == (at,) and isinstance(row.operation, graph.AT_REST):
            at = row.name  # augmentation, which does nothing at inference
        elif row.inputs == (at,):
            rescales = isinstance(row.operation, L.Rescaling)
            return row.name if rescales and np.max(np.abs(row.operation.scale)) < 0.02 else ""
    return ""


def show(pixels):
    """An image (h, w, c) as it can be drawn: (h, w, 3) or (h, w), 0 to 1."""
    pixels = in_unit_range(pixels)
    return pixels if pixels.shape[-1] == 3 else pixels.mean(-1)


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
