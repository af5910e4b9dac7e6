"""Runs and their files: data of every form, files that two share, that are damaged or another run's, words before work."""

import io
import json
import threading
import tracemalloc

import keras
import numpy as np
import pytest
from keras import layers as L

from cnnbook import files, segmentation, training, transfer
from cnnbook.training import results

pd = pytest.importorskip("pandas")


def images(n=24, seed=0):
    """Brighter on the right or not, in noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = rng.normal(0, 1, (n, 6, 6, 1)).astype("float32")
    x[y == 1, :, 3:] += 1
    return x, y


def net(ending=()):
    training.seed(0)
    layers = [L.Flatten(), L.Dense(2, "softmax")]
    return keras.Sequential([keras.Input((6, 6, 1)), *ending, *layers], name="net")


def run(x, y, model=None, **settings):
    settings = dict(epochs=2, batch_size=8, shift=1, verbose=False) | settings
    return training.fit(model or net(), x, y, **settings)


@pytest.fixture(scope="module")
def plain():
    """The run that others are compared with."""
    return run(*images(), validation=images(8, seed=1), clean_training_accuracy=True)


# --------------------------------------------------------------------------- data of every form


def shuffled(y):
    """Labels as scikit-learn's train_test_split leaves them: a pandas Series whose index is not 0 to n - 1."""
    return pd.Series(y, index=np.random.default_rng(5).permutation(len(y)) + 3)


def test_the_labels_trained_on_are_those_given(plain):
    (x, y), (held, labels) = images(), images(8, seed=1)
    given = run(list(x), shuffled(y), validation=[list(held), shuffled(labels)], clean_training_accuracy=True)
    assert given.curves == plain.curves and given.settings == plain.settings


@pytest.mark.parametrize(
    "form", [list, shuffled, lambda y: pd.Series(y, dtype="Int64"), lambda y: y.astype(object)]
)
def test_batches_of_labels_of_any_form(form):
    x, y = images()
    expected, found = (training.Batches(x, labels, batch_size=24)[0] for labels in (y, form(y)))
    np.testing.assert_array_equal(found[1], expected[1])
    assert found[1].dtype.kind == "i"


def test_batches_of_masks_and_weights_as_lists():
    x, y = images()
    masks, weights = (np.repeat(np.repeat((y + k)[:, None, None], 6, 1), 6, 2) for k in (0, 1))
    expected, found = (
        training.Batches(form(x), form(masks), pixel_weights=form(weights), batch_size=24)[0]
        for form in (np.asarray, list)
    )
    assert len(found) == 3
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(x=[np.zeros((6, 6, 1)), np.zeros((5, 6, 1))]), r"x is one array, or a list of equal ones: .*\(5, 6, 1\)"),
        (dict(y=["cat"] * 24), "y holds numbers, got .*'cat'"),
        (dict(validation=images(8)[0]), r"validation is \(images, labels\), got a ndarray of \(8, 6, 6, 1\)"),
        (dict(validation=[images(8)[0]]), r"validation is \(images, labels\), got a list of 1"),
        (dict(pixel_weights=np.ones((24, 6, 6))), "pixel_weights .* class for every pixel"),
    ],
)  # fmt: skip
def test_data_that_make_no_array_are_refused_by_name(change, message):
    x, y = images()
    given = dict(x=x, y=y) | change
    with pytest.raises(ValueError, match=message):
        run(given.pop("x"), given.pop("y"), **given)


def test_pixel_weights_have_the_size_of_the_masks():
    inputs = keras.Input((6, 6, 1))
    dense = keras.Model(inputs, L.Conv2D(2, 1, activation="softmax")(inputs))
    x, _ = images()
    with pytest.raises(ValueError, match=r"pixel_weights .*\(24, 6, 6\), got \(24, 6, 5\)"):
        run(x, np.zeros((24, 6, 6), int), dense, pixel_weights=np.ones((24, 6, 5)))


def test_measures_and_heads_take_lists_and_series(plain):
    x, y = images()
    model = net()
    scores = training.outputs(model, x)
    for batch_size in (24, 10):  # in one batch, and in several
        np.testing.assert_allclose(training.outputs(model, list(x), batch_size), scores, atol=1e-6)
    right = training.accuracy(model, x, y)
    assert training.accuracy(model, list(x), shuffled(y)) == right == np.mean(scores.argmax(-1) == y)
    norms = training.gradient_norms(model, list(x), shuffled(y))
    assert norms == pytest.approx(training.gradient_norms(model, x, y))
    vectors = transfer.embeddings(model, x)
    np.testing.assert_array_equal(transfer.embeddings(model, list(x)), vectors)


@pytest.fixture
def fitted(monkeypatch):
    """What Keras' fit is given, which does nothing."""
    given = []
    monkeypatch.setattr(keras.Model, "fit", lambda model, x, y, **options: given.append((x, y)))
    return given


