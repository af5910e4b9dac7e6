"""Lines for whoever waits: where something takes long, and nowhere else."""

import time

import keras
import numpy as np
import pytest

from cnnbook import training
from cnnbook.training import progress

pytestmark = pytest.mark.jax


def test_lines_come_while_nothing_else_speaks(monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", 0.2)
    said, other = [], []
    with progress.waiting(lambda: said.append(time.monotonic()), lambda: other[-1] if other else 0):
        begin = time.monotonic()
        time.sleep(0.9)
        assert 2 <= len(said) <= 4 and said[0] - begin >= 0.19
        heard = len(said)
        for _ in range(9):  # somebody else prints often enough
            other.append(time.monotonic())
            time.sleep(0.05)
    assert len(said) <= heard + 1
    time.sleep(0.5)
    assert len(said) <= heard + 1  # over


def test_a_short_run_prints_its_last_epoch_and_a_slow_one_says_that_it_lives(monkeypatch, capsys):
    class Slow(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            time.sleep(0.5 * (epoch == 1))

    x, y = np.zeros((8, 4, 4, 1), "float32"), np.arange(8) % 2
    net = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    run = dict(epochs=3, batch_size=8, shift=0, label="toy")
    training.fit(net, x, y, **run)
    assert [line[:16] for line in capsys.readouterr().out.splitlines()] == ["toy: epoch 3/3  "]
    monkeypatch.setattr(progress, "PATIENCE", 0.3)
    training.fit(net, x, y, callbacks=[Slow()], **run)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("toy: in epoch 2  ") for line in lines) and lines[-1].startswith(
        "toy: epoch 3/3"
    )
    training.fit(net, x, y, callbacks=[Slow()], verbose=False, **run)
    assert capsys.readouterr().out == ""


def test_many_images_are_counted_while_they_are_computed(monkeypatch, capsys):
    monkeypatch.setattr(progress, "PATIENCE", 0.1)
    x = np.random.default_rng(0).normal(size=(11, 3)).astype("float32")
    net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    expected = net.predict(x, verbose=0)

    class Slowly:
        """Images that take their time."""

        shape, dtype = x.shape, x.dtype

        def __len__(self):
            return len(x)

        def __getitem__(self, rows):
            time.sleep(0.15)
            return x[rows]

    for size in (4, 11, 50):
        np.testing.assert_allclose(training.outputs(net, x, size), expected, atol=1e-6)
    if keras.backend.backend() == "jax":
        capsys.readouterr()
        np.testing.assert_allclose(training.outputs(net, Slowly(), 4, label="toy"), expected, atol=1e-6)
        lines = capsys.readouterr().out.splitlines()
        assert "toy: 4 of 11 images" in lines and all(line.startswith("toy: ") for line in lines)
