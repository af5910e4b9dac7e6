"""Batch norm's statistics after a short run: measured anew, since the moving averages still hold their starting values.

A moving average with momentum 0.9 has kept 0.9^18 = 15 % of its start after 18 steps, with Keras' own 0.99 even 83 %. A net
that is tested with such averages may be wrong about images that it has learnt to tell apart. Wu & Johnson 2021
(arXiv:2105.07576, section 3) compare the two ways of taking the statistics.
"""

import contextlib

import keras
import numpy as np

from . import programs

__all__ = ["left_of_the_start", "remeasure"]

# The share of the starting values from which on the averages are not to be trusted.
SHARE = 0.01
MOST_BATCHES = 32


def left_of_the_start(model, steps):
    """The largest share that starting values still have in a batch norm's moving averages after that many steps; 0 for a
    net in which none is trained."""
    return max((layer.momentum**steps for layer in _normalisations(model)), default=0.0)


def remeasure(model, batches):
    """Sets every trained batch norm's mean and variance to their averages over the images of `batches`, in training mode.

    batches: images (n, h, w, c) each, of one size but for the last. Weights, and layers that are frozen, stay as they are.
    """
    layers = _normalisations(model)
    variables = [v for layer in layers for v in (layer.moving_mean, layer.moving_variance)]
    with _momentum(layers, 0.0):
        forward = _forward(model, variables)
        measured = [(len(images), forward(images)) for images in batches]
    weights = [n for n, _ in measured]
    for variable, values in zip(
        variables, zip(*(values for _, values in measured), strict=True), strict=True
    ):
        variable.assign(np.average(values, axis=0, weights=weights))


def _normalisations(model):
    """The batch normalisations that take statistics of the batch in training, nested nets included, each once."""
    layers = {}
    for layer in model.layers if model.trainable else ():
        if isinstance(layer, keras.Model):
            layers |= {id(inner): inner for inner in _normalisations(layer)}
        elif isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
            layers[id(layer)] = layer
    return list(layers.values())


@contextlib.contextmanager
def _momentum(layers, value):
    """While the block runs, the averages of these layers move with that momentum: with 0 they are the last batch's."""
    before = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            layer.momentum = value
        yield
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum


def _forward(model, variables):
    """A function of images that gives the values of `variables` behind a pass in training mode."""
    if keras.backend.backend() != "jax":

        def forward(images):
            model(images, training=True)
            return [keras.ops.convert_to_numpy(v) for v in variables]

        return forward
    # Operation by operation JAX would compile each of them.
    step, state = programs.compiled(training_pass, model), programs.state_of(model)
    places = {id(v): place for place, v in enumerate(model.non_trainable_variables)}

    def forward(images):
        values = step(state, images)
        return [np.asarray(values[places[id(v)]]) for v in variables]

    return forward


def training_pass(model, state, images):
    """The values of a net's variables that are not trained, behind a pass in training mode."""
    return model.stateless_call(*state, images, training=True)[1]
