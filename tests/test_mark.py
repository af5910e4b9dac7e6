"""Commands write only into folders that are new, empty or their own, and delete only what they wrote."""

import hashlib
import json
from pathlib import Path

import pytest
from helpers.notebooks import code, nbformat, notebook
from helpers.runs import project

from cnnbook.course import cli, mark, reproduce
from cnnbook.course.plan import FAILED, PASSED
from cnnbook.course.project import UserError
from cnnbook.course.records import Records
from cnnbook.course.shake import Journal
from cnnbook.sources.imports import Imports

pytest.importorskip("papermill")

# What most projects have, under the names that a run gives its own.
MINE = (
    "results/experiment.json",
    "notebooks/experiment.ipynb",
    "notebooks/00-a.ipynb",
    "html/experiment.html",
    "logs/experiment.log",
    "partial/mine.txt",
    "summary.html",
    "runs/mine.json",
)


def filled(folder, names=MINE):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text('{"loss": 0.1}', "utf-8")
    return contents(folder)


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    claiming = [code("seed = 1", tags=["parameters"]), "claim('it is one', seed, above=0.5)"]
    return project(tmp_path_factory.mktemp("course"), **{"00-a": notebook(*claiming)})


@pytest.mark.parametrize(
    "arguments", [["run", "--no-book"], ["shake", "--conditions", "1"], ["reproduce", "normalisation"]]
)
def test_a_folder_of_somebody_elses_is_refused_and_stays_as_it_is(root, tmp_path, capsys, arguments):
    before = filled(tmp_path)
    arguments = arguments if arguments[0] == "reproduce" else [*arguments, "--root", str(root)]
    assert cli.main([*arguments, "--out", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert (
        f"{tmp_path} holds what `cnnbook {arguments[0]}` did not write (html, logs, notebooks, ...): give a folder "
        "that is empty, or one that is still to be made"
    ) in said.err
    assert contents(tmp_path) == before


def refused(records):
    with pytest.raises(UserError) as error, records.locked():
        pass
    return str(error.value)


def test_what_one_command_wrote_is_no_place_for_another(tmp_path):
    for _ in range(2):
        with Records(tmp_path).locked():
            pass
    words = f"{tmp_path} holds what `cnnbook run` wrote: give `cnnbook "
    assert refused(Journal(tmp_path, Imports())).startswith(f"{words}shake` another folder")
    assert refused(reproduce.Finished(tmp_path)).startswith(f"{words}reproduce` another folder")


def test_a_folder_of_the_version_before_is_taken(tmp_path):
    """It has no mark, but the file by which a second run was kept out."""
    filled(tmp_path, ["run.lock", "results/00-a.json"])
    with Records(tmp_path).locked():
        assert mark.kind(tmp_path) == "run"


def test_the_courses_own_build_may_hold_what_other_commands_made(tmp_path):
    filled(tmp_path, ["student/00-a.ipynb", "env.lock", "wheel/a.whl"])
    assert "(env.lock, student, wheel)" in refused(Records(tmp_path))
    with Records(tmp_path, shared=True).locked():
        assert mark.kind(tmp_path) == "run"
    # But not files that a run would replace.
    filled(tmp_path / "other", ["summary.html", "more.txt"])
    assert "other holds what `cnnbook run` did not write (summary.html)" in refused(
        Records(tmp_path / "other", shared=True)
    )


RECORD = dict(status=PASSED, key="k", imported=[], seconds=1.5, used={}, parameters={}, cell=None, error=None)


def test_only_results_of_notebooks_that_are_gone_are_forgotten(tmp_path):
    records = Records(tmp_path)
    with records.locked():
        filled(tmp_path, [*MINE, "results/old.json", "notebooks/old.ipynb", "html/old.html"])
        (tmp_path / "results" / "old.json").write_text(json.dumps(RECORD), "utf-8")
        records.prepare({"00-a"})
    left = set(contents(tmp_path))
    assert left >= set(MINE) - {"partial/mine.txt"}
    assert not left & {"results/old.json", "notebooks/old.ipynb", "html/old.html"}


def test_an_executed_copy_that_was_edited_is_kept(tmp_path, capsys):
    records = Records(tmp_path)
    records.prepare(set())
    path = tmp_path / "notebooks" / "00-a.ipynb"
    record = tmp_path / "results" / "00-a.json"
    texts = []
    for count in range(3):
        nbformat.write(notebook(f"print({count})"), path)
        record.write_text(
            json.dumps(RECORD | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}), "utf-8"
        )
        if count:
            nbformat.write(notebook(f"mine = {count}"), path)
            texts.append(path.read_bytes())
        records.forget("00-a")
        assert not path.exists() and not record.exists()
    folder = tmp_path / "edited"
    assert contents(folder) == {"00-a.ipynb": texts[0], "00-a-2.ipynb": texts[1]}
    assert capsys.readouterr().out.splitlines() == [
        f"{path} was edited after the run: it is now {folder / name}"
        for name in ("00-a.ipynb", "00-a-2.ipynb")
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"status": "<img src=x onerror=document.title='X'>"},
        {"seconds": "x"},
        {"seconds": None},
        {"seconds": float("nan")},
        {"used": {"cpu": "<b>"}},
        {"used": []},
        {"error": ["<b>"]},
        {"claims": [{"sentence": "<b>"}]},
        {"claims": [{"sentence": "s", "asked": "above 1", "held": True, "value": "<b>"}]},
        {"claims": {"a": 1}},
        {"key": None},
    ],
)
def test_a_record_that_no_run_wrote_is_none(tmp_path, changed):
    records = Records(tmp_path)
    records.prepare(set())
    path = tmp_path / "results" / "00-a.json"
    path.write_text(json.dumps(RECORD), "utf-8")
    assert records.read("00-a") == RECORD
    said = {"sentence": "s", "asked": "above 1", "held": False, "value": None, "margin": None}
    path.write_text(json.dumps(RECORD | {"status": FAILED, "error": "no", "claims": [said]}), "utf-8")
    assert records.read("00-a")["claims"] == [said]
    path.write_text(json.dumps(RECORD | changed), "utf-8")
    assert records.read("00-a") == {}
    assert records.earlier([Path("00-a.ipynb")]) == []
    records.prepare(set())
    assert path.exists(), "what is no record is not ours to delete"


def test_a_mark_names_its_command_and_is_text(tmp_path):
    mark.leave(tmp_path / "new", "run")
    text = (tmp_path / "new" / ".cnnbook").read_text("utf-8")
    assert json.loads(text)["command"] == "run" and "cnnbook" in json.loads(text)["what"]
    assert mark.kind(tmp_path / "new") == "run" and mark.kind(tmp_path) is None
    for other in ("", "[]", "{}", '{"command": 7}', "\x00"):
        (tmp_path / "new" / ".cnnbook").write_text(other, "utf-8")
        assert mark.kind(tmp_path / "new") is None
