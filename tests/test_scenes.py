"""Scenes: what is drawn is what is answered, and example i depends on (seed, part, i) alone."""

import numpy as np
import pytest

from cnnbook import data
from cnnbook.data import fashion
from cnnbook.data.drawn import scenes


def test_segment_answers_agree_with_each_other():
    s = data.scenes(40, seed=3)
    assert s.images.shape == (40, 64, 64, 3) and s.images.dtype == np.uint8
    assert s.masks.shape == (40, 64, 64) and s.masks.dtype == np.uint8
    assert s.labels.shape == (40, 4) and s.boxes.shape == (40, 4, 4)
    for labels, boxes, mask in zip(s.labels, s.boxes, s.masks, strict=True):
        assert set(np.unique(mask)) - {0} == set(labels) - {0}  # every object is seen, and nothing else
        inside = np.zeros_like(mask, bool)
        for label, (top, left, bottom, right) in zip(labels, boxes, strict=True):
            if label:
                assert 0 <= top < bottom <= 64 and 0 <= left < right <= 64
                assert (mask[top:bottom, left:right] == label).any()
                inside[top:bottom, left:right] = True
        assert not (mask[~inside]).any()
    objects = (s.labels > 0).sum(axis=1)
    assert objects.min() == 1 and objects.max() == 4


def test_classify_has_one_coloured_target():
    s = data.scenes(100, task="classify")
    assert np.bincount(s.labels).tolist() == [2] * 50  # each class once in every 50
    assert len(scenes.CLASSES["classify"]) == 50 and scenes.CLASSES["classify"][7] == "green Trouser"
    for image, label, box, mask in zip(s.images, s.labels, s.boxes[:, 0], s.masks, strict=True):
        rows, columns = np.nonzero(mask)
        assert box.tolist() == [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        colours = np.array(list(scenes.COLOURS.values()), float)
        seen = image[mask == 1].astype(float).mean(axis=0)
        match = (colours @ seen) / np.linalg.norm(colours, axis=1)
        assert match.argmax() == label % 5  # the colour can be read off the pixels


def test_example_depends_on_its_index_only():
    for task in scenes.CLASSES:
        all_, last = data.scenes(6, task=task, seed=5), data.scenes(2, task=task, seed=5, start=4)
        for one, other in zip(all_, last, strict=True):
            assert (one[4:] == other).all()
        assert (data.scenes(6, task=task, seed=6).images != all_.images).any()
        assert (data.scenes(6, task=task, seed=5, part="test").images != all_.images).any()


def test_the_same_scene_at_another_size():
    small, large = data.scenes(20, task="classify"), data.scenes(20, task="classify", size=128)
    assert large.images.shape == (20, 128, 128, 3) and (small.labels == large.labels).all()
    assert np.abs(small.boxes - large.boxes / 2).max() <= 2
    assert np.abs(data.resize(large.images, 64).astype(int) - small.images).mean() < 12


def test_parts_use_their_own_items(monkeypatch):
    asked, shipped = [], fashion.shipped()

    class Spy(dict):
        def __getitem__(self, key):
            asked.append(key)
            return shipped[key]

    monkeypatch.setattr(fashion, "shipped", lambda: Spy())
    scenes._rows.cache_clear()
    data.scenes(3, part="test")
    data.scenes(3, part="test", task="classify")
    assert set(asked) == {"x_test", "y_test"}
    scenes._rows.cache_clear()


def test_scales_span_half_to_twice():
    s = data.scenes(300, task="classify")
    sides = (s.boxes[:, 0, 2:] - s.boxes[:, 0, :2]).max(axis=1)
    assert sides.min() <= 14 and 45 <= sides.max() <= 57


def test_load_scenes(capsys):
    s = data.load("scenes", train=20, validation=5, test=10)
    assert capsys.readouterr().out == (
        "scenes/segment: 20 training, 5 validation and 10 test images, drawn from the Fashion-MNIST items shipped with "
        "cnnbook (Zalando, MIT licence)\n"
    )
    assert s.classes[0] == "background" and len(s.classes) == 11
    assert (s.y_train == s.masks["train"]).all() and s.boxes["test"].shape == (10, 4, 4)
    assert (s.x_train == data.scenes(20).images).all() and (
        s.x_test == data.scenes(10, part="test").images
    ).all()
    assert (s.x_validation == data.scenes(5, start=20).images).all()
    assert s.box_labels["validation"].shape == (5, 4)
    c = data.load("scenes", task="classify", size=96, train=4, test=0, verbose=False)
    assert c.x_train.shape == (4, 96, 96, 3) and c.y_train.dtype == np.int64 and c.box_labels is None
    assert c.standardised().boxes is c.boxes


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        ({"task": "detect"}, "task='detect': choose one of segment, classify"),
        ({"size": 16}, "size is a whole number of at least 32, got 16"),
        ({"size": (64, 96)}, "scenes are square"),
        ({"train": -1}, "train is a whole number of at least 0, got -1"),
        ({"seed": 1.5}, "seed is a whole number of at least 0, got 1.5"),
    ],
)
def test_impossible_scenes(ask, says):
    with pytest.raises(ValueError, match=says):
        data.load("scenes", **ask)


def test_part_name():
    with pytest.raises(ValueError, match="part='valid': choose train or test"):
        data.scenes(1, part="valid")
