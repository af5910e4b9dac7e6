"""Chapter 00: its exercises accept their solutions and refuse what readers get wrong, and its list of names is true."""

import importlib
import re
from pathlib import Path

import keras
import numpy as np
import pytest

from cnnbook import answers, exercises
from cnnbook.answers import name_of, start

pytestmark = pytest.mark.jax
ROOT = Path(__file__).parents[1]
ops = keras.ops


@pytest.fixture(autouse=True)
def nothing_answered_yet(monkeypatch):
    monkeypatch.setattr(exercises, "_wrong", exercises.Counter())


def verdict(capsys, entry, answer):
    exercises.check(f"start.{entry}", answer)
    return capsys.readouterr().out


def right(capsys, entry, answer):
    said = verdict(capsys, entry, answer)
    assert said.startswith("Right. "), said


def refused(capsys, entry, answer, *words):
    said = verdict(capsys, entry, answer)
    assert said.startswith("Not right yet"), said
    assert all(word in said for word in words), said
    return said


@pytest.mark.parametrize(
    "entry, answer, slips",
    [
        ("pixel", 2, (252 / 90, 180)),
        ("softmax", 0.75, (np.log(3), 3)),
        ("uniform", 2.303, (0.1, 1.0)),
        ("confident", "b", ("A", "both")),
        ("descent", 1.6, (1.8, 2.4)),
        ("momentum", 0.92, (1.28, 0.88)),
        ("chain", 24, (8, 16)),
        ("curves", "Over-fitting", ("under-fitting", "both")),
        ("choosing", "validation", ("test", "training")),
        ("dense", 78_500, (78_400, 884)),
        ("colour", 62_006, (62_156, 61_706)),
        ("deviation", (0.00798, 127_500), ((0.1275, 127_500), (0.00798, 2000 * 8))),
        ("curves", "overfitting", ("fitting",)),
        ("choosing", "the validation set", ("validation and test",)),
        ("deviation", (0.008, 127_501), (0.008, {"deviation": 0.008})),
        ("deviation", np.array([0.008, 128_000]), ((0.008, 126_000), (127_500, 0.008))),
    ],
)
def test_values(capsys, entry, answer, slips):
    right(capsys, entry, answer)
    for number, slip in enumerate(slips, 1):
        refused(capsys, entry, slip, f"Hint {number} of 2")


def test_no_two_hints_are_alike():
    hints = [hint for answer in answers.of("start").values() for hint in answer.hints]
    assert len(hints) == len(set(hints))


def test_a_wrong_pair_is_told_which_of_the_two(capsys):
    refused(capsys, "deviation", (0.8, 127_500), "0.8 is too large")
    said = refused(capsys, "deviation", (0.00798, 16_000), "Compute again: the number of images.")
    assert "the deviation and" not in said
    refused(capsys, "deviation", (0.005, 16_000), "Compute again: the deviation and the number of images.")
    refused(capsys, "deviation", 0.00798, "A pair is wanted")


def cross_entropy(p, labels):
    return -np.log(p[np.arange(len(labels)), labels]).mean()


def test_the_loss(capsys):
    right(capsys, "cross_entropy", cross_entropy)
    right(capsys, "cross_entropy", lambda p, y: -np.log(p[range(len(y)), y] + 1e-7).mean())
    right(capsys, "cross_entropy", lambda p, y: -(np.eye(p.shape[1])[y] * np.log(p)).sum() / len(y))
    refused(capsys, "cross_entropy", lambda p, y: len(y) * cross_entropy(p, y), "Of six images it gives")
    refused(capsys, "cross_entropy", lambda p, y: -np.log(p[np.arange(len(y)), y]), "an array of shape (6,)")
    refused(capsys, "cross_entropy", lambda p, y: -np.log2(p[np.arange(len(y)), y]).mean(), "0.5: 1.0000")


