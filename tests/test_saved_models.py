"""Models saved at commit 21e46ae, one for each class that cnnbook registers, open and answer as they did then."""

from pathlib import Path

import keras
import numpy as np
import pytest

import cnnbook

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


def test_every_registered_class_is_in_a_saved_model():
    registered = {k for k in keras.saving.get_custom_objects() if k.startswith("cnnbook>")}
    import zipfile

    texts = [zipfile.ZipFile(p).read("config.json").decode() for p in SAVED.glob("*.keras")]
    assert registered == {name for name in registered if any(f'"{name}"' in text for text in texts)}
    assert len(registered) >= 16
