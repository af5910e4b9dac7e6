"""Answers to the self-check and the exercises of chapter 00."""

import math
import re

from cnnbook.answers import Answer, compared_by_ranges


def _says_over_fitting(answer):
    """Whether a text says over-fitting, in whichever way it is spelt."""
    return re.sub(r"[^a-z]", "", str(answer).casefold()) == "overfitting"


def _chooses_validation(answer):
    """Whether a text names the validation images and no other part."""
    words = set(re.findall(r"[a-z]+", str(answer).casefold()))
    return "validation" in words and not words & {"training", "test"}


def _scatters(answer):
    """Whether a pair is the deviation of an accuracy of 0.85 on 2,000 images, and the images for one of 0.001."""
    numbers = [float(number) for number in answer] if hasattr(answer, "__len__") else []
    assert len(numbers) == 2, "A pair is wanted: the deviation, then the number of images."
    deviation, images = numbers
    assert deviation < 0.1, (
        f"An accuracy of 0.85 is a share, so its deviation is one too; {deviation:g} is too large."
    )
    wrong = [
        name
        for name, apart in {
            "the deviation": abs(deviation - math.sqrt(0.85 * 0.15 / 2000)) / 0.0002,
            # A deviation that was rounded before gives 128,000.
            "the number of images": abs(images / (0.85 * 0.15 / 0.001**2) - 1) / 0.01,
        }.items()
        if apart > 1
    ]
    assert not wrong, f"Compute again: {' and '.join(wrong)}."


def _is_cross_entropy(loss):
    """Whether loss(probabilities, labels) is the mean cross-entropy of some images."""
    import numpy as np

    rng = np.random.default_rng(7)
    # No probability is near to 0, so that log(p + 1e-7) is right as well.
    probabilities, labels = rng.dirichlet(np.full(10, 5.0), 6), rng.integers(0, 10, 6)
    found = np.asarray(loss(probabilities, labels))
    assert found.shape == (), f"Of six images came an array of shape {found.shape}: one number is wanted."
    one = float(loss(np.array([[0.2, 0.5, 0.3]]), np.array([1])))
    assert abs(one - math.log(2)) < 1e-5, f"One image whose right class has the probability 0.5: {one:.4f}."
    by_hand = -sum(math.log(p[k]) for p, k in zip(probabilities, labels, strict=True)) / 6
    assert abs(found - by_hand) < 1e-4, (
        f"Of six images it gives {float(found):.4f}, a sum by hand another number."
    )


