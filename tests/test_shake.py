"""`cnnbook shake`: conditions, what a claim stands on, runs that are kept, and the table of records."""

import _thread
import csv
import json
import signal
import threading
import time
from pathlib import Path

import pytest
from helpers.notebooks import code, nbformat, notebook, write

from cnnbook import claims
from cnnbook.course import conditions as places
from cnnbook.course import jobs, shake, track
from cnnbook.course.project import Project, UserError

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
    "assert os.environ.get('ONEDNN_MAX_CPU_ISA') != 'AVX2' or seed != 800, 'an exact statement fails'",
    "claim('a kernel of its own', len(os.environ.get('ONEDNN_MAX_CPU_ISA', 'none')), between=(2, 12))",
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


@pytest.fixture
def quick(course, monkeypatch):
    """The same, its cells executed in this process: what is tested is what follows from the runs."""
    monkeypatch.setattr(jobs, "work", work_here)
    return course


def work_here(tasks, jobs, timeout, records, board):
    for task in tasks:
        partial = records.scratch / f"{task.name}.ipynb"
        task.status, task.seconds = "passed", 1.0
        made = nbformat.read(task.path, 4)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in task.environment.items():
                patch.setenv(name, value)
            names = {}
            for number, cell in enumerate(made.cells, 1):
                said = []
                patch.setattr(claims, "_display", lambda claim, said=said: said.append(claim.facts()))
                try:
                    exec(cell.source, names)
                except Exception as error:
                    task.status, task.error = "failed", f"{type(error).__name__}: {error}"
                    task.cell = f"cell {number} of {len(made.cells)}"
                    cell.outputs = [nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])]
                    break
                cell.outputs = [claimed(facts) for facts in said]
                names |= task.parameters if "parameters" in cell.metadata.get("tags", []) else {}
        nbformat.write(made, partial)
        records.keep(task, partial)


def claimed(facts):
    return nbformat.v4.new_output("display_data", {"text/plain": ""}, metadata={"cnnbook_claim": facts})


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


def test_a_missed_claim_and_an_error_are_said(quick, capsys):
    assert shaken(quick, conditions="avx2-100,plain-0") == 1
    out = capsys.readouterr().out
    assert "above one half: held in 1 of 2; once in 24 would be right: cnnbook shake --more" in out
    assert "missed under avx2-100 (TensorFlow AVX2): above one half: 0 (asked: above 0.5)" in out
    assert shaken(quick, conditions="avx2-800") == 1
    assert "FAILED 00-toy.avx2-800: cell 5 of 6\n  AssertionError: an exact" in capsys.readouterr().out
    last = lines(quick)[-1]
    assert (last["status"], last["cell"], len(last["claims"])) == ("error", "cell 5 of 6", 2)
    # The claim before the error counts, that behind it does not; what has failed runs again.
    runs = {claim: row["runs"] for claim, row in records(quick).items()}
    assert runs == {"always above": "3", "above one half": "3", "a kernel of its own": "2"}
    assert shaken(quick, conditions="avx2-800") == 1 and len(lines(quick)) == 4


def test_a_claim_missed_once_gets_twelve_more(quick, capsys):
    assert shaken(quick, only="toy", conditions="avx2") == 1
    # 24 conditions in all; four of them are this machine's, and what has run is not repeated.
    assert shaken(quick, only="toy", conditions="avx2", more=True) == 1
    out = capsys.readouterr().out
    assert "missed a claim so far: 00-toy\n" in out and "00-toy: 3 claims" in out
    assert {line["seed"] for line in lines(quick) if line["status"] == "passed"} == {100, 1500, 2200}
    assert records(quick)["above one half"]["runs"] == "4" and records(quick)["above one half"]["held"] == "3"


def test_a_bound_is_judged_anew_without_a_run(quick, capsys):
    assert shaken(quick, conditions="avx2-100,plain-0") == 1
    assert records(quick)["above one half"]["held"] == "1"
    cells = [c.replace("above=0.5", "above=-0.5") if isinstance(c, str) else c for c in TOY]
    facts = dict(sentence="above one half", asked="above -0.5", held=True, value=1.0, margin=1.5)
    cells[3] = code(cells[3], claimed(facts))
    write(quick.notebooks, {"00-toy": toy(*cells)})
    before = records(quick)["above one half"]["key"]
    assert shaken(quick, conditions="avx2-100,plain-0") == 0 and ", 0 runs to do" in capsys.readouterr().out
    row = records(quick)["above one half"]
    assert (row["runs"], row["held"], row["smallest_margin"]) == ("2", "2", "0.5") and row["key"] != before


