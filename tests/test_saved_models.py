"""Models saved at commit 21e46ae, one for each class that cnnbook registers, open and answer as they did then.

By Keras 3.8, older than all that are tested: a newer Keras opens them, while what a newer one writes an older cannot read.
"""

import json
import re
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import cnnbook
import cnnbook.layers

pytestmark = pytest.mark.jax

SAVED = Path(__file__).parent / "saved"
ANSWERS = np.load(SAVED / "answers.npz")


@pytest.mark.parametrize("name", sorted(ANSWERS.files))
def test_a_model_saved_long_ago_answers_as_it_did(name):
    model = cnnbook.load(SAVED / f"{name}.keras")
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
        cnnbook.load(path)
    said = re.match(
        rf".*made at home.keras was saved by Keras 99.1.0, and Keras {keras.__version__} here",
        str(raised.value),
    )
    assert bool(said) == told


CLASSES = """Bilinear Labels LocalResponseNormalization LocallyConnected2D MatchSize MaxPoolingWithSwitches MaxUnpooling
Maxout PadChannels Preprocess Schedule ShuffleChannels SoftmaxSplits StagedSGD SumSplits TakeChannels"""


@pytest.mark.parametrize("name", CLASSES.split())
def test_every_class_of_that_time_is_in_a_saved_model_under_its_name(name):
    """A class that comes later needs no file here."""
    texts = [zipfile.ZipFile(path).read("config.json").decode() for path in SAVED.glob("*.keras")]
    assert any(f'"cnnbook>{name}"' in text for text in texts)
    assert f"cnnbook>{name}" in keras.saving.get_custom_objects()
