"""Answers to the exercises of chapter 02: counts of AlexNet, LeNet's sparse C3, dropout, a switch over seeds."""

from cnnbook.answers import Answer, compared_by_ranges


def right_sparse(convolve):
    """`convolve(maps, kernel, table)` is a convolution in which output k reads the maps that column k of the table names."""
    import numpy as np

    from cnnbook import numerics

    rng = np.random.default_rng(3)
    maps = rng.normal(size=(2, 6, 7, 3)).astype("float32")
    kernel = rng.normal(size=(5, 5, 3, 4)).astype("float32")
    table = np.array([[1, 0, 1, 0], [1, 1, 0, 0], [0, 1, 1, 1]], bool)
    with numerics.exact():
        found = np.asarray(convolve(maps.copy(), kernel.copy(), table.copy()))
    assert found.shape == (2, 2, 3, 4), (
        f"maps of 6 x 7 and a window of 5 x 5 give 2 x 3 places and 4 maps, yours have the shape {found.shape}"
    )
    wanted, every = np.zeros((2, *found.shape)), np.ones_like(table)
    for sums, reads in zip(wanted, (table, every), strict=True):
        for i, j, k in np.ndindex(2, 3, 4):
            window = maps[:, i : i + 5, j : j + 5] * reads[:, k]
            sums[:, i, j, k] = (window * kernel[..., k]).sum((1, 2, 3))
    assert not np.allclose(found, wanted[1], atol=1e-3), (
        "every output map reads all maps: where is the table?"
    )
    apart = float(np.abs(found - wanted[0]).max())
    assert apart < 1e-3, f"it differs from the sum by hand by up to {apart:.2g}"


def right_dropout(dropout):
    """`dropout(x, rate, training, rng)` drops units of a batch and scales the others, both in training only."""
    import numpy as np

    x, rate = np.full((8, 2000), 3.0), 0.25
    x[:, 1000:] = -6.0
    # Copies, since a function may well write into what it is given.
    at_test = np.asarray(dropout(x.copy(), rate, False, np.random.default_rng(4)))
    assert np.array_equal(at_test, x), "at test time nothing is dropped and nothing is scaled"
    found = np.asarray(dropout(x.copy(), rate, True, np.random.default_rng(4)))
    assert found.shape == x.shape, f"the shape {x.shape} became {found.shape}"
    dropped = float((found == 0).mean())
    assert abs(dropped - rate) < 0.05, f"a rate of {rate} drops a quarter of the units, yours {dropped:.0%}"
    for value, half in ((3, found[:, :1000]), (-6, found[:, 1000:])):
        kept, wanted = np.unique(half[half != 0]), value / (1 - rate)
        assert np.allclose(kept, wanted), (
            f"units of {value} that stay become {wanted:g}, yours are {kept[:3]}"
        )
    patterns = {tuple(row) for row in found == 0}
    assert len(patterns) == len(x), "images of a batch lose the same units: draw for each image anew"
    again = np.asarray(dropout(x.copy(), rate, True, np.random.default_rng(5)))
    assert not np.array_equal(again, found), "another generator drops the same units: draw from rng"


ANSWERS = {
    "fc6": Answer(
        13 * 13 * 256 * 4096,
        why="It would read 13 x 13 x 256 numbers: 177,209,344 weights, nearly three times the whole net.",
        hints=(
            "Look up the map in front of pool5: its side and its channels.",
            "A weight for each pair: all numbers of that map, times the 4,096 units.",
        ),
    ),
    "zeros": Answer(
        3,
        why="(224 + 3 - 11) / 4 + 1 = 55: one zero on one side and two on the other. The paper does not say so.",
        hints=(
            "Write the formula for n = 224 + p, and ask for 55.",
            "(n - 11) / 4 + 1 = 55 has one solution n; how much more than 224 is it?",
        ),
    ),
    "sparse": Answer(
        right_sparse,
        why="Zeros for the pairs that the table leaves out turn a convolution over all maps into the sparse one.",
        hints=(
            "A pair that does not exist is a pair whose 25 weights are zero.",
            "kernel * table: the table's rows and columns are the last two axes of the kernel; then keras.ops.conv.",
        ),
    ),
    "dropout": Answer(
        right_dropout,
        why="In training the mean of each unit stays what it was, so at test time sums have the same size.",
        hints=(
            "rng.random(x.shape) gives a number from 0 to 1 for each unit of each image: compare with the rate.",
            "Divide what stays by the share that stays on average, and only in training.",
        ),
    ),
    "switch": compared_by_ranges(
        of="switches",
        values="accuracies",
        highest=100,
        between="accuracies are in per cent, between 0 and 100",
    ),
}
