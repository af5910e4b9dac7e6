"""Chapter 19's exercises: the solutions are right, and typical mistakes are told apart in words."""

import keras
import numpy as np
import pytest
from keras import layers as L

from cnnbook import answers, data, graph, segmentation
from cnnbook.models import UNet

ANSWERS = answers.of("unet")


def step(x, skip, filters, *, first="relu", enlarged=None, kernel=2, skip_first=True, join=L.Concatenate):
    y = L.Conv2DTranspose(filters, kernel, 2, "same", activation=enlarged)(x)
    y = join()([skip, y] if skip_first else [y, skip])
    for activation in (first, "relu"):
        y = L.Conv2D(filters, 3, padding="same", activation=activation)(y)
    return y


def with_layers(x, skip, filters):
    """The same step, with the activations as layers of their own."""
    y = keras.ops.concatenate([L.Conv2DTranspose(filters, 2, strides=2)(x), skip], -1)
    y = L.Activation("relu")(L.Conv2D(filters, 3, padding="same")(y))
    return L.ReLU()(L.Conv2D(filters, 3, padding="same")(y))


@pytest.mark.parametrize("right", [step, lambda *given: step(*given, skip_first=False), with_layers])
def test_a_step_up(right):
    keras.utils.set_random_seed(0)
    assert ANSWERS["step"].correct(right) is None


@pytest.mark.parametrize(
    "mistake, words",
    [
        (lambda *given: step(*given, join=L.Add), "one concatenation to 8 . 8 channels is wanted, got none"),
        (lambda *given: step(*given, kernel=3), "kernels of 2x2, 3x3 and 3x3 are wanted"),
        (lambda *given: step(*given, first=None), "ReLU follows both 3x3 convolutions and nothing else"),
        (lambda *given: step(*given, enlarged="relu"), "ReLU follows both 3x3 convolutions and nothing else"),
        (lambda x, skip, filters: step(x, skip, 2 * filters), r"with 8 filters came \(None, 12, 12, 16\)"),
    ],
)
def test_mistakes_of_a_step(mistake, words):
    keras.utils.set_random_seed(0)
    with pytest.raises(AssertionError, match=words):
        ANSWERS["step"].correct(mistake)


def overlap(truth, answer, classes, *, absent=None):
    scores = []
    for k in range(classes):
        both, either = (truth == k) & (answer == k), (truth == k) | (answer == k)
        if either.any() or absent is not None:
            scores.append(both.sum() / either.sum() if either.any() else absent)
    return np.mean(scores)


def test_mean_iou():
    assert ANSWERS["overlap"].correct(overlap) is None
    with pytest.raises(AssertionError, match="class 3 occurs in neither array"):
        ANSWERS["overlap"].correct(lambda *given: overlap(*given, absent=0))
    with pytest.raises(AssertionError, match="for 2 classes yours is"):
        ANSWERS["overlap"].correct(lambda truth, answer, _: (truth == answer).mean())
    with pytest.raises(AssertionError, match="for 2 classes yours is"):
        ANSWERS["overlap"].correct(lambda truth, answer, n: np.mean(segmentation.dice(truth, answer, n)))


def test_the_two_numbers():
    assert ANSWERS["side"].correct == graph.blueprint(UNet, input_shape=(700, 700, 1)).output_shape[1]
    line = np.array([[1, 0, 0, 0, 0, 0, 2]])
    weight = data.border_weights(line, sigma=5, balance=False)[0, 2]
    assert ANSWERS["weight"].correct == pytest.approx(weight, abs=1e-4)
    assert 0 < ANSWERS["weight"].tolerance < 0.01


def test_a_net_that_has_hardly_begun_may_score_nothing():
    judge = ANSWERS["verdict"].correct
    assert judge(({"U-Net": [0.3, 0.4, 0.2], "no skips": [0.1, 0.2, 0.3]}, " Not decided. ")) is None
    assert judge(({"U-Net": [0.3, 0.4, 0.2], "no skips": [0.02, 0.0, 0.01]}, "decided")) is None
    with pytest.raises(AssertionError, match="the scores go from 0.10 to 0.40 and from 0.00 to 0.20"):
        judge(({"U-Net": [0.3, 0.4, 0.1], "no skips": [0.2, 0.0, 0.01]}, "decided"))
