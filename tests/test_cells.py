"""Cells that touch, their border weights by the paper's formula, and the coins."""

import numpy as np
import pytest

from cnnbook import data
from cnnbook.data.drawn import cells


def test_cells_agree_with_their_masks():
    c = data.cells(12)
    assert c.images.shape == (12, 64, 64, 1) and c.images.dtype == np.uint8
    assert (c.masks == (c.instances > 0)).all() and c.masks.dtype == np.uint8
    assert c.weights.dtype == np.float32 and c.weights.shape == (12, 64, 64)
    for instances in c.instances:
        numbers = np.unique(instances)
        assert numbers.tolist() == list(range(len(numbers))) and len(numbers) > 4
        assert min(np.bincount(instances.ravel())[1:]) >= 12
    assert 0.3 < c.masks.mean() < 0.6


def neighbours(instances):
    """All pairs of numbers that stand next to each other, corners included."""
    found = set()
    for a, b in ((np.s_[:-1, :], np.s_[1:, :]), (np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1, :-1], np.s_[1:, 1:]),
                 (np.s_[:-1, 1:], np.s_[1:, :-1])):  # fmt: skip
        found |= set(zip(instances[a].ravel().tolist(), instances[b].ravel().tolist(), strict=True))
    return found


def test_cells_touch_and_stay_apart():
    """Without a pixel between them two cells would be one for whoever counts; with more, nothing would touch."""
    c = data.cells(12)
    for instances in c.instances:
        assert all(a == b or 0 in (a, b) for a, b in neighbours(instances))
    gaps = (c.weights > 6).sum(axis=(1, 2))  # pixels with a cell on either side, two pixels away at most
    assert (gaps > 8).sum() >= 10 and c.weights.max() > 8


def test_a_cell_depends_on_its_index_only():
    all_, last = data.cells(5, seed=2), data.cells(2, seed=2, start=3)
    assert all((one[3:] == other).all() for one, other in zip(all_, last, strict=True))
    assert (data.cells(2, seed=3).images != all_.images[:2]).any()
    assert (data.cells(2, seed=2, part="test").images != all_.images[:2]).any()
    large = data.cells(1, seed=2, size=128)
    assert large.images.shape == (1, 128, 128, 1) and abs(large.masks.mean() - all_.masks[0].mean()) < 0.05


def test_border_weights_by_hand():
    """Two cells in one row, pixels between them 1 and 2, 2 and 1 away; and the classes balanced."""
    instances = np.array([[1, 1, 0, 0, 2]])
    border = 10 * np.exp(-(3**2) / (2 * 2.0**2))
    expected = [5 / 6, 5 / 6, 5 / 4 + border, 5 / 4 + border, 5 / 6]
    np.testing.assert_allclose(data.border_weights(instances, sigma=2.0)[0], expected, rtol=1e-6)
    unbalanced = data.border_weights(instances, w0=4, sigma=2.0, balance=False)[0]
    np.testing.assert_allclose(unbalanced, [1, 1, 1 + 0.4 * border, 1 + 0.4 * border, 1], rtol=1e-6)
    assert (data.border_weights(np.array([[1, 0]])) == 1).all()
    assert (data.border_weights(np.zeros((2, 3), int)) == 1).all()
    with pytest.raises(ValueError, match=r"\(height, width\)"):
        data.border_weights(np.zeros((2, 3, 1), int))


def test_distances_are_exact():
    rng = np.random.default_rng(0)
    masks = rng.random((3, 17, 13)) < 0.03
    ys, xs = np.mgrid[:17, :13]
    for mask, found in zip(masks, cells.distance(masks), strict=True):
        each = [np.hypot(ys - y, xs - x) for y, x in np.argwhere(mask)]
        np.testing.assert_allclose(found, np.min(each, 0))
    assert np.isinf(cells.distance(np.zeros((4, 4), bool))).all()
    assert cells.distance(np.zeros((4, 4), bool), most=7).max() == 7


def test_load_cells(capsys):
    c = data.load("cells", train=6, validation=2, test=3)
    assert capsys.readouterr().out == "cells: 6 training, 2 validation and 3 test images, drawn by cnnbook\n"
    assert c.classes == ("background", "cell") and (c.y_train == c.masks["train"]).all()
    assert (c.x_validation == data.cells(2, start=6).images).all()
    assert (c.x_test == data.cells(3, part="test").images).all()
    assert c.weights["train"].shape == (6, 64, 64) and c.instances["test"].dtype == np.uint8
    assert c.standardised().weights is c.weights
    for ask, says in (
        ({"size": 16}, "size is a whole number of at least 32, got 16"),
        ({"size": (64, 96)}, "cells are square"),
        ({"seed": -1}, "seed is a whole number of at least 0, got -1"),
    ):
        with pytest.raises(ValueError, match=says):
            data.load("cells", **ask)
    with pytest.raises(ValueError, match="choose train or test"):
        data.cells(1, part="valid")
    with pytest.raises(TypeError, match="no option task"):
        data.load("cells", task="segment")


def test_masks_are_resized_without_new_labels():
    masks = np.random.default_rng(0).choice(np.array([0, 3, 7], "uint8"), (2, 9, 6))
    for size in (5, (18, 12), (4, 13), 27):
        small = data.resize_masks(masks, size)
        assert small.dtype == np.uint8 and set(np.unique(small)) <= {0, 3, 7}
    np.testing.assert_array_equal(data.resize_masks(masks, (18, 12)), masks.repeat(2, 1).repeat(2, 2))
    np.testing.assert_array_equal(data.resize_masks(masks, (3, 2)), masks[:, 1::3, 1::3])
    with pytest.raises(ValueError, match="whole numbers"):
        data.resize_masks(masks.astype("float32"), 5)


def test_coins():
    pytest.importorskip("skimage", reason="scikit-image is not installed")
    from scipy import ndimage

    coins = data.coins()
    assert coins.image.shape == (303, 384, 1) and coins.mask.shape == (303, 384)
    assert set(np.unique(coins.mask)) == {0, 1} and ndimage.label(coins.mask)[1] == 24
    assert coins.how.startswith("threshold") and "a threshold made it" in data.coins.__doc__
