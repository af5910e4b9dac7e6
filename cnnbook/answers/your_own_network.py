"""Answers to the exercises of chapter 22."""

from cnnbook.answers import Answer, says


def right_block(block):
    import keras
    import numpy as np

    from cnnbook import graph
    from cnnbook.models import resnet

    def net_of(make):
        image = keras.Input((28, 28, 8), name="image")
        return keras.Model(image, make(image, 16, "block"))

    strided = net_of(lambda x, filters, name: resnet.basic(x, filters, 2, "B", name))
    yours = net_of(block)
    shape = tuple(yours.output.shape)
    assert shape == (None, 14, 14, 16), f"from (None, 28, 28, 8) and 16 filters came {shape}"
    strangers = [layer.name for layer in yours.layers[1:] if not layer.name.startswith("block")]
    assert not strangers, f"names that do not begin with `name`: {', '.join(strangers)}"
    ours, theirs = (graph.totals(net)["macs"] for net in (strided, yours))
    assert theirs <= 1.1 * ours, (
        f"it takes {theirs:,} multiply-adds, {theirs / ours:.2f} times those of the strided block"
    )
    assert yours.trainable_weights, "there is nothing to train in it"
    steps = [(row.kind, row.output_shape, row.params) for row in graph.trace(yours)]
    of_strided = [(row.kind, row.output_shape, row.params) for row in graph.trace(strided)]
    assert sorted(map(str, steps)) != sorted(map(str, of_strided)), "this is the strided block itself"
    # A step on images of its own generator: what cannot be trained says so here.
    x = np.random.default_rng(0).normal(size=(4, 28, 28, 8)).astype("float32")
    yours.compile("sgd", loss="mse")
    before = [np.copy(w) for w in yours.get_weights()]
    yours.fit(x, np.ones((4, 14, 14, 16), "float32"), epochs=1, batch_size=4, shuffle=False, verbose=0)
    after = yours.get_weights()
    assert all(np.isfinite(w).all() for w in after), "after one step its weights are not finite"
    assert any((a != b).any() for a, b in zip(before, after, strict=True)), (
        "a step changes none of its weights"
    )


def right_interval(function):
    import numpy as np

    # Mean 0.4, standard deviation 0.1, three pairs: quantile 4.302653 of Student's t (tables), over the root of 3.
    pairs = ([8.0, 9.0, 10.0], [7.7, 8.6, 9.5])
    half = 4.302653 * 0.1 / np.sqrt(3)
    _close(function(*pairs, 0.95), (0.4, 0.4 - half, 0.4 + half), "three pairs, 95 %")
    # Two pairs, 50 %: the quantile of one degree of freedom at 0.75 is 1.
    _close(function([1.0, 3.0], [0.0, 0.0], 0.5), (2.0, 1.0, 3.0), "two pairs, 50 %")


def _close(answer, wanted, what):
    three = [float(number) for number in answer]
    assert len(three) == 3, f"three numbers are wanted, got {len(three)}"
    for number, right, part in zip(three, wanted, ("mean", "low end", "high end"), strict=True):
        assert abs(number - right) < 1e-4, f"{what}: the {part} is {number:.4f}"


def right_verdict(answer):
    changed, verdict = answer
    assert len(changed) == 2, f"two nets are wanted, got {len(changed)}"
    first, second = ([float(value) for value in values] for values in changed.values())
    assert len(first) == len(second) >= 3, (
        "three seeds or more for each net are wanted, the same number for both"
    )
    assert all(0 <= value <= 100 for value in first + second), "shares are in per cent, from 0 to 100"
    differences = [a - b for a, b in zip(first, second, strict=True)]
    decided = all(d > 0 for d in differences) or all(d < 0 for d in differences)
    listed = ", ".join(f"{d:.2f}" for d in differences)
    says(verdict, decided, f"the differences, seed by seed, are {listed}")


ANSWERS = {
    "factor": Answer(
        4,
        why="Twice as many places in each direction, and every place costs the same.",
        hints=(
            "Only the number of places changes, not the kernel or the channels.",
            "A stride of 2 leaves out every second row, and every second column of what remains.",
        ),
    ),
    "pairs": Answer(
        (3, 0.4),
        why="In pairs the second net is ahead every time, although the ranges overlap: the seeds differ more than the nets.",
        hints=(
            "Subtract seed by seed before you look at anything else.",
            "Three differences; count those that are positive, then take their mean.",
        ),
        tolerance=1e-6,
    ),
    "block": Answer(
        right_block,
        why="It has the right shape, a name on every layer, trains, and costs no more than a tenth above the strided block.",
        hints=(
            "Begin with the strided block's source and change one layer.",
            "Shrink the map before the convolutions, and both paths by the same means.",
        ),
    ),
    "interval": Answer(
        right_interval,
        why="The standard deviation is that of the differences, with one degree of freedom less than there are pairs.",
        hints=(
            "Take the differences first; the two lists have no spread of their own in this formula.",
            "For a confidence c the quantile is that at (1 + c) / 2, and the deviation divides by n - 1.",
        ),
    ),
    "verdict": Answer(
        right_verdict,
        why="Equal signs in three pairs happen by luck once in four times, so more seeds are worth their minutes.",
        hints=(
            "Run k of one net belongs to run k of the other.",
            "If one difference has another sign than the rest, these seeds decide nothing.",
        ),
    ),
}
