"""The training protocol: the same numbers from the same seed, per-image augmentation, a schedule one can check by hand."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from cnnbook import models, training
from cnnbook.training import gradients, results

pytestmark = pytest.mark.jax


def shapes(n=256, side=14, seed=0):
    """Bright left half or bright right half, in noise: learnt in a few steps."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = rng.normal(0, 1, (n, side, side, 1)).astype("float32")
    x[y == 0, :, : side // 2] += 1
    x[y == 1, :, side // 2 :] += 1
    return x, y


def tiny(widths=(4, 4, 4)):
    return models.ResNetCIFAR(8, widths=widths, input_shape=(14, 14, 1), classes=2)


def test_augmentation_draws_for_every_image():
    image = np.arange(8 * 8, dtype="float32").reshape(1, 8, 8, 1) + 1
    out = training.augment(np.repeat(image, 500, 0), np.random.default_rng(0), shift=2)
    assert out.shape == (500, 8, 8, 1)
    padded = np.pad(image[0, :, :, 0], 2)
    views = set()
    for top in range(5):
        for left in range(5):
            view = padded[top : top + 8, left : left + 8]
            views |= {view.tobytes(), np.ascontiguousarray(view[:, ::-1]).tobytes()}
    seen = {np.ascontiguousarray(o[:, :, 0]).tobytes() for o in out}
    assert seen <= views and len(seen) > 45  # of 50


def test_order_and_augmentation_are_functions_of_seed_and_epoch():
    x, y = shapes()
    one, two, other = (training.Batches(x, y, batch_size=64, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(one[1][0], two[1][0])
    assert not np.array_equal(one[1][1], other[1][1])
    one.on_epoch_end()
    assert not np.array_equal(one[1][1], two[1][1])
    labels = np.concatenate([one[i][1] for i in range(len(one))])
    assert len(labels) == 256 and sorted(one.order) == list(range(256))


@pytest.mark.parametrize(
    "kind, at",
    [
        ("cosine", {0: 0.1 / 10, 9: 0.1, 55: 0.05, 100: 0.0}),
        ("step", {49: 0.1, 50: 0.01, 74: 0.01, 75: 0.001}),
        ("constant", {4: 0.05, 99: 0.1}),
    ],
)
def test_schedule(kind, at):
    rate = training.Schedule(0.1, 100, kind=kind, warmup=10)
    assert {step: float(rate(step)) for step in at} == pytest.approx(at, abs=1e-6)


def test_weight_decay_leaves_biases_and_batch_norm_alone():
    """One step with no gradient: images and labels that the net already fits would move nothing but kernels."""
    x, y = shapes(32)
    net = tiny()
    training.fit(net, x, y, epochs=1, learning_rate=0.1, schedule="constant", weight_decay=0.5, verbose=False)
    decayed = {v.name for v in net.trainable_variables if net.optimizer._use_weight_decay(v)}
    assert decayed == {"kernel"}


def test_fit_learns_repeats_and_records(capsys):
    x, y = shapes()
    runs = []
    for seed in (3, 3, 4):
        training.seed(seed)
        history = training.fit(tiny(), x, y, epochs=4, batch_size=32, mirror=False, shift=1, seed=seed,
                               validation=shapes(128, seed=9), clean_training_accuracy=True)  # fmt: skip
        runs.append(history)
    assert runs[0].curves["loss"] == pytest.approx(runs[1].curves["loss"], rel=1e-3)
    assert runs[0].curves["loss"] != pytest.approx(runs[2].curves["loss"], rel=1e-3)
    assert runs[0].final("train_accuracy") > 0.9 and runs[0].final("val_accuracy") > 0.85
    assert runs[0].epochs == 4 and runs[0].settings["images"] == 256 and runs[0].seconds > 0
    assert "epoch 4/4" in capsys.readouterr().out


def test_accuracy_counts():
    x, y = shapes(64)
    net = tiny()
    guesses = np.argmax(net.predict(x, verbose=0), -1)
    assert training.accuracy(net, x, guesses) == 1.0
    assert training.accuracy(net, x, 1 - guesses) == 0.0
    half = np.where(np.arange(64) < 16, 1 - guesses, guesses)
    for batch_size in (64, 40):  # one batch, and two
        assert training.accuracy(net, x.astype("float64"), half, batch_size=batch_size) == 0.75


def test_accuracy_of_one_batch_follows_the_weights():
    x, y = shapes(32)
    net = tiny()
    first = training.accuracy(net, x, np.argmax(net.predict(x, verbose=0), -1))
    kernel, bias = net.get_layer("predictions").get_weights()
    net.get_layer("predictions").set_weights([0 * kernel, np.array([0.0, 9.0])])
    assert first == 1.0 and training.accuracy(net, x, np.ones(32)) == 1.0
    assert training.accuracy(net, x[:7], np.zeros(7)) == 0.0  # another number of images


def test_results_resume_and_survive_an_interruption(tmp_path, monkeypatch):
    x, y = shapes(64)
    path = tmp_path / "kept" / "runs.json"
    first = training.Results(path).run("tiny", tiny, x, y, seed=1, epochs=1, verbose=False)
    again = training.Results(path)
    monkeypatch.setattr(results, "fit", lambda *a, **k: pytest.fail("trained again"))
    stored = again.run("tiny", tiny, x, y, seed=1, epochs=1)
    assert stored.curves["loss"] == pytest.approx(first.curves["loss"], abs=1e-4)
    with pytest.raises(pytest.fail.Exception):
        again.run("tiny", tiny, x, y, seed=1, epochs=2)
    (path.parent / "runs.json.part").write_text("{ half")
    assert len(training.Results(path).histories) == 1
    facts = json.loads(path.read_text())
    assert facts["keras"] == keras.__version__ and facts["cores"] >= 1 and len(facts["date"]) == 10


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(x=np.zeros((4, 28, 28, 1))), r"reads images \(14, 14, 1\)"),
        (dict(y=np.zeros(3)), "4 images and labels of shape"),
        (dict(y=np.array([0, 1, 2, 1])), "labels are 0 to 1"),
        (dict(epochs=0), "epochs is a whole number"),
        (dict(schedule="linear"), '"cosine", "step" or "constant"'),
    ],
)
def test_wrong_arguments(change, message):
    given = dict(x=np.zeros((4, 14, 14, 1), "float32"), y=np.zeros(4, "int64"), epochs=1, verbose=False)
    given.update(change)
    with pytest.raises(ValueError, match=message):
        training.fit(tiny(), given.pop("x"), given.pop("y"), **given)


OPENED = """
import sys
import cnnbook
import numpy as np
folder = sys.argv[1]
net = cnnbook.load(folder + "/net.keras")
np.save(folder + "/y.npy", np.asarray(net(np.load(folder + "/x.npy"), training=False)))
"""


def test_a_trained_model_with_a_layer_of_ours_opens_in_a_fresh_process(tmp_path):
    (x, y), net = shapes(16), tiny(widths=(4, 8, 8))  # wider by zeros: layers.PadChannels
    assert any(type(layer).__module__.startswith("cnnbook") for layer in net.layers)
    training.fit(net, x, y, epochs=1, verbose=False)
    net.save(tmp_path / "net.keras")
    np.save(tmp_path / "x.npy", x)
    done = subprocess.run([sys.executable, "-c", OPENED, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    there = np.load(tmp_path / "y.npy")
    np.testing.assert_array_equal(there, keras.ops.convert_to_numpy(net(x, training=False)))


def test_gradient_norms_by_finite_differences():
    x, y = shapes(16)
    net = tiny()
    loss = gradients.loss_on(x, y)
    value, found = gradients.of_weights(net, loss)
    statistics = [keras.ops.convert_to_numpy(v) for v in net.non_trainable_variables]
    kernel = net.get_layer("conv3_block1_1_conv").kernel
    direction = found[kernel.path] / np.linalg.norm(found[kernel.path])
    before, step = keras.ops.convert_to_numpy(kernel), 1e-2
    kernel.assign(before + step * direction)
    higher = gradients.of_weights(net, loss)[0]
    kernel.assign(before - step * direction)
    lower = gradients.of_weights(net, loss)[0]
    kernel.assign(before)
    norms = training.gradient_norms(net, x, y)
    assert (higher - lower) / (2 * step) == pytest.approx(norms["conv3_block1_1_conv"], rel=0.05)
    assert list(norms)[0] == "conv1_conv" and list(norms)[-1] == "predictions" and value > 0
    after = [keras.ops.convert_to_numpy(v) for v in net.non_trainable_variables]
    assert all(np.array_equal(a, b) for a, b in zip(statistics, after, strict=True))
