"""Answers to the exercises of chapter 16."""

from cnnbook.answers import Answer, compared_by_ranges


def right_without_copies(function):
    import numpy as np

    dark, light = np.zeros((2, 2, 1), "uint8"), np.full((2, 2, 1), 200, "uint8")
    turned = np.array([[[0], [200]], [[0], [0]]], "uint8")
    mirrored = turned[:, ::-1]
    cases = (
        ("three different pictures", [dark, light, turned], [0, 1, 0], [0, 1, 2]),
        ("a picture and its mirror image, which is no copy", [turned, mirrored, dark], [0, 1, 1], [0, 1, 2]),
        ("a copy in its own class", [dark, light, dark], [0, 1, 0], [0, 1]),
        ("a copy in another class", [dark, light, dark], [0, 1, 1], [1]),
        ("two copies, one of them in another class", [light, dark, dark, dark], [1, 0, 0, 1], [0]),
    )
    for what, pictures, labels, wanted in cases:
        kept = [int(i) for i in function(np.stack(pictures), np.array(labels))]
        assert kept == wanted, f"{what}: kept are {kept}, wanted: {wanted}"


def right_split(function):
    import numpy as np

    of = np.repeat(np.arange(7, 27), 6)[np.random.default_rng(0).permutation(120)]
    for share, count in ((0.25, 5), (0.5, 10), (0.33, 7)):
        held_out = np.asarray(function(of, share, 1))
        assert held_out.shape == of.shape, f"{held_out.shape} values for {of.shape[0]} pictures"
        assert held_out.dtype == bool, f"True or False is wanted for each picture, got {held_out.dtype}"
        both = sorted(set(of[held_out]) & set(of[~held_out]))
        assert not both, f"{len(both)} of 20 series lie on both sides"
        number = len(set(of[held_out]))
        assert number == count, f"a share of {share} of 20 series: {number} are held out"
    once, again, other = (function(of, 0.5, seed) for seed in (1, 1, 2))
    assert np.array_equal(once, again), "one seed gives two splits, so nobody can repeat yours"
    assert not np.array_equal(once, other), "two seeds give the same split"


ANSWERS = {
    "dense": Answer(
        6405,
        why="A weight for each pair of feature and class, and a bias for each class.",
        hints=(
            "Each class has a weight for every feature.",
            "And each class has one number more, which no feature multiplies.",
        ),
    ),
    "ceiling": Answer(
        0.89,
        why="It is counted wrong where it errs, and also where it is right and the label is not.",
        hints=(
            "In how many cases do the network's answer and the label agree?",
            "Where the label is wrong a right answer does not agree with it; take off the network's own errors, too.",
        ),
        tolerance=0.001,
    ),
    "without_copies": Answer(
        right_without_copies,
        why="Equal pixels count once, and a picture that two classes claim teaches nothing.",
        hints=(
            "tobytes() makes of a picture a key for a dictionary.",
            "Collect the set of labels of each picture first, and decide when all pictures were seen.",
        ),
    ),
    "split_by_series": Answer(
        right_split,
        why="The draw is made among series, and every picture goes where its series goes.",
        hints=(
            "Draw among np.unique(of), not among the pictures.",
            "np.isin says for each picture whether its series was drawn.",
        ),
    ),
    "verdict": compared_by_ranges(
        of="numbers of labels", values="accuracies", between="accuracies are in per cent, between 0 and 100"
    ),
}
