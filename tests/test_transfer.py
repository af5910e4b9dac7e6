"""cnnbook.transfer: what is frozen stays, rates are what they say, a saved classifier answers the same elsewhere."""

import contextlib
import dataclasses
import errno
import functools
import importlib.util
import os
import subprocess
import sys
import weakref
from pathlib import Path

import keras
import numpy as np
import pytest

import cnnbook
from cnnbook import data, files, graph, models, training, transfer, viz, weights
from cnnbook.parts.layers import Labels

ROOT = Path(__file__).parents[1]


def backbone(side=16):
    training.seed(0)
    return models.ResNetCIFAR(8, include_top=False, pooling="avg", input_shape=(side, side, 3))


def stripes(n=48, side=16, seed=0):
    """Raw RGB with stripes that lie (class 0) or stand (class 1), of any colour and phase."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 2)
    wave = np.sin(np.arange(side) * 1.6 + rng.uniform(0, 6, (n, 1)))
    grey = np.where(y[:, None, None] == 0, wave[:, :, None], wave[:, None, :])
    colours = rng.uniform(60, 120, (n, 1, 1, 3))
    return (127 + colours * grey[..., None]).astype("uint8"), y


def read(model):
    return {v.path: np.array(v) for v in model.weights}


# --------------------------------------------------------------------------- nets that end in logits


def linear(activation=None, names=None):
    """Three classes of a mean colour, the same weights for every activation."""
    i = keras.Input((2, 2, 3))
    x = keras.layers.GlobalAveragePooling2D()(i)
    x = keras.layers.Dense(3, kernel_initializer=keras.initializers.Identity(), activation=activation)(x)
    return keras.Model(i, Labels(names)(x) if names else x)


COLOURS = np.random.default_rng(0).uniform(0, 3, (6, 2, 2, 3)).astype("float32")


def test_a_classifier_of_logits_gives_probabilities():
    scores = COLOURS.mean((1, 2))
    p = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    for activation in (None, "softmax"):
        found = transfer.Classifier(linear(activation, "abc")).probabilities(COLOURS)
        np.testing.assert_allclose(found, p, rtol=1e-5)


def test_trials_of_logits_are_those_of_a_softmax():
    nets = [linear(), linear("softmax")]
    for net in nets:
        transfer.Trials(net, steps=1, batch_size=6, learning_rate=0.5).run(COLOURS, np.arange(6) % 3)
    for one, other in zip(*(net.get_weights() for net in nets), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert np.abs(nets[0].get_weights()[1]).max() > 0


# --------------------------------------------------------------------------- the course's own trained nets


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("train_backbone", ROOT / "tools" / "train_backbone.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["fashion7", "digits7", "scenes7"])
def name(request):
    if request.param == "digits7":
        pytest.importorskip("sklearn", reason="the digits lie inside scikit-learn, which is not installed")
    return request.param


@pytest.mark.checkout
def test_every_trained_net_has_its_source(script):
    records = transfer.backbones()
    assert list(records) == sorted(script.SOURCES) == ["digits7", "fashion7", "scenes7"]
    for name, source in script.SOURCES.items():
        assert training.Protocol(**records[name]["protocol"]) == source.protocol
        assert records[name]["data"] == source.about
        made = [records[name][key] for key in ("builder", "arguments")]
        assert made == [script.BUILDER, script.ARGUMENTS]
    shapes = [records[name]["input_shape"] for name in ("digits7", "fashion7", "scenes7")]
    assert shapes == [[14, 14, 1], [14, 14, 1], [32, 32, 3]]


@pytest.mark.checkout
def test_a_trained_net_is_as_good_as_its_record_says(script, name):
    record = transfer.backbones()[name]
    images = script.loaded(name)
    chosen = np.isin(images.y_test, [images.classes.index(label) for label in record["classes"]])
    x, y = images.x_test[chosen].astype("float32"), images.y_test[chosen]
    y = np.searchsorted(np.unique(y), y)
    assert len(record["classes"]) == 7 and len(record["held_out"]) == 3 and len(x) == record["test_images"]
    assert {*record["classes"], *record["held_out"]} == set(images.classes)
    net = transfer.backbone(name, include_top=True)
    assert training.accuracy(net, x, y) == pytest.approx(record["accuracy"], abs=0.005)
    new = transfer.backbone(name, include_top=True, trained=False)
    assert training.accuracy(new, x, y) < 0.5
    height, width, channels = record["input_shape"]
    body, wide = transfer.backbone(name), transfer.backbone(name, input_shape=(20, 28, channels))
    own = (None, -(-height // 4), -(-width // 4), 64)
    assert body.output_shape == own and wide.output_shape == (None, 5, 7, 64)
    extended = transfer.extend(body, record["held_out"])
    assert transfer.names(extended) == tuple(record["held_out"])
    assert transfer.embeddings(extended, x[:4]).shape == (4, 64)


@pytest.mark.checkout
def test_a_trained_net_never_sees_the_held_out_classes(script, name):
    """The images it was trained on, as tools/train_backbone.py chooses them: none is of the three classes."""
    record = transfer.backbones()[name]
    source = script.SOURCES[name]
    classes, x, y, x_test, y_test = script.kept(name)
    assert list(source.held_out) == record["held_out"] and classes == record["classes"]
    assert (len(x), len(x_test)) == (record["training_images"], record["test_images"])
    assert (x.mean(), x.std()) == pytest.approx((record["mean"], record["std"]), rel=1e-6)
    images = script.loaded(name)
    held = np.isin(images.y_train, [images.classes.index(label) for label in record["held_out"]])
    known = {image.astype("uint8").tobytes() for image in x}
    assert not known & {image.tobytes() for image in images.x_train[held]}
    assert not known & {image.tobytes() for image in images.x_test}
    assert set(y) == set(y_test) == set(range(7)) and len(y) == len(x) == (~held).sum()


def test_a_wrong_backbone_is_named(monkeypatch, tmp_path):
    with pytest.raises(
        ValueError, match=r"called 'fashion8'; there are: digits7, fashion7, scenes7\. .*EfficientNetLite0"
    ):
        transfer.backbone("fashion8")
    for file in transfer.PRETRAINED.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "fashion7.weights.h5").write_bytes(b"cut off")
    monkeypatch.setattr(sys.modules[transfer.backbone.__module__], "PRETRAINED", tmp_path)
    with pytest.raises(data.DataError, match="fashion7.weights.h5 is missing or damaged"):
        transfer.backbone("fashion7")


def test_trials_start_anew_each_time():
    """The same start, images and seed give the same net, whatever was trained in between; frozen stages stay."""
    x, y = stripes(24)
    net = transfer.extend(backbone(), 2)
    transfer.freeze(net, "conv3")
    net.get_layer("head_bn").trainable = True
    trials = transfer.Trials(net, steps=6, batch_size=8, weight_decay=0, rates={"conv4": 0.0})
    first = read(net)
    one = read(trials.run(x, y, seed=1, shift=1))
    two = read(trials.run(x[:3], y[:3], seed=2))
    three = read(trials.run(x, y, seed=1, shift=1))
    for path, value in one.items():
        np.testing.assert_allclose(three[path], value, rtol=1e-4, atol=1e-5, err_msg=path)
    kernel = next(path for path in one if path.endswith("head_predictions/kernel"))
    assert np.abs(one[kernel] - two[kernel]).max() > 1e-3
    changed = {path.split("/")[-2] for path in one if not np.array_equal(one[path], first[path])}
    assert changed == {"head_bn", "head_predictions"}
    other = [value + 1 for value in net.get_weights()]
    np.testing.assert_array_equal(trials.start[0], first[next(iter(first))])
    transfer.Trials(net, steps=1, learning_rate=0.0, weight_decay=0).run(x, y, start=other)
    np.testing.assert_allclose(read(net)[kernel], other[[*first].index(kernel)])


# --------------------------------------------------------------------------- freezing


def test_advice_is_the_courses_rule():
    assert [transfer.advice(n) for n in (1, 49, 50, 499, 500)] == ["head", "head", "late", "late", "all"]
    with pytest.raises(ValueError, match="images_per_class is a whole number of at least 1, got 0"):
        transfer.advice(0)


HEAD, LATE = ("head", ("head_predictions",)), ("conv3", ("conv4", "head_predictions"))


@pytest.mark.parametrize(  # each pair of values once
    "form, fast, stage",
    [("flat", True, LATE), ("flat", False, HEAD), ("nested", True, HEAD), ("nested", False, LATE)],
)
def test_what_is_frozen_stays_in_fit(form, fast, stage):
    """Weights and moving statistics of batch norm: `fit` calls every layer with training=True."""
    until, moving = stage
    body = backbone()
    net = transfer.extend(body, 2)
    if form == "nested":
        x = inputs = keras.Input((16, 16, 3))
        x = keras.layers.Dense(2, activation="softmax", name="head_predictions")(body(x))
        net = keras.Model(inputs, x)
    told = transfer.freeze(net, until)
    before = read(net)
    x, y = stripes(16)
    training.fit(net, x, y, epochs=1, batch_size=8, fast=fast, verbose=False)
    changed = {
        path.split("/")[-2] for path, value in read(net).items() if not np.array_equal(value, before[path])
    }
    assert changed and all(name.startswith(moving) for name in changed)
    assert {name.split("_")[0] for name in changed} == {name.split("_")[0] for name in moving}
    learned = sum(np.prod(v.shape) for v in net.trainable_variables)
    assert sum(row[1] for row in told.rows) == learned
    assert sum(row[1] + row[2] for row in told.rows) == graph.totals(net)["params"]


def test_without_it_the_statistics_move():
    net = transfer.extend(backbone(), 2)
    for batch_norm in (True, False):
        transfer.freeze(net, None, batch_norm=batch_norm)
        before = read(net)
        training.fit(net, *stripes(16), epochs=1, batch_size=8, verbose=False)
        moved = {p for p, v in read(net).items() if "moving" in p and not np.array_equal(v, before[p])}
        assert bool(moved) == (not batch_norm)


def test_freeze_says_what_learns_and_what_it_does_not_know():
    net = transfer.extend(backbone(), 2)
    told = transfer.freeze(net, "conv3")
    assert [row[0] for row in told.rows] == [
        "conv1",
        "conv2",
        "conv3",
        "conv4",
        "head_bn",
        "head_predictions",
    ]
    by_stage = {row[0]: row[1:] for row in told.rows}
    assert by_stage["conv2"][0] == 0 and by_stage["conv4"][0] > by_stage["conv4"][1] > 0  # its batch norm
    assert "conv4" in repr(told) and "<table" in told._repr_html_()
    with pytest.raises(ValueError, match=r"no stage or layer 'conv9'; stages: conv1, conv2, conv3, conv4"):
        transfer.freeze(net, "conv9")
    branches = graph.blueprint(models.GoogLeNet, input_shape=(64, 64, 3), include_top=False)
    transfer.freeze(branches, "inception4a")
    frozen = {
        graph.stage_of(row) for row in graph.trace(branches) if row.params and not row.operation.trainable
    }
    assert {"inception3a", "inception3b", "inception4a"} <= frozen and "inception4b" not in frozen


def test_rates_are_factors_of_a_step():
    x, y = stripes(8)
    steps = {}
    for rates in (None, {"conv2": 0.1, "conv2_block1_2": 0.0}):
        net = transfer.extend(backbone(), 2, dropout=0)
        before = read(net)
        training.fit(net, x, y, epochs=1, batch_size=8, momentum=0.0, weight_decay=0, shift=0, mirror=False,
                     schedule="constant", rates=rates, verbose=False)  # fmt: skip
        steps[rates is None] = {p: v - before[p] for p, v in read(net).items() if "moving" not in p}
    for path, step in steps[False].items():
        factor = 0.0 if "conv2_block1_2" in path else 0.1 if "conv2" in path else 1.0
        np.testing.assert_allclose(step, factor * steps[True][path], rtol=1e-3, atol=1e-6, err_msg=path)
    with pytest.raises(ValueError, match="no stage or layer conv8"):
        training.fit(net, x, y, rates={"conv8": 0.1}, verbose=False)


# --------------------------------------------------------------------------- features


def test_embeddings_are_the_nets_and_are_kept(tmp_path, monkeypatch):
    net, (x, _) = transfer.extend(backbone(), 2), stripes(6)
    expected = np.array(keras.ops.convert_to_numpy(backbone()(x.astype("float32"), training=False)))
    cache = tmp_path / "kept" / "vectors.npz"
    np.testing.assert_allclose(transfer.embeddings(net, x, cache=cache), expected, rtol=1e-4, atol=1e-4)
    maps = transfer.embeddings(net, x, layer="conv2_block1_out")
    assert maps.shape == (6, 16)

    asked = []
    real = training.outputs
    monkeypatch.setattr(training, "outputs", lambda *a, **k: asked.append(1) or real(*a, **k), raising=False)
    again = transfer.embeddings(net, x, cache=cache)
    np.testing.assert_allclose(again, expected, rtol=1e-4, atol=1e-4)
    assert not asked
    transfer.embeddings(net, x[::-1], cache=cache)
    assert len(asked) == 1
    net.get_layer("conv1_conv").kernel.assign(net.get_layer("conv1_conv").kernel * 2)
    transfer.embeddings(net, x[::-1], cache=cache)
    assert len(asked) == 2


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch", "lite", "identity"])
def test_preprocessing_lies_in_the_net(mode):
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 3)).astype("uint8")
    layer = weights.Preprocess(mode)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(x)), weights.scaling(mode)(x), atol=1e-5)
    net = keras.Sequential([keras.Input((3, 5, 3)), layer])
    assert graph.trace(net)[-1].receptive_field == (1, 1)


# --------------------------------------------------------------------------- your own images


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    root = tmp_path_factory.mktemp("own") / "stripes 条纹"
    x, y = stripes(60)
    for name in ("lying 横", "standing"):
        (root / name).mkdir(parents=True)
    for i, (pixels, k) in enumerate(zip(x, y, strict=True)):
        image.fromarray(pixels).save(root / ("lying 横", "standing")[k] / f"{i}.png")
    (root / "standing" / "broken.png").write_text("no image")
    return root


PREDICT = """
import sys
import numpy as np
from cnnbook import transfer
made = transfer.load(sys.argv[1], trusted=True)
np.save(sys.argv[2], made.probabilities(sys.argv[3:]))
print(*[label for label, p in made.predict(sys.argv[3:])], sep="|")
"""


def test_a_classifier_of_a_folder_answers_the_same_in_a_fresh_process(folder, tmp_path, capsys):
    path = tmp_path / "saved" / "stripes.keras"
    made, result = transfer.classifier(folder, backbone=backbone(), size=16, strategy="head", save=path)
    said = capsys.readouterr().out
    assert "broken.png" in said and "trained 'head'" in said
    assert len(result.y) == 12 and result.top1 >= 0.9 and result.top5 is None
    assert result.confusion.sum() == 12 and np.trace(result.confusion) == round(12 * result.top1)
    assert list(path.parent.iterdir()) == [path]
    files = [str(file) for file in sorted(folder.rglob("[0-9]*.png"))[::7]]
    out = tmp_path / "p.npy"
    there = subprocess.run(
        [sys.executable, "-c", PREDICT, str(path), str(out), *files],
        capture_output=True, text=True, encoding="utf-8", env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert there.returncode == 0, there.stderr
    assert there.stdout.strip().split("|") == [label for label, _ in made.predict(files)]
    np.testing.assert_allclose(np.load(out), made.probabilities(files), atol=1e-5)
    assert isinstance(cnnbook.load(path, trusted=True), keras.Model)


@pytest.fixture(scope="module")
def striped():
    return transfer.Classifier(transfer.extend(backbone(), ["lying", "stand\x1bing"]))


def test_predict_takes_one_picture_or_many(striped, folder):
    files = sorted(folder.rglob("[0-9]*.png"))[::13]
    x = np.stack([data.pixels(file) for file in files])
    expected = striped.predict(files)
    assert len(expected) == len(files) and {label for label, _ in expected} <= {"lying", "stand\x1bing"}
    names = [str(file) for file in files]
    for many in (x, names, iter(names), np.array(names), list(x), x.astype("float32"), x.astype(int)):
        np.testing.assert_array_equal(striped._pixels(many), x)
    for one in (names[0], files[0], x[0], [x[0]]):
        np.testing.assert_array_equal(striped._pixels(one), x[:1])
    ((label, probability),) = striped.predict(names[0])
    assert label == expected[0][0] and probability == pytest.approx(expected[0][1], abs=1e-6)
    assert striped.predict([]) == striped.predict(x[:0]) == []
    assert striped.probabilities([]).shape == (0, 2)
    assert repr(striped).endswith(r"lying, stand\x1bing")


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda x: x / 255, r"pixels from 0 to 255 are needed.*got float64 from 0\S* to [01]"),
        (lambda x: x / 127.5 - 1, "The net scales them itself"),
        (lambda x: np.full(x.shape, np.nan), "from nan to nan"),
        (lambda x: x.astype(int) * 300, "pixels from 0 to 255"),
        (lambda x: x > 99, "pixels from 0 to 255 are needed.*got bool"),
        (lambda x: x[..., 0], r"images \(n, 16, 16, 3\) are needed.*\(2, 16, 16\).*makes RGB of grey"),
        (lambda x: x[..., :1], r"images .*\(2, 16, 16, 1\)"),
        (lambda x: x[:, :9], r"images .*\(2, 9, 16, 3\): data.resize"),
        (lambda x: [x[0], x[1, :9]], "images of one size are needed"),
    ],
)
def test_predict_refuses_what_the_net_did_not_learn(striped, change, says):
    with pytest.raises(ValueError, match=says):
        striped.predict(change(stripes(2)[0]))


def test_a_class_without_training_images_is_named_before_anything_is_built(folder):
    images = data.folder(folder)
    few = images.y_train == 0
    images = dataclasses.replace(images, x_train=images.x_train[few], y_train=images.y_train[few])
    with pytest.raises(
        ValueError, match=r"no training image of standing; .*classifier\(data.load\(.*test=\.\.\.\)\)"
    ):
        transfer.classifier(images, backbone="nothing is built", verbose=False)


@pytest.mark.parametrize("strategy", ["late", "all"])
def test_other_strategies_thaw_more(folder, strategy, monkeypatch):
    module = sys.modules[transfer.classifier.__module__]  # `transfer.classifier` is the function
    monkeypatch.setattr(module, "fit_head", functools.partial(transfer.fit_head, epochs=1))
    made, result = transfer.classifier(
        folder, backbone=backbone(), size=16, strategy=strategy, epochs=1, verbose=False
    )
    still = {layer.name for layer in made.model.layers if layer.weights and not layer.trainable}
    assert ("conv2_block1_1_conv" in still) == (strategy == "late") and "conv4_block1_1_conv" not in still
    assert "conv1_bn" in still


def test_evaluation_counts_and_sorts_its_mistakes():
    p = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    result = transfer.Evaluation(("a", "b"), np.zeros((4, 8, 8, 3), "uint8"), np.array([1, 1, 1, 0]), p)
    assert result.top1 == 0.25 and result.confusion.tolist() == [[0, 1], [2, 1]]
    assert result.wrong.tolist() == [1, 3, 0] and result.hardest.tolist() == [1, 3, 0, 2]
    many = np.eye(7)[[0, 1, 2]] + np.arange(7) / 100
    other = transfer.Evaluation("abcdefg", None, np.array([0, 0, 6]), many)
    assert other.confusion.shape == (7, 7) and other.confusion[0].tolist() == [1, 1, 0, 0, 0, 0, 0]
    assert other.top1 == pytest.approx(1 / 3) and other.top5 == pytest.approx(2 / 3)


def test_pictures_of_an_evaluation():
    p = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    x = np.arange(4, dtype="uint8")[:, None, None, None] * np.ones((1, 8, 8, 3), "uint8")
    result = transfer.Evaluation(
        ("a", "b"), x, np.array([1, 1, 1, 0]), p, files=[f"in/{i}.png" for i in range(4)]
    )
    counts = viz.confusion(result)
    assert counts.array.tolist() == [[0, 1], [2, 1]] and "25.0% of 4 right" in counts.alt
    axes = counts.figure().axes[0]
    assert [text.get_text() for text in axes.texts] == ["0", "1", "2", "1"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    worst = viz.hardest(result, most=3)
    assert worst.array[:, 0, 0, 0].tolist() == [1, 3, 0]
    panels = worst.figure().axes
    assert [axis.get_title() for axis in panels] == [
        "a, 90%\nwrong: b, 10%",
        "b, 70%\nwrong: a, 30%",
        "a, 60%\nwrong: b, 40%",
    ]
    assert [axis.get_xlabel() for axis in panels] == ["1.png", "3.png", "0.png"]
    many = transfer.Evaluation([f"class {i}" for i in range(21)], None, np.arange(21), np.eye(21))
    axes = viz.confusion(many).figure().axes[0]
    assert not axes.texts and axes.get_xticklabels()[3].get_rotation() == 45
    with pytest.raises(ValueError, match="most is a whole number of at least 1, got 0"):
        viz.hardest(result, most=0)


def test_wrong_arguments(folder):
    with pytest.raises(ValueError, match="strategy is"):
        transfer.classifier(folder, strategy="some")
    with pytest.raises(ValueError, match="at least two names"):
        transfer.extend(backbone(), ["one"])
    with pytest.raises(ValueError, match="no names of classes"):
        transfer.names(backbone())
    with pytest.raises(ValueError, match="raw RGB images"):
        transfer.classifier(data.load("fashion_mnist", train=20, test=10, verbose=False), backbone=backbone())
    with pytest.raises(ValueError, match=r"a \.keras file"):
        transfer.Classifier(transfer.extend(backbone(), ["a", "b"])).save("net.h5")


# --------------------------------------------------------------------------- what is looked at before the work


def few(n=16, test=4):
    x, y = stripes(n + test)
    return data.Images("few", ("lying", "standing"), "here", x[:n], y[:n], x[:0], y[:0], x[n:], y[n:])


@pytest.fixture
def module(monkeypatch):
    """The file of `classifier`, in which nothing learns."""
    found = sys.modules[transfer.classifier.__module__]  # `transfer.classifier` is the function
    monkeypatch.setattr(found, "embeddings", lambda net, x, **options: np.zeros((len(x), 4)))
    monkeypatch.setattr(found, "fit_head", lambda net, vectors, y, **options: net)
    return found


def small():
    inputs = keras.Input((16, 16, 3))
    return keras.Model(inputs, keras.layers.Conv2D(4, 3, 4, name="conv1")(inputs), name="small")


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(save="model.h5"), r"a classifier is saved as a \.keras file, got 'model.h5'"),
        (dict(save="model"), r"a classifier is saved as a \.keras file, got 'model'"),
        (dict(save="folder.keras"), "folder.keras is a folder"),
        (dict(save="file/model.keras"), "model.keras cannot be written"),
        (dict(cache="file/vectors.npz"), "vectors.npz cannot be written"),
        (dict(cache="folder.keras"), "folder.keras is a folder"),
        (dict(epochs=0), "epochs is a whole number of at least 1, got 0"),
        (dict(seed=-1), "seed is a whole number of at least 0, got -1"),
    ],
)
def test_what_a_classifier_cannot_do_is_said_before_it_trains(change, message, tmp_path, monkeypatch, module):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.keras").mkdir()
    (tmp_path / "file").write_text("mine")
    for name in ("embeddings", "fit_head"):
        monkeypatch.setattr(module, name, lambda *a, **k: pytest.fail("trained"))
    with pytest.raises(ValueError, match=message):
        transfer.classifier(few(), backbone=small(), verbose=False, **change)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.keras"]


def test_a_classifier_without_held_out_images_is_saved_and_says_so(tmp_path, module, capsys):
    path = tmp_path / "few.keras"
    made, result = transfer.classifier(few(4, test=0), backbone=small(), strategy="head", save=path)
    assert len(result.y) == 0 and np.isnan(result.top1) and not len(result.wrong) and not len(result.hardest)
    assert result.confusion.tolist() == [[0, 0], [0, 0]] and result.probabilities.shape == (0, 2)
    assert (
        repr(result) == "no held-out images: nothing is measured" and repr(result) in capsys.readouterr().out
    )
    again = transfer.load(path)
    np.testing.assert_allclose(again.probabilities(few().x_test), made.probabilities(few().x_test), atol=1e-6)


def test_a_classifier_is_saved_before_it_is_measured(tmp_path, module, monkeypatch):
    path = tmp_path / "few.keras"
    monkeypatch.setattr(transfer.Classifier, "evaluate", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        transfer.classifier(few(4, test=0), backbone=small(), strategy="head", save=path, verbose=False)
    assert transfer.load(path).classes == ("lying", "standing")


def test_a_disk_that_fills_up_costs_the_file_not_the_net(tmp_path, module, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "few.keras")

    monkeypatch.setattr(transfer.Classifier, "save", full)
    with pytest.warns(UserWarning, match=r"few.keras was not written \(.*No space left.*\).*\.save\("):
        made, _ = transfer.classifier(
            few(4), backbone=small(), strategy="head", save=tmp_path / "few.keras", verbose=False
        )
    assert made.probabilities(few().x_test).shape == (4, 2)


def test_the_mirrored_copies_are_gone_when_the_stages_are_trained(module, monkeypatch):
    seen = []
    real = module.embeddings
    monkeypatch.setattr(
        module, "embeddings", lambda net, x, **k: seen.append(weakref.ref(x)) or real(net, x, **k)
    )
    monkeypatch.setattr(training, "fit", lambda *a, **k: seen.append(seen[0]() is None), raising=False)
    transfer.classifier(few(4), backbone=small(), strategy="late", verbose=False)
    assert len(seen) == 3 and seen[1:] == [True, True]  # an epoch to try the rate, then the training


@pytest.mark.parametrize(("scale", "wanted"), [(1, 0.01), (40, 0.001), (2000, 0.0001), (1e6, 0.00001)])
def test_a_rate_that_tears_a_net_apart_is_not_taken(module, monkeypatch, capsys, scale, wanted):
    """A loss that rises by scale times the rate: which of the rates trains the net, and that it starts as it was."""
    rates, starts, risen = [], [], []

    def fit(net, x, y, *, learning_rate, **settings):
        rates.append(learning_rate)
        starts.append([w.copy() for w in net.get_weights()])
        net.set_weights([w + 1 for w in net.get_weights()])
        risen.append(scale * learning_rate)

    monkeypatch.setattr(training, "fit", fit, raising=False)
    monkeypatch.setattr(module, "_loss", lambda net, images: 1 + (risen[-1] if risen else 0) / 3)
    with pytest.warns(match="made the net worse") if scale > 1e5 else contextlib.nullcontext():
        made, _ = transfer.classifier(few(4), backbone=small(), strategy="late")
    tried = [rate for rate in module.RATES[:-1] if rate >= wanted]
    assert rates == [*tried, wanted]
    # At the end the net is as it was trained, or, where that was worse, as the head's training left it.
    ends = [[w - (scale < 1e5) for w in made.model.get_weights()]]
    for later in starts[1:] + ends:
        for before, now in zip(starts[0], later, strict=True):
            np.testing.assert_allclose(now, before, atol=1e-6)
    assert capsys.readouterr().out.count("is too large for this net") == sum(rate > wanted for rate in tried)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-40],
        lambda content: content[:60] + b"x" * 9 + content[69:],
    ],
)
def test_a_damaged_cache_is_made_anew_and_said(damage, tmp_path, capsys):
    inputs = keras.Input((4, 4, 1))
    net, x = keras.Model(inputs, keras.layers.Flatten()(inputs)), np.arange(32.0).reshape(2, 4, 4, 1)
    cache = tmp_path / "vectors.npz"
    vectors = transfer.embeddings(net, x, cache=cache)
    cache.write_bytes(damage(cache.read_bytes()))
    np.testing.assert_array_equal(transfer.embeddings(net, x, cache=cache), vectors)
    assert "vectors.npz is damaged (" in (said := capsys.readouterr().out) and "computed anew" in said
    np.testing.assert_array_equal(transfer.embeddings(net, x, cache=cache), vectors)
    assert not capsys.readouterr().out


def test_a_cache_is_read_where_it_cannot_be_written(tmp_path, monkeypatch):
    inputs = keras.Input((4, 4, 1))
    net, x = keras.Model(inputs, keras.layers.Flatten()(inputs)), np.arange(32.0).reshape(2, 4, 4, 1)
    cache = tmp_path / "vectors.npz"
    vectors = transfer.embeddings(net, x, cache=cache)
    monkeypatch.setattr(
        files, "obstacle", lambda folder: PermissionError(13, "Permission denied", str(folder))
    )
    np.testing.assert_array_equal(transfer.embeddings(net, x, cache=cache), vectors)
    monkeypatch.setattr(training, "outputs", lambda *a, **k: pytest.fail("computed"), raising=False)
    with pytest.raises(ValueError, match="vectors.npz cannot be written: .*Permission denied"):
        transfer.embeddings(net, x + 1, cache=cache)


def test_what_is_no_cache_is_not_written_over(tmp_path):
    inputs = keras.Input((4, 4, 1))
    net, x = keras.Model(inputs, keras.layers.Flatten()(inputs)), np.zeros((2, 4, 4, 1))
    (tmp_path / "mine.txt").write_text("mine")
    np.savez(tmp_path / "run.npz", about="{}", v0=np.zeros(3))
    for name in ("mine.txt", "run.npz"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(ValueError, match=f"{name} is no cache of features.*: give another file"):
            transfer.embeddings(net, x, cache=tmp_path / name)
        assert (tmp_path / name).read_bytes() == before
