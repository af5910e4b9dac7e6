"""Alignment against transforms that are known, and verification against counts by hand."""

import functools
import tracemalloc

import numpy as np
import pytest

from cnnbook import data
from cnnbook.data.drawn import faces
from cnnbook.faces import verification

pytest.importorskip("skimage", reason="scikit-image is not installed")
from cnnbook.faces import alignment  # noqa: E402

HEAD = faces.landmarks(faces.GENERIC)
WHERE = dict(scale=0.42, middle=(0, 0.1))
EVEN = (np.array([0.0, 0.0, 1.0]), 1.15, np.ones(3))  # the same from all sides


def test_a_known_similarity_is_undone():
    rng = np.random.default_rng(0)
    target = alignment.place(HEAD, 48, **WHERE)
    for _ in range(5):
        angle, scale, shift = rng.uniform(-2, 2), rng.uniform(0.5, 2), rng.uniform(-9, 9, 2)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        _, points = alignment.similarity(np.zeros((40, 60, 1)), target @ turn.T + shift, target, 48)
        np.testing.assert_allclose(points, target, atol=1e-9)
    assert points.shape == (34, 2)


def test_pixels_move_with_their_landmarks():
    """A spot goes where its landmark goes; an image aligned with itself stays as it is."""
    image = np.zeros((40, 40, 3), "uint8")
    image[10:13, 20:23] = 255  # around (21, 11)
    points = np.array([[21, 11], [5, 30], [35, 32]], "float64")
    target = points[:, ::-1] * (1, -1) + (0, 39)  # a quarter turn
    aligned, moved = alignment.similarity(image, points, target, 40)
    np.testing.assert_allclose(moved, target, atol=1e-9)
    x, y = moved[0].round().astype(int)
    assert (aligned[y - 1 : y + 2, x - 1 : x + 2] == 255).all() and (aligned > 0).sum() == 27
    same, _ = alignment.similarity(image, points, points, 40)
    assert (same == image).all() and same.dtype == np.uint8


def test_the_camera_of_a_generic_head_is_found():
    f = data.faces(5, size=64)
    for camera, pose in zip(faces.cameras(f.poses, 64), f.poses, strict=True):
        seen = faces.project(HEAD[None], pose[None], 64)[0]
        np.testing.assert_allclose(alignment.camera(HEAD, seen), camera, atol=1e-8)
        np.testing.assert_allclose(alignment.residual(HEAD, seen), 0, atol=1e-8)


def test_a_turned_head_is_turned_back():
    """The generic head from 30 degrees: its landmarks land where the front shows them, its face looks like the front."""
    straight = np.array([0, 0, 0, 0.42, 0, -0.042])
    expected = faces.draw(faces.GENERIC, straight, EVEN, size=64).astype(float)
    target = alignment.place(HEAD, 64, **WHERE)
    np.testing.assert_allclose(faces.project(HEAD[None], straight[None], 64)[0], target)
    six = list(range(6))
    for yaw in (-30, 30):
        pose = np.array([yaw, 8, 10, 0.33, 0.03, -0.02])
        image = faces.draw(faces.GENERIC, pose, EVEN, size=64)
        points = faces.project(HEAD[None], pose[None], 64)[0]
        flat, _ = alignment.similarity(image, points[six], target[six], 64)
        front, landed = alignment.frontal(image, points, HEAD, 64, **WHERE)
        np.testing.assert_allclose(landed, target, atol=1e-6)
        middle = np.s_[22:50, 20:44]  # eyes, nose, mouth
        in_2d, in_3d = (np.abs(a[middle] - expected[middle]).mean() for a in (flat, front))
        assert in_3d < 0.85 * in_2d


