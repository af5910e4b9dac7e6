"""What the exercises of chapter 17 accept, and what they say of typical mistakes."""

import numpy as np
import pytest

from cnnbook import exercises
from cnnbook.exercises import check


@pytest.fixture(autouse=True)
def afresh(monkeypatch):
    """No answer was given yet."""
    monkeypatch.setattr(exercises, "_wrong", exercises.Counter())


def said(capsys, entry, answer):
    check(f"deepface.{entry}", answer)
    return capsys.readouterr().out


def local(x, kernel):
    rows, columns, k = kernel.shape[:3]
    found = np.empty((rows, columns, kernel.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            found[i, j] = (x[i : i + k, j : j + k, :, None] * kernel[i, j]).sum((0, 1, 2))
    return found


def weighted(head, points, weights):
    root = np.sqrt(weights)[:, None]
    homogeneous = np.concatenate([head, np.ones((len(head), 1))], axis=1)
    return np.linalg.lstsq(root * homogeneous, root * points, rcond=None)[0].T


def test_what_is_right(capsys):
    ranges = {"plane": [90.0, 91.0, 92.0], "depth": [93.0, 95.0, 94.0]}
    answers = dict(
        local_weights=18_432, area=0.75, local=local, weighted=weighted, verdict=(ranges, "decided")
    )
    for entry, answer in answers.items():
        assert said(capsys, entry, answer).startswith("Right."), entry


def test_warm_ups_say_what_is_wrong(capsys):
    assert "How many positions" in said(capsys, "local_weights", 10 * 10 * 3 * 3 * 4 * 8)
    assert "Multiply the number of positions" in said(capsys, "local_weights", 3 * 3 * 4 * 8)
    assert "It is a chance" in said(capsys, "area", 0.5)


def test_what_is_right_in_another_way(capsys):
    def by_windows(x, kernel):
        windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:4], (0, 1))
        return np.einsum("ijcuv,ijuvcf->ijf", windows, kernel).tolist()

    def in_float32(head, points, weights):
        return weighted(*(np.asarray(a, "float32") for a in (head, points, weights)))

    def by_descent(head, points, weights):
        camera, homogeneous = np.zeros((2, 4)), np.c_[head, np.ones(len(head))]
        for _ in range(2000):
            camera += 0.01 * (weights[:, None] * (points - homogeneous @ camera.T)).T @ homogeneous
        return camera

    answers = [("local", by_windows), ("weighted", in_float32), ("weighted", by_descent)]
    for entry, answer in answers:
        assert said(capsys, entry, answer).startswith("Right."), (entry, answer)


def test_mistakes_of_a_local_layer_are_told_apart(capsys):
    nothing = said(capsys, "local", lambda x, kernel: np.nan * local(x, kernel))
    assert "24 of 24 positions have other numbers" in nothing
    shared = said(capsys, "local", lambda x, kernel: local(x, np.broadcast_to(kernel[0, 0], kernel.shape)))
    assert "23 of 24 positions have other numbers" in shared
    padded = said(capsys, "local", lambda x, kernel: np.zeros((*x.shape[:2], kernel.shape[-1])))
    assert "the map has the shape (6, 8, 4), not (4, 6, 4)" in padded


def test_mistakes_of_a_weighted_camera_are_told_apart(capsys):
    def without_root(head, points, weights):
        return weighted(head, points, weights**2)

    def without_shift(head, points, weights):
        return np.linalg.lstsq(head, points, rcond=None)[0].T

    assert "with weights from 0.2 to 5 the sum is not at its minimum" in said(
        capsys, "weighted", without_root
    )
    assert "the camera has the shape (2, 3), not (2, 4)" in said(capsys, "weighted", without_shift)
    alike = said(capsys, "weighted", lambda head, points, weights: weighted(head, points, np.ones(len(head))))
    assert "with weights from 0.2 to 5 the sum is not at its minimum" in alike


def test_the_verdict_follows_from_the_ranges(capsys):
    touching = {"plane": [90.0, 91.0, 94.0], "depth": [93.0, 95.0, 94.0]}
    assert "from 90.00 to 94.00 and from 93.00 to 95.00" in said(capsys, "verdict", (touching, "decided"))
    few = {"plane": [90.0, 91.0], "depth": [93.0, 95.0, 94.0]}
    assert "three seeds for each are wanted" in said(capsys, "verdict", (few, "decided"))
