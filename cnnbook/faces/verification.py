"""Do two images show the same person? Pairs, their scores, the ROC curve, a threshold and its accuracy.

The people were not among those that the network was trained on, so verification compares features instead of classes. The
threshold is chosen on other pairs than those it is tested on.
"""

from typing import NamedTuple

import numpy as np

from ..arguments import whole_number

__all__ = ["Roc", "accuracy", "best_threshold", "cosine", "pairs", "roc"]


def pairs(labels, n=None, *, seed=0):
    """(first, second, same): n pairs of different examples by index, half of one label and half of two, in seeded order.

    labels: (examples,), who each example shows. first, second: int64 (n,), first < second; same: bool (n,). No pair comes
    twice; n=None takes as many as there are of both kinds. Pairs are drawn by their numbers, so memory and time go with n
    and the examples, not with all pairs. ValueError for an n that is odd or more than that, and for labels that give no
    pairs of one kind.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) < 2:
        raise ValueError(f"labels are one number for each of at least two examples, got shape {labels.shape}")
    rng, ranked = np.random.default_rng([whole_number(seed, "seed", 0), 3]), _Ranked(labels)
    counts = [int(ranked.pairs(same).sum()) for same in (True, False)]
    largest = 2 * min(counts)
    if not largest:
        raise ValueError(
            f"pairs of one person and of two need two people or more, and two images or more of one of them; the "
            f"{len(labels)} labels name {len(np.unique(labels))}"
        )
    asked = largest if n is None else n
    try:
        n = whole_number(asked, "n", 2, largest)
    except ValueError:
        n = None
    if n is None or n % 2:
        raise ValueError(f"n is an even number from 2 to {largest} for these labels, got {asked!r}")
    alike, apart = (rng.choice(count, n // 2, replace=False) for count in counts)
    first, second = np.concatenate([ranked(True, alike), ranked(False, apart)], axis=1)
    order = rng.permutation(n)
    return first[order], second[order], (np.arange(n) < n // 2)[order]


class _Ranked:
    """The pairs (i, j), i < j, of one label or of two, each by its rank in the order of i, then j, without listing them."""

    def __init__(self, labels):
        n = len(labels)
        _, group = np.unique(labels, return_inverse=True)
        sizes = np.bincount(group)
        # The examples, label by label, each label's in their order; where each label begins.
        self.members, starts = np.argsort(group, kind="stable"), np.cumsum(sizes) - sizes
        self.group, self.start = group, starts[group]
        # How many of its label come before each example, and how many after.
        self.before = np.empty(n, "int64")
        self.before[self.members] = np.arange(n) - np.repeat(starts, sizes)
        self.after = sizes[group] - 1 - self.before
        # How many of other labels come before each member: it rises within a label.
        others = self.members - self.before[self.members]
        self.keys = group[self.members] * n + others

    def pairs(self, same):
        """How many pairs each example is the first of."""
        return self.after if same else np.arange(len(self.after))[::-1] - self.after

    def __call__(self, same, ranks):
        """(first, second), int64 (2, n), of the pairs of one label, or of two, of these ranks."""
        ends = np.cumsum(self.pairs(same))
        first = np.searchsorted(ends, ranks, side="right")
        ranks = ranks - (ends - self.pairs(same))[first]
        start, before = self.start[first], self.before[first]
        if same:
            return np.stack([first, self.members[start + before + 1 + ranks]])
        # The second is the one with so many of other labels before it, and behind as many members as have no more.
        others = first - before + ranks
        members = (
            np.searchsorted(self.keys, self.group[first] * len(self.group) + others, side="right") - start
        )
        return np.stack([first, others + members])


def cosine(features, first, second):
    """The cosine of the angle between the features (n, d) of each pair: float64 (pairs,), 1 where they point the same way.

    first, second: the indices of the pairs, as `pairs` gives them.
    """
    features = np.asarray(features, "float64")
    features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return np.einsum("nd,nd->n", features[first], features[second])


class Roc(NamedTuple):
    """A ROC curve: `false_accepts` and `true_accepts`, shares that rise from 0 to 1 as the threshold falls; `thresholds`, a
    pair counts as the same where its score is at least that; `area` under the curve, 0.5 for guessing. Arrays are float64
    (points,)."""

    false_accepts: np.ndarray
    true_accepts: np.ndarray
    thresholds: np.ndarray
    area: float


def roc(scores, same):
    """The `Roc` of scores (n,), high where alike, and truths (n,), by scikit-learn: one point for each different score.

    ValueError for scores that are not finite, other shapes, or pairs of one kind only.
    """
    from sklearn import metrics

    scores, same = _checked(scores, same)
    false_accepts, true_accepts, thresholds = metrics.roc_curve(same, scores, drop_intermediate=False)
    return Roc(false_accepts, true_accepts, thresholds, float(metrics.roc_auc_score(same, scores)))


def best_threshold(scores, same):
    """The threshold with the fewest mistakes on scores (n,), truths (n,): midway between two scores, of several the lowest.

    ValueError as for `roc`.
    """
    scores, same = _checked(scores, same)
    values, place = np.unique(scores, return_inverse=True)
    positives = np.bincount(place, same, len(values))
    negatives = np.bincount(place) - positives
    # Below the threshold the positives are mistakes, from it on the negatives.
    mistakes = np.append(0, np.cumsum(positives)) + np.append(np.cumsum(negatives[::-1])[::-1], 0)
    thresholds = np.concatenate([[values[0] - 1], (values[1:] + values[:-1]) / 2, [values[-1] + 1]])
    return float(thresholds[np.argmin(mistakes)])


def accuracy(scores, same, threshold):
    """The share of pairs, with scores (n,) and truths (n,), for which `score >= threshold` is the truth."""
    scores, same = _checked(scores, same)
    return float(np.mean((scores >= threshold) == same))


def _checked(scores, same):
    scores, same = np.asarray(scores, "float64"), np.asarray(same, bool)
    if scores.ndim != 1 or scores.shape != same.shape or not np.isfinite(scores).all():
        raise ValueError(f"a finite score and a truth for each pair, got {scores.shape} and {same.shape}")
    if same.all() or not same.any():
        raise ValueError("pairs of both kinds are needed, the same and not the same")
    return scores, same