def test_heads_and_trials_are_fitted_to_the_numbers_given(fitted):
    x, y = images(16)
    inputs = keras.Input((6, 6, 1))
    model = transfer.extend(keras.Model(inputs, L.Flatten()(inputs), name="flat"), ["a", "b"])
    for form, labels in ((np.asarray, y), (list, shuffled(y)), (list, list(y))):
        transfer.fit_head(model, form(x.reshape(16, -1)), labels, epochs=2)
    trials = transfer.Trials(net(), steps=3, batch_size=8)
    for form, labels in ((np.asarray, y), (list, shuffled(y)), (list, list(y))):
        trials.run(form(x), labels, shift=1, mirror=True)
    for expected, *others in (fitted[:3], fitted[3:]):
        for found in others:
            np.testing.assert_array_equal(found[0], expected[0])
            np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(fitted[0][1], y)


@pytest.mark.parametrize("classes", [np.array(["cat", "dog"]), pd.Series(["cat", "dog"], index=[7, 3])])
def test_names_of_classes_in_any_form(classes):
    inputs = keras.Input((4,))
    body = keras.Model(inputs, L.Dense(3)(inputs), name="body")
    assert transfer.names(transfer.extend(body, classes)) == ("cat", "dog")
    assert transfer.extend(body, np.int64(3)).output_shape == (None, 3)
    for wrong in ("cat", 2.0, True, 1, ["cat"]):
        with pytest.raises(ValueError, match="classes is at least 2, or at least two names, got"):
            transfer.extend(body, wrong)


def test_heads_and_trials_check_their_labels():
    x, y = images(16)
    inputs = keras.Input((6, 6, 1))
    body = keras.Model(inputs, L.GlobalAveragePooling2D()(L.Conv2D(3, 3)(inputs)))
    model = transfer.extend(body, 2)
    vectors, trials = transfer.embeddings(model, x), transfer.Trials(transfer.extend(body, 2), steps=1)
    for labels, words in (
        (y + 5, "labels are 0 to 1"),
        (np.eye(2)[y % 2], "one label for each image"),
        (y[:3], "got 16 and labels of shape"),
    ):
        with pytest.raises(ValueError, match=words):
            transfer.fit_head(model, vectors, labels)
        with pytest.raises(ValueError, match=words):
            trials.run(x, labels)


def test_a_net_without_a_graph_is_refused_in_words():
    x, y = images(8)
    with pytest.raises(ValueError, match="has not been built"):
        training.fit(keras.Sequential([L.Flatten(), L.Dense(2)]), x, y, epochs=1)


def test_masks_as_lists_are_scored():
    inputs = keras.Input((6, 6, 1))
    dense = keras.Model(inputs, L.Conv2D(2, 1, activation="softmax")(inputs))
    x, _ = images(4)
    masks = segmentation.labels(training.outputs(dense, x))
    assert training.accuracy(dense, list(x), list(masks)) == 1.0


# --------------------------------------------------------------------------- files of finished runs


def history(seed, label="a"):
    return training.History(label, {"loss": [1.0, 0.5]}, {"seed": seed})


def test_two_series_that_share_a_file_lose_no_run(tmp_path, monkeypatch):
    path = tmp_path / "runs.json"
    one, two = training.Results(path), training.Results(path)

    def add(series, seeds):
        for seed in seeds:
            series.add(history(seed))

    threads = [
        threading.Thread(target=add, args=(series, range(first, first + 5)))
        for series, first in ((one, 0), (two, 5))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [h.settings["seed"] for h in training.Results(path).group("a")] == list(range(10))
    one.add(history(10))
    # Whoever adds sees what the other has added.
    assert [h.settings["seed"] for h in one.group("a")] == list(range(11))
    monkeypatch.setattr(results, "fit", lambda *a, **k: pytest.fail("trained again"))
    x, y = images()
    settings = training.Protocol(epochs=2, seed=3).settings()
    kept = one.add(training.History("b", {"loss": [1.0]}, {"images": 24, "shape": [6, 6, 1], **settings}))
    assert two.run("b", net, list(x), y, epochs=2, seed=np.int64(3)) == kept  # the other one's, by now


DAMAGED = [
    b"",
    b'{"runs": [',
    b"[]",
    b"{}",
    b'{"runs": {}}',
    b'{"runs": [{"label": 1, "other": 2}]}',
    b"\xff\xfe",
    b"[" * 99999,
]


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_file_of_runs_is_named_and_left_as_it_is(content, tmp_path):
    path = tmp_path / "runs.json"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"runs.json is not a file of finished runs \(.+\): give another file"
    ):
        training.Results(path)
    series = training.Results(tmp_path / "other.json")
    (tmp_path / "other.json").write_bytes(content)  # while a run was trained
    with pytest.raises(ValueError, match="other.json is not a file of finished runs"):
        series.add(history(1))
    assert path.read_bytes() == (tmp_path / "other.json").read_bytes() == content
    assert series.histories == [history(1)]