def _subsamples(layer_class):
    """Whether a layer halves maps by the mean of 2 x 2, times a trained coefficient, plus a trained bias, a pair a map."""
    import keras
    import numpy as np

    from cnnbook import numerics

    layer = layer_class() if isinstance(layer_class, type) else layer_class
    shape = tuple(layer(keras.Input((6, 4, 3))).shape)
    assert shape == (None, 3, 2, 3), f"From maps (None, 6, 4, 3) came {shape}: half of each side is wanted."
    weights = layer.trainable_variables
    count = sum(math.prod(weight.shape) for weight in weights)
    assert count == 6, f"With 3 maps it trains {count} numbers: two for each map are wanted."
    assert len(weights) == 2, (
        f"It has {len(weights)} weight{'s' * (len(weights) > 1)}: one of coefficients and one of biases are wanted."
    )
    x = np.random.default_rng(7).normal(size=(2, 6, 4, 3)).astype("float32")
    mean = (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
    with numerics.exact():
        found = keras.ops.convert_to_numpy(layer(x))
        apart = float(np.abs(found - mean).max())
        assert apart < 1e-5, f"A new layer's output and the plain mean differ by up to {apart:.2g}."
        first, second = np.array([2, -1, 0.5], "float32"), np.array([0.3, 4, -2], "float32")
        for weight, values in zip(weights, (first, second), strict=True):
            weight.assign(values.reshape(weight.shape))
        found = keras.ops.convert_to_numpy(layer(x))
    # Which of the two weights was made first is the reader's choice.
    apart = min(
        float(np.abs(found - by_hand).max()) for by_hand in (first * mean + second, second * mean + first)
    )
    assert apart < 1e-4, f"With other coefficients and biases it is {apart:.2g} away from a sum by hand."


ANSWERS = {
    "pixel": Answer(
        (252 - 72) / 90,
        why="(252 - 72) / 90: the pixel is two deviations above the mean.",
        hints=("First subtract the mean.", "Then divide what is left by the deviation."),
        tolerance=0.005,
    ),
    "softmax": Answer(
        3 / 4,
        why="exp(0) = 1 and exp(ln 3) = 3, so the second score has three of four parts.",
        hints=("Take the exponential of each score.", "Divide each exponential by their sum."),
        tolerance=0.005,
    ),
    "uniform": Answer(
        math.log(10),
        why="-ln(1/10) = ln 10.",
        hints=("What probability has the right class in such a guess?", "Take minus its natural logarithm."),
        tolerance=0.005,
    ),
    "confident": Answer(
        "B",
        why="-ln 0.9 is smaller than -ln 0.6: the loss sees more than right or wrong.",
        hints=("Write down the loss of one image for both.", "Which probability is nearer to certainty?"),
    ),
    "descent": Answer(
        2 - 0.1 * 2 * 2,
        why="The gradient is 2w = 4, and 2 - 0.1 * 4 = 1.6.",
        hints=(
            "Differentiate the loss first.",
            "The step is the rate times the gradient, and goes downhill.",
        ),
        tolerance=0.005,
    ),
    "momentum": Answer(
        0.92,
        why="First v = -0.4 and w = 1.6, then v = -0.36 - 0.32 and w = 1.6 - 0.68.",
        hints=(
            "The first step is that of the question before, because v begins at rest.",
            "In the second step take the gradient at the new w, and add the part of v that remains.",
        ),
        tolerance=0.005,
    ),
    "chain": Answer(
        2 * (3 * 1 + 1) * 3,
        why="Outer derivative 2 (3x + 1) = 8, inner derivative 3.",
        hints=(
            "Differentiate the square first, with the bracket as it is.",
            "Then multiply by the bracket's own slope.",
        ),
    ),
    "curves": Answer(
        _says_over_fitting,
        why="The network goes on learning what only the training images have.",
        hints=(
            "The network does get better at something: at what?",
            "It fits its training images too well for others.",
        ),
    ),
    "choosing": Answer(
        _chooses_validation,
        why="Training images reward learning by heart, and the test images are for the report.",
        hints=(
            "Images that set the weights cannot judge, and those that report must not have chosen.",
            "It is the part that is neither seen in a step nor kept for the end.",
        ),
    ),
    "dense": Answer(
        784 * 100 + 100,
        why="784 times 100 weights and 100 biases.",
        hints=("Each output has a weight for every input.", "And each output has one number more."),
    ),
    "colour": Answer(
        61_706 + 6 * 5 * 5 * 2,
        why="Only C1 sees the image: each of its six kernels gets 5 x 5 weights for each of the two added channels.",
        hints=(
            "Which layers see the image itself?",
            "A kernel has its weights once for every channel that it reads.",
        ),
    ),
    "deviation": Answer(
        _scatters,
        why="About 0.8 points for 2,000 images. To make it eight times smaller takes 64 times as many.",
        hints=(
            "The formula stands in the section on the test set; put 0.85 in.",
            "Solve the formula for n: the deviation stands there as its square.",
        ),
    ),
    "cross_entropy": Answer(
        _is_cross_entropy,
        why="It is Keras' sparse categorical cross-entropy: sparse, because a label is the number of a class.",
        hints=(
            "Pick one probability from each row: p[np.arange(n), labels] does this for all rows at once.",
            "Natural logarithm, minus sign, then the mean over the images.",
        ),
    ),
    "subsampling": Answer(
        _subsamples,
        why="Two numbers a map, as in the paper: 12 for the six maps of S2, 32 for the sixteen of S4.",
        hints=(
            'self.add_weight(shape=(maps,), initializer="ones") makes one weight; the maps are shape[-1].',
            'keras.ops.average_pool(maps, 2, 2, padding="valid") is the mean; the weights broadcast over the last axis.',
        ),
    ),
    "activation": compared_by_ranges(
        of="activations", values="accuracies", highest=1, between="accuracies are shares, between 0 and 1"
    ),
}
