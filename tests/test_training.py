"""The training protocol: the same numbers from the same seed, per-image augmentation, a schedule one can check by hand."""

import dataclasses
import inspect
import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from cnnbook import models, training, viz
from cnnbook.training import gradients, results
from cnnbook.training.protocol import takes_protocol

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


def momentum_by_hand(gradients, rates, *, momentum, factor):
    """The weight behind every step by PyTorch's formula: buffer = momentum * buffer + gradient, weight -= rate * buffer."""
    weight, buffer, weights = 1.0, 0.0, []
    for gradient, rate in zip(gradients, rates, strict=True):
        buffer = momentum * buffer + gradient
        weight -= rate * factor * buffer
        weights.append(weight)
    return weights


@pytest.mark.parametrize("momentum, factor", [(0.9, 1.0), (0.9, 0.25), (0.0, 1.0)])
@pytest.mark.parametrize("kind", ["step", "cosine", "constant"])
def test_momentum_follows_the_rate_as_in_pytorch(kind, momentum, factor):
    gradients = [1.0, 0.5, -0.25, 2.0, 0.0, 0.0, 0.0, 1.0]
    schedule = training.Schedule(0.1, len(gradients), kind=kind, warmup=1)
    rates = [float(schedule(step)) for step in range(len(gradients))]
    weight = keras.Variable(1.0)
    sgd = training.MomentumSGD(schedule, momentum=momentum, factors=() if factor == 1 else [factor])
    seen = []
    for gradient in gradients:
        sgd.apply([keras.ops.convert_to_tensor(gradient)], [weight])
        seen.append(float(weight))
    by_hand = momentum_by_hand(gradients, rates, momentum=momentum, factor=factor)
    assert seen == pytest.approx(by_hand, abs=1e-6)


def test_the_velocity_does_not_coast_on_when_the_rate_drops():
    """Keras' own SGD takes 0.09 in the step behind the drop, for 0.9 of a step at the old rate of 0.1."""
    moves = {}
    for kind in (training.MomentumSGD, keras.optimizers.SGD):
        weight, sgd = keras.Variable(0.0), kind(0.1, momentum=0.9)
        sgd.apply([keras.ops.convert_to_tensor(1.0)], [weight])
        sgd.learning_rate, before = 0.01, float(weight)
        sgd.apply([keras.ops.convert_to_tensor(0.0)], [weight])
        moves[kind] = before - float(weight)
    assert moves[training.MomentumSGD] == pytest.approx(0.009, abs=1e-7)
    assert moves[keras.optimizers.SGD] == pytest.approx(0.09, abs=1e-7)


