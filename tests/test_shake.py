"""`cnnbook shake`: conditions, what a claim stands on, runs that are kept, and the table of records."""

import csv
import json
from pathlib import Path

import pytest
from helpers.notebooks import code, nbformat, notebook, write

from cnnbook.course import conditions as places
from cnnbook.course import shake, track
from cnnbook.course.project import Project

ROOT = Path(__file__).parents[1]
pytest.importorskip("papermill")
pytest.importorskip("psutil")

FORCE = dict(
    backend="tensorflow", device="cpu", kernels="AVX2", one_thread=True, rounded=False, processor="P"
)
PARAMETERS = code("seed = 0", tags=["parameters"])
# By its seed: 0 gives 1, 100 gives 0, all others 2.
TOY = [
    PARAMETERS,
    "import os\nfrom cnnbook import claim",
    "value = {0: 1.0, 100: 0.0}.get(seed, 2.0)",
    "claim('always above', value, above=-1)\nclaim('above one half', value, above=0.5)",
    "assert os.environ['ONEDNN_MAX_CPU_ISA'] != 'AVX2' or seed != 800, 'an exact statement fails'",
    "claim('a kernel of its own', len(os.environ['ONEDNN_MAX_CPU_ISA']), between=(2, 12))",
]


def toy(*cells):
    return notebook(
        *[nbformat.from_dict(dict(cell)) if not isinstance(cell, str) else cell for cell in cells]
    )


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of one notebook; each machine has in force what is asked of it, and none has a card."""

    def in_force(name):
        wanted = {k: v for k, v in places.MACHINES[name].wanted.items() if k != "device"}
        return FORCE | wanted | ({"one_thread": True} if name == "jax" else {})

    monkeypatch.setattr(places, "in_force", in_force)
    monkeypatch.setattr(shake.machine, "processor", lambda: "P")
    write(tmp_path / "notebooks", {"00-toy": toy(*TOY), "01-exact": notebook("assert 1 == 1")})
    return Project(tmp_path)


def records(project):
    with open(project.claims_table, newline="", encoding="utf-8") as file:
        return {row["claim"]: row for row in csv.DictReader(file)}


def lines(project):
    path = project.root / "build" / "shake" / "runs.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def shaken(project, **options):
    return shake.shake(project, **{"jobs": 2, **options})


def test_runs_are_counted_and_not_repeated(course, capsys):
    assert shaken(course, conditions="plain,sse41,gpu") == 0
    said_now = capsys.readouterr().out
    assert "gpu-1200" in said_now and "is not run: in force here: device cpu" in said_now
    assert "00-toy: 3 claims, 3 with a record of 3 runs, 3 always held" in said_now
    found = records(course)
    row = found["above one half"]
    assert (row["notebook"], row["runs"], row["held"]) == ("00-toy", "3", "3")
    assert (row["smallest_margin"], row["median_margin"]) == ("0.5", "1.5")
    assert row["conditions"] == "TensorFlow AVX2 x2; TensorFlow SSE4.1 x1" and list(row) == list(
        track.COLUMNS
    )
    assert {line["seed"]: line["claims"][0]["value"] for line in lines(course)} == {0: 1, 700: 2, 1100: 2}

    # The second call has nothing to do; the table stays as it is.
    before = course.claims_table.stat().st_mtime_ns
    assert shaken(course, conditions="plain,sse41") == 0
    assert ", 0 runs to do" in capsys.readouterr().out
    assert course.claims_table.stat().st_mtime_ns == before and len(lines(course)) == 3


def test_a_missed_claim_and_an_error_are_said(course, capsys):
    assert shaken(course, conditions="avx2-100,plain-0") == 1
    out = capsys.readouterr().out
    assert "above one half: held in 1 of 2; once in 24 would be right: cnnbook shake --more" in out
    assert "missed under avx2-100 (TensorFlow AVX2): above one half: 0 (asked: above 0.5)" in out
    assert shaken(course, conditions="avx2-800") == 1
    assert "FAILED 00-toy.avx2-800: cell 5 of 6\n  AssertionError: an exact" in capsys.readouterr().out
    last = lines(course)[-1]
    assert (last["status"], last["cell"], len(last["claims"])) == ("error", "cell 5 of 6", 2)
    # The claim before the error counts, that behind it does not; what has failed runs again.
    runs = {claim: row["runs"] for claim, row in records(course).items()}
    assert runs == {"always above": "3", "above one half": "3", "a kernel of its own": "2"}
    assert shaken(course, conditions="avx2-800") == 1 and len(lines(course)) == 4
