"""Chapter 01's exercises: their solutions are right, and typical mistakes are told apart in words."""

import numpy as np
import pytest

from cnnbook import exercises
from cnnbook.exercises import check

pytestmark = pytest.mark.jax


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(exercises, "_wrong", exercises.Counter())


def said(capsys, entry, answer):
    check(f"convolution.{entry}", answer)
    return capsys.readouterr().out


def conv2d(x, kernel, stride, padding, *, turn=False, pad=True):
    if turn:
        kernel = kernel[::-1, ::-1]
    padding = padding if pad else 0
    k, x = len(kernel), np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    rows, columns = ((side - k) // stride + 1 for side in x.shape[:2])
    y = np.zeros((rows, columns, kernel.shape[-1]))
    for i, j in np.ndindex(rows, columns):
        y[i, j] = np.tensordot(x[stride * i : stride * i + k, stride * j : stride * j + k], kernel, 3)
    return y


def backward(x, kernel, g, stride, *, step=None, turn=False, side=None):
    if side:  # whatever the kernel's own side is
        kernel = np.resize(kernel, (side, side))
    k, for_x, for_kernel = len(kernel), np.zeros_like(x), np.zeros_like(kernel)
    step = stride if step is None else step
    for i, j in np.ndindex(g.shape):
        window = slice(step * i, step * i + k), slice(step * j, step * j + k)
        for_x[window] += g[i, j] * (kernel[::-1, ::-1] if turn else kernel)
        for_kernel += g[i, j] * x[window]
    return for_x, for_kernel


RIGHT = {
    "stack": (32, 5088, 9),
    "separable": ([1, 2, 1], [-1, 0, 1]),
    "conv2d": conv2d,
    "backward": backward,
    "fields": {2: (5, 5), 4: (9, 9), 8: (17, 13), 16: (33, 20)},
}


@pytest.mark.parametrize("entry", RIGHT)
def test_the_right_answer(capsys, entry):
    assert said(capsys, entry, RIGHT[entry]).startswith("Right. ")


def test_any_factor_of_column_and_row_will_do(capsys):
    assert said(capsys, "separable", ([-2, -4, -2], np.array([0.5, 0, -0.5]))).startswith("Right. ")


@pytest.mark.parametrize(
    "entry, answer",
    [
        ("separable", np.array([[1, 2, 1], [-1, 0, 1]])),
        ("separable", (np.array([[1], [2], [1]]), np.array([[-1, 0, 1]]))),
        ("backward", lambda *given: list(backward(*given))),
    ],
)
def test_the_same_in_another_shape(capsys, entry, answer):
    assert said(capsys, entry, answer).startswith("Right. ")


@pytest.mark.parametrize(
    "entry, answer, words",
    [
        ("stack", (32, 5040, 9), "1 of 3 differ (no. 2)"),
        ("stack", (64, 5088, 7), "2 of 3 differ (no. 1, 3)"),
        ("separable", ([-1, 0, 1], [1, 2, 1]), "the two are exchanged"),
        ("separable", ([1, 1, 1], [-1, 0, 1]), "gives [[-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]"),
        ("separable", ([1, 2], [-1, 0, 1]), "Three numbers each are wanted, got 2 and 3"),
        ("separable", 3, "Give two lists"),
        ("conv2d", lambda *a: conv2d(*a, turn=True), "turned by 180 degrees"),
        ("conv2d", lambda *a: conv2d(*a, pad=False), "padding 1, 2 channels: the shape is (9, 6, 2), not (11, 8, 2)"),
        ("conv2d", lambda x, w, s, p: conv2d(x[..., :1], w[:, :, :1], s, p), "4 channels: Keras' numbers are up to"),
        ("conv2d", lambda x, w, s, p: conv2d(x, w, 1, p), "stride 2, padding 0, 3 channels: the shape is"),
        ("backward", lambda *a: backward(*a, turn=True), "Stride 1, kernel 3 x 3: the image's gradient is up to"),
        ("separable", {"column": [1, 2, 1], "row": [-1, 0, 1]}, "Give two lists"),
        ("backward", lambda *a: backward(*a, side=3), "kernel 2 x 2: the image's gradient"),
        ("backward", lambda *a: backward(*a, step=1), "Stride 2, kernel 3 x 3: the image's gradient is up to"),
        ("backward", lambda *a: backward(*a)[::-1], "the image's gradient has the shape (3, 3), not (7, 9)"),
        ("backward", lambda *a: backward(*a)[0], "Return two arrays"),
        ("fields", {2: (5, 5), 4: (9, 9), 8: (17, 13), 16: (31, 20)}, "16 layers of 3x3 see 33 pixels a side"),
        ("fields", {2: (5, 5), 4: (9, 9), 8: (17, 18), 16: (33, 20)}, "At depth 8 the effective side is 18"),
        ("fields", {2: (5, 3), 4: (9, 6), 8: (17, 12), 16: (33, 30)}, "The part goes from 0.60 to 0.91"),
        ("fields", {2: (5, 5), 3: (7, 7), 4: (9, 9), 5: (11, 10)}, "The depths 2 and 5 lie too near together"),
        ("fields", {2: (5, 5)}, "for four depths"),
    ],
)  # fmt: skip
def test_a_mistake_is_told(capsys, entry, answer, words):
    text = said(capsys, entry, answer)
    assert text.startswith("Not right yet") and words in text and "Hint 1 of 2" in text


def test_nothing_is_changed_or_drawn_by_an_answer(capsys):
    """The functions that judge draw by generators of their own, and give the reader's code copies."""
    np.random.seed(3)  # noqa: NPY002
    wanted = np.random.rand()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002

    def destroys(x, kernel, g, stride):
        result = backward(x, kernel, g, stride)
        x[:], kernel[:], g[:] = 0, 0, 0
        return result

    assert said(capsys, "backward", destroys).startswith("Right. ")
    assert np.random.rand() == wanted  # noqa: NPY002
