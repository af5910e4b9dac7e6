"""Do two images show the same person? Pairs, their scores, the ROC curve, a threshold and its accuracy.

The people were not among those that the network was trained on, so verification compares features instead of classes. The
threshold is chosen on other pairs than those it is tested on.
"""

from typing import NamedTuple

import numpy as np

__all__ = ["Roc", "accuracy", "best_threshold", "cosine", "pairs", "roc"]


def pairs(labels, n=None, *, seed=0):
    """(first, second, same): n pairs of different examples by index, half of one label and half of two, in seeded order.

    labels: (examples,), who each example shows. first, second: int64 (n,); same: bool (n,). No pair comes twice; n=None
    takes as many as there are of both kinds. ValueError for an n that is odd or more than that.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) < 2:
        raise ValueError(f"labels are one number for each of at least two examples, got shape {labels.shape}")
    first, second = np.triu_indices(len(labels), 1)
    same = labels[first] == labels[second]
    rng, kinds = np.random.default_rng([seed, 3]), [np.flatnonzero(same), np.flatnonzero(~same)]
    largest = 2 * min(map(len, kinds))
    n = largest if n is None else n
    if not isinstance(n, int) or n % 2 or not 2 <= n <= largest:
        raise ValueError(f"n is an even number from 2 to {largest} for these labels, got {n!r}")
    chosen = rng.permutation(np.concatenate([rng.choice(kind, n // 2, replace=False) for kind in kinds]))
    return first[chosen], second[chosen], same[chosen]


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