def test_bending_is_that_of_scikit_image():
    from skimage.transform import PiecewiseAffineTransform

    target = alignment.place(HEAD, 40, **WHERE)
    points = data.faces(1).landmarks[0]
    known = alignment._fitted(PiecewiseAffineTransform, target, points)
    rows, columns = np.mgrid[:40, :40]
    at = np.stack([columns, rows], axis=-1).reshape(-1, 2)
    found, expected = alignment.bend(target, points, at), known(at)
    inside = ~np.isnan(found[:, 0])
    assert 0.2 < inside.mean() < 0.6
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-6)
    assert (expected[~inside] == -1).all()  # what scikit-image says outside of its triangles
    np.testing.assert_allclose(
        alignment.bend(target, points, target.mean(0)), known(target.mean(0)[None])[0], atol=1e-6
    )


def test_own_shape_survives_the_frontal_view():
    """Two people: without the residual one shape, with it two."""
    pose = np.array([20, 5, 5, 0.33, 0, 0])
    landed = {}
    for k in (0, 1):
        points = faces.project(faces.landmarks(faces.person(k))[None], pose[None], 64)[0]
        for own in (True, False):
            _, landed[k, own] = alignment.frontal(
                np.zeros((64, 64, 1)), points, HEAD, 64, own_shape=own, **WHERE
            )
    np.testing.assert_allclose(landed[0, False], landed[1, False])
    assert np.abs(landed[0, True] - landed[1, True]).max() > 1


def test_what_alignment_refuses():
    image = np.zeros((8, 8, 1))
    for call, says in (
        (lambda: alignment.similarity(image, np.zeros((3, 2)), np.zeros((4, 2)), 8), r"two lists \(k, 2\)"),
        (lambda: alignment.similarity(image[..., 0], HEAD[:, :2], HEAD[:, :2], 8), "one image"),
        (lambda: alignment.similarity(image, np.zeros((3, 2)), HEAD[:3, :2], 8), "fix no transform"),
        (lambda: alignment.camera(HEAD[:3], HEAD[:3, :2]), "at least 4 points"),
        (lambda: alignment.similarity(image, HEAD[:, :2], HEAD[:, :2], 8.0), "size is a whole number"),
        (lambda: alignment.frontal(image, HEAD[:, :2], HEAD, 0, scale=1), "size is a whole number"),
    ):
        with pytest.raises(ValueError, match=says):
            call()


def missing(points):
    points = points.copy()
    points[3, 0] = np.nan
    return points


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda points: np.full_like(points, 20.3), "points lie in one place and fix no transform"),
        (lambda points: points[:, :1] * (1, 0.5) + (0.3, 7), "points lie on one line and fix no transform"),
        (missing, r"points are finite numbers, got \[nan, .* as landmark 3: was it not found"),
    ],
)
def test_landmarks_that_show_no_face_are_refused(change, says):
    image, head = np.full((64, 64, 1), 9, "uint8"), alignment.place(HEAD, 64, **WHERE)
    points = change(head)
    turned = functools.partial(alignment.frontal, image, points, HEAD, 64, **WHERE)
    calls = [turned, lambda: turned(own_shape=False)]
    calls += [lambda: alignment.residual(HEAD, points), lambda: alignment.similarity(image, points, head, 64)]
    calls += [
        lambda: alignment.similarity(image, head, points, 64),
        lambda: alignment.bend(points, head, points),
    ]
    # A line fixes a similarity: it has two ends.
    for call in calls[:3] if "line" in says else calls:
        with pytest.raises(ValueError, match=says.replace("points", "(points|target|source)")):
            call()


def test_pairs_are_balanced_and_different():
    labels = np.repeat(np.arange(5), 4)
    first, second, same = verification.pairs(labels)
    assert len(same) == 2 * 5 * 6 and same.sum() == 30 and (first < second).all()
    assert ((labels[first] == labels[second]) == same).all()
    assert len({*zip(first.tolist(), second.tolist(), strict=True)}) == 60
    again = verification.pairs(labels, 20, seed=1)
    assert again[2].sum() == 10 and all(
        (a == b).all() for a, b in zip(again, verification.pairs(labels, 20, seed=1), strict=True)
    )
    for n in (3, 62, 0, True, 4.0):
        with pytest.raises(ValueError, match=f"even number from 2 to 60 for these labels, got {n}$"):
            verification.pairs(labels, n)
    assert len(verification.pairs(labels, np.int64(4))[0]) == 4
    for labels in (np.zeros(5, int), np.arange(5)):
        with pytest.raises(
            ValueError, match="two people or more, and two images or more of one of them; the 5 labels"
        ):
            verification.pairs(labels)


