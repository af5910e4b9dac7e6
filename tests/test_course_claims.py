"""What the course does with a claim that was missed: a run says so, nbval counts it, no stored output holds it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.notebooks import code, nbformat, notebook, write

ROOT = Path(__file__).parents[1]
pytest.importorskip("papermill")
HELD = "from cnnbook import claim\nclaim('one is small', 1.0, below=2)"
CLAIMS = f"{HELD}\nclaim('one is <large>', 1.0, above=2)"
LINES = ["claim: one is small: 1 (asked: below 2), held", "claim: one is <large>: 1 (asked: above 2), missed"]
MISSED = "one is <large>: 1 (asked: above 2)"


def claimed(line):
    return nbformat.v4.new_output("display_data", {"text/plain": line}, metadata={"cnnbook_claim": {}})


def cnnbook(*arguments):
    command = [sys.executable, "-m", "cnnbook", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120)


def test_a_run_tells_its_misses_and_does_not_fail(tmp_path):
    write(tmp_path / "notebooks", {"00-toy": notebook(CLAIMS)})
    for again in (False, True):
        done = cnnbook("run", "--root", tmp_path, "--no-book")
        assert done.returncode == 0, done.stdout + done.stderr
        assert ("0 passed, 1 passed before and unchanged" in done.stdout) is again
        assert f"a run does not fail for them:\n  00-toy: {MISSED}\n" in done.stdout
        page = (tmp_path / "build" / "summary.html").read_text("utf-8")
        assert "1 of 2 measured claims held on this machine. Those that did not" in page
        assert "<td>one is &lt;large&gt;</td>" in page and page.count("1 claim missed") == 1
    record = json.loads((tmp_path / "build" / "results" / "00-toy.json").read_text("utf-8"))
    assert [(c["sentence"], c["held"], c["margin"]) for c in record["claims"]] == [
        ("one is small", True, 1.0),
        ("one is <large>", False, -1.0),
    ]


def test_a_notebook_with_a_missed_claim_is_not_stored(tmp_path, monkeypatch):
    from cnnbook.course.sync import record

    # Strict claims would end the notebook at the first.
    monkeypatch.setenv("CNNBOOK_CLAIMS", "strict")
    source = f"{CLAIMS}\nclaim('one is none', 1.0, below=0)"
    folder = write(
        tmp_path / "notebooks", {"00-missed": notebook("x = 1", source), "01-held": notebook(HELD)}
    )
    before = (folder / "00-missed.ipynb").read_bytes()
    assert record(folder / "00-missed.ipynb") == [
        f"cell 2: missed, and so not what the text says: {MISSED}",
        "cell 2: missed, and so not what the text says: one is none: 1 (asked: below 0)",
    ]
    assert (folder / "00-missed.ipynb").read_bytes() == before
    assert record(folder / "01-held.ipynb") == []
    (stored,) = nbformat.read(folder / "01-held.ipynb", 4).cells[0].outputs
    assert stored.metadata["cnnbook_claim"]["held"] and stored.data["text/plain"] == LINES[0]


@pytest.mark.checkout
def test_nbval_counts_claims_over_processes_and_fails_for_none(tmp_path):
    for module in ("nbval", "xdist"):
        pytest.importorskip(module)
    stored = [claimed(line.replace("missed", "held")) for line in LINES]
    write(
        tmp_path / "notebooks",
        {
            "00-misses": notebook(code(CLAIMS, *stored)),
            "01-holds": notebook(code(HELD, stored[0])),
            # Another bound is another claim: nbval compares it.
            "02-differs": notebook(code(HELD.replace("below=2", "below=3"), stored[0])),
        },
    )
    shutil.copy(ROOT / "conftest.py", tmp_path)
    shutil.copy(ROOT / "notebooks" / "sanitize.cfg", tmp_path / "notebooks")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--nbval", "notebooks", "-n", "2"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", timeout=120
    )
    assert "1 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    assert f"4 claims, 1 missed: 00-misses\n  00-misses: {LINES[1]}\n" in done.stdout
    assert json.loads((tmp_path / "build" / "missed.json").read_text("utf-8")) == {
        "00-misses": ["one is <large>"]
    }
