"""Measured statements: what they say, how they bind, what they refuse."""

import csv
import math

import numpy as np
import pytest

from cnnbook import claim, claims

pytestmark = pytest.mark.jax


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(claims, "_made", {})
    monkeypatch.delenv("CNNBOOK_CLAIMS", raising=False)


@pytest.mark.parametrize(
    "value, bounds, held, asked, margin",
    [
        (0.46, dict(above=0.2), True, "above 0.2", 0.26),
        (0.2, dict(above=0.2), False, "above 0.2", 0.0),
        (0.1, dict(below=0.25), True, "below 0.25", 0.15),
        (0.5, dict(between=(0.35, 0.6)), True, "between 0.35 and 0.6", 0.1),
        (0.7, dict(above=0.35, below=0.6), False, "between 0.35 and 0.6", -0.1),
        (np.float32(3), dict(above=0), True, "above 0", 3.0),
        (np.array([2]), dict(below=1), False, "below 1", -1.0),
        (math.nan, dict(above=0), False, "above 0", None),
    ],
)
def test_a_claim_says_what_it_asked_and_whether_it_held(capsys, value, bounds, held, asked, margin):
    assert claim("batch norm trains.", value, **bounds) is None, "a cell would show it"
    (said,) = claims.made()
    number = float(np.asarray(value).reshape(()) if np.ndim(value) == 0 else np.asarray(value)[0])
    line = f"claim: batch norm trains: {number:.3g} (asked: {asked}), {'held' if held else 'missed'}\n"
    assert capsys.readouterr().out == line
    facts = said.facts()
    assert facts["margin"] == (None if margin is None else pytest.approx(margin))
    assert (facts["sentence"], facts["asked"], facts["held"]) == ("batch norm trains", asked, held)


def test_strict_raises_where_a_claim_is_missed(monkeypatch):
    monkeypatch.setenv("CNNBOOK_CLAIMS", "strict")
    claim("holds", 1, above=0)
    with pytest.raises(claims.ClaimMissed, match=r"claim: fails: -1 \(asked: above 0\), missed"):
        claim("fails", -1, above=0)
    assert [said.held for said in claims.made()] == [True, False]


@pytest.mark.parametrize(
    "arguments, bounds, words",
    [
        (("x", 1), {}, "needs a bound"),
        (("x", 1), dict(above=0, between=(0, 1)), "not both"),
        (("x", 1), dict(above=1, below=1), "nothing lies between 1 and 1"),
        (("", 1), dict(above=0), "a sentence in one line"),
        (("two\nlines", 1), dict(above=0), "a sentence in one line"),
        (("x", True), dict(above=0), "takes one number"),
        (("x", [1, 2]), dict(above=0), "takes one number"),
        (("x", None), dict(above=0), "takes one number"),
    ],
)
def test_what_is_no_claim_is_refused(arguments, bounds, words):
    with pytest.raises(ValueError, match=words):
        claim(*arguments, **bounds)
    assert claims.made() == []


def test_a_way_to_bind_that_does_not_exist_is_refused(monkeypatch):
    monkeypatch.setenv("CNNBOOK_CLAIMS", "loud")
    with pytest.raises(ValueError, match="report or strict, got 'loud'"):
        claim("x", -1, above=0)


def test_the_report_names_what_was_missed_and_the_record(capsys, monkeypatch, tmp_path):
    path = tmp_path / "claims.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["notebook", "claim", "runs", "held", "conditions"])
        writer.writerow(["02-other", "batch norm trains", 12, 12, "JAX x1"])
        writer.writerow(["03-vgg", "batch norm trains", 24, 23, "JAX x1; TensorFlow AVX2 x23"])
        writer.writerow(["03-vgg", "the loss falls", 1, 1, "JAX x1"])
    monkeypatch.setattr(claims, "RECORDS", path)
    claim("batch norm trains", 0.4, above=0.2)
    claim("deeper is better", -0.01, above=0)
    claim("the loss falls", math.nan, below=0)
    capsys.readouterr()
    claims.report()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 measured claims in this notebook, 1 held in this run."
    assert lines[1] == "Not shown by this run: deeper is better (-0.01, asked: above 0)."
    assert lines[2] == "Not shown by this run: the loss falls (nan, asked: below 0)."
    table = {line.partition("  ")[0]: line.rpartition("  ")[2] for line in lines[6:]}
    # The records of the notebook that this one is, by what it has claimed.
    assert table == {
        "batch norm trains": "in 23 of 24 runs on 2 kinds of machine",
        "deeper is better": "no record yet",
        "the loss falls": "in 1 of 1 runs on 1 kind of machine",
    }
    assert claims.recorded("02-other")["batch norm trains"]["runs"] == "12" and claims.recorded("00") == {}