def test_claims_that_are_gone_go_and_other_notebooks_stay(quick):
    other = dict.fromkeys(track.COLUMNS, "1") | dict(notebook="02-other", claim="stays")
    table = track.Table(quick.claims_table)
    table.update("02-other", [other])
    table.write()
    assert shaken(quick, conditions="plain-0") == 0 and len(records(quick)) == 4
    write(
        quick.notebooks,
        {"00-toy": toy(*[c.replace("always", "ever") if isinstance(c, str) else c for c in TOY])},
    )
    assert shaken(quick, conditions="plain-0") == 0
    assert set(records(quick)) == {"ever above", "above one half", "a kernel of its own", "stays"}
    assert [line["condition"] for line in lines(quick)] == ["plain-0"] * 2


def test_a_longer_record_of_the_same_key_stays(quick):
    assert shaken(quick, conditions="plain-0,sse41") == 0
    (quick.root / "build" / "shake" / "runs.jsonl").unlink()
    assert shaken(quick, conditions="plain-0") == 0
    assert records(quick)["always above"]["runs"] == "2"


def test_an_interrupted_call_goes_on_where_it_was(course, capsys):
    slow = toy(*TOY, "import time\nif seed == 1100:\n    time.sleep(600)")
    write(course.notebooks, {"00-toy": slow})

    def interrupt():
        path = course.root / "build" / "shake" / "runs.jsonl"
        for _ in range(600):
            if path.exists() and path.read_text("utf-8").count("\n") >= 1:
                break
            time.sleep(0.1)
        _thread.interrupt_main()

    thread = threading.Thread(target=interrupt)
    # The tests may themselves run in the background, where Ctrl-C is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        thread.start()
        assert shaken(course, conditions="plain-0,sse41") == 130
        thread.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert "interrupted; the next call goes on from here" in capsys.readouterr().out
    assert [line["condition"] for line in lines(course)] == ["plain-0"]
    # A line that was cut off does not count, and the next one begins anew.
    with open(course.root / "build" / "shake" / "runs.jsonl", "a", encoding="utf-8") as file:
        file.write('{"notebook": "00-toy", "condi')
    write(course.notebooks, {"00-toy": toy(*TOY)})
    assert shaken(course, conditions="plain-0,sse41") == 0
    assert records(course)["always above"]["runs"] == "2"


def test_what_cannot_be_shaken_is_said(quick):
    with pytest.raises(UserError, match="none of these notebooks makes a claim"):
        shaken(quick, only="exact")
    write(
        quick.notebooks,
        {"03-none": notebook(code("size = 1", tags=["parameters"]), "claim('a', 1, above=0)")},
    )
    with pytest.raises(UserError, match="03-none: there is no line `seed = ...`"):
        shaken(quick)
    for words, said in {
        "0": "from 1 to 14",
        "arm": "there is no condition 'arm'",
        "x-1": "plain-0, avx2-100",
    }.items():
        with pytest.raises(UserError, match=said):
            places.choose_conditions(words)


def test_the_conditions_change_seed_and_machine_together():
    first, both = places.conditions(), places.choose_conditions(None, more=True)
    assert [c.name for c in places.choose_conditions("3")] == ["plain-0", "avx2-100", "off-200"]
    assert len([c for c in first if c.machine != "gpu"]) == 12 and len(both) == 28
    seeds = [c.seed for c in both] + [c.seed for c in places.CONFIRMING]
    assert len(set(seeds)) == len(seeds) and min(b - a for a, b in zip(seeds, seeds[1:], strict=False)) >= 100
    assert len([c for c in both if c.machine == "jax"]) == 2
    # Whatever the user's environment holds, each condition says all that chooses kernels.
    names = [set(places.MACHINES[c.machine].environment) for c in first if c.machine != "gpu"]
    assert all(name == names[0] for name in names)


