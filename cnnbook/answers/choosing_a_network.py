"""Answers to the exercises of chapter 20."""

from cnnbook.answers import Answer


def _front(answer):
    import numpy as np

    def right(points):
        points = np.asarray(points)
        beaten = [((points >= p).all(1) & (points > p).any(1)).any() for p in points]
        return [i for i, is_beaten in enumerate(beaten) if not is_beaten]

    rng = np.random.default_rng(20)
    cases = {
        "one point": [(1, 1)],
        "three points on a falling line": [(1, 3), (2, 2), (3, 1)],
        "two equal points": [(2, 2), (2, 2), (1, 1)],
        "points of equal speed": [(2, 1), (2, 3), (1, 3)],
        "fifty points by chance": [tuple(p) for p in rng.integers(0, 12, (50, 2)).tolist()],
    }
    for words, points in cases.items():
        got = answer(list(points))
        assert got is not None and sorted(map(int, got)) == list(map(int, got)), (
            f"{words}: a list of indices in ascending order is wanted, got {got!r}"
        )
        assert list(map(int, got)) == right(points), f"{words}, {points[:4]}: {list(got)} is not the front"


def _garments(answer):
    import numpy as np

    p = np.random.default_rng(21).dirichlet(np.ones(50), 6)
    got = np.asarray(answer(p.copy()))
    assert got.shape == (6, 10), f"of (6, 50) it makes {got.shape}, wanted: (6, 10)"
    assert np.allclose(got.sum(1), 1), "the ten probabilities of an image do not sum to 1"
    wanted = np.stack([p[:, 5 * g : 5 * g + 5].sum(1) for g in range(10)], 1)
    assert np.allclose(got, wanted), "the numbers sum to 1, but they are not those of the garments"


ANSWERS = {
    "by_hand": Answer(
        (0.25, 0.875),
        why="One first guess of four is right. Within two guesses three are right, and one gets half a place: 3.5 of 4.",
        hints=(
            "For each image count the classes with a higher score than the true one, then those level with it.",
            "In the third image one class is ahead and two are level, so they share what is left of the two places.",
        ),
        tolerance=1e-6,
    ),
    "batch": Answer(
        22,
        why="The weights take 553 MB and one image's fullest moment 25.7 MB: 21 images take less than the weights, 22 more.",
        hints=(
            "graph.peak_memory gives both parts: weights_mb, and maps_mb of a batch.",
            "Divide the one by the maps of a single image, and mind which way to round.",
        ),
    ),
    "front": Answer(
        _front,
        why="A point stays if no other one is at least as good in both numbers and better in one.",
        hints=(
            "Compare each point with all others; one that beats it is enough to strike it.",
            "With NumPy: (points >= own).all(axis=1) and (points > own).any(axis=1), both for the same row.",
        ),
    ),
    "garments": Answer(
        _garments,
        why="The colours of one garment exclude each other, so their probabilities add up.",
        hints=(
            "The probability of a garment is the sum over its colours.",
            "The five colours of a garment stand side by side: a reshape puts them on an axis of their own.",
        ),
    ),
}
