"""Are these two the same? Pairs, their scores, the ROC curve, and an accuracy whose threshold never saw the test pairs.

Verification is asked of people that a classifier was not trained on; so it needs features and a distance, not classes.
"""

from typing import NamedTuple

import numpy as np


def pairs(labels, n=None, *, seed=0):
    """(first, second, same): n pairs of different examples by index, half of one label and half of two, in seeded order.

    int64 (n,), int64 (n,), bool (n,). No pair comes twice; n=None takes all pairs of one label and as many others.
    ValueError where there are not so many.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) < 2:
        raise ValueError(f"labels are one number for each of at least two examples, got shape {labels.shape}")
    first, second = np.triu_indices(len(labels), 1)
    same = labels[first] == labels[second]
    rng, kinds = np.random.default_rng([seed, 3]), [np.flatnonzero(same), np.flatnonzero(~same)]
    most = 2 * min(map(len, kinds))
    n = most if n is None else n
    if not isinstance(n, int) or n % 2 or not 2 <= n <= most:
        raise ValueError(f"n is an even number from 2 to {most} for these labels, got {n!r}")
    chosen = rng.permutation(np.concatenate([rng.choice(kind, n // 2, replace=False) for kind in kinds]))
    return first[chosen], second[chosen], same[chosen]


def cosine(features, first, second):
    """The cosine of the angle between features (n, d) of each pair: float64 (pairs,), 1 where they point the same way."""
    features = np.asarray(features, "float64")
    features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return np.einsum("nd,nd->n", features[first], features[second])


class Roc(NamedTuple):
    """`false_accepts` and `true_accepts`, shares that rise from 0 to 1 as the threshold falls; `thresholds`, a pair counts
    as the same where its score is at least that; `area` under the curve, 0.5 for guessing."""

    false_accepts: np.ndarray
    true_accepts: np.ndarray
    thresholds: np.ndarray
    area: float


def roc(scores, same):
    """The `Roc` of scores (n,), high where alike, and truths (n,). ValueError unless both kinds of pairs are there."""
    scores, same = _checked(scores, same)
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # equal scores pass together
    right, wrong = np.cumsum(same[order])[ends], np.cumsum(~same[order])[ends]
    true_accepts, false_accepts = np.append(0, right / right[-1]), np.append(0, wrong / wrong[-1])
    area = float(np.sum(np.diff(false_accepts) * (true_accepts[1:] + true_accepts[:-1]) / 2))
    return Roc(false_accepts, true_accepts, np.append(np.inf, scores[order][ends]), area)


def best_threshold(scores, same):
    """The score from which on "the same" is said with the fewest mistakes: midway between two; of several the lowest."""
    scores, same = _checked(scores, same)
    values, place = np.unique(scores, return_inverse=True)
    alike = np.bincount(place, same, len(values))
    mistakes = np.append(0, np.cumsum(alike)) + np.append(
        np.cumsum((np.bincount(place) - alike)[::-1])[::-1], 0
    )
    middles = np.concatenate([[values[0] - 1], (values[1:] + values[:-1]) / 2, [values[-1] + 1]])
    return float(middles[np.argmin(mistakes)])


def accuracy(scores, same, threshold):
    """The share of pairs for which `score >= threshold` says the truth."""
    scores, same = _checked(scores, same)
    return float(np.mean((scores >= threshold) == same))


def _checked(scores, same):
    scores, same = np.asarray(scores, "float64"), np.asarray(same, bool)
    if scores.ndim != 1 or scores.shape != same.shape or not np.isfinite(scores).all():
        raise ValueError(f"a finite score and a truth for each pair, got {scores.shape} and {same.shape}")
    if same.all() or not same.any():
        raise ValueError("pairs of both kinds are needed, the same and not the same")
    return scores, same
