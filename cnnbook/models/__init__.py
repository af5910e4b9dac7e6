"""The networks of the course, one file per paper. `help(VGG16)` shows a builder's arguments.

Every builder returns an uncompiled functional keras.Model and takes, by keyword only,

input_shape            (height, width, channels), channels last; sides may be None where no layer flattens
classes                the number of classes
include_top            False leaves the classifier out: the model ends with its last feature map
pooling                with include_top=False: None (the map), "avg" or "max" (a vector)
weights                None (new), "imagenet" where a source exists, or the path of a .weights.h5 file
classifier_activation  "softmax", or None for logits
norm                   nets that normalise: None (batch normalisation with the paper's constants), or a function,
                       called as norm(name=...), that makes a layer: functools.partial(keras.layers.GroupNormalization, 8)
name                   the model's name

and the arguments of its paper, which its own help explains. Nets with a class per pixel (FCN32s, UNet, ...) have no top
to leave out, so neither include_top nor pooling; most take instead

backbone               None (the paper's encoder), a keras.Model, or the name of a builder (see cnnbook.parts.decoders),
                       input_shape is then that of the Model, or (224, 224, 3) by default

Some nets hold layers that Keras lacks (local response normalisation, channel shuffles, maxout ...). A saved one opens by
`cnnbook.load(path)`, or by keras.models.load_model after `import cnnbook.layers`.

A new network is one file, its architecture under `@network` (see cnnbook.models.network), and its lines of figures.csv.
A wrong argument raises ValueError (TypeError for a name that does not exist) and says what is possible.
"""

import csv
import functools
import importlib
import json
from pathlib import Path

from .published import detectors, winners, zoo
from .registry import BUILDERS, TABLE, builder, imagenet_sources

__all__ = [
    *BUILDERS,
    "BUILDERS",
    "builder",
    "decode",
    "detectors",
    "figures",
    "imagenet_sources",
    "preprocess",
    "reported",
    "scaling",
    "table",
    "winners",
    "zoo",
]


def __getattr__(name):
    if name in BUILDERS:
        return getattr(importlib.import_module(f"cnnbook.models.{BUILDERS[name]}"), name)
    if name in set(BUILDERS.values()):
        return importlib.import_module(f"cnnbook.models.{name}")
    raise AttributeError(f"cnnbook.models has no {name!r}; its builders are {', '.join(BUILDERS)}")


def __dir__():
    return sorted({*__all__, *BUILDERS.values()})


def scaling(model):
    """The name of a net's input scaling, such as "tf" (see weights.scaling); None if it has no ImageNet weights.

    `model` is one of our models, a builder or a builder's name, in any case.
    """
    name = model if isinstance(model, str) else getattr(model, "__name__", None) or model.name
    if name.lower() not in map(str.lower, BUILDERS):
        return None
    source = getattr(builder(name), "imagenet", None)
    return source.scaling if source else None


def preprocess(model):
    """The input scaling of a net with ImageNet weights: a function of RGB images (..., h, w, 3) in 0 to 255.

    `model` is one of our models, a builder or a builder's name. Raises ValueError for a net that has no weights, and
    so no scaling of its own.
    """
    from .. import weights

    mode = scaling(model)
    if mode is None:
        name = model if isinstance(model, str) else getattr(model, "__name__", None) or model.name
        raise ValueError(
            f"{name} has no ImageNet weights, so no input scaling of its own; "
            f"these have: {', '.join(imagenet_sources())}"
        )
    return weights.scaling(mode)


def decode(probabilities, top=5):
    """The `top` ImageNet names for each row of probabilities (n, 1000): a list of [(name, probability), ...].

    ValueError for another shape, and for logits.
    """
    import numpy as np

    p = np.asarray(probabilities)
    if p.ndim != 2 or p.shape[1] != 1000:
        raise ValueError(
            f"probabilities of the 1000 ImageNet classes have the shape (n, 1000), got {p.shape}"
        )
    if p.size and (p.min() < -1e-3 or p.max() > 1 + 1e-3):
        raise ValueError(
            f"probabilities are from 0 to 1, and these go from {p.min():.4g} to {p.max():.4g}: "
            "of logits, decode(keras.ops.softmax(logits))"
        )
    # The first word of each synset of ILSVRC 2012 (WordNet), in the order of all published weights.
    names = (Path(__file__).parent / "imagenet_classes.txt").read_text("utf-8").splitlines()
    return [[(names[i], float(row[i])) for i in np.argsort(row)[::-1][:top]] for row in p]


@functools.cache
def figures():
    """The published figures, one dict per builder and arguments: the file figures.csv beside this one.

    convolutions, a text, is how many layers convolve; params are trained parameters (batch norm's moving statistics not
    counted), macs multiply-adds of convolutions and dense layers for one image, receptive_field and stride those of the last
    feature map, errors in per cent. smallest, on a builder's first line, is the smallest side in pixels that it takes.
    """
    rows = [dict(row) for row in TABLE]
    for row in rows:
        row["arguments"] = json.loads(row["arguments"] or "{}")
        for key in ("smallest", "params", "macs", "receptive_field", "stride"):
            row[key] = int(row[key]) if row[key] else None
        for key in ("top1_err", "top5_err"):
            row[key] = float(row[key]) if row[key] else None
        arguments = ", ".join(f"{k}={v!r}" for k, v in row["arguments"].items())
        row["call"] = f"{row['builder']}({arguments})"
    return rows


@functools.cache
def reported(table):
    """What papers report beyond counts and errors of a builder: the rows of reported.csv with that `table`, as dicts.

    entry: the net or the setting. value: a number where it is one, else text. spread: one standard deviation over `runs`
    runs, None where the source gives none. source: the paper and its table or section. ValueError for a table that there
    is not, with those that there are.
    """
    with open(Path(__file__).with_name("reported.csv"), encoding="utf-8", newline="") as file:
        rows = [dict(row) for row in csv.DictReader(file)]
    known = list(dict.fromkeys(row["table"] for row in rows))
    if table not in known:
        raise ValueError(f"nothing is reported under {table!r}; there is: {', '.join(known)}")
    for row in rows:
        for key in ("value", "spread", "runs"):
            row[key] = _number(row[key])
    return [row for row in rows if row["table"] == table]


def _number(text):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text or None


def table(only=None, tell=None):
    """Every row of `figures`, counted now: dicts with builder, input, params, macs, receptive_field, stride, ...

    `only` keeps the builders whose name holds it, in any case. `published` holds the row of `figures`. tell(i, n, call)
    hears what is counted next: all of them take a minute or two.
    """
    from .. import graph

    wanted = [row for row in figures() if not only or only.lower() in row["builder"].lower()]
    rows = []
    for i, row in enumerate(wanted, 1):
        if tell:
            tell(i, len(wanted), row["call"])
        model = graph.blueprint(builder(row["builder"]), **row["arguments"])
        total = graph.totals(model)
        keep = {k: row[k] for k in ("top1_err", "top5_err", "source", "note")}
        rows.append({"builder": row["call"], **total, **keep, "published": row})
    return rows
