"""The cells as a TFDS builder: after `import cnnbook.data.tfds.cells_builder`, `tfds.load("cnnbook_cells")`.

Wraps `cnnbook.data.cells`: same images, same answers. `cnnbook.data.prepare("cnnbook_cells")` does the same safely with
several processes at once.
"""

import numpy as np
import tensorflow_datasets as tfds

from ..drawn import cells
from .drawn_builder import Drawn, DrawnConfig


class CnnbookCells(Drawn):
    """Drawn cells that touch. Features, each (size, size, 1): `image`, `mask` (1 = cell) and `instances` (a number for each
    cell), uint8; `weights` float32, the border weights of U-Net."""

    BUILDER_CONFIGS = [DrawnConfig(name="touching", description="Cells in clumps.", train=200, test=50)]
    text = cells.__doc__

    def features(self, config):
        shape = (config.size, config.size, 1)
        names = ("image", "mask", "instances")
        weights = tfds.features.Tensor(shape=shape, dtype=np.float32)
        return {**{name: tfds.features.Image(shape=shape) for name in names}, "weights": weights}

    def example(self, config, part, i):
        drawn = cells.cells(1, size=config.size, seed=config.seed, part=part, start=i)
        maps = {"mask": drawn.masks, "instances": drawn.instances, "weights": drawn.weights}
        return {"image": drawn.images[0], **{name: array[0][..., None] for name, array in maps.items()}}