def test_a_trained_net_opens_where_cnnbook_is_not_imported(tmp_path):
    x, y = shapes(64)
    net = tiny()
    training.fit(net, x, y, epochs=1, rates={"conv1": 0.1}, verbose=False)
    assert type(net.optimizer) is keras.optimizers.SGD and float(
        net.optimizer.learning_rate
    ) == pytest.approx(0.1)
    dense = keras.Sequential(
        [keras.Input((14, 14, 1)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
    )
    training.fit(dense, x, y, epochs=1, verbose=False)
    dense.save(tmp_path / "net.keras")
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, keras, numpy as np; net = keras.saving.load_model('net.keras'); "
        "np.save('y.npy', net.predict(np.load('x.npy'), verbose=0)); assert 'cnnbook' not in sys.modules; "
        "net.fit(np.load('x.npy'), np.zeros(64), verbose=0)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), dense.predict(x, verbose=0), atol=1e-6)


def first_norm(net):
    return next(layer for layer in net.layers if isinstance(layer, keras.layers.BatchNormalization))


def test_after_a_short_run_batch_norm_holds_the_images_statistics(capsys):
    """Four steps at momentum 0.9 would leave 66 % of the starting values in the averages."""
    x, y = shapes(64)
    net = tiny()
    history = training.fit(
        net, 10 * x, y, epochs=2, batch_size=32, learning_rate=1e-3, shift=0, mirror=False, label="short",
        validation=(10 * x, y), clean_training_accuracy=True,
    )  # fmt: skip
    norm = first_norm(net)
    maps = keras.ops.convert_to_numpy(keras.Model(net.inputs, norm.input)(10 * x))
    np.testing.assert_allclose(norm.moving_mean, maps.mean((0, 1, 2)), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(norm.moving_variance, maps.var((0, 1, 2)), rtol=0.02)
    accuracy = training.accuracy(net, 10 * x, y)
    assert history.curves["train_accuracy"][-1] == pytest.approx(accuracy)
    assert history.curves["val_accuracy"][-1] == pytest.approx(accuracy)
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("short: batch norm's statistics measured anew") and f"{accuracy:.3f}" in line


def test_a_long_run_and_frozen_layers_keep_their_averages():
    net = tiny()
    assert training.statistics.left_of_the_start(net, 18) == pytest.approx(0.9**18)
    frozen = first_norm(net)
    frozen.trainable = False
    x, y = shapes(64)
    training.fit(net, 10 * x, y, epochs=1, batch_size=32, verbose=False)
    np.testing.assert_array_equal(frozen.moving_mean, np.zeros(frozen.moving_mean.shape))
    for layer in net.layers:
        layer.trainable = False
    assert training.statistics.left_of_the_start(net, 1) == 0
    other = tiny()
    history = training.fit(other, x, y, epochs=12, batch_size=16, verbose=False, validation=(x, y))
    # 48 steps leave 0.6 %: the curve's end is what Keras measured in the last epoch, and the averages are its own
    assert training.statistics.SHARE > 0.9**48 and history.epochs == 12
    maps = keras.ops.convert_to_numpy(keras.Model(other.inputs, first_norm(other).input)(x))
    assert not np.allclose(first_norm(other).moving_mean, maps.mean((0, 1, 2)), rtol=1e-5, atol=1e-6)


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
    (path.parent / ".runs.json.x").write_text("{ half")  # a later one, while it was written
    assert len(training.Results(path).histories) == 1
    facts = json.loads(path.read_text())
    assert facts["keras"] == keras.__version__ and facts["cores"] >= 1 and len(facts["date"]) == 10
    assert sum('"label"' in line for line in path.read_text().splitlines()) == 1  # a line for each run


def test_a_fact_that_somebody_wrote_into_the_file_stays(tmp_path):
    path = tmp_path / "runs.json"
    path.write_text('{"optimiser": "another one", "keras": "2", "runs": []}')
    added = training.History("tiny", {"loss": [1.0]}, {"seed": 0})
    training.Results(path).add(added)
    again = training.Results(path)
    assert again.facts["optimiser"] == "another one" and again.facts["keras"] == keras.__version__
    assert again.histories == [added]


# --------------------------------------------------------------------------- the protocol


def test_every_way_of_giving_a_protocol_is_the_same_run():
    """A Protocol, its fields by keyword, or both, where the keyword counts."""
    x, y = shapes(64)
    given = training.Protocol(epochs=1, batch_size=32, shift=1, seed=2)
    runs = []
    for args, keywords in (
        ([given], {}),
        ([], dict(epochs=1, batch_size=32, shift=1, seed=2)),
        ([dataclasses.replace(given, seed=9)], dict(seed=2)),
    ):
        training.seed(2)
        runs.append(training.fit(tiny(), x, y, *args, verbose=False, **keywords))
    assert [run.protocol for run in runs] == [given] * 3
    assert runs[0].curves == runs[1].curves == runs[2].curves
    with pytest.raises(TypeError, match="fit has no argument epoch; it has model, x, y, protocol, epochs"):
        training.fit(tiny(), x, y, epoch=1)
    with pytest.raises(TypeError, match="protocol is a training.Protocol, got {'epochs': 1}"):
        training.fit(tiny(), x, y, {"epochs": 1})


def test_help_shows_every_field_of_the_protocol():
    parameters = inspect.signature(training.fit).parameters
    for field in dataclasses.fields(training.Protocol):
        assert parameters[field.name].default == field.default
        assert f"{field.name}:" in training.Protocol.__doc__
    assert list(parameters)[:5] == ["model", "x", "y", "protocol", "epochs"]
    assert {"validation", "loss", "checkpoint"} <= set(parameters)


def test_a_protocol_is_a_value():
    one, same = training.Protocol(rates={"conv2": 0.1}), training.Protocol(rates={"conv2": 0.1})
    assert one == same and hash(one) == hash(same) and one != training.Protocol()
    rates = {"conv2": 0.1}
    kept = training.Protocol(rates=rates)
    rates["conv2"] = 0.5
    assert kept == one  # what is changed outside changes no protocol
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.epochs = 3
    for protocol in (one, training.Protocol(precision="mixed_bfloat16", warmup=0.5), training.Protocol()):
        stored = json.loads(json.dumps(protocol.settings()))
        assert training.Protocol.from_settings(stored | {"images": 3, "shape": [4, 4, 1]}) == protocol
    assert not {"rates", "precision"} & set(training.Protocol().settings())
    with pytest.raises(ValueError, match="not those of a training.fit: epochs, batch_size, .* missing"):
        training.Protocol.from_settings({"learning_rate": 0.1})


@pytest.mark.parametrize(
    "field, message",
    [
        (dict(epochs=1.5), "epochs is a whole number of at least 1, got 1.5"),
        (dict(batch_size=0), "batch_size is a whole number of at least 1, got 0"),
        (dict(shift=-1), "shift is a whole number of at least 0, got -1"),
        (dict(seed=None), "seed is a whole number of at least 0, got None"),
        (dict(learning_rate=-0.1), "learning_rate is a number of at least 0, got -0.1"),
        (dict(learning_rate="high"), "learning_rate is a number of at least 0, got 'high'"),
        (dict(weight_decay=float("nan")), "weight_decay is a number of at least 0, got nan"),
        (dict(momentum=1), "momentum is below 1, got 1"),
        (dict(schedule="linear"), 'schedule is "cosine", "step" or "constant", got \'linear\''),
        (dict(precision="float16"), "precision is None or \"mixed_bfloat16\", got 'float16'"),
    ],
)
def test_a_protocol_refuses(field, message):
    with pytest.raises(ValueError, match=message):
        training.Protocol(**field)


def test_a_loss_is_recorded_by_its_name():
    x, y = shapes(32)
    for loss, name in (
        (keras.losses.sparse_categorical_crossentropy, "sparse_categorical_crossentropy"),
        (keras.losses.SparseCategoricalCrossentropy(), "sparse_categorical_crossentropy"),
        ("sparse_categorical_crossentropy", "sparse_categorical_crossentropy"),
    ):
        history = training.fit(tiny(), x, y, epochs=1, batch_size=32, loss=loss, verbose=False)
        assert history.settings["loss"] == name


def test_shortcuts_pass_on_what_is_not_of_the_protocol():
    @takes_protocol
    def taken(a, protocol=None, *, b=0, **others):
        return a, protocol, b, others

    assert taken(1, seed=3, c=4) == (1, training.Protocol(seed=3), 0, {"c": 4})
    assert taken(a=1, protocol=training.Protocol(epochs=2), b=2) == (1, training.Protocol(epochs=2), 2, {})


def test_the_kept_runs_are_found_under_their_protocol(monkeypatch):
    """Every run that training.fit made and chapter 08 keeps: its record is a protocol's, and none is trained again."""
    monkeypatch.setattr(results, "fit", lambda *a, **k: pytest.fail("trained again"))
    kept = training.kept("08-residual-learning")
    assert len(kept.histories) == 13
    for run in kept.histories:
        images, shape = run.settings["images"], run.settings["shape"]
        assert run.settings == {"images": images, "shape": shape, **run.protocol.settings()}
        x = np.empty((images, *shape), "float32")
        assert kept.run(run.label, tiny, x, None, run.protocol) is run
        assert kept.run(run.label, tiny, x, None, **run.protocol.settings(), verbose=False) is run
        with pytest.raises(pytest.fail.Exception):
            kept.run(run.label, tiny, x, None, run.protocol, seed=99)
    made = training.Protocol(epochs=120, batch_size=64, schedule="step", warmup=2, shift=2)
    longer = dataclasses.replace(made, epochs=360)
    assert {dataclasses.replace(run.protocol, seed=0) for run in kept.histories} == {made, longer}


def test_the_protocol_and_the_launcher_s_part_load_without_keras():
    code = "import sys, cnnbook.distributed; from cnnbook.training import Protocol; print('keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the warning is TensorFlow's")
def test_predicting_with_several_models_warns_of_no_retracing():
    """The room filters that warning when it is imported, before any of its files is."""
    code = (
        "import numpy as np; from cnnbook import training; import keras\n"
        "for i in range(7):\n"
        "    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])\n"
        "    net.predict(np.zeros((1, 2)), verbose=0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "retracing" not in done.stderr + done.stdout


def test_the_public_names_of_the_room():
    assert {"Protocol", "fit", "Results", "kept", "fast", "gradients", "devices"} <= set(dir(training))
    assert all(hasattr(training, name) for name in training.__all__)
    with pytest.raises(AttributeError, match="cnnbook.training has no 'plot'; it has "):
        training.plot  # noqa: B018


# --------------------------------------------------------------------------- curves


def test_curves_are_the_mean_and_the_spread():
    runs = [
        training.History("a", {"accuracy": [0.2, 0.4], "val_accuracy": [0.1, 0.3]}),
        training.History("a", {"accuracy": [0.4, 0.8], "val_accuracy": [0.3, 0.5]}),
    ]
    other = training.History("b", {"accuracy": [0.5], "val_accuracy": [0.5]})
    drawn = viz.curves({"a": runs, "b": [other]})
    np.testing.assert_allclose(drawn.array[0], [[0.3, 0.6], [0.2, 0.4]])
    np.testing.assert_allclose(drawn.array[1], [[0.5, np.nan], [0.5, np.nan]])
    axes = drawn.figure().axes[0]
    assert [line.get_label() for line in axes.get_lines()] == [
        "a, training", "a, held out", "b, training", "b, held out"
    ]  # fmt: skip
    np.testing.assert_allclose(axes.get_lines()[0].get_ydata(), [0.3, 0.6])
    assert (
        len(axes.collections) == 2 and axes.get_ylabel() == "accuracy"
    )  # bands where there are several runs
    error = viz.curves({"a": runs}, ["accuracy"], ax=axes, error=True)
    np.testing.assert_allclose(error.array, [[[70, 40]]])
    assert axes.get_ylabel() == "error (%)" and len(axes.get_lines()) == 5
    assert viz.curves(other, "accuracy").array.tolist() == [[[0.5]]]
    for call, message in (
        (lambda: viz.curves({"a": []}), "no runs for a"),
        (lambda: viz.curves(other, ["loss"]), "b has no curve 'loss'; it has accuracy, val_accuracy"),
        (lambda: viz.curves(other, ["a", "b", "c"]), "one or two"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(x=np.zeros((4, 28, 28, 1))), r"reads images \(14, 14, 1\)"),
        (dict(y=np.zeros(3)), "4 images and labels of shape"),
        (dict(y=np.array([0, 1, 2, 1])), "labels are 0 to 1"),
        (dict(epochs=0), "epochs is a whole number of at least 1, got 0"),
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
net = cnnbook.load(folder + "/net.keras", trusted=True)
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
