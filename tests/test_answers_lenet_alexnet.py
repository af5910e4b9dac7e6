"""The exercises of chapter 02 take a right answer, and tell two typical mistakes apart."""

import keras
import numpy as np

CHAPTER = "lenet_alexnet"


def dropout(x, rate, training, rng, *, shape=None, scale=True):
    if not training:
        return x
    stays = rng.random(shape or x.shape) >= rate
    return x * stays / (1 - rate if scale else 1)


def writes_into_x(x, rate, training, rng):
    if training:
        x *= rng.random(x.shape) >= rate
        x /= 1 - rate
    return x


def one_by_one(maps, kernel, table):
    """The sparse convolution, by one convolution for each output map over those maps that it reads."""
    outputs = []
    for k, reads in enumerate(table.T):
        (chosen,) = np.nonzero(reads)
        outputs.append(keras.ops.conv(maps[..., chosen], kernel[:, :, chosen, k : k + 1]))
    return keras.ops.concatenate(outputs, -1)


def test_numbers(said):
    assert said("fc6", 177_209_344).startswith("Right.")
    assert said("fc6", 13 * 13 * 4096).startswith("Not right yet")
    assert said("zeros", 3).startswith("Right.")
    assert said("zeros", 1.5).startswith("Not right yet")


def test_sparse_convolution(said):
    assert said("sparse", lambda maps, kernel, table: keras.ops.conv(maps, kernel * table)).startswith(
        "Right."
    )
    assert said("sparse", one_by_one).startswith("Right.")
    assert "where is the table" in said("sparse", lambda maps, kernel, table: keras.ops.conv(maps, kernel))
    padded = said("sparse", lambda m, k, t: keras.ops.conv(m, k * t, padding="same"))
    assert "2 x 3 places" in padded and "(2, 6, 7, 4)" in padded
    doubled = said("sparse", lambda maps, kernel, table: keras.ops.conv(maps, 2 * kernel * table))
    assert "differs from the sum by hand" in doubled


def test_dropout(said):
    assert said("dropout", dropout).startswith("Right.")
    assert said("dropout", writes_into_x).startswith("Right.")
    assert "units of 3 that stay become 4" in said(
        "dropout", lambda x, *given: dropout(0 * x + 4, *given) if given[1] else x
    )
    assert "yours are [3.]" in said("dropout", lambda *given: dropout(*given, scale=False))
    assert "the same units" in said("dropout", lambda x, *given: dropout(x, *given, shape=(1, x.shape[1])))
    at_test = said("dropout", lambda x, rate, training, rng: dropout(x, rate, True, rng))
    assert "at test time nothing" in at_test
    assert "yours 75%" in said("dropout", lambda x, rate, training, rng: (
        np.where(rng.random(x.shape) < rate, x / (1 - rate), 0) if training else x
    ))  # fmt: skip


def test_a_switch_is_judged_by_ranges(said):
    close = {"ReLU": [78.0, 80.0, 79.0], "ReLU, dropout": [79.5, 81.0, 80.0]}
    assert said("switch", (close, "not decided")).startswith("Right.")
    assert "go from 78.00 to 80.00" in said("switch", (close, "decided"))
    assert "in per cent" in said("switch", ({name: [101.0, 80, 79] for name in close}, "decided"))
