"""The course's own trained nets: small, opened from the package, with a record of how each was made."""

import hashlib
import json
from pathlib import Path

import keras
from keras import layers as L

from .. import data, graph, models

__all__ = ["PRETRAINED", "backbone", "backbones"]

PRETRAINED = Path(__file__).parent / "pretrained"


def backbones():
    """The nets that `backbone` opens: {name: record}.

    A record says how the net was made (builder, classes, held_out, data, protocol, seed, machine) and how good it is:
    accuracy on the test images of its own classes. tools/train_backbone.py makes both.
    """
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(PRETRAINED.glob("*.json"))}


def backbone(name, *, input_shape=None, include_top=False, trained=True):
    """A small net that the course trained itself, as a keras.Model that reads raw pixels (n, h, w, c), 0 to 255.

    It ends in a map (n, h, w, channels), or with include_top=True in probabilities (n, classes).

    name: one of `backbones()`: "fashion7" knows seven classes of Fashion-MNIST, "digits7" the digits 0 to 6; neither has
    seen the other three classes of its data. Both are the same builder for 14 x 14 grey pixels, so one can stand in for the
    other. "scenes7" knows fashion7's classes as the coloured item of drawn scenes, 32 x 32 RGB. A net scales its pixels
    itself (layer "scale"). input_shape: the one it was trained with, or any that its builder takes. trained=False gives the
    same net with new weights, to compare with. Raises ValueError for a name that does not exist, data.DataError where the
    file of weights is missing or damaged.
    """
    known = backbones()
    if name not in known:
        raise ValueError(
            f"no backbone of the course is called {name!r}; there are: {', '.join(known)}. Nets with ImageNet "
            'weights are builders: models.EfficientNetLite0(weights="imagenet", include_top=False)'
        )
    record = known[name]
    shape = tuple(input_shape or record["input_shape"])
    net = models.builder(record["builder"])(
        **record["arguments"], input_shape=shape, classes=len(record["classes"])
    )
    if trained:
        path = PRETRAINED / f"{name}.weights.h5"
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != record["sha256"]:
            raise data.DataError(
                f"{path.name} is missing or damaged (its sha256 differs): install cnnbook again"
            )
        net.load_weights(path)
    if not include_top:
        net = keras.Model(net.input, list(graph.features(net).values())[-1].tensor)
    x = inputs = keras.Input(shape, name="image")
    x = L.Rescaling(1 / record["std"], -record["mean"] / record["std"], name="scale")(x)
    return graph.flatten(keras.Model(inputs, net(x), name=name))
