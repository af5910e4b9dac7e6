"""What a net does on given images: its outputs, its accuracy, its classes per pixel, the length of its gradients."""

import math

import keras
import numpy as np

from .. import segmentation
from . import devices, gradients, programs
from .progress import waiting

__all__ = ["accuracy", "gradient_norms", "outputs", "predicted"]


def accuracy(model, x, y, batch_size=500):
    """The share of images x (n, h, w, c), or of their pixels, whose most probable class is y, (n,) or (n, h, w)."""
    if np.ndim(y) == 3:
        return segmentation.pixel_accuracy(*predicted(model, x, y))
    predictions = outputs(model, x, batch_size)
    return float(np.mean(np.argmax(predictions, -1) == np.asarray(y)))


def predicted(model, x, masks, batch_size=50):
    """(true, predicted) classes of every pixel of images x (n, h, w, c), masks (n, h, w), both of the size of the net's
    output, the first one's where it has several: what the scores of cnnbook.segmentation compare."""
    found = outputs(model, x, batch_size)
    return segmentation.centre(np.asarray(masks), *found.shape[1:3]), segmentation.labels(found)


def outputs(model, x, batch_size=500, *, label=None):
    """The net's output for images x (n, h, w, c), the first one where it has several: float32 (n, ...).

    batch_size: how many are computed at once, at most. label: how lines begin where it takes long, by default the model's
    name. On JAX nets that compute alike share what was compiled for one.
    """
    if devices.shared(model):
        return keras.tree.flatten(devices.predict(model, x, batch_size))[0]
    label = label or model.name
    if programs.can_share(model) and programs.described(
        model
    ):  # others have Keras keep what it compiled for them
        return _outputs_on_jax(model, x, batch_size, label)
    if len(x) <= batch_size:  # one batch needs no pipeline, whose set-up can take longer than a small net
        return keras.tree.flatten(model.predict_on_batch(x))[0]
    count = _Count()
    with waiting(lambda: _say(label, min(count.batches * batch_size, len(x)), len(x))):
        found = model.predict(x, batch_size=batch_size, verbose=0, callbacks=[count])
    return keras.tree.flatten(found)[0]


def _outputs_on_jax(model, x, batch_size, label):
    """Batches of one size, so that one shape is compiled; the next is sent while the device computes."""
    size = math.ceil(len(x) / math.ceil(len(x) / batch_size))
    forward, state = programs.compiled(programs.predict_step, model), programs.state_of(model)
    found = []
    with waiting(lambda: _say(label, max(len(found) - 1, 0) * size, len(x))):
        for start in range(0, len(x), size):
            images = np.asarray(x[start : start + size])
            full = np.concatenate([images, np.repeat(images[:1], size - len(images), 0)])
            found.append(forward(state, full))
            if len(found) > 1:
                found[-2] = np.asarray(found[-2])
        return np.concatenate(found)[: len(x)]


class _Count(keras.callbacks.Callback):
    """How many batches are done."""

    batches = 0

    def on_predict_batch_end(self, batch, logs=None):
        self.batches = batch + 1


def _say(label, done, count):
    print(f"{label}: {done:,} of {count:,} images", flush=True)


def gradient_norms(model, x, y):
    """The length of the loss' gradient for every kernel: {layer name: norm}, from the input to the output.

    x (n, h, w, c), y (n,): one batch, batch norm in training mode, as in a training step; the weights are left as they are.
    """
    _, by_variable = gradients.of_weights(model, gradients.loss_on(x, y))
    kernels = {
        layer.kernel.path: layer.name for layer in model.layers if getattr(layer, "kernel", None) is not None
    }
    return {kernels[path]: float(np.linalg.norm(g)) for path, g in by_variable.items() if path in kernels}
