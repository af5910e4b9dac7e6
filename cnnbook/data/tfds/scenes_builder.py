"""The scenes as a TFDS builder: after `import cnnbook.data.tfds.scenes_builder`, `tfds.load("cnnbook_scenes/segment")`.

Wraps `cnnbook.data.scenes`: same images, same answers. `cnnbook.data.prepare("cnnbook_scenes/classify")` does the
same safely with several processes at once.
"""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds

from ..drawn import scenes
from .drawn_builder import Drawn, DrawnConfig


@dataclasses.dataclass
class SceneConfig(DrawnConfig):
    """task, side in pixels, seed, and how many scenes each part has."""

    task: str = "segment"


class CnnbookScenes(Drawn):
    """Fashion-MNIST items on textured canvases. Features: `image` (size, size, 3) and `mask` (size, size, 1) uint8, `boxes`
    (k, 4) and `labels` int64 in the order of the function; `label` for the task "classify"."""

    BUILDER_CONFIGS = [
        SceneConfig(name="segment", description="The class of every pixel."),
        SceneConfig(
            name="classify", description="One coloured target among grey distractors.", task="classify"
        ),
    ]
    text = scenes.__doc__

    def features(self, config):
        image, mask = (config.size, config.size, 3), (config.size, config.size, 1)
        features = {"image": tfds.features.Image(shape=image), "mask": tfds.features.Image(shape=mask)}
        if config.task == "segment":
            features["boxes"] = tfds.features.Tensor(shape=(scenes.MOST, 4), dtype=np.int64)
            features["labels"] = tfds.features.Tensor(shape=(scenes.MOST,), dtype=np.int64)
        else:
            features["boxes"] = tfds.features.Tensor(shape=(1, 4), dtype=np.int64)
            features["label"] = tfds.features.ClassLabel(names=scenes.CLASSES["classify"])
        return features

    def keys(self, config):
        return "image", "mask" if config.task == "segment" else "label"

    def example(self, config, part, i):
        drawn = scenes.scenes(1, task=config.task, size=config.size, seed=config.seed, part=part, start=i)
        answer = {"labels": drawn.labels[0]} if config.task == "segment" else {"label": int(drawn.labels[0])}
        return {
            "image": drawn.images[0],
            "mask": drawn.masks[0][..., None],
            "boxes": drawn.boxes[0],
            **answer,
        }
