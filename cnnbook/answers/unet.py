"""Answers to the exercises of chapter 19."""

import math

from cnnbook.answers import Answer, compared_by_ranges


def step_by_hand(layers, x, skip, first):
    """What a step up gives with the kernels and biases of its three layers; first: "skip" or "x", which is concatenated
    before the other."""
    from keras import ops

    (up, up_bias), *convolutions = ((layer.kernel, layer.bias) for layer in layers)
    x = ops.conv_transpose(x, up, 2, "same") + up_bias
    y = ops.concatenate([skip, x] if first == "skip" else [x, skip], -1)
    for kernel, bias in convolutions:
        y = ops.relu(ops.conv(y, kernel, 1, "same") + bias)
    return ops.convert_to_numpy(y)


def right_step(function):
    """`function(x, skip, filters)` is one step of U-Net's way up: twice as large, joined to the skip, two convolutions."""
    import keras
    import numpy as np

    from cnnbook import graph, numerics

    below, skip = keras.Input((6, 6, 16)), keras.Input((12, 12, 8))
    yours = keras.Model([below, skip], function(below, skip, 8))
    shape = tuple(yours.output.shape)
    assert shape == (None, 12, 12, 8), f"from 6 x 6 and a skip of 12 x 12 with 8 filters came {shape}"
    rows = graph.trace(yours)
    kinds = [row.kind for row in rows if row.params]
    assert kinds == ["Conv2DTranspose", "Conv2D", "Conv2D"], (
        f"a transposed convolution and two convolutions are wanted, got {kinds}"
    )
    kernels = [tuple(row.operation.kernel.shape[:2]) for row in rows if row.params]
    assert kernels == [(2, 2), (3, 3), (3, 3)], f"kernels of 2x2, 3x3 and 3x3 are wanted, got {kernels}"
    joined = [row.output_shape for row in rows if row.kind == "Concatenate"]
    assert joined == [(12, 12, 16)], (
        f"one concatenation to 8 + 8 channels is wanted, got {joined or 'none'}; a sum is FCN's way, not U-Net's"
    )
    params = sum(row.params for row in rows)
    assert params == (4 * 16 * 8 + 8) + (9 * 16 * 8 + 8) + (9 * 8 * 8 + 8), (
        f"your step has {params:,} parameters"
    )
    rng = np.random.default_rng(0)
    yours.set_weights([rng.normal(0, 0.1, w.shape) for w in yours.get_weights()])
    maps = [rng.normal(size=(1, *tensor.shape[1:])).astype("float32") for tensor in (below, skip)]
    with numerics.exact():
        found = keras.ops.convert_to_numpy(yours(maps))
        wanted = [
            step_by_hand([row.operation for row in rows if row.params], *maps, first)
            for first in ("skip", "x")
        ]
    assert found.min() >= 0, "no ReLU follows the last convolution"
    apart = min(float(np.abs(found - one).max()) for one in wanted)
    assert apart < 1e-4, (
        f"shapes and parameters are right, but the answer is {apart:.2g} off: ReLU follows both 3x3 convolutions and "
        "nothing else"
    )


def right_overlap(function):
    """`function(truth, answer, classes)` is the mean IoU over the classes that occur in one of the two."""
    import numpy as np

    from cnnbook import segmentation

    rng = np.random.default_rng(0)
    for classes, missing in ((2, False), (4, False), (4, True)):
        truth, answer = rng.integers(0, classes, (2, 3, 8, 8))
        if missing:
            truth[truth == 3], answer[answer == 3] = 0, 0
        given = float(function(truth.copy(), answer.copy(), classes))
        wanted = segmentation.mean_iou(truth, answer, classes)
        which = "; class 3 occurs in neither array and does not count" if missing else ""
        assert abs(given - wanted) < 1e-6, (
            f"for {classes} classes yours is {given:.4f}, and {wanted:.4f} is right{which}"
        )


ANSWERS = {
    "side": Answer(
        516,
        why="700 = 16 x 40 + 60 fits, and as with 572 pixels 184 are lost, 92 at each edge.",
        hints=(
            "572 became 388.",
            "What the valid convolutions take does not depend on the size of the image.",
        ),
    ),
    "weight": Answer(
        1 + 10 * math.exp(-(6**2) / 50),
        tolerance=0.006,
        why="The two distances are added before they are squared, so it is the narrow gap between two cells that weighs.",
        hints=(
            "Put d1 = 2 and d2 = 4 into the formula; the balance of the classes is 1.",
            "First the sum of the distances, then its square, and the exponent is negative.",
        ),
    ),
    "step": Answer(
        right_step,
        why="The transposed convolution brings the map to the skip's size, and the two convolutions read both at once.",
        hints=(
            "Three layers have weights: the one that doubles the size, and two that read the joined maps.",
            "The enlarging kernel is as wide as its stride, so stamps do not overlap, and it has no activation of its own.",
        ),
    ),
    "overlap": Answer(
        right_overlap,
        why="Each class counts as much as any other, however few pixels it has, and an absent one has no say.",
        hints=(
            "For one class: the pixels where both arrays have it, over those where at least one has it.",
            "What is the union of a class that occurs nowhere? Leave such a class out of the mean.",
        ),
    ),
    "verdict": compared_by_ranges(
        of="nets", values="scores", highest=1, between="outline F lies between 0 and 1"
    ),
}