def listed(labels, n, seed):
    """The same by a list of all pairs."""
    first, second = np.triu_indices(len(labels), 1)
    same = labels[first] == labels[second]
    rng, kinds = np.random.default_rng([seed, 3]), [np.flatnonzero(same), np.flatnonzero(~same)]
    n = 2 * min(map(len, kinds)) if n is None else n
    chosen = rng.permutation(np.concatenate([rng.choice(kind, n // 2, replace=False) for kind in kinds]))
    return first[chosen], second[chosen], same[chosen]


def test_pairs_are_those_of_a_list_of_all_pairs():
    """Stored outputs stand on them."""
    rng = np.random.default_rng(0)
    for labels, n in (
        (rng.integers(0, 40, 400), 600),
        (rng.integers(0, 3, 60), None),
        (np.array(list("abcaab")), 4),
    ):
        for seed in (0, 1):
            for found, expected in zip(
                verification.pairs(labels, n, seed=seed), listed(labels, n, seed), strict=True
            ):
                np.testing.assert_array_equal(found, expected)


def test_pairs_at_the_size_of_lfw_take_no_memory():
    labels = np.random.default_rng(0).zipf(1.6, 13_233) % 5749
    tracemalloc.start()
    first, second, same = verification.pairs(labels, 600)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 10 * 2**20  # a list of all pairs takes gigabytes
    assert same.sum() == 300 and (first < second).all() and ((labels[first] == labels[second]) == same).all()
    assert len({*zip(first.tolist(), second.tolist(), strict=True)}) == 600


def test_roc_by_hand():
    found = verification.roc([0.9, 0.8, 0.8, 0.3, 0.1], [True, True, False, True, False])
    np.testing.assert_allclose(found.true_accepts, [0, 1 / 3, 2 / 3, 1, 1])
    np.testing.assert_allclose(found.false_accepts, [0, 0, 1 / 2, 1 / 2, 1])
    np.testing.assert_allclose(found.thresholds, [np.inf, 0.9, 0.8, 0.3, 0.1])
    # of the 6 pairs of a right and a wrong one: 4 in order, one tie, one not
    assert found.area == pytest.approx(4.5 / 6)
    assert (
        verification.roc([2, 1], [True, False]).area == 1
        and verification.roc([1, 2], [True, False]).area == 0
    )


def test_roc_area_is_the_share_of_ordered_pairs():
    rng = np.random.default_rng(0)
    same = rng.random(60) < 0.4
    scores = np.round(rng.normal(size=60) + same, 1)
    difference = scores[same][:, None] - scores[~same]
    assert verification.roc(scores, same).area == pytest.approx(
        ((difference > 0) + 0.5 * (difference == 0)).mean()
    )
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    assert verification.roc(scores, same).area == pytest.approx(sklearn.roc_auc_score(same, scores))


def test_the_threshold_is_the_best_there_is():
    rng = np.random.default_rng(1)
    for _ in range(20):
        same = rng.random(30) < 0.5
        scores = np.round(rng.normal(size=30) + same, 1)
        found = verification.accuracy(scores, same, verification.best_threshold(scores, same))
        tried = [np.mean((scores >= t) == same) for t in np.append(scores, np.inf)]
        assert found == pytest.approx(max(tried))
    assert verification.best_threshold([1.0, 3.0], [False, True]) == 2
    assert verification.accuracy([1, 2, 3, 4], [False, True, False, True], 2.0) == 0.75
    with pytest.raises(ValueError, match="both kinds"):
        verification.roc([1, 2], [True, True])


def test_cosine_by_hand():
    features = np.array([[1, 0], [3, 0], [0, 2], [-1, 0], [1, 1]])
    scores = verification.cosine(features, [0, 0, 0, 0], [1, 2, 3, 4])
    np.testing.assert_allclose(scores, [1, 0, -1, np.sqrt(0.5)])
