"""The question that attributions and their checks share: why this class, for this image, in this region?"""

from functools import partial

import keras
import numpy as np
from keras import ops

from ...training import gradients
from ..entrance import prepare
from ..reading import logits


class Question:
    """Why this class, for this image, in this region: a score that can be computed and differentiated.

    The score is the class's logit (before softmax or sigmoid where the net ends with one), for a net whose output is a
    map the mean logit over the region. See `cnnbook.viz.why.attribution` for the arguments.
    """

    def __init__(self, model, image, target=None, mask=None, preprocess=None, names=None):
        self.net, self.x, self.shown = prepare(model, image, preprocess)
        self.preprocess, self.names = preprocess, names
        net = self.net
        last = net.nodes[net.place[net.output]].operation
        straight = logits(last)
        self.swap = {} if straight is None else {id(last): straight}
        self.squash = _squash(last, net[net.output].output_shape)
        answered = self.forward(self.x)
        out = answered[0]
        if out.ndim not in (1, 3):
            raise ValueError(
                f"{model.name} gives {out.shape} for an image; classes (n,) or a map of classes (h, w, n) can be asked about"
            )
        self.mask = self._region(mask, out)
        self.target = self._class(target, out)
        if out.ndim == 3 and mask is None:
            self.mask = self._predicted(out) == self.target
            if not self.mask.any():
                seen = ", ".join(self.name(c) for c in np.unique(self._predicted(out)))
                raise ValueError(
                    f"no pixel is predicted as {self.name(self.target)}, but {seen}; give a mask, or one of these"
                )
        self.score = float(self._reduce(answered)[0])
        self.probability = float(self._reduce(self.squash(answered))[0])

    @property
    def size(self):
        """(height, width) of the image."""
        return self.x.shape[1:3]

    def name(self, target):
        return f"class {target}" if self.names is None else str(self.names[target])

    @property
    def label(self):
        """The class, and the region, in words."""
        region = "" if self.mask is None else f", {int(self.mask.sum())} pixels"
        return f"{self.name(self.target)}{region}"

    def _predicted(self, out):
        return out.argmax(-1) if out.shape[-1] > 1 else np.where(out[..., 0] > 0, 0, -1)

    def _region(self, mask, out):
        if mask is None:
            return None
        if out.ndim != 3:
            raise ValueError(
                f"a mask is for a net whose output is a map; {self.net.model.name} gives a vector of {len(out)} classes"
            )
        given, mask = np.shape(mask), np.asarray(mask)
        mask = mask[..., 0] if mask.ndim == 3 and mask.shape[-1] == 1 else mask
        if mask.shape != out.shape[:2] or not mask.any():
            what = "with no pixel in it" if mask.shape == out.shape[:2] else f"of shape {given}"
            raise ValueError(
                f"mask is (height, width) like the output, {out.shape[:2]}, true in the region; got one {what}"
            )
        return mask.astype(bool)

    def _class(self, target, out):
        classes = out.shape[-1]
        if target is None:
            seen = out if out.ndim == 1 else self._predicted(out)
            if out.ndim == 1:
                return int(seen.argmax())
            values, counts = np.unique(seen if self.mask is None else seen[self.mask], return_counts=True)
            return max(int(values[counts.argmax()]), 0)
        if isinstance(target, str) and self.names is not None and target in list(self.names):
            return list(self.names).index(target)
        if isinstance(target, (bool, str)) or not 0 <= int(target) < classes or int(target) != target:
            also = (
                "" if self.names is None else f", or a name: {', '.join(map(str, list(self.names)[:6]))} ..."
            )
            raise ValueError(f"target is a class from 0 to {classes - 1}{also}; got {target!r}")
        return int(target)

    def forward(self, x, swap=None, batch=32):
        """The logits for images (n, h, w, c), as a NumPy array."""
        parts = []
        for i in range(0, len(x), batch):
            given = {self.net.input: ops.convert_to_tensor(x[i : i + batch])}
            out = self.net.run(given, [self.net.output], {**self.swap, **(swap or {})})[self.net.output]
            parts.append(ops.convert_to_numpy(out))
        return np.concatenate(parts).astype("float32")

    def scores(self, x):
        """The score of every image of (n, h, w, c)."""
        return self._reduce(self.forward(x))

    def probabilities(self, x):
        """The probability of the class for every image of (n, h, w, c), over the region where there is one."""
        return self._reduce(self.squash(self.forward(x)))

    def _reduce(self, out):
        out = out[..., self.target]
        return out if self.mask is None else out[:, self.mask].mean(-1)

    def total(self, given, swap=None):
        """The sum of the scores as a tensor, from the values of `given` layers: what is differentiated."""
        out = self.net.run(given, [self.net.output], {**self.swap, **(swap or {})})[self.net.output]
        out = ops.cast(out, "float32")[..., self.target]
        if self.mask is not None:
            out = out * (self.mask / self.mask.sum()).astype("float32")
        return ops.sum(out)

    def gradient(self, x=None, swap=None, batch=16):
        """The gradient of each image's score for its pixels, (n, h, w, c); of the question's image if none is given."""
        x = self.x if x is None else x
        parts = [
            gradients.of_input(lambda t: self.total({self.net.input: t}, swap), x[i : i + batch])[1]
            for i in range(0, len(x), batch)
        ]
        return np.concatenate(parts)

    def values(self, row):
        """The map (h, w, channels) of a layer for the image."""
        return self.net.read(self.x, [row.name])[row.name][0]

    def slope(self, row, values):
        """The gradient of the score for that map, same shape."""
        image = ops.convert_to_tensor(self.x)  # paths that pass beside the layer start from it
        total = partial(self._total_from, image, row.name)
        return gradients.of_input(total, values[None])[1][0]

    def _total_from(self, image, name, values):
        return self.total({self.net.input: image, name: values})


def _squash(operation, shape):
    """Logits to probabilities: as the net's last operation does it; a net that ends with logits by their number."""
    ends = getattr(operation, "activation", None)
    sigmoid = ends is keras.activations.sigmoid or type(operation).__name__ == "Sigmoid"
    if sigmoid or shape[-1] == 1:
        return lambda z: 1 / (1 + np.exp(-np.clip(z, -60, 60)))

    def softmax(z):
        e = np.exp(z - z.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    return softmax
