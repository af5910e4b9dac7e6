"""The scenes as a TFDS builder: after `import cnnbook.data.scenes_tfds`, `tfds.load("cnnbook_scenes/segment")`.

Wraps `cnnbook.data.scenes`: same images, same answers. `cnnbook.data.prepare("cnnbook_scenes/classify")` does the
same safely with several processes at once.
"""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds

from . import scene


@dataclasses.dataclass
class SceneConfig(tfds.core.BuilderConfig):
    """task, side in pixels, seed, and how many scenes each part has."""

    task: str = "segment"
    size: int = 64
    seed: int = 0
    train: int = 2000
    test: int = 500


class CnnbookScenes(tfds.core.GeneratorBasedBuilder):
    """Fashion-MNIST items on textured canvases. Features: `image` (size, size, 3) and `mask` (size, size, 1) uint8, `boxes`
    (k, 4) and `labels` int64 in the order of the function; `label` for the task "classify"."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    BUILDER_CONFIGS = [
        SceneConfig(name="segment", description="The class of every pixel."),
        SceneConfig(
            name="classify", description="One coloured target among grey distractors.", task="classify"
        ),
    ]

    def _info(self):
        config = self.builder_config
        image, mask = (config.size, config.size, 3), (config.size, config.size, 1)
        features = {"image": tfds.features.Image(shape=image), "mask": tfds.features.Image(shape=mask)}
        if config.task == "segment":
            features["boxes"] = tfds.features.Tensor(shape=(scene.MOST, 4), dtype=np.int64)
            features["labels"] = tfds.features.Tensor(shape=(scene.MOST,), dtype=np.int64)
            keys = ("image", "mask")
        else:
            features["boxes"] = tfds.features.Tensor(shape=(1, 4), dtype=np.int64)
            features["label"] = tfds.features.ClassLabel(names=scene.CLASSES["classify"])
            keys = ("image", "label")
        return tfds.core.DatasetInfo(  # not from config files: those are not found for a builder outside TFDS
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=keys,
            description=scene.__doc__,
        )

    def _split_generators(self, dl_manager):
        return {part: self._generate_examples(part) for part in ("train", "test")}

    def _generate_examples(self, part):
        config = self.builder_config
        for i in range(getattr(config, part)):
            one = scene.scenes(1, task=config.task, size=config.size, seed=config.seed, part=part, start=i)
            answer = {"labels": one.labels[0]} if config.task == "segment" else {"label": int(one.labels[0])}
            yield (
                i,
                {"image": one.images[0], "mask": one.masks[0][..., None], "boxes": one.boxes[0], **answer},
            )
