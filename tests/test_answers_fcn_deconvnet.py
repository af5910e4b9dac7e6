"""Chapter 18's exercises: the solutions are right, and typical mistakes are told apart in words."""

import keras
import numpy as np
import pytest
from keras import layers as L

from cnnbook import answers, segmentation
from cnnbook.models import fcn

ANSWERS = answers.of("fcn_deconvnet")


def transposed(maps, kernel, stride):
    (h, w, _), k = maps.shape, len(kernel)
    large = np.zeros(((h - 1) * stride + k, (w - 1) * stride + k, kernel.shape[2]), "float32")
    for i, j in np.ndindex(h, w):
        large[i * stride : i * stride + k, j * stride : j * stride + k] += kernel @ maps[i, j]
    return large


def not_added(maps, kernel, stride):
    """Later stamps lie on top of earlier ones."""
    (h, w, _), k = maps.shape, len(kernel)
    large = np.zeros(((h - 1) * stride + k, (w - 1) * stride + k, kernel.shape[2]), "float32")
    for i, j in np.ndindex(h, w):
        large[i * stride : i * stride + k, j * stride : j * stride + k] = kernel @ maps[i, j]
    return large


def cropped(maps, kernel, stride):
    h, w, _ = maps.shape
    return transposed(maps, kernel, stride)[: h * stride - 1, : w * stride]


def of_first_channel(maps, kernel, stride):
    return transposed(maps[..., :1], kernel[..., :1], stride)


def test_a_transposed_convolution_is_held_against_keras():
    assert ANSWERS["transposed"].correct(transposed) is None


@pytest.mark.parametrize(
    "mistake, words",
    [
        (not_added, "stamps that overlap: yours differs"),
        (cropped, r"at stride 2 give \(6, 8, 1\), yours has the shape \(5, 8, 1\)"),
        (
            lambda maps, kernel, stride: transposed(maps, kernel, 2),
            r"stride 3 give \(10, 13, 1\), yours .* \(8, 10, 1\)",
        ),
        (of_first_channel, "two channels become three: yours differs"),
    ],
)
def test_mistakes_of_a_transposed_convolution(mistake, words):
    with pytest.raises(AssertionError, match=words):
        ANSWERS["transposed"].correct(mistake)


def skip(scores, finer, classes, kernel=4, join=L.Add):
    enlarged = L.Conv2DTranspose(classes, kernel, 2, "same", use_bias=False)(scores)
    return join()([L.Conv2D(classes, 1)(finer), enlarged])


def not_enlarged_by_weights(scores, finer, classes):
    return L.Add()([L.Conv2D(classes, 1)(finer), L.UpSampling2D(2)(scores)])


def not_enlarged(scores, finer, classes):
    return L.Add()([L.Conv2D(classes, 1, 2)(finer), L.Conv2DTranspose(classes, 4, padding="same")(scores)])


def activated(scores, finer, classes):
    return L.ReLU()(skip(scores, finer, classes))


def joined_below(scores, finer, classes):
    """The finer map is read at every second place only."""
    both = L.Add()([L.Conv2D(classes, 1, 2)(finer), scores])
    return L.Conv2DTranspose(classes, 4, 2, "same")(both)


def activated_from_zero(scores, finer, classes):
    enlarged = fcn.enlarge(scores, 2, "up", padding="same")
    return L.Add()([L.ReLU()(fcn.score(finer, 8, classes)), enlarged])


def of_package(scores, finer, classes):
    return L.Add()([fcn.score(finer, 8, classes), fcn.enlarge(scores, 2, "up", padding="same")])


def test_a_skip_is_the_sum_of_two_linear_maps():
    keras.utils.set_random_seed(0)
    assert ANSWERS["skip"].correct(skip) is None
    dense = L.Dense(3)
    with_bias = [L.Conv2DTranspose(3, 4, 2, "same"), L.Conv2D(3, 1)]
    assert ANSWERS["skip"].correct(lambda s, f, _: L.Add()([with_bias[0](s), with_bias[1](f)])) is None
    assert ANSWERS["skip"].correct(lambda s, f, _: with_bias[0](s) + dense(f)) is None
    assert ANSWERS["skip"].correct(of_package) is None


@pytest.mark.parametrize(
    "mistake, words",
    [
        (lambda *given: skip(*given, join=L.Concatenate), r"came \(None, 8, 10, 6\)"),
        (lambda *given: skip(*given, kernel=3), r"'Conv2DTranspose': \(3, 3\)"),
        (not_enlarged_by_weights, "a convolution and a transposed one hold the weights"),
        (not_enlarged, r"came \(None, 4, 5, 3\)"),
        (activated, "no sum of what the two inputs bring"),
        (joined_below, "reaches 0 places of your answer"),
        (activated_from_zero, "an activation bends the scores"),
    ],
)
def test_mistakes_of_a_skip(mistake, words):
    keras.utils.set_random_seed(0)
    with pytest.raises(AssertionError, match=words):
        ANSWERS["skip"].correct(mistake)


def test_a_skip_that_concatenates_and_narrows_again_is_no_fcn():
    def narrowed(scores, finer, classes):
        joined = skip(scores, finer, classes, join=L.Concatenate)
        return joined[..., :classes] + joined[..., classes:]

    with pytest.raises(AssertionError, match="as U-Net does; FCN adds"):
        ANSWERS["skip"].correct(narrowed)


def test_the_two_numbers():
    assert ANSWERS["side"].correct == L.Conv2DTranspose(1, 4, 2).compute_output_shape((1, 7, 7, 1))[1]
    truth, answer = np.zeros((2, 1000), int)
    truth[:100], answer[40:120] = 1, 1
    assert ANSWERS["overlap"].correct == pytest.approx(segmentation.mean_iou(truth, answer, 2))
    assert ANSWERS["overlap"].tolerance < 0.01


def test_a_verdict_follows_from_the_ranges():
    apart, touching = ([0.2, 0.3, 0.25], [0.4, 0.5, 0.45]), ([0.2, 0.3, 0.42], [0.4, 0.5, 0.45])
    judge = ANSWERS["verdict"].correct
    assert judge((dict(zip(("FCN-16s", "FCN-8s"), apart, strict=True)), "decided")) is None
    assert judge(({"FCN-16s": [0, 0.02, 0], "FCN-8s": [0.4, 0.5, 0.45]}, "decided")) is None
    with pytest.raises(AssertionError, match="lies between 0 and 1"):
        judge(({"FCN-16s": [20, 30, 25], "FCN-8s": [40, 50, 45]}, "decided"))
    with pytest.raises(AssertionError, match="the scores go from 0.20 to 0.42 and from 0.40 to 0.50"):
        judge((dict(zip(("FCN-16s", "FCN-8s"), touching, strict=True)), "decided"))
