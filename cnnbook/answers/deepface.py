"""Answers to the exercises of chapter 17."""

from cnnbook.answers import Answer, compared_by_ranges


def right_local(layer):
    """Whether layer(x, kernel) is a locally connected layer without a bias, stride 1, for one map."""
    import numpy as np
    from keras import ops

    from cnnbook import numerics
    from cnnbook.parts.layers import LocallyConnected2D

    rng = np.random.default_rng(17)
    for h, w, c, k, filters in ((6, 8, 3, 3, 4), (5, 5, 2, 2, 1)):
        ours = LocallyConnected2D(filters, k, use_bias=False)
        ours.build((1, h, w, c))
        kernel = rng.normal(size=tuple(ours.kernel.shape)).astype("float32")
        ours.set_weights([kernel])
        x = rng.normal(size=(h, w, c)).astype("float32")
        found = np.asarray(layer(x, kernel))
        wanted_shape = (h - k + 1, w - k + 1, filters)
        assert found.shape == wanted_shape, f"the map has the shape {found.shape}, not {wanted_shape}"
        with numerics.exact():
            wanted = ops.convert_to_numpy(ours(x[None]))[0]
        wrong = int((~(np.abs(found - wanted).max(-1) <= 1e-3)).sum())  # NaN is wrong, too
        assert not wrong, f"{wrong} of {found.shape[0] * found.shape[1]} positions have other numbers"


def right_weighted(camera):
    """Whether camera(head, points, weights) is the least-squares camera with a weight for each landmark's squared error."""
    import numpy as np

    rng = np.random.default_rng(17)
    head = rng.normal(size=(12, 3))
    true = np.array([[40.0, 3, -2, 64], [-4, 38, 5, 60]])
    points = head @ true[:, :3].T + true[:, 3] + rng.normal(size=(12, 2))
    homogeneous = np.concatenate([head, np.ones((12, 1))], axis=1)
    for weights, which in (
        (np.ones(12), "all weights 1"),
        (rng.uniform(0.2, 5, 12), "weights from 0.2 to 5"),
    ):
        found = np.asarray(camera(head, points, weights))
        assert found.shape == (2, 4), f"the camera has the shape {found.shape}, not (2, 4)"
        # At the minimum no change of the camera makes the weighted sum of squares smaller. float32 and a search for the
        # minimum leave slopes below 0.001, weights that are squared or left out make them larger than 2.
        slope = homogeneous.T @ (weights[:, None] * (points - homogeneous @ found.T))
        steepest = float(np.abs(slope).max())
        assert steepest < 0.01, (
            f"with {which} the sum is not at its minimum: its slope there is {steepest:.2g}"
        )


ANSWERS = {
    "local_weights": Answer(
        8 * 8 * 3 * 3 * 4 * 8,
        why="8 x 8 positions, each with 3 * 3 * 4 * 8 weights.",
        hints=(
            "How many positions has the output, if nothing is padded?",
            "Multiply the number of positions by the weights of one convolution of that size.",
        ),
    ),
    "area": Answer(
        0.75,
        tolerance=0.001,
        why="Of the 2 x 2 ways to take a same and a different pair, three are in order.",
        hints=(
            "It is a chance: that a same pair scores higher than a different one.",
            "There are two same and two different pairs. List all ways to take one of each.",
        ),
    ),
    "local": Answer(
        right_local,
        why="It is a convolution whose kernel is looked up anew at each position; two loops and a sum are enough.",
        hints=(
            "The window at (i, j) begins at row i and column j, and it is as large as kernel[i, j].",
            "Multiply the window (k, k, c, 1) by kernel[i, j] (k, k, c, filters) and sum over the first three axes.",
        ),
    ),
    "weighted": Answer(
        right_weighted,
        why="The paper does this: a landmark that its detector finds badly gets a small weight and turns the camera less.",
        hints=(
            "Start from the source of alignment.camera: least squares over equations, one for each landmark.",
            "A squared error that counts w times belongs to an equation whose both sides are multiplied by one number.",
        ),
    ),
    "verdict": compared_by_ranges(
        of="ways", values="percentages", between="percentages of pairs lie between 0 and 100"
    ),
}
