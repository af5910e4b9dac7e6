"""The faces as a TFDS builder: after `import cnnbook.data.tfds.faces_builder`, `tfds.load("cnnbook_faces")`.

Wraps `cnnbook.data.faces`: same images, same answers. `cnnbook.data.prepare("cnnbook_faces")` does the same safely with
several processes at once.
"""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds

from ..drawn import faces
from .drawn_builder import Drawn, DrawnConfig


@dataclasses.dataclass
class FaceConfig(DrawnConfig):
    """Side in pixels, seed, how many images each part has, and how many people the training and the test part show."""

    train: int = 1600
    test: int = 400
    people: tuple = faces.PEOPLE


class CnnbookFaces(Drawn):
    """Drawn people from many sides. Features: `image` (size, size, 3) uint8, `label`, the person (those of the test part
    follow those of the training part), `landmarks` (34, 2), `head` (34, 3) and `pose` (6,) float32: see `data.Faces`."""

    BUILDER_CONFIGS = [FaceConfig(name="turned", description="Turned, lit and moved at random.")]
    text = faces.__doc__

    def features(self, config):
        points = len(faces.LANDMARKS)
        return {
            "image": tfds.features.Image(shape=(config.size, config.size, 3)),
            "label": tfds.features.ClassLabel(num_classes=sum(config.people)),
            "landmarks": tfds.features.Tensor(shape=(points, 2), dtype=np.float32),
            "head": tfds.features.Tensor(shape=(points, 3), dtype=np.float32),
            "pose": tfds.features.Tensor(shape=(len(faces.POSE),), dtype=np.float32),
        }

    def keys(self, config):
        return "image", "label"

    def example(self, config, part, i):
        people = config.people[part == "test"]
        drawn = faces.faces(1, people=people, size=config.size, seed=config.seed, part=part, start=i)
        label = int(drawn.labels[0]) + (config.people[0] if part == "test" else 0)
        return {
            "image": drawn.images[0],
            "label": label,
            "landmarks": drawn.landmarks[0].astype("float32"),
            "head": drawn.heads[0].astype("float32"),
            "pose": drawn.poses[0].astype("float32"),
        }
