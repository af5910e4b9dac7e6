"""Sets that come by TensorFlow Datasets, and our drawn ones as its builders; TensorFlow is imported when one is loaded.

The builders (`scenes_builder`, `cells_builder`, `faces_builder`) are imported by name, since they need TFDS itself.
"""

from . import prepared, streams

__all__ = ["prepared", "streams"]
