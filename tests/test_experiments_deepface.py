"""What the experiment of chapter 17 draws, aligns and verifies, on cases with a known answer."""

import numpy as np
import pytest

from cnnbook import data
from cnnbook.experiments import deepface


@pytest.fixture(scope="module")
def drawn():
    return data.load("faces", people=[3, 4], train=6, test=12, seed=0, verbose=False)


def test_ways_of_an_image(drawn):
    images = {way: deepface.aligned(drawn, way, 36) for way in deepface.WAYS}
    for way, parts in images.items():
        assert parts["train"].shape == (6, 36, 36, 3) and parts["test"].shape == (12, 36, 36, 3), way
        assert parts["test"].dtype == np.uint8, way
    turned, mask = images["3-D aligned"]["test"], deepface.window(36)
    assert 0.2 < mask.mean() < 0.6
    assert np.array_equal(images["3-D, one window"]["test"], turned * mask)
    assert np.array_equal(images["2-D, one window"]["test"], images["2-D aligned"]["test"] * mask)
    outlines = images["outline of 3-D"]["test"]
    assert set(np.unique(outlines)) == {0, 255}
    assert np.array_equal(outlines[..., 0] > 0, turned.max(-1) > 0)


def test_scaled_images_have_mean_0_and_deviation_1(drawn):
    x = deepface.scaled(drawn.x_test)
    assert x.shape == (12, 64, 64, 1) and x.dtype == np.float32
    assert np.abs(x.mean((1, 2, 3))).max() < 1e-4 and np.abs(x.std((1, 2, 3)) - 1).max() < 1e-3


def test_features_that_name_the_person_tell_every_pair_right_and_noise_does_not():
    people = np.repeat(np.arange(100, 108), 10)
    told = deepface.verify(np.eye(8)[people - 100], people, 120, seed=0)
    assert told.right == 1 and told.area == 1
    noise = np.random.default_rng(0).normal(size=(80, 16))
    guessed = deepface.verify(noise, people, 600, seed=0)
    assert 0.4 < guessed.right < 0.6 and 0.4 < guessed.area < 0.6


def test_the_threshold_of_one_half_of_the_people_judges_the_other():
    # Pairs of people 0 and 2 score higher than those of 1 and 3: each half's threshold is wrong for the other.
    people = np.repeat(np.arange(4), 8)
    high, low = np.array([[1.0, 0.9], [0.9, 1.0]]), np.eye(2)
    features = np.concatenate([np.tile(row, (8, 1)) for row in (high[0], low[0], high[1], low[1])])
    told = deepface.verify(features, people, 80, seed=0)
    assert told.right == 0.75, "the threshold of the low half accepts the different pairs of the high half"


def test_a_small_run_measures_each_way():
    sizes = dict(people=[3, 4], train=12, test=24, size=36, epochs=1, pairs=40)
    found = deepface.verified(tied=True, ways=["as it came", "3-D aligned"], **sizes, seed=0)
    assert {name: len(values) for name, values in found.items()} == {
        "pairs right": 2, "moved 2": 2, "moved 4": 2, "area": 2, "learned": 2,
        "accepted, as it came": 31, "accepted, 3-D aligned": 31,
    }  # fmt: skip
    assert found["accepted, 3-D aligned"][-1] == 1
    assert all(0 <= value <= 100 for name in ("pairs right", "learned") for value in found[name])
