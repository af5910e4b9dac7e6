"""The question that attributions and their checks share: why this class, for this image, in this region?"""

from dataclasses import replace
from functools import partial

import numpy as np
from keras import ops

from ... import graph
from ...arguments import whole_number
from ...training import gradients
from ..entrance import prepare
from ..named import names_of
from ..reading import unsquashed


class Question:
    """Why this class, for this image, in this region: a score that can be computed and differentiated.

    What the net's output is says `graph.ending`. The score is the class's logit, before softmax or sigmoid; for one unit,
    which tells two classes, its logit for class 1 and the negative one for class 0. `measure` says what it is: "logit";
    "probability" where no logits lie behind the probabilities, as in a mean of softmaxes; or "output", the number that the
    net gives, where it cannot be known what that is, and for a unit without sigmoid, names and target, which may be a
    regression's value: it has no `probability` then, and the single unit no class (`target` is None). For a net whose
    output is a map the score is the mean over the region. See `cnnbook.viz.why.attribution` for the arguments.
    """

    def __init__(self, model, image, target=None, mask=None, preprocess=None, names=None, output=0):
        told = output if isinstance(output, graph.Ending) else None
        self.net, self.x, self.shown = prepare(model, image, preprocess, told.output if told else output)
        self.preprocess, self.output = preprocess, output
        _check_output(self.net)
        self.ending = graph.ending(self.net.model, self.net.number, kind=told.kind if told else None)
        self._read(mask, told is None and target is None and names is None)
        self.names = (
            names_of(self.net, names, self.classes) if self.classes > 1 or names is not None else None
        )
        answered = self.forward(self.x)
        self.net.refuse_what_is_not_finite(answered, self.x)
        out = answered[0]
        self.mask = self._region(mask, out)
        self.target = self._class(target, out)
        if out.ndim == 3 and mask is None:
            self.mask = self._whole(out) if self.target is None else self._labels(out) == self.target
            if not self.mask.any():
                seen = ", ".join(self.name(c) for c in np.unique(self._labels(out)))
                raise ValueError(
                    f"no pixel is predicted as {self.name(self.target)}, but {seen}; give a mask, or one of these"
                )
        self.score = float(self._reduce(answered)[0])
        self.probability = None if self.measure == "output" else float(self.probabilities_of(answered)[0])

    def _read(self, mask, unsaid):
        """Sets how the output is read: its measure, its classes, and what is run in place of what squashes. unsaid: whether
        nothing that the caller gave says that it is of classes."""
        ending, logits = self.ending, self.ending.squashing is not None or self.ending.from_logits
        unsaid = unsaid and ending.kind == "logit" and (ending.per == "image" or mask is not None)
        if ending.kind is None or unsaid:
            self.measure, self.classes = "output", ending.units
        else:
            self.measure, self.classes = "logit" if logits else "probability", ending.classes
        self.swap = {} if ending.squashing is None else {id(ending.call): unsquashed(ending)}
        # the same ending without what squashes, which is how the scores are to be read
        kinds = {"softmax": "logits", "probability": "logit"} if logits else {}
        self._scores = replace(ending, kind=kinds.get(ending.kind, ending.kind))

    @property
    def size(self):
        """(height, width) of the image."""
        return self.x.shape[1:3]

    def name(self, target):
        if target is None:
            return "the net's output"
        return f"class {target}" if self.names is None else self.names[target]

    @property
    def label(self):
        """The class, and the region, in words."""
        region = "" if self.mask is None else f", {int(self.mask.sum())} pixels"
        return f"{self.name(self.target)}{region}"

    @property
    def caption(self):
        """The score, and the probability where there is one, in words."""
        if self.measure == "logit":
            return f"logit {self.score:.2f}, p = {self.probability:.2f}"
        if self.target is None:
            return f"{self.score:.2f}"
        return f"output {self.score:.2f}" if self.probability is None else f"p = {self.probability:.2f}"

    def _whole(self, out):
        return np.ones(out.shape[:2], bool)

    def _labels(self, out):
        """The class of every place, (h, w)."""
        return out.argmax(-1) if self.classes == out.shape[-1] else self._scores.labels(out)

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
        if target is None and self.classes == 1:
            return None
        if target is None:
            seen = self._labels(out)
            values, counts = np.unique(seen if self.mask is None else seen[self.mask], return_counts=True)
            return int(values[counts.argmax()])
        return class_of(target, self.classes, self.names)

    def forward(self, x, swap=None, batch=32):
        """The scores (n, ..., units) for images (n, h, w, c), as a NumPy array: logits where `measure` says so."""
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
        """The probability of the class for every image of (n, h, w, c), over the region where there is one; where there are
        no probabilities the score."""
        out = self.forward(x)
        return self._reduce(out) if self.probability is None else self.probabilities_of(out)

    def probabilities_of(self, out):
        """The same of what `forward` gave."""
        if self.ending.kind == "sigmoid" and self.measure == "logit":  # each unit on its own
            alone = replace(self.ending, kind="logit", units=1)
            p = alone.probabilities(out[..., [self.target]])[..., 1]
        else:
            p = self._scores.probabilities(out)[..., self.target]
        return p if self.mask is None else p[:, self.mask].mean(-1)

    def of_class(self, out):
        """The class's score (n, ...) in what the net gives (n, ..., units), of NumPy or a tensor."""
        if self.target is None or self.classes == out.shape[-1]:
            return out[..., self.target or 0]
        if self.target == 1:
            return out[..., 0]
        return -out[..., 0] if self.measure == "logit" else 1 - out[..., 0]

    def _reduce(self, out):
        out = self.of_class(out)
        return out if self.mask is None else out[:, self.mask].mean(-1)

    def total(self, given, swap=None):
        """The sum of the scores as a tensor, from the values of `given` layers: what is differentiated."""
        out = self.net.run(given, [self.net.output], {**self.swap, **(swap or {})})[self.net.output]
        out = self.of_class(ops.cast(out, "float32"))
        if self.mask is not None:
            out = out * ops.convert_to_tensor(self.mask / self.mask.sum(), "float32")
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


def class_of(target, classes, names):
    """The number of a class that is given by it or by its name."""
    if isinstance(target, str) and names is not None:
        found = [i for i, name in enumerate(names) if name == target]
        if len(found) > 1:
            which = " and ".join(map(str, found))
            raise ValueError(f"the name {target!r} stands for the classes {which}: give the class's number")
        if found:
            return found[0]
    try:
        return whole_number(target, "target", least=0, most=classes - 1)
    except ValueError:
        also = (
            "" if names is None else f", or a name: {', '.join(names[:6])}{' ...' if len(names) > 6 else ''}"
        )
        raise ValueError(f"target is a class from 0 to {classes - 1}{also}; got {target!r}") from None


def _check_output(net):
    """ValueError for an output that holds no scores of classes."""
    tensor = net.model.outputs[net.number]
    if len(tensor.shape) not in (2, 4):
        raise ValueError(
            f"{net.model.name} gives {tuple(tensor.shape[1:])} for an image; classes (n,) or a map of classes (h, w, n) can "
            "be asked about"
        )
    if "float" not in str(tensor.dtype):
        raise ValueError(
            f"{net.model.name} gives {tensor.dtype}, no scores that could rise or fall: ask a model of what lies before"
        )
