"""Answers to the exercises of chapter 13."""

from cnnbook.answers import Answer, compared_by_ranges


def right_separable(layer):
    import keras
    import numpy as np

    from cnnbook import graph, numerics

    image = keras.Input((12, 12, 5))
    yours = keras.Model(image, layer(image, 7))
    shape = tuple(yours.output.shape)
    assert shape == (None, 12, 12, 7), f"from (None, 12, 12, 5) and 7 filters came {shape}"
    rows = [row for row in graph.trace(yours) if row.macs]
    kinds = [row.kind for row in rows]
    assert kinds == ["DepthwiseConv2D", "Conv2D"], (
        f"a depthwise and a 1x1 convolution are wanted, got {kinds}"
    )
    total = sum(row.macs for row in rows)
    wanted = 12 * 12 * (9 * 5 + 5 * 7)
    assert total == wanted, f"your layer multiplies {total:,} times, and {wanted:,} are needed"
    assert sum(row.params for row in rows) == 9 * 5 + 5 * 7, "the convolutions have a bias"
    # Their product is one full kernel: the same numbers come out.
    rng = np.random.default_rng(0)
    depthwise, pointwise = rng.normal(size=(3, 3, 5, 1)), rng.normal(size=(1, 1, 5, 7))
    for row, kernel in zip(rows, (depthwise, pointwise), strict=True):
        row.operation.set_weights([kernel])
    maps = rng.normal(size=(2, 12, 12, 5)).astype("float32")
    with numerics.exact():
        a = yours.predict(maps, verbose=0)
        kernel = keras.ops.convert_to_tensor((depthwise * pointwise).astype("float32"))
        b = keras.ops.convert_to_numpy(keras.ops.conv(maps, kernel, padding="same"))
    apart = float(np.abs(a - b).max() / np.abs(b).max())
    assert apart < 1e-4, (
        f"a full convolution with the product of your kernels differs by {apart:.2g} of the largest"
    )


def right_undo(function):
    import numpy as np

    from cnnbook.parts.layers import ShuffleChannels

    for groups, channels in ((3, 12), (2, 10), (4, 8)):
        x = np.arange(2 * channels, dtype="float32").reshape(2, 1, 1, channels)
        mixed = np.array(ShuffleChannels(groups)(x))
        back = np.asarray(function(mixed, groups))
        assert back.shape == x.shape, f"the shape {x.shape} became {back.shape}"
        assert np.array_equal(back, x), (
            f"{channels} channels in {groups} groups came back as {back[0, 0, 0].astype(int).tolist()}"
        )


ANSWERS = {
    "larger_kernel": Answer(
        1 / 128 + 1 / 25,
        tolerance=1e-4,
        why="The 1x1 keeps its cost while the full kernel grows, so a larger kernel gains more from the factorisation.",
        hints=(
            "Write both costs for one place of the map, then divide.",
            "In the text's formula the nine is the number of places under the kernel.",
        ),
    ),
    "both_knobs": Answer(
        1 / 16,
        tolerance=1e-6,
        why="Half the channels on both sides is a quarter, and half the side is a quarter of the places.",
        hints=(
            "A 1x1 convolution needs places times channels in times channels out.",
            "The width acts on two of these three, the resolution on the number of places.",
        ),
    ),
    "separable": Answer(
        right_separable,
        why="With nothing between them the two thin layers are one full convolution whose kernels share their filters.",
        hints=(
            "First a layer with one filter for each channel, then one with kernels of 1x1.",
            "Neither layer needs a bias, and the first has to keep the size of the map.",
        ),
    ),
    "undo": Answer(
        right_undo,
        why="A transposition undoes itself, once the two axes have changed their lengths.",
        hints=(
            "What does the shuffle make of the channels before it swaps two axes, and what stands there afterwards?",
            "After the swap the groups are the shorter or longer axis at the end: read the channels with the two lengths "
            "exchanged, swap, and flatten.",
        ),
    ),
    "verdict": compared_by_ranges(of="variants"),
}
