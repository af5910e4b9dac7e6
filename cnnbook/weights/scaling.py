"""How nets with weights from elsewhere want their pixels: as a function of arrays, and as a layer."""

import keras
import numpy as np
from keras import ops

from .. import graph


def _floats(images):
    return np.asarray(images, "float32")


def scaling(mode, floats=_floats, flip=np.flip):
    """How a net wants its pixels, as a function of RGB images in 0 to 255, (..., h, w, 3): float32 of that shape.

    mode: "caffe" (BGR, the mean colour taken off), "tf" (-1 to 1), "torch" (mean 0, deviation 1), "lite" (about -1 to 1)
    or "identity". ValueError for another.
    floats: what makes float32 of images, and flip (array, axis), what turns an axis round; by default NumPy's, in a graph
    those of keras.ops.
    """

    def colours(*values):
        # A tensor where images are one: PyTorch computes no gradient where an array of NumPy meets its tensor.
        return floats(np.array(values, "float32"))

    def caffe(images):
        """BGR, minus the mean colour of ImageNet's training images; no division."""
        return flip(floats(images), -1) - colours(103.939, 116.779, 123.68)

    def tf(images):
        """RGB from -1 to 1."""
        return floats(images) / 127.5 - 1

    def torch(images):
        """RGB from 0 to 1, then minus the mean and divided by the deviation of ImageNet's colours."""
        images = floats(images) / 255 - colours(0.485, 0.456, 0.406)
        return images / colours(0.229, 0.224, 0.225)

    def lite(images):
        """RGB, about -1 to 1, as the phone nets were trained."""
        return (floats(images) - 127) / 128

    def identity(images):
        """RGB as it is: the net scales it itself."""
        return floats(images)

    known = {"caffe": caffe, "tf": tf, "torch": torch, "lite": lite, "identity": identity}
    if mode not in known:
        raise ValueError(f"scaling is one of {', '.join(known)}, got {mode!r}")
    return known[mode]


@keras.saving.register_keras_serializable(package="cnnbook")
class Preprocess(keras.layers.Layer):
    """RGB images from 0 to 255, (n, h, w, 3), scaled as a net with ImageNet weights wants them: `models.preprocess` as a
    layer, so that a saved net reads plain pictures. mode: "caffe", "tf", "torch", "lite" or "identity"."""

    def __init__(self, mode, **options):
        super().__init__(**options)
        self.mode, self.scale = mode, scaling(mode, lambda images: ops.cast(images, "float32"), ops.flip)

    def call(self, x):
        return self.scale(x)

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "mode": self.mode}


graph.register(Preprocess, group="preprocessing", box="other")
