"""Answers to the exercises of chapter 06."""

import math

from cnnbook.answers import Answer


def _folds(fold):
    """Whether fold(kernel, gamma, beta, mean, variance, epsilon) gives a kernel and a bias that do both layers' work."""
    import numpy as np
    from keras import ops

    from cnnbook import numerics

    rng = np.random.default_rng(6)
    x, kernel = rng.normal(size=(2, 6, 6, 4)), rng.normal(size=(3, 3, 4, 5))
    gamma, beta, mean = rng.normal(1, 0.5, (3, 5))
    variance, epsilon = rng.uniform(0.01, 4, 5), 0.1
    x, kernel = x.astype("float32"), kernel.astype("float32")
    found = fold(kernel, gamma, beta, mean, variance, epsilon)
    assert isinstance(found, tuple) and len(found) == 2, "Return two things: the new kernel and the new bias."
    new_kernel, bias = (np.asarray(part, "float32") for part in found)
    assert new_kernel.shape == kernel.shape, (
        f"The kernel has the shape {new_kernel.shape}, not {kernel.shape}."
    )
    assert bias.shape == (5,), (
        f"The bias has the shape {bias.shape}: one number for each of 5 channels is wanted."
    )
    with numerics.exact():
        maps = ops.convert_to_numpy(ops.conv(x, kernel, padding="valid"))
        one = ops.convert_to_numpy(ops.conv(x, new_kernel, padding="valid")) + bias
    two = gamma * (maps - mean) / np.sqrt(variance + epsilon) + beta
    apart = float(np.abs(one - two).max())
    assert apart < 1e-3, f"One layer and two differ by up to {apart:.2g}."


def _normalises_groups(group):
    """Whether group(x, groups, epsilon) is group normalisation without gamma and beta."""
    import numpy as np
    from keras import ops

    from cnnbook.parts import normalisation

    x = np.random.default_rng(6).normal(1, 2, (2, 4, 5, 6)).astype("float32")
    for groups in (1, 2, 3, 6):
        found = np.asarray(group(x, groups, 1e-3))
        assert found.shape == x.shape, f"The result has the shape {found.shape}, not {x.shape}."
        wanted = ops.convert_to_numpy(normalisation.group_norm(x, groups, epsilon=1e-3))
        apart = float(np.abs(found - wanted).max())
        assert apart < 1e-4, f"With {groups} groups of {6 // groups} the numbers differ by up to {apart:.2g}."


def _rates(answer):
    """Whether two largest rates were found, the second well above the first."""
    assert isinstance(answer, dict) and set(answer) == {"none", "batch"}, (
        'Give {"none": rate, "batch": rate}.'
    )
    none, batch = (float(answer[name]) for name in ("none", "batch"))
    assert 0.01 <= none <= 3 and 0.01 <= batch <= 10, "Give rates that you have tried, from 0.01 to 10."
    assert batch >= 3 * none, f"{batch:g} is less than three times {none:g}; the kept runs are further apart."


ANSWERS = {
    "numbers": Answer(
        (16_896, 8_448),
        why="The 13 widths add to 4,224; a channel has gamma, beta, a mean and a variance, and two of these are trained.",
        hints=(
            "Count channels, not pixels: add the widths of all convolutions.",
            "Each channel has four numbers.",
        ),
    ),
    "steps": Answer(
        math.ceil(math.log(0.01) / math.log(0.99)),
        why="0.99 to the power 459 is 0.0099. Seven epochs of 64 batches are just too few.",
        hints=("Each step multiplies what is left by the momentum.", "Take logarithms, and round up."),
    ),
    "fold": Answer(
        _folds,
        why="At test time batch norm is a line for each channel, so a convolution can do its work; phones run nets so.",
        hints=(
            "Write y = gamma (k x - mean) / deviation + beta, and collect what stands before x.",
            "The output channel is the last axis of the kernel, so a vector of one number per channel broadcasts.",
        ),
    ),
    "group": Answer(
        _normalises_groups,
        why="One group is layer norm, a group for each channel is instance norm: the other images do not matter.",
        hints=(
            "Reshape to (n, h, w, groups, channels in a group) first.",
            "Mean and variance go over h, w and the channels in a group; keepdims=True lets them broadcast.",
        ),
    ),
    "rates": Answer(
        _rates,
        why="Your two numbers depend on the seed; that batch norm's is several times larger does not.",
        hints=(
            "A run that is no better than chance has a held-out accuracy near 0.1.",
            "Raise the rate of the net with batch norm further, beyond 1.",
        ),
    ),
}
