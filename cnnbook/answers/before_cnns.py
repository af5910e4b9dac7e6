"""Answers to the exercises of appendix a0: sizes of features, local binary patterns, a Fisher vector, moved pictures."""

from cnnbook.answers import Answer, compared_by_ranges

# The ring of eight neighbours as the chapter reads it, from the right over the top: (rows down, columns right).
RING = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))


def code_at(image, row, column):
    """The local binary pattern of one pixel that is not on the border, bit by bit."""
    middle = image[row, column]
    return sum(int(image[row + down, column + right] >= middle) << k for k, (down, right) in enumerate(RING))


def right_codes(codes):
    """`codes(image)` gives the local binary pattern of every pixel that is not on the border."""
    import numpy as np

    image = np.random.default_rng(10).integers(0, 6, (7, 9))  # few values, so that many neighbours are equal
    found = np.asarray(codes(image))
    assert found.shape == (5, 7), f"a picture of 7 x 9 has codes of 5 x 7, yours have the shape {found.shape}"
    wanted = np.array([[code_at(image, i, j) for j in range(1, 8)] for i in range(1, 6)])
    flat = np.asarray(codes(np.full((3, 3), 4)))
    assert flat.item() == 255, f"where all are equal every bit is 1: the code is 255, yours is {flat.item()}"
    if not np.array_equal(found, wanted):
        bits = ([int(code).bit_count() for code in array.ravel()] for array in (found, wanted))
        assert next(bits) != next(bits), (
            "each code has the right number of ones, but they stand at other bits"
        )
        share = np.mean(found == wanted)
        raise AssertionError(f"{share:.0%} of the codes are right")
    brighter = np.asarray(codes(image + 20))
    assert np.array_equal(brighter, found), "the codes change when every pixel gets brighter by 20"


def fisher_of_means(x, weights, means, spreads):
    """The mean part (K, D) of the Fisher vector of descriptors x (N, D), by loops."""
    import math

    import numpy as np

    total = np.zeros_like(means)
    for row in x:
        away = (row - means) / spreads
        density = [
            w * math.exp(-0.5 * float((a**2).sum())) / math.prod(s)
            for w, a, s in zip(weights, away, spreads, strict=True)
        ]
        for k, one in enumerate(density):
            total[k] += one / sum(density) * away[k]
    return total / (len(x) * np.sqrt(weights)[:, None])


def right_fisher(fisher):
    """`fisher(x, weights, means, spreads)` is the mean part of a Fisher vector."""
    import numpy as np

    rng = np.random.default_rng(11)
    weights, means, spreads = np.array([0.2, 0.8]), rng.normal(size=(2, 3)), rng.uniform(0.5, 2, (2, 3))
    x = rng.normal(size=(12, 3))
    found = np.asarray(fisher(x, weights, means, spreads))
    assert found.shape == (2, 3), f"K = 2 Gaussians in D = 3 want the shape (2, 3), yours has {found.shape}"
    wanted = fisher_of_means(x, weights, means, spreads)
    if np.allclose(found, wanted, atol=1e-6):
        return
    assert not np.allclose(found, len(x) * wanted, atol=1e-5), "it grows with the number of descriptors"
    rooted = wanted * np.sqrt(weights)[:, None]
    assert not np.allclose(found, rooted, atol=1e-6), (
        "the formula divides by the root of each Gaussian's weight"
    )
    apart = float(np.abs(found - wanted).max())
    raise AssertionError(f"it differs from the sum by hand by up to {apart:.2g}: look at the shares too")


ANSWERS = {
    "window": Answer(
        7 * 15 * 4 * 9,
        why="8 x 16 cells make 7 x 15 blocks of 4 cells with 9 numbers each: 3,780.",
        hints=(
            "Count cells first, then places at which a block of 2 x 2 cells fits.",
            "A row of c cells has c - 1 places for a block, and a block has 4 cells.",
        ),
    ),
    "patterns": Answer(
        2 + 12 * 11 + 1,
        why="Two codes without a change, 12 places times 11 lengths of the ones, and the shared bin: 135 of 4,096.",
        hints=(
            "Count as the chapter does for 8: where do the ones begin, and how many are there?",
            "The codes of only zeros and only ones have no beginning; and one bin is left for all other codes.",
        ),
    ),
    "codes": Answer(
        right_codes,
        why="A code compares neighbours only, so what adds the same to all pixels changes no bit.",
        hints=(
            "Eight shifted copies of the picture, each compared with its middle: image[1:-1, 1:-1].",
            "A neighbour that is equal counts as at least as bright; bit k is the comparison times 2 to the power k.",
        ),
    ),
    "fisher": Answer(
        right_fisher,
        why="Shares, distances in units of the spread, a mean over the descriptors: the formula of the chapter.",
        hints=(
            "x[:, None] - means has the shape (N, K, D): distances of every descriptor from every mean.",
            "The shares of one descriptor add up to 1 over the Gaussians; divide by N and by the root of w at the end.",
        ),
    ),
    "moved": compared_by_ranges(
        of="kinds of training", values="accuracies", highest=1, between="accuracies lie between 0 and 1"
    ),
}