class Subsampling(keras.layers.Layer):
    def build(self, shape):
        self.bias = self.add_weight(shape=(shape[-1],), initializer="zeros")
        self.coefficient = self.add_weight(shape=(1, 1, 1, shape[-1]), initializer="ones")

    def call(self, maps):
        return ops.average_pool(maps, 2, 2, padding="valid") * self.coefficient + self.bias


class OnePair(Subsampling):
    def build(self, shape):
        super().build((*shape[:-1], 1))


class NoBias(Subsampling):
    def build(self, shape):
        self.coefficient, self.bias = self.add_weight(shape=(shape[-1],), initializer="ones"), 0.0


class BiasFirst(Subsampling):
    def call(self, maps):
        return (ops.average_pool(maps, 2, 2, padding="valid") + self.bias) * self.coefficient


class BySum(Subsampling):
    def call(self, maps):
        return 4 * super().call(maps)


class Together(Subsampling):
    def build(self, shape):
        self.pair = self.add_weight(shape=(2, shape[-1]), initializer="zeros")

    def call(self, maps):
        return ops.average_pool(maps, 2, 2, padding="valid") * (1 + self.pair[0]) + self.pair[1]


class FullSize(Subsampling):
    def call(self, maps):
        return ops.average_pool(maps, 2, 1, padding="same")


def test_the_layer(capsys):
    right(capsys, "subsampling", Subsampling)
    right(capsys, "subsampling", Subsampling())
    refused(capsys, "subsampling", Together, "It has 1 weight: ")
    refused(capsys, "subsampling", OnePair, "trains 2 numbers: two for each map")
    refused(capsys, "subsampling", NoBias, "trains 3 numbers")
    refused(capsys, "subsampling", BiasFirst, "away from a sum by hand")
    refused(capsys, "subsampling", BySum, "the plain mean differ")
    refused(capsys, "subsampling", FullSize, "came (None, 6, 4, 3)")


def test_the_experiment(capsys):
    apart = {"tanh": [0.75, 0.77, 0.78], "relu": [0.70, 0.72, 0.74]}
    right(capsys, "activation", (apart, "decided"))
    right(capsys, "activation", [apart, "Decided."])
    refused(capsys, "activation", (list(apart.values()), "decided"), "a dictionary is wanted")
    refused(capsys, "activation", (apart, "not decided"), "from 0.75 to 0.78 and from 0.70 to 0.74")
    refused(capsys, "activation", ({"tanh": [0.75], "relu": [0.7]}, "decided"), "three seeds for each")
    refused(
        capsys,
        "activation",
        ({"tanh": [75, 77, 78], "relu": [70, 72, 74]}, "decided"),
        "shares, between 0 and 1",
    )


# The list of the names that one needs


def callable_of(name):
    """What a name of the list stands for."""
    import cnnbook

    root, _, rest = name.partition(".")
    if root == "gradients":
        place = importlib.import_module("cnnbook.training.gradients")
    elif root in ("check", "show_source"):
        place, rest = exercises, root
    elif not rest or root == "cnnbook":
        place, rest = cnnbook, rest or root
    else:
        place = getattr(cnnbook, root)
    return getattr(place, rest)


@pytest.mark.checkout
def test_the_fifteen_names_are_there_and_first_used_where_the_list_says():
    texts = {path.name[:2]: path.read_text("utf-8") for path in sorted((ROOT / "chapters").glob("[0-9]*.md"))}
    code = {n: "\n".join(re.findall(r"^```\{code-cell\}.*?^```", t, re.M | re.S)) for n, t in texts.items()}
    names = re.findall(r"^\| `([\w.]+)\([^`]*`[^|]*\| [^|]+ \| (\w\w) \|$", texts["00"], re.M)
    assert len(names) == 15, names
    for name, number in names:
        assert callable(callable_of(name)), name
        used = re.compile(rf"(?<![\w.]){re.escape(name)}\b")
        assert next(n for n in code if used.search(code[n])) == number, name


def test_the_answers_are_those_of_chapter_00():
    assert name_of("00-start") == "start" and len(start.ANSWERS) == 15
