"""What scenes, cells and faces have in common: their pixels never change, and TFDS stores what the functions draw."""

import functools
import hashlib

import numpy as np
import pytest

from cnnbook import data

KINDS = {
    "segment": functools.partial(data.scenes, task="segment"),
    "classify": functools.partial(data.scenes, task="classify"),
    "cells": data.cells,
    "faces": data.faces,
}
DIGESTS = {
    "segment": "fea43bf67db8",
    "classify": "e1713340e310",
    "cells": "4e35dd7ff715",
    "faces": "c5cd94ff2a4c",
}


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_what_they_were(kind):
    """Chapters store what the sets gave: a change here is a change of their results."""
    assert hashlib.sha256(KINDS[kind](8).images.tobytes()).hexdigest()[:12] == DIGESTS[kind]


@pytest.mark.parametrize(
    "name, kind, fields",
    [
        ("scenes", data.SceneImages, {"masks", "boxes", "box_labels"}),
        ("cells", data.CellImages, {"masks", "instances", "weights"}),
        ("faces", data.FaceImages, {"landmarks", "heads", "poses"}),
    ],
)
def test_a_drawn_set_knows_its_answers_by_part(name, kind, fields):
    drawn = data.load(name, train=3, validation=2, test=1, verbose=False).standardised()
    assert type(drawn) is kind and repr(drawn).startswith(f"Images '{drawn.name}': 3 training, 2 validation")
    for field in fields:
        answers = getattr(drawn, field)
        assert {part: len(array) for part, array in answers.items()} == {
            "train": 3,
            "validation": 2,
            "test": 1,
        }
    assert not (vars(drawn).keys() - vars(data.load("fashion_mnist", verbose=False)).keys()) - fields


@pytest.fixture(scope="module")
def few():
    """TFDS, with small configurations of our builders added (before TFDS lists them, which it does once)."""
    pytest.importorskip("tensorflow", reason="TFDS needs TensorFlow")
    tfds = pytest.importorskip("tensorflow_datasets", reason="TFDS is not installed")
    from cnnbook.data.tfds import cells_builder, faces_builder, scenes_builder

    size = dict(train=4, test=2)
    added = {
        scenes_builder.CnnbookScenes: [
            scenes_builder.SceneConfig(name=f"few_{task}", task=task, **size)
            for task in ("segment", "classify")
        ],
        cells_builder.CnnbookCells: [cells_builder.DrawnConfig(name="few", **size)],
        faces_builder.CnnbookFaces: [faces_builder.FaceConfig(name="few", people=(2, 1), **size)],
    }
    stock = [[config.name for config in builder.BUILDER_CONFIGS] for builder in added]
    assert stock == [["segment", "classify"], ["touching"], ["turned"]]
    for builder, configs in added.items():
        builder.BUILDER_CONFIGS.extend(configs)
    yield tfds
    for builder, configs in added.items():
        del builder.BUILDER_CONFIGS[-len(configs) :]


def float32(array):
    return array.astype("float32")


def channel(array):
    return array[..., None]


@pytest.mark.parametrize(
    "stored_as, name, options, stored_fields",
    [
        ("cnnbook_scenes/few_segment", "scenes", dict(task="segment"),
         {"mask": ("masks", channel), "boxes": ("boxes", None), "labels": ("box_labels", None)}),
        ("cnnbook_scenes/few_classify", "scenes", dict(task="classify"),
         {"mask": ("masks", channel), "boxes": ("boxes", None), "label": ("y", None)}),
        ("cnnbook_cells/few", "cells", {},
         {"mask": ("masks", channel), "instances": ("instances", channel), "weights": ("weights", channel)}),
        ("cnnbook_faces/few", "faces", dict(people=(2, 1)),
         {"label": ("y", None), "landmarks": ("landmarks", float32), "head": ("heads", float32),
          "pose": ("poses", float32)}),
    ],
)  # fmt: skip
def test_tfds_builder_gives_the_same(tmp_path, few, stored_as, name, options, stored_fields):
    data.prepare(stored_as, tmp_path)
    stored = few.load(stored_as, split="train+test", data_dir=tmp_path, download=False)
    examples = {e["image"].tobytes(): e for e in few.as_numpy(stored)}
    assert len(examples) == 6
    drawn = data.load(name, train=4, test=2, verbose=False, **options)
    for part in ("train", "test"):
        x, y = drawn.part(part)
        for i, image in enumerate(x):
            example = examples[image.tobytes()]
            for key, (field, change) in stored_fields.items():
                answer = np.asarray(y if field == "y" else getattr(drawn, field)[part])[i]
                np.testing.assert_array_equal(example[key], change(answer) if change else answer)
                assert example[key].dtype == (change(answer) if change else answer).dtype
