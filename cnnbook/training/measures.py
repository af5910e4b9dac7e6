"""What a net does on given images: its accuracy, its classes per pixel, the length of its gradients."""

import keras
import numpy as np

from .. import segmentation
from . import devices, gradients

__all__ = ["accuracy", "gradient_norms", "predicted"]


def accuracy(model, x, y, batch_size=500):
    """The share of images x (n, h, w, c), or of their pixels, whose most probable class is y, (n,) or (n, h, w)."""
    if np.ndim(y) == 3:
        return segmentation.pixel_accuracy(*predicted(model, x, y))
    predictions = _predictions(model, x, batch_size)
    return float(np.mean(np.argmax(predictions, -1) == np.asarray(y)))


def predicted(model, x, masks, batch_size=50):
    """(true, predicted) classes of every pixel of images x (n, h, w, c), masks (n, h, w), both of the size of the net's
    output, the first one's where it has several: what the scores of cnnbook.segmentation compare."""
    outputs = _predictions(model, x, batch_size)
    return segmentation.centre(np.asarray(masks), *outputs.shape[1:3]), segmentation.labels(outputs)


def _predictions(model, x, batch_size):
    """The net's output for images x (n, h, w, c), the first one where it has several."""
    if devices.shared(model):
        return keras.tree.flatten(devices.predict(model, x, batch_size))[0]
    if len(x) <= batch_size:  # one batch needs no pipeline, whose set-up can take longer than a small net
        return keras.tree.flatten(model.predict_on_batch(x))[0]
    return keras.tree.flatten(model.predict(x, batch_size=batch_size, verbose=0))[0]


def gradient_norms(model, x, y):
    """The length of the loss' gradient for every kernel: {layer name: norm}, from the input to the output.

    x (n, h, w, c), y (n,): one batch, batch norm in training mode, as in a training step; the weights are left as they are.
    """
    _, by_variable = gradients.of_weights(model, gradients.loss_on(x, y))
    kernels = {
        layer.kernel.path: layer.name for layer in model.layers if getattr(layer, "kernel", None) is not None
    }
    return {kernels[path]: float(np.linalg.norm(g)) for path, g in by_variable.items() if path in kernels}
