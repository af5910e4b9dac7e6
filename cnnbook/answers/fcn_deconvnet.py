"""Answers to the exercises of chapter 18: stamps added up, mean IoU by hand, a transposed convolution, a skip of FCN-8s."""

from cnnbook.answers import Answer, compared_by_ranges


def right_transposed(function):
    """`function(maps, kernel, stride)` is Keras' transposed convolution without padding, crop and bias."""
    import keras
    import numpy as np
    from keras import layers as L

    from cnnbook import numerics

    rng = np.random.default_rng(18)
    # fmt: off
    cases = (("one channel, stamps that do not touch", (3, 4, 1), (2, 2, 1, 1), 2),
             ("one channel, stamps that overlap", (3, 4, 1), (3, 3, 1, 1), 2),
             ("one channel at stride 3", (3, 4, 1), (4, 4, 1, 1), 3),
             ("two channels become three", (3, 4, 2), (4, 4, 3, 2), 2))
    # fmt: on
    for what, size, shape, stride in cases:
        maps, kernel = (rng.normal(size=s).astype("float32") for s in (size, shape))
        layer = L.Conv2DTranspose(shape[2], shape[0], stride, "valid", use_bias=False)
        layer.build((None, *size))
        layer.set_weights([kernel])
        with numerics.exact():
            wanted = keras.ops.convert_to_numpy(layer(maps[None]))[0]
        found = np.asarray(function(maps.copy(), kernel.copy(), stride))
        assert found.shape == wanted.shape, (
            f"{what}: {size[:2]} places and a kernel of {shape[:2]} at stride {stride} give {wanted.shape}, "
            f"yours has the shape {found.shape}"
        )
        apart = float(np.abs(found - wanted).max())
        assert apart < 1e-4, f"{what}: yours differs from Keras' layer by up to {apart:.2g}"


def right_skip(function):
    """`function(scores, finer, classes)` is one step of FCN: the scores twice as large, plus those of the finer map."""
    import keras
    import numpy as np

    from cnnbook import graph, numerics

    scores, finer = keras.Input((4, 5, 3)), keras.Input((8, 10, 7))
    yours = keras.Model([scores, finer], function(scores, finer, 3))
    shape = tuple(yours.output.shape)
    assert shape == (None, 8, 10, 3), f"from scores of 4 x 5 and a map of 8 x 10 came {shape}"
    rows = graph.trace(yours)
    kinds = sorted(row.kind for row in rows if row.params)
    # A dense layer on the last axis is a convolution of 1x1.
    assert kinds in (["Conv2D", "Conv2DTranspose"], ["Conv2DTranspose", "Dense"]), (
        f"a convolution and a transposed one hold the weights, got {kinds}"
    )
    sides = {row.kind: tuple(row.operation.kernel.shape[:-2]) or (1, 1) for row in rows if row.params}
    right = {kind: (4, 4) if kind == "Conv2DTranspose" else (1, 1) for kind in kinds}
    assert sides == right, f"your kernels are {sides}"
    assert not any(row.kind == "Concatenate" for row in rows), (
        "the two are concatenated, as U-Net does; FCN adds them"
    )
    rng = np.random.default_rng(18)
    # Scores that start at zero, as FCN's do, would hide what is done to them.
    yours.set_weights([rng.normal(0, 0.3, w.shape) for w in yours.get_weights()])
    below, beside = (rng.normal(size=(1, *t.shape[1:])).astype("float32") for t in (scores, finer))
    one_place = np.zeros_like(beside)
    one_place[0, 3, 4] = 1

    def answer(*maps):
        with numerics.exact():
            return keras.ops.convert_to_numpy(yours(list(maps)))[0]

    nothing = answer(0 * below, 0 * beside)
    parts = answer(0 * below, beside) + answer(below, 0 * beside) - nothing
    apart = float(np.abs(answer(below, beside) - parts).max())
    assert apart < 1e-4, f"the answer is no sum of what the two inputs bring: {apart:.2g} is left"
    mirrored = answer(below, beside) + answer(-below, -beside)
    assert np.abs(mirrored - 2 * nothing).max() < 1e-4, (
        "an activation bends the scores; FCN adds them as they are"
    )
    reached = np.abs(answer(0 * below, one_place) - nothing).max(-1) > 1e-6
    assert np.argwhere(reached).tolist() == [[3, 4]], (
        f"one place of the finer map reaches {reached.sum()} places of your answer; FCN adds its scores at that place alone"
    )


ANSWERS = {
    "side": Answer(
        16,
        why="(7 - 1) x 2 + 4: the last of seven stamps begins at place 12 and covers four places.",
        hints=(
            "How many places lie between the beginnings of the first stamp and the last one?",
            "The last stamp begins (n - 1) strides after the first; then add the side of a kernel.",
        ),
    ),
    "overlap": Answer(
        (60 / 120 + 880 / 940) / 2,
        tolerance=0.006,
        why="Half for the item and 0.94 for the ground: each class counts alike, although there is far more ground.",
        hints=(
            "Do the item first: the union has all pixels that either of the two has.",
            "Then do the ground in the same way: outside of both, over outside of at least one.",
        ),
    ),
    "transposed": Answer(
        right_transposed,
        why="One multiplication and one addition per place of the small map: that is the whole layer.",
        hints=(
            "Begin with zeros of the full size, loop over the places of the small map, and add a stamp at each.",
            "A stamp is a sum over the input channels: the kernel's last axis meets the channels of that place.",
        ),
    ),
    "skip": Answer(
        right_skip,
        why="Both sides are linear and speak in class scores, so the finer map corrects what the coarser one said.",
        hints=(
            "Two layers have weights: one enlarges the scores, one makes scores of the finer map.",
            "Enlarging by f takes a kernel of 2f at stride f; scores of a map come from a 1x1 convolution.",
        ),
    ),
    "verdict": compared_by_ranges(
        of="nets", values="scores", highest=1, between="outline F lies between 0 and 1"
    ),
}