def test_where_a_file_of_runs_cannot_be_written_is_said_before_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "fit", lambda *a, **k: pytest.fail("trained"))
    (tmp_path / "file").write_text("")
    for path, message in (
        (tmp_path / "file" / "runs.json", "runs.json cannot be written"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(ValueError, match=message):
            training.Results(path).run("a", net, *images())


# --------------------------------------------------------------------------- the state of a run


@pytest.fixture(scope="module")
def kept(plain, tmp_path_factory):
    """The file of a run that is over, and what that run measured."""
    path = tmp_path_factory.mktemp("kept") / "run.npz"
    history = run(*images(), checkpoint=path)
    return path, history


def again(kept, tmp_path, change=None, **settings):
    """The run of `kept` once more, with a copy of its file, which `change` may have changed."""
    path = tmp_path / "run.npz"
    path.write_bytes(kept[0].read_bytes())
    if change:
        change(path)
    x, y = settings.pop("x", images()[0]), settings.pop("y", images()[1])
    return run(x, y, checkpoint=path, **settings)


def about_of(path):
    with np.load(path) as file:
        return json.loads(str(file["about"])), {name: file[name] for name in file.files if name != "about"}


def rewritten(change):
    """A function that writes a file anew, what stands in it about the run changed by `change(about)`."""

    def rewrite(path):
        about, arrays = about_of(path)
        about = change(about) or about
        np.savez(path, about=about if isinstance(about, str) else json.dumps(about), **arrays)

    return rewrite


def one_pixel():
    x, _ = images()
    x[3, 2, 2] += 1
    return x


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(x=one_pixel()), "x holds other numbers"),
        (dict(y=1 - images()[1]), "y holds other numbers"),
        (dict(validation=images(8)), "validation here, none there"),
        (dict(clean_training_accuracy=True), "clean_training_accuracy here, none there"),
        (dict(batch_size=12), "batch_size 8 there, 12 here"),
    ],
)
def test_another_run_s_file_is_refused_and_left_as_it_is(kept, tmp_path, change, message):
    with pytest.raises(ValueError, match=f"run.npz holds another run .{message}.: delete it or give another"):
        again(kept, tmp_path, **change)
    assert (tmp_path / "run.npz").read_bytes() == kept[0].read_bytes()


def test_the_same_data_in_another_form_are_the_same_run(kept, tmp_path):
    x, y = images()
    assert again(kept, tmp_path, x=list(x), y=shuffled(y)).curves == kept[1].curves


def test_a_file_of_the_version_before_goes_on(kept, tmp_path):
    """It says nothing of the data."""

    def older(about):
        for name in ("net", "data", "stopped"):
            del about[name]
        assert set(about) == {"run", "epochs", "curves", "seconds"}

    assert again(kept, tmp_path, rewritten(older)).curves == kept[1].curves


def deep(about):
    return "[" * 100_000


BAD = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-300]),
    "one array": lambda path: path.write_bytes(npy(np.zeros(3))),
    "others": lambda path: np.savez(path, a=np.zeros(3)),
    "deep": rewritten(deep),
    "list": rewritten(lambda about: "[1, 2]"),
    "text": rewritten(lambda about: about.update(epochs="two")),
    "curves": rewritten(lambda about: about.update(curves={"loss": [1.0, "x"]})),
}


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("how", BAD)
def test_a_damaged_state_is_named(kept, tmp_path, how):
    with pytest.raises(
        ValueError, match=r"run.npz is not the state of a training run \(.+\): delete it or give"
    ):
        again(kept, tmp_path, BAD[how])


@pytest.mark.parametrize("name, array", [("v0", np.zeros(2**24)), ("about", np.zeros((), "<U16777216"))])
def test_what_a_file_unfolds_to_is_read_from_its_headers(kept, tmp_path, name, array):
    """128 MB of zeros, and 64, in a file of a hundredth."""

    def swollen(path):
        about, arrays = about_of(path)
        np.savez_compressed(path, **{"about": json.dumps(about), **arrays, name: array})
        tracemalloc.start()

    with pytest.raises(ValueError, match="run.npz (is not the state of a training run|holds another run)"):
        again(kept, tmp_path, swollen)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_more_epochs_than_the_kept_run_s_lose_nothing(kept, tmp_path):
    with pytest.raises(
        ValueError, match=r"run.npz holds this run with epochs=2, .* as a cosine: .* epochs=3 .*another file"
    ):
        again(kept, tmp_path, epochs=3)
    assert (tmp_path / "run.npz").read_bytes() == kept[0].read_bytes()


