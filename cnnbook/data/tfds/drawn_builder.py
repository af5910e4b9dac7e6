"""What the TFDS builders of drawn sets share: a configuration, two splits, example i from the seed and i alone."""

import dataclasses

import tensorflow_datasets as tfds


@dataclasses.dataclass
class DrawnConfig(tfds.core.BuilderConfig):
    """Side in pixels, seed, and how many images each part has."""

    size: int = 64
    seed: int = 0
    train: int = 2000
    test: int = 500


class Drawn(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A set that a seeded function draws. A subclass gives `features`, `keys`, `text` and `example`."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    text = ""

    def features(self, config):
        """The TFDS features of an example."""
        raise NotImplementedError

    def keys(self, config):
        """The names of image and answer among them."""
        return "image", "mask"

    def example(self, config, part, i):
        """Example `i` of a part, a dictionary of those features."""
        raise NotImplementedError

    def _info(self):
        return tfds.core.DatasetInfo(  # not from config files: those are not found for a builder outside TFDS
            builder=self,
            features=tfds.features.FeaturesDict(self.features(self.builder_config)),
            supervised_keys=self.keys(self.builder_config),
            description=self.text,
        )

    def _split_generators(self, dl_manager):
        return {part: self._generate_examples(part) for part in ("train", "test")}

    def _generate_examples(self, part):
        for i in range(getattr(self.builder_config, part)):
            yield i, self.example(self.builder_config, part, i)
