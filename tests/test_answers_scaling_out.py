"""Chapter 21: its exercises accept their solutions and refuse what readers get wrong; what it runs is what it says."""

import os
import signal

import keras
import numpy as np
import pytest

from cnnbook import answers, exercises, graph, models
from cnnbook.answers import scaling_out
from cnnbook.experiments import scaling_out as chapter

pytestmark = pytest.mark.jax


@pytest.fixture(autouse=True)
def nothing_answered_yet(monkeypatch):
    monkeypatch.setattr(exercises, "_wrong", exercises.Counter())


def verdict(capsys, entry, answer):
    exercises.check(f"scaling_out.{entry}", answer)
    return capsys.readouterr().out


def right(capsys, entry, answer):
    said = verdict(capsys, entry, answer)
    assert said.startswith("Right. "), said


def refused(capsys, entry, answer, *words):
    said = verdict(capsys, entry, answer)
    assert said.startswith("Not right yet"), said
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    "entry, answer, slips",
    [("megabytes", 153.3, (204.5, 102.2, 38.3)), ("halves", 0.50, (0.29, 1.0, 0.25))],
)
def test_values(capsys, entry, answer, slips):
    right(capsys, entry, answer)
    for number, slip in enumerate(slips, 1):
        refused(capsys, entry, slip, f"Hint {min(number, 2)} of 2")


def test_the_numbers_are_those_that_the_chapter_counts():
    counted = {n: graph.totals(graph.blueprint(getattr(models, n))) for n in ("ResNet50", "VGG16")}
    assert counted["ResNet50"]["params"] == scaling_out.RESNET50_PARAMS
    assert counted["VGG16"]["params"] == scaling_out.VGG16_PARAMS
    assert counted["VGG16"]["macs"] == scaling_out.VGG16_MACS


def test_no_two_hints_are_alike():
    hints = [hint for answer in answers.of("scaling_out").values() for hint in answer.hints]
    assert len(hints) == len(set(hints))


def doubling(vectors):
    held, step, messages = [v.copy() for v in vectors], 1, 0
    while step < len(held):
        held = [held[d] + held[d ^ step] for d in range(len(held))]
        step, messages = 2 * step, messages + 1
    return [h / len(held) for h in held], messages


def one_after_the_other(vectors):
    held, step, messages = [v.copy() for v in vectors], 1, 0
    while step < len(held):
        for d in range(len(held)):
            held[d] = held[d] + held[d ^ step]
        step, messages = 2 * step, messages + 1
    return [h / len(held) for h in held], messages


def in_place(vectors):
    means, messages = doubling(vectors)
    vectors[0] += 1
    return means, messages


def test_an_all_reduce_by_doubling(capsys):
    right(capsys, "doubling", doubling)
    refused(capsys, "doubling", one_after_the_other, "1 of 2 devices do not hold the mean")
    refused(capsys, "doubling", lambda v: ([np.sum(v, 0)] * len(v), 1), "these are the sums")
    refused(capsys, "doubling", lambda v: (doubling(v)[0], len(v)), "need 1 messages each, but you report 2")
    refused(capsys, "doubling", in_place, "work on copies")
    refused(capsys, "doubling", lambda v: doubling(v)[0], "return two things")


def accumulated(gradient, x, y, size):
    total = 0
    for start in range(0, len(x), size):
        part = slice(start, start + size)
        total = total + len(x[part]) * gradient(x[part], y[part])
    return total / len(x)


def plain_mean(gradient, x, y, size):
    parts = [slice(start, start + size) for start in range(0, len(x), size)]
    return np.mean([gradient(x[part], y[part]) for part in parts], 0)


def without_the_rest(gradient, x, y, size):
    return plain_mean(gradient, x[: len(x) // size * size], y, size)


def test_accumulation(capsys):
    right(capsys, "accumulate", accumulated)
    refused(capsys, "accumulate", plain_mean, "the last part is smaller: the gradient is off by")
    refused(capsys, "accumulate", without_the_rest, "of 10 images 8 were used")
    refused(capsys, "accumulate", lambda g, x, y, size: g(x, y), "was given 12 images at once")
    total = len([0, 0, 0])
    refused(capsys, "accumulate", lambda *a: total * accumulated(*a), "in parts of at most 4: the gradient")


def test_the_experiment(capsys):
    seconds = {4: 0.02, 16: 0.04, 64: 0.12}
    right(capsys, "times", (seconds, 6.0))
    refused(capsys, "times", (seconds, 16), "another number than 16")
    refused(capsys, "times", ({4: 1, 16: 2}, 2), "the keys 4, 16 and 64")
    refused(capsys, "times", (seconds | {64: 0.01}, 0.5), "measure again")
    refused(capsys, "times", seconds, "give a pair")


# What the chapter runs


def test_the_small_net():
    plain, normed = chapter.small(seed=1), chapter.small({}, seed=1)
    assert plain.count_params() == (9 * 8 + 8) + (9 * 8 * 16 + 16) + (3 * 3 * 16 * 10 + 10)
    # No bias before a batch norm, which has four numbers a channel.
    assert normed.count_params() - plain.count_params() == 3 * (8 + 16)
    again = chapter.small(seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(plain.get_weights(), again.get_weights(), strict=True))


def test_the_images_are_standardised():
    x, y = chapter.clothes(64, seed=0)
    assert x.shape == (64, 14, 14, 1) and y.shape == (64,)
    assert abs(float(x.mean())) < 1e-3 and abs(float(x.std()) - 1) < 1e-3


def test_a_step_is_timed():
    net = chapter.small(seed=0)
    before = [w.copy() for w in net.get_weights()]
    assert 0 < chapter.seconds_a_step(net, 4, seed=0, steps=2) < 10
    assert any(not np.array_equal(a, b) for a, b in zip(before, net.get_weights(), strict=True))


def test_a_result_is_read_as_it_was_saved(tmp_path):
    np.savez(tmp_path / "a.npz", np.arange(4.0).reshape(2, 2), np.array([7.0]), loss=[2.0, 1.0])
    weights, losses = chapter.result(tmp_path / "a.npz")
    assert weights.tolist() == [0, 1, 2, 3, 7] and losses.tolist() == [2.0, 1.0]


def test_who_dies_and_when(monkeypatch):
    ended = []
    monkeypatch.setattr(os, "kill", lambda pid, number: ended.append((pid, number)))
    for rank in (0, 1):
        monkeypatch.setattr(chapter.training.devices, "rank", lambda rank=rank: rank)
        for epoch in range(4):
            chapter.Dies(3).on_epoch_end(epoch)
    assert ended == [(os.getpid(), signal.SIGKILL)]


def test_two_devices_are_tensorflows(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert chapter.two_devices() is None


def test_where_processes_compile(tmp_path):
    given = chapter.environment(tmp_path)
    assert given["KERAS_BACKEND"] == "jax" and given["JAX_PLATFORMS"] == "cpu"
    assert given["JAX_COMPILATION_CACHE_DIR"].startswith(str(tmp_path))
