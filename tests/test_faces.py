"""Drawn people: their landmarks exact, their images functions of a seed, nobody in both parts."""

import numpy as np
import pytest

from cnnbook import data
from cnnbook.data.drawn import faces

LIGHT = (np.array([0.0, 0.0, 1.0]), 0.5, np.ones(3))


def place(name):
    return faces.LANDMARKS.index(name)


def test_a_face_depends_on_its_index_only():
    all_, last = data.faces(6, seed=2, people=4), data.faces(2, seed=2, people=4, start=4)
    assert all((one[4:] == other).all() for one, other in zip(all_, last, strict=True))
    assert all_.labels.tolist() == [0, 1, 2, 3, 0, 1] and all_.images.shape == (6, 64, 64, 3)
    assert (all_.heads[0] == all_.heads[4]).all()  # one person, one head
    assert (all_.heads[0] != all_.heads[1]).any() and (all_.poses[0] != all_.poses[4]).all()
    assert (data.faces(2, seed=3).images != all_.images[:2]).any()
    large = data.faces(1, seed=2, people=4, size=128)
    np.testing.assert_allclose((large.landmarks[0] + 0.5) / 2 - 0.5, all_.landmarks[0])
    shrunk = data.resize(large.images, 64)[0].astype(int)
    assert np.abs(shrunk - all_.images[0]).mean() < 10  # the same picture, but for noise


def test_landmarks_are_the_projected_heads():
    f = data.faces(10, size=96)
    for head, pose, seen in zip(f.heads, f.poses, f.landmarks, strict=True):
        yaw, pitch, roll, scale, right, down = pose
        y, p, r = np.deg2rad([yaw, pitch, roll])
        x = head[:, 0] * np.cos(y) + head[:, 2] * np.sin(y)  # turned aside
        z = head[:, 2] * np.cos(y) - head[:, 0] * np.sin(y)
        v = head[:, 1] * np.cos(p) + z * np.sin(p)  # nodded
        across, along = x * np.cos(r) - v * np.sin(r), x * np.sin(r) + v * np.cos(r)
        expected = 96 * np.stack([0.5 + right + scale * across, 0.5 + down + scale * along], -1) - 0.5
        np.testing.assert_allclose(seen, expected)
    cameras = faces.cameras(f.poses, 96)
    by_camera = np.einsum("nij,nkj->nki", cameras, np.concatenate([f.heads, np.ones((10, 34, 1))], -1))
    np.testing.assert_allclose(by_camera, f.landmarks)


def test_a_head_that_looks_ahead_shows_its_landmarks_where_they_are():
    straight = np.array([0, 0, 0, 0.4, 0, 0])
    for k in range(5):
        traits = faces.person(k)
        heads = faces.landmarks(traits)
        image = faces.draw(traits, straight, LIGHT, size=128).astype(float).mean(-1)
        seen = faces.project(heads[None], straight[None], 128)[0]
        np.testing.assert_allclose(seen, 128 * (0.5 + 0.4 * heads[:, :2]) - 0.5)

        def at(name, image=image, seen=seen):
            x, y = seen[place(name)].round().astype(int)
            return image[y, x]

        skin = at("left cheek")
        for eye in ("left eye", "right eye"):
            assert at(eye) < 25 < 0.5 * skin  # the pupil, black
        assert at("mouth") < 0.75 * skin and at("nose tip") > 0.8 * skin
        x, y = seen[place("left eye")]
        white = image[round(y) - 2 : round(y) + 3, round(x) - 7 : round(x) + 8].max()
        assert white > 140  # around it the white of the eye


def test_pupils_stay_on_their_landmarks_when_the_head_turns():
    f = data.faces(40, size=96, people=40)
    found = 0
    for image, points, pose in zip(f.images, f.landmarks, f.poses, strict=True):
        if abs(pose[0]) < 25:
            for eye in points[:2].round().astype(int):
                window = image[eye[1] - 1 : eye[1] + 2, eye[0] - 1 : eye[0] + 2].mean(-1)
                around = image[eye[1] - 6 : eye[1] + 7, eye[0] - 6 : eye[0] + 7].mean(-1)
                assert window.min() < np.quantile(around, 0.15)
                found += 1
    assert found > 30


def test_left_and_right_mirror_each_other():
    heads = faces.landmarks(faces.GENERIC)
    for name in (n for n in faces.LANDMARKS if n.startswith("left")):
        other = heads[place(name.replace("left", "right"))]
        np.testing.assert_allclose(heads[place(name)] * (-1, 1, 1), other, atol=1e-12)
    assert (heads[place("nose tip")][2] > heads[:, 2] - 1e-12).all()  # nothing is nearer to the viewer
    assert heads[place("left eye"), 0] < 0 < heads[place("right eye"), 0]


def test_nobody_is_in_both_parts():
    train = [tuple(faces.person(k, part="train").values()) for k in range(80)]
    test = [tuple(faces.person(k, part="test").values()) for k in range(40)]
    assert len({*train, *test}) == 120
    f = data.load("faces", train=12, validation=4, test=6, people=(4, 3), verbose=False)
    assert set(f.y_train) == set(f.y_validation) == {0, 1, 2, 3} and set(f.y_test) == {4, 5, 6}
    assert (f.x_validation == data.faces(4, start=12, people=4).images).all()
    assert (f.x_test == data.faces(6, part="test", people=3).images).all()
    assert f.landmarks["train"].shape == (12, 34, 2) and f.poses["test"].shape == (6, 6)
    known = {tuple(head.ravel()) for head in f.heads["train"]}
    assert not known & {tuple(head.ravel()) for head in f.heads["test"]}
    assert len(f.classes) == 7 and f.standardised().landmarks is f.landmarks


def test_load_faces(capsys):
    data.load("faces", train=3, test=2, size=32)
    assert capsys.readouterr().out == "faces: 3 training and 2 test images, drawn by cnnbook; nobody's face\n"
    for call, says in (
        (lambda: data.load("faces", size=16), "size is a whole number of at least 32, got 16"),
        (lambda: data.load("faces", size=(64, 32)), "faces are square"),
        (lambda: data.load("faces", people=5), "give two numbers"),
        (lambda: data.faces(1, people=0), "people is a whole number of at least 1, got 0"),
        (lambda: data.faces(1, part="valid"), "choose train or test"),
    ):
        with pytest.raises(ValueError, match=says):
            call()
    with pytest.raises(TypeError, match="no option task; faces also takes people"):
        data.load("faces", task="segment")


def test_rotation_turns_as_it_says():
    ahead, up = np.array([0, 0, 1.0]), np.array([0, -1.0, 0])
    np.testing.assert_allclose(faces.rotation(90, 0, 0) @ ahead, (1, 0, 0), atol=1e-12)  # looks to the right
    np.testing.assert_allclose(faces.rotation(0, 90, 0) @ ahead, (0, 1, 0), atol=1e-12)  # looks down
    np.testing.assert_allclose(faces.rotation(0, 0, 90) @ up, (1, 0, 0), atol=1e-12)  # the crown goes right
    turn = faces.rotation(20, -10, 35)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
