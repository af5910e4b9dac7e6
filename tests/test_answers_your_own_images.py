"""Chapter 16: each checked exercise takes its solution and tells typical mistakes apart; the folder that stands in."""

import numpy as np
import pytest
from PIL import Image

from cnnbook import data, exercises
from cnnbook.exercises import check
from cnnbook.experiments import your_own_images


@pytest.fixture(autouse=True)
def nothing_answered(monkeypatch):
    monkeypatch.setattr(exercises, "_wrong", exercises.Counter())


def said(capsys, entry, answer):
    check(f"your_own_images.{entry}", answer)
    return capsys.readouterr().out


def keeps(x, y):
    first, labels = {}, {}
    for i, (picture, label) in enumerate(zip(x, y, strict=True)):
        first.setdefault(picture.tobytes(), i)
        labels.setdefault(picture.tobytes(), set()).add(int(label))
    return [i for picture, i in first.items() if len(labels[picture]) == 1]


def keeps_the_first_of_all(x, y):
    first = {}
    for i, picture in enumerate(x):
        first.setdefault(picture.tobytes(), i)
    return list(first.values())


def keeps_one_of_each_mean(x, y):
    first, labels = {}, {}
    for i, (picture, label) in enumerate(zip(x, y, strict=True)):
        first.setdefault(picture.mean(), i)
        labels.setdefault(picture.mean(), set()).add(int(label))
    return [i for mean, i in first.items() if len(labels[mean]) == 1]


def keeps_in_an_array(x, y):
    same = [[np.array_equal(a, b) for b in x] for a in x]
    return np.array([i for i, of in enumerate(same) if of.index(True) == i and len(set(y[of])) == 1])


def keeps_everything(x, y):
    return list(range(len(x)))


def splits(of, share, seed):
    every = np.unique(of)
    return np.isin(of, np.random.default_rng(seed).permutation(every)[: round(share * len(every))])


def splits_pictures(of, share, seed):
    return np.random.default_rng(seed).random(len(of)) < share


def splits_in_order(of, share, seed):
    every = np.unique(of)
    return np.isin(of, every[: round(share * len(every))])


def splits_by_choice(of, share, seed):
    every = np.unique(of)
    held_out = set(np.random.default_rng(seed).choice(every, round(share * len(every)), replace=False))
    return [series in held_out for series in of]


def splits_without_seed(of, share, seed):
    every = np.unique(of)
    return np.isin(of, np.random.default_rng().permutation(every)[: round(share * len(every))])


def splits_cutting_off(of, share, seed):
    every = np.unique(of)
    return np.isin(of, np.random.default_rng(seed).permutation(every)[: int(share * len(every))])


APART = {5: [70.1, 72.0, 74.5], 60: [85.0, 86.2, 86.9]}
SOLUTIONS = {
    "dense": 6405,
    "ceiling": 178 / 200,
    "without_copies": keeps,
    "split_by_series": splits,
    "verdict": (APART, "decided"),
}
MISTAKES = {
    "dense": (6400, 1280 + 5),
    "ceiling": (0.95, 0.94),
    "without_copies": (keeps_the_first_of_all, keeps_everything, keeps_one_of_each_mean),
    "split_by_series": (splits_pictures, splits_in_order, splits_without_seed, splits_cutting_off),
    "verdict": ((APART, "not decided"), ({5: [0.7, 72.0], 60: [85.0, 86.0, 87.0]}, "decided")),
}


@pytest.mark.parametrize("entry", SOLUTIONS)
def test_a_solution_is_right_and_mistakes_are_told_apart(capsys, entry):
    assert said(capsys, entry, SOLUTIONS[entry]).startswith("Right. ")
    told = [said(capsys, entry, mistake) for mistake in MISTAKES[entry]]
    assert all(text.startswith("Not right yet") for text in told)
    reasons = [text.split("Hint ")[0].split("\n", 1)[1:] for text in told]
    if callable(SOLUTIONS[entry]) or entry == "verdict":
        assert len({str(reason) for reason in reasons}) == len(reasons) and all(map(any, reasons))


@pytest.mark.parametrize(
    "entry, answer",
    [("without_copies", keeps_in_an_array), ("split_by_series", splits_by_choice), ("ceiling", "0.89")],
)
def test_another_way_to_a_right_answer_is_right(capsys, entry, answer):
    assert said(capsys, entry, answer).startswith("Right. ")


def test_the_words_name_the_mistake(capsys):
    assert "a copy in another class: kept are [0, 1]" in said(
        capsys, "without_copies", keeps_the_first_of_all
    )
    assert "series lie on both sides" in said(capsys, "split_by_series", splits_pictures)
    assert "two seeds give the same split" in said(capsys, "split_by_series", splits_in_order)
    assert "one seed gives two splits" in said(capsys, "split_by_series", splits_without_seed)
    assert "0.33 of 20 series: 6 are held out" in said(capsys, "split_by_series", splits_cutting_off)
    assert "mirror image" in said(capsys, "without_copies", keeps_one_of_each_mean)


def test_shoes_in_the_wrong_place_are_those_that_are_named(tmp_path):
    misplaced = your_own_images.save_shoes(tmp_path, each=20, wrong=7, seed=3)
    assert len(misplaced) == 7 and all(path.split("/")[0] != kind for path, kind in misplaced.items())
    found = data.load(tmp_path, verbose=False)
    assert found.classes == your_own_images.SHOES and not found.skipped
    images = data.load("fashion_mnist", verbose=False)
    label_of = {
        x.tobytes(): images.classes[y] for x, y in zip(images.x_train[..., 0], images.y_train, strict=True)
    }
    paths = {p.relative_to(tmp_path).as_posix(): p for p in tmp_path.rglob("*.png")}
    assert len(paths) == 60
    for path, file in paths.items():
        shows = label_of[np.asarray(Image.open(file)).tobytes()]
        assert shows == misplaced.get(path, path.split("/")[0])
    again = your_own_images.save_shoes(tmp_path / "again", each=20, wrong=7, seed=3)
    assert again == misplaced
    with pytest.raises(ValueError, match="wrong is from 0 to the 6 pictures, got 7"):
        your_own_images.save_shoes(tmp_path / "few", each=2, wrong=7, seed=0)


def test_trouble_is_left_out_and_named(tmp_path):
    your_own_images.save_shoes(tmp_path, each=8, wrong=0, seed=0)
    your_own_images.save_trouble(tmp_path)
    found = data.load(tmp_path, size=28, verbose=False)
    # A copy, a picture in two classes (both), a file cut off, a page, an empty file, a note.
    assert len(found.skipped) == 7 and sum(found.sizes.values()) == 24 - 1


def test_a_series_is_shots_of_one_place():
    shots, place = your_own_images.series(places=4, shots=3, seed=1)
    assert shots.shape == (12, 48 * 48) and place.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    apart = np.square(shots[:, None] - shots).mean(-1)
    same = place[:, None] == place
    assert apart[same].max() < apart[~same].min()
