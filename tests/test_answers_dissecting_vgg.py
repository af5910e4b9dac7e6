"""Chapter 04: each checked exercise takes its solution and tells two mistakes apart; its methods are the package's."""

import keras
import numpy as np
import pytest
from keras import ops

from cnnbook import exercises
from cnnbook.exercises import check
from cnnbook.training import gradients

pytestmark = pytest.mark.jax


@pytest.fixture(autouse=True)
def nothing_answered(monkeypatch):
    monkeypatch.setattr(exercises, "_wrong", exercises.Counter())


def said(capsys, entry, answer):
    check(f"dissecting_vgg.{entry}", answer)
    return capsys.readouterr().out


def told_apart(capsys, entry, *mistakes):
    """What is said to mistakes; the hints, which depend on how many there were, left out."""
    words = [said(capsys, entry, mistake) for mistake in mistakes]
    assert all(w.startswith("Not right yet: ") for w in words), words
    kept = [[line for line in w.splitlines()[1:] if not line.startswith("Hint ")] for w in words]
    assert len({tuple(lines) for lines in kept}) == len(kept), kept
    return kept


@pytest.mark.parametrize(
    "entry, right, wrong",
    [("units", (4, 32), [(2, 32), (4, 16)]), ("shares", (6, -2), [(6, 2), (3, -2)])],
)
def test_numbers(capsys, entry, right, wrong):
    assert said(capsys, entry, right).startswith("Right. ")
    hints = [said(capsys, entry, answer) for answer in wrong]
    assert "Hint 1 of 2" in hints[0] and "Hint 2 of 2" in hints[1]
    assert said(capsys, entry, (..., right[1])).startswith("Not answered yet")


def cam(model, image, layer, target, *, mean=True, cut=True):
    tap = model.get_layer(layer).output
    found = ops.convert_to_numpy(keras.Model(model.input, tap)(image[None]))
    rest = keras.Model(tap, model.output)
    slopes = gradients.of_input(lambda t: ops.sum(rest(t)[:, target]), found)[1]
    weights = slopes.mean((1, 2)) if mean else slopes.sum((1, 2))
    summed = found[0] @ weights[0]
    return np.maximum(summed, 0) if cut else summed


def test_grad_cam(capsys):
    assert said(capsys, "grad_cam", cam).startswith("Right. ")
    words = told_apart(
        capsys, "grad_cam",
        lambda *a: cam(*a, cut=False), lambda *a: cam(*a, mean=False), lambda m, x, name, c: cam(m, x, name, 0),
        lambda *a: cam(*a)[None], lambda *a: np.nan * cam(*a),
    )  # fmt: skip
    assert words[0] == ["The map has negative numbers."]
    assert words[1] == ["All numbers are 6 times what they should be."]  # the map has 2 x 3 units
    assert words[2][0].startswith("The map differs by up to ")
    assert words[3] == ["The map has the shape (1, 2, 3); the layer's is (2, 3)."]
    assert words[4] == ["The map has numbers that are not finite."]


def deletion(answer, image, heat, steps, *, sign=-1, fill=None, first=0):
    pixels, order = image.reshape(-1, image.shape[-1]), np.argsort(sign * heat.ravel())
    changed = np.repeat(pixels[None], steps + 1, axis=0)
    for copy, count in zip(changed, np.linspace(0, len(pixels), steps + 1).round(), strict=True):
        copy[order[: int(count)]] = pixels.mean(0) if fill is None else fill
    return answer(changed.reshape(-1, *image.shape))[first:]


def in_place(answer, image, heat, steps):
    curve = deletion(answer, image, heat, steps)
    image[:] = 0
    return curve


def test_deletion(capsys):
    assert said(capsys, "deletion", deletion).startswith("Right. ")
    words = told_apart(
        capsys, "deletion",
        lambda *a: deletion(*a, sign=1), lambda *a: deletion(*a, fill=0), lambda *a: deletion(*a, first=1), in_place,
    )  # fmt: skip
    assert words[0][0].startswith("With 6 of 48 pixels deleted the answer is ")
    assert words[2] == ["8 steps have 9 answers, the first of the whole image; yours are 8."]
    assert words[3] == ["Your function has changed the image that it was given."]


def test_method(capsys):
    apart = {"trained": [0.8, 0.9, 0.7], "destroyed": [0.1, 0.0, 0.2]}
    touching = {"trained": [0.8, 0.9, 0.7], "destroyed": [0.5, 0.8, 0.6]}
    assert said(capsys, "method", (apart, "decided")).startswith("Right. ")
    assert said(capsys, "method", (touching, "not decided")).startswith("Right. ")
    words = told_apart(
        capsys, "method",
        (touching, "decided"), (apart, "not decided"), (apart, "perhaps"),
        ({"trained": [0.8], "destroyed": [0.1]}, "decided"), ({"trained": [80, 90, 70], "destroyed": [1, 2, 3]}, "decided"),
    )  # fmt: skip
    assert words[0] == ["The trained ones go from 0.70 to 0.90, the destroyed ones from 0.50 to 0.80."]
    others = told_apart(capsys, "method", ([[0.8, 0.9, 0.7], [0.1, 0.0, 0.2]], "decided"),
                        ({"trained": 0.8, "destroyed": 0.1}, "decided"))  # fmt: skip
    assert others == [
        ['Give {"trained": shares, "destroyed": shares}.'],
        ["Three networks of each kind are wanted."],
    ]
    gap = ({"trained": ..., "destroyed": ...}, ...)
    assert said(capsys, "method", gap).startswith("Not answered yet")
