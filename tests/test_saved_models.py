"""Models saved at commit 21e46ae, one for each class that cnnbook registers, open and answer as they did then.

By Keras 3.8, older than all that are tested: a newer Keras opens them, while what a newer one writes an older cannot read.
"""

import json
import re
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from packaging.version import Version

import cnnbook
import cnnbook.layers
from cnnbook import transfer

pytestmark = [pytest.mark.jax, pytest.mark.torch]

SAVED = Path(__file__).parent / "saved"
ANSWERS = np.load(SAVED / "answers.npz")


@pytest.mark.parametrize("name", sorted(ANSWERS.files))
def test_a_model_saved_long_ago_answers_as_it_did(name):
    model = cnnbook.load(SAVED / f"{name}.keras", trusted=True)
    images = np.random.default_rng(7).random((2, *model.input_shape[1:])).astype("float32")
    if name == "preprocess_labels":
        images *= 255
    answer = model(images, training=False)
    answer = keras.ops.convert_to_numpy(answer[0] if isinstance(answer, list) else answer)
    np.testing.assert_allclose(answer, ANSWERS[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("theirs, told", [("99.1.0", True), ("3.0.0", False)])
def test_a_model_of_a_newer_keras_says_so(tmp_path, theirs, told):
    """Newer ones write what older ones do not know: here an argument of an initialiser."""
    path = tmp_path / "made at home.keras"
    with zipfile.ZipFile(SAVED / "match_size.keras") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            text = old.read(name)
            if name == "metadata.json":
                text = json.dumps(json.loads(text) | {"keras_version": theirs}).encode()
            if name == "config.json":
                text = text.replace(b'"seed": null', b'"seed": null, "axes_of_tomorrow": null')
            new.writestr(name, text)
    with pytest.raises((TypeError, ValueError)) as raised:
        cnnbook.load(path, trusted=True)
    said = re.match(
        rf".*made at home.keras was saved by Keras 99.1.0, and Keras {keras.__version__} here",
        str(raised.value),
    )
    assert bool(said) == told


@pytest.mark.parametrize("opened", [cnnbook.load, transfer.load])
@pytest.mark.parametrize("version, asks", [("3.10.0", True), ("3.13.1", True), ("3.13.2", False)])
def test_a_keras_that_runs_what_a_file_says_opens_only_what_is_trusted(monkeypatch, opened, version, asks):
    """Below 3.13.2 a file may run commands when it is opened: CVE-2025-1550, -8747, -9905 and -9906, CVE-2026-1462."""
    monkeypatch.setattr(keras, "__version__", version)
    asked = []
    monkeypatch.setattr(
        keras.models, "load_model", lambda path, **options: asked.append(options) or labelled()
    )
    if asks:
        with pytest.raises(ValueError, match=rf"other.keras .*Keras {version}.* 3.13.2 .*trusted=True"):
            opened("other.keras")
        assert asked == []
    else:
        opened("other.keras")
    opened("other.keras", trusted=True)
    # Trust opens the file; what Keras itself refuses it goes on refusing.
    assert asked == [{}] * (1 if asks else 2)


def labelled():
    x = keras.Input((8, 8, 3))
    return keras.Model(x, cnnbook.layers.Labels(["a", "b"])(keras.layers.Dense(2)(x)))


HARMFUL = {
    "subprocess": {"module": "subprocess", "class_name": "function", "config": "getoutput", "registered_name": "function"},
    "a Lambda": {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "evil", "function": {
        "class_name": "__lambda__", "config": {"code": "4wAAAAA=", "defaults": None, "closure": None}}}},
    "a function of ours": {"module": "cnnbook.files", "class_name": "function", "config": "write",
                           "registered_name": "function"},
    "TFSMLayer": {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "there", "name": "evil"}},
    "a file as a vocabulary": {"module": "keras.layers", "class_name": "StringLookup",
                               "config": {"name": "evil", "vocabulary": "/etc/passwd"}},
}  # fmt: skip


@pytest.mark.skipif(Version(keras.__version__) < Version("3.13.2"), reason="this Keras would run it")
@pytest.mark.parametrize("what", HARMFUL)
def test_what_keras_refuses_stays_refused(tmp_path, what):
    """The layer's own configuration and its call, as in a functional model; nothing is run, trusted or not."""
    if what == "a file as a vocabulary":
        # Keras makes the layer by TensorFlow, whatever computes.
        pytest.importorskip("tensorflow")
    canary = tmp_path / "canary"
    layer = HARMFUL[what] | {"name": "evil", "inbound_nodes": [{"args": [f"touch {canary}"], "kwargs": {}}]}
    config = {
        "module": "keras.src.models.functional", "class_name": "Functional", "registered_name": None,
        "config": {"name": "net", "layers": [layer], "input_layers": [], "output_layers": [["evil", 0, 0]]},
    }  # fmt: skip
    path = tmp_path / "net.keras"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata.json", json.dumps({"keras_version": keras.__version__}))
        file.writestr("config.json", json.dumps(config))
        file.writestr("model.weights.h5", b"")
    refused = "all imported" if layer["class_name"] == "function" else "disallowed by default"
    with pytest.raises((TypeError, ValueError), match=refused):
        cnnbook.load(path, trusted=True)
    assert not canary.exists()
    if what == "a Lambda":
        # The older format, which ignored safe_mode once.
        layers = [
            {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, 2]}},
            HARMFUL[what],
        ]
        config = {"class_name": "Sequential", "config": {"name": "net", "layers": layers}}
        with h5py.File(tmp_path / "net.h5", "w") as file:
            file.attrs["model_config"] = json.dumps(config)
        with pytest.raises((TypeError, ValueError), match=refused):
            cnnbook.load(tmp_path / "net.h5", trusted=True)


CLASSES = """Bilinear Labels LocalResponseNormalization LocallyConnected2D MatchSize MaxPoolingWithSwitches MaxUnpooling
Maxout PadChannels Preprocess Schedule ShuffleChannels SoftmaxSplits StagedSGD SumSplits TakeChannels"""


@pytest.mark.parametrize("name", CLASSES.split())
def test_every_class_of_that_time_is_in_a_saved_model_under_its_name(name):
    """A class that comes later needs no file here."""
    texts = [zipfile.ZipFile(path).read("config.json").decode() for path in SAVED.glob("*.keras")]
    assert any(f'"cnnbook>{name}"' in text for text in texts)
    assert f"cnnbook>{name}" in keras.saving.get_custom_objects()
