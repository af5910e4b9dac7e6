"""The exercises of appendix a0 take a right answer, and tell two typical mistakes apart."""

import numpy as np
import pytest

from cnnbook.answers.before_cnns import RING, code_at, fisher_of_means
from cnnbook.experiments import before_cnns

CHAPTER = "before_cnns"


def codes(image, ring=RING, at_least=True):
    h, w = image.shape
    middle, found = image[1:-1, 1:-1], np.zeros((h - 2, w - 2), int)
    for k, (down, right) in enumerate(ring):
        neighbour = image[1 + down : h - 1 + down, 1 + right : w - 1 + right]
        found += (neighbour >= middle if at_least else neighbour > middle).astype(int) << k
    return found


def fisher(x, weights, means, spreads, *, mean=True, root=True):
    away = (x[:, None] - means) / spreads
    density = weights * np.exp(-0.5 * (away**2).sum(-1)) / spreads.prod(-1)
    shares = density / density.sum(1, keepdims=True)
    found = (shares[..., None] * away).sum(0)
    return found / (len(x) if mean else 1) / (np.sqrt(weights)[:, None] if root else 1)


def test_a_code_by_hand():
    patch = np.array([[9, 1, 9], [8, 5, 2], [1, 6, 3]])
    assert code_at(patch, 1, 1) == 2 + 8 + 16 + 64


def test_codes_of_a_picture(said):
    assert said("codes", codes).startswith("Right.")
    assert "every bit is 1" in said("codes", lambda image: codes(image, at_least=False))
    assert "stand at other bits" in said("codes", lambda image: codes(image, RING[::-1]))
    assert "codes of 5 x 7" in said("codes", lambda image: codes(np.pad(image, 1)))


def test_fisher_vector_of_the_means(said):
    one = np.array([[1.0], [4.0]])
    alone = fisher_of_means(one, np.ones(1), np.zeros((1, 1)), np.full((1, 1), 2.0))
    assert alone.item() == pytest.approx(1.25)
    assert said("fisher", fisher).startswith("Right.")
    assert "grows with the number" in said("fisher", lambda *given: fisher(*given, mean=False))
    assert "root of each Gaussian's weight" in said("fisher", lambda *given: fisher(*given, root=False))
    assert "the shape (2, 3)" in said("fisher", lambda *given: fisher(*given).T)


def test_numbers(said):
    assert said("window", 3780).startswith("Right.")
    assert said("window", 8 * 16 * 9).startswith("Not right yet")
    assert said("patterns", 135).startswith("Right.")
    assert said("patterns", 134).startswith("Not right yet")


def test_moved_pictures_are_decided_by_ranges(said):
    apart = {"up to 2": [0.3, 0.35, 0.32], "up to 4": [0.6, 0.55, 0.58]}
    assert said("moved", (apart, "decided")).startswith("Right.")
    assert "go from 0.30 to 0.35 and from 0.55 to 0.60" in said("moved", (apart, "not decided"))
    assert "three seeds for each" in said("moved", ({"a": [0.3], "b": [0.4]}, "decided"))


def test_a_mixture_of_words_is_the_descriptor_where_it_can_be():
    rng = np.random.default_rng(0)
    codebook = rng.normal(size=(12, 3)).astype("float32")
    inside = 0.25 * codebook[[2]] + 0.75 * codebook[[7]]
    descriptors = np.concatenate([codebook[:4], inside, rng.normal(size=(6, 3))]).astype("float32")
    weights = before_cnns.mixtures(descriptors, codebook)
    assert np.abs(weights.sum(1) - 1).max() < 1e-5
    assert (weights != 0).sum(1).max() == 5
    # Five words in three dimensions reach every descriptor, up to the ridge.
    assert np.abs(weights @ codebook - descriptors).max() < 0.1


def test_the_pyramid_holds_the_whole_and_four_quarters():
    maps = np.arange(49).reshape(1, 7, 7, 1)
    whole, *quarters = before_cnns.pyramid(maps)
    assert np.array_equal(whole, maps)
    assert [q[0, 0, 0, 0] for q in quarters] == [0, 3, 21, 24]
    assert {q.shape for q in quarters} == {(1, 4, 4, 1)}


def test_pooled_words_forget_the_place_inside_the_image():
    rng = np.random.default_rng(1)
    places, codebook = rng.normal(size=(2, 7, 7, 6)), rng.normal(size=(9, 6)).astype("float32")
    words = before_cnns.pooled_words(places, codebook)
    assert words.shape == (2, 45)
    assert np.allclose(np.linalg.norm(words, axis=1), 1)
    turned = before_cnns.pooled_words(places[:, ::-1, ::-1], codebook)
    assert np.allclose(words[:, :9], turned[:, :9])
    assert not np.allclose(words[:, 9:18], turned[:, 9:18])


def test_fisher_vectors_have_five_regions_of_length_one():
    from skimage.feature import learn_gmm

    maps = np.random.default_rng(2).normal(size=(2, 8, 8, 3))
    gaussians = learn_gmm(
        [maps.reshape(-1, 3)], n_modes=4, gm_args=dict(covariance_type="diag", random_state=0)
    )
    vectors = before_cnns.fisher_vectors(maps, gaussians)
    assert vectors.shape == (2, 5 * 2 * 3 * 4)
    assert np.allclose(np.linalg.norm(vectors.reshape(2, 5, -1), axis=2), 1, atol=1e-5)


def test_daisies_of_a_flat_picture_are_all_alike():
    found = before_cnns.daisies(np.full((1, 32, 32), 0.5))
    assert found.shape == (1, 8, 8, 104)
    assert np.allclose(found, found[:, :1, :1])