def test_at_a_constant_rate_a_kept_run_goes_on_to_more_epochs(tmp_path):
    path, options = tmp_path / "run.npz", dict(schedule="constant", warmup=0.5)
    run(*images(), checkpoint=path, epochs=1, **options)
    longer = net()
    found = run(*images(), longer, checkpoint=path, epochs=3, **options)
    whole = net()
    assert found.curves == run(*images(), whole, epochs=3, **options).curves
    for one, other in zip(longer.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="run.npz holds this run, 3 epochs of it done, more than epochs=2"):
        run(*images(), checkpoint=path, epochs=2, **options)


def test_a_run_that_a_callback_ended_is_over(tmp_path, capsys):
    path, ended = tmp_path / "run.npz", []
    for _ in range(2):
        # no loss is below -1, and that of the third epoch is above the second's, whose weights are put back
        stop = keras.callbacks.EarlyStopping("loss", patience=1, baseline=-1, restore_best_weights=True)
        model = net()
        history = run(*images(), model, checkpoint=path, epochs=5, callbacks=[stop], verbose=True)
        ended.append((history.curves, model.get_weights()))
    (first, weights), (second, same) = ended
    assert first == second and len(first["loss"]) == 3
    for one, other in zip(weights, same, strict=True):
        np.testing.assert_array_equal(one, other)
    assert "net: a callback has ended this run after epoch 3" in capsys.readouterr().out


def test_where_a_state_cannot_be_written_is_said_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(keras.Model, "fit", lambda *a, **k: pytest.fail("trained"))
    (tmp_path / "file").write_text("")
    for path, message in (
        (tmp_path / "file" / "run.npz", "run.npz cannot be written"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(ValueError, match=message):
            run(*images(), checkpoint=path)


# --------------------------------------------------------------------------- callbacks that set the rate


def falling(epoch, rate):
    return rate / 2


@pytest.mark.parametrize(
    "callback, message",
    [
        (
            lambda: keras.callbacks.ReduceLROnPlateau("loss"),
            "ReduceLROnPlateau sets the learning rate, .* schedule=",
        ),
        (
            lambda: keras.callbacks.LearningRateScheduler(falling),
            "LearningRateScheduler sets .* model.compile",
        ),
        (lambda: keras.callbacks.BackupAndRestore("backup"), "BackupAndRestore .* give checkpoint="),
        (lambda: "film", "callbacks are those of Keras, got 'film'"),
    ],
)
def test_callbacks_that_cannot_work_are_refused_before_training(callback, message, monkeypatch):
    monkeypatch.setattr(keras.Model, "fit", lambda *a, **k: pytest.fail("trained"))
    for callbacks in ([callback()], [[callback()]], callback()):
        with pytest.raises(ValueError, match=message):
            run(*images(), schedule="constant", callbacks=callbacks)


class Halves(keras.callbacks.Callback):
    """A callback of one's own."""

    epochs = 0

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1
        if epoch == 1:
            self.model.optimizer.learning_rate = 0.01


def test_one_s_own_callback_may_come_alone_but_not_set_the_rate():
    callback = Halves()
    run(*images(), epochs=1, callbacks=callback)
    assert callback.epochs == 1
    with pytest.raises(TypeError, match="the learning rate follows the schedule of the run .* schedule="):
        run(*images(), callbacks=[callback])


def test_another_net_of_the_same_weights_is_another_run(kept, tmp_path):
    """A ReLU has no weights, so the file's numbers would fit."""
    with pytest.raises(ValueError, match="run.npz holds another run .the net has other layers"):
        again(kept, tmp_path, model=net([L.ReLU()]))


def test_the_same_net_under_other_names_is_the_same_run(kept, tmp_path):
    L.Dense(1)  # Keras counts on
    layers = [L.Flatten(name="a"), L.Dense(2, "softmax", name="b")]
    training.seed(0)
    named = keras.Sequential([keras.Input((6, 6, 1)), *layers], name="other")
    assert again(kept, tmp_path, model=named).curves == kept[1].curves


def test_a_run_that_is_over_is_read_from_a_folder_that_cannot_be_written(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(
        files, "obstacle", lambda folder: PermissionError(13, "Permission denied", str(folder))
    )
    assert again(kept, tmp_path).curves == kept[1].curves
    with pytest.raises(ValueError, match="run.npz cannot be written: .*Permission denied"):
        again(kept, tmp_path, rewritten(lambda about: about.update(epochs=1)))


def test_a_net_that_holds_a_function_is_not_compared(plain, tmp_path):
    """Where a function of one's own stands in a file is no part of what it does."""
    path = tmp_path / "run.npz"
    first = run(*images(), net([L.Lambda(lambda x: x + 0)]), checkpoint=path)
    assert run(*images(), net([L.Lambda(lambda x: x + 0.0)]), checkpoint=path).curves == first.curves