@pytest.mark.parametrize("name", ["avx2", "rounded"])
def test_what_is_in_force_is_read_back(name):
    pytest.importorskip("tensorflow")
    found = places.in_force(name)
    if name == "avx2" and "avx2" in places.machine.processor_flags():
        assert places.differs(name, found) is None and places.kind(found) == "TensorFlow AVX2"
    assert found["rounded"] == (name == "rounded") == places.kind(found).endswith("rounded products")
    assert places.differs("jax", found).startswith("in force here: backend tensorflow")


def test_a_miss_is_confirmed_under_two_other_seeds(quick, tmp_path, capsys):
    asked = tmp_path / "missed.json"
    asked.write_text(json.dumps({"00-toy": ["always above"]}), "utf-8")
    assert shake.confirm(quick, asked) == 0
    assert "always above: not missed under another seed" in capsys.readouterr().out
    missing = [c.replace("above=0.5", "above=9") if isinstance(c, str) else c for c in TOY]
    write(quick.notebooks, {"00-toy": toy(*missing)})
    asked.write_text(json.dumps({"00-toy": ["always above", "above one half"]}), "utf-8")
    assert shake.confirm(quick, asked) == 1
    assert "above one half: missed under two other seeds too" in capsys.readouterr().out
    assert not quick.claims_table.exists(), "no record is changed"
    asked.write_text("{}", "utf-8")
    assert shake.confirm(quick, asked) == 0 and "nothing to confirm" in capsys.readouterr().out
    with pytest.raises(UserError, match="cannot be read"):
        shake.confirm(quick, tmp_path / "none.json")


def test_lint_counts_records_of_an_earlier_version_and_refuses_none(quick, capsys):
    assert shaken(quick, conditions="plain-0") == 0
    executed = [nbformat.from_dict(c) if not isinstance(c, str) else c for c in TOY]
    facts = [
        dict(sentence=name, asked=asked, held=True, value=1.0, margin=1.0)
        for name, asked in (("always above", "above -1"), ("above one half", "above 0.5"))
    ]
    outputs = [claimed(f) for f in facts]
    executed[3] = code(TOY[3], *outputs)
    write(quick.notebooks, {"00-toy": toy(*executed)})
    capsys.readouterr()
    assert track.check(quick) == 0
    assert capsys.readouterr().out.startswith(
        "2 claims: 2 with a record, 0 with one of an earlier version, 0 without; 1 "
    )

    executed[2] = TOY[2] + " + 0"
    new = "\nclaim('new', 1, above=0)\nclaim('new', 2, above=0)"
    executed[3] = code(TOY[3] + new, *outputs, claimed(facts[0] | {"sentence": "new"}))
    write(quick.notebooks, {"00-toy": toy(*executed)})
    assert track.check(quick) == 1
    out = capsys.readouterr().out
    assert "3 claims: 0 with a record, 2 with one of an earlier version, 1 without" in out
    assert "00-toy: no record of 'new': cnnbook shake --only 00-toy" in out and "two claims say 'new'" in out
    # A chapter whose records are still to be made is no error, two claims with one sentence are.
    quick.claims_table.unlink()
    assert track.check(quick) == 1 and "no record of" not in capsys.readouterr().out


HEAD = ",".join(track.COLUMNS)
ROW = "00-toy,it learns,k,2,2,0.1,0.2,CPU x2,2026-11-27"


@pytest.mark.parametrize(
    "content, words",
    [
        (f"{HEAD}\n<<<<<<< HEAD\n{ROW}\n=======\n{ROW}\n>>>>>>> x\n", "line 2 is no record; where it is a mark"),
        (f"{HEAD}\n{ROW}\n{ROW[:20]}", "line 3 is no record"),
        (f"{HEAD}\n{ROW.replace(',2,2,', ',2,x,')}\n", "line 2 is no record"),
        (f"{ROW}\n", "its first line is not notebook,claim,"),
        ("", "the file is empty"),
        (f"{HEAD}\n{ROW.replace('it', '卷积')}\n".encode("gbk"), "it is not UTF-8 in line 2"),
    ],
)  # fmt: skip
def test_a_table_of_which_a_line_would_be_lost_is_refused(tmp_path, content, words):
    path = tmp_path / "claims.csv"
    path.write_text(f"{HEAD}\n{ROW}\n", "utf-8")
    assert track.Table(path).of("00-toy")["it learns"]["runs"] == "2"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as error:
        track.Table(path)
    assert str(error.value).startswith(f"{path} is no table of claims: {words}")
