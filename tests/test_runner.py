"""Runs that other people's faults do not end: files that are no notebooks, odd paths, kernels that do not start."""

import codecs
import errno
import json
import os
import re
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from helpers.notebooks import code, nbformat, notebook, write
from helpers.runs import DIES, IS_SILENT, cnnbook, command, faulty_kernels, homeless, project, results

from cnnbook import machine
from cnnbook.course import cli, home, plan, run, sync, worker
from cnnbook.course.notebook import read_notebook
from cnnbook.course.profile import read_profile
from cnnbook.course.project import Project, UserError, machine_path
from cnnbook.course.records import Records

pytest.importorskip("papermill")

TEXT = nbformat.writes(notebook("print('卷积')"))
OLD = json.dumps(nbformat.convert(notebook("print('old')"), 3))
BROKEN = {
    "conflict": (TEXT.replace("\n", "\n<<<<<<< HEAD\n", 1), "line 2 is a mark of a merge conflict, <<<<<<<"),
    "empty": ("", "the file is empty"),
    "half": (TEXT[: len(TEXT) // 2], "it is no JSON in line"),
    "mark": (codecs.BOM_UTF8 + TEXT.encode(), "it begins with a byte-order mark"),
    "utf-16": (TEXT.encode("utf-16"), "it is UTF-16"),
    "utf-16-le": (TEXT.encode("utf-16-le"), "it is UTF-16"),
    "gbk": (TEXT.encode("gbk"), "it is not UTF-8 in line"),
    "list": ("[]", "it is JSON, but not of a notebook"),
    "other": ('{"cells": []}', "it is JSON, but not of a notebook"),
    "deep": ("[" * 100_000, "it is JSON nested without end"),
    "newer": ('{"nbformat": 7, "cells": []}', "cannot read it as format 7"),
    "no-cells": ('{"nbformat": 4, "nbformat_minor": 5, "metadata": {}}', "missing an expected key: cells"),
    "no-source": (TEXT.replace('"source"', '"sauce"'), "source"),
    "half-a-character": (TEXT.replace("卷积", r"\ud83d"), r"cell 1 holds \ud83d, half of a character"),
    "half-in-metadata": (TEXT.replace("python3", r"\ud83d"), r"its metadata holds \ud83d"),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A folder with a file of each kind."""
    folder = tmp_path_factory.mktemp("broken")
    for name, (content, _) in BROKEN.items():
        (folder / f"{name}.ipynb").write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_no_notebook_is_named_with_the_reason(broken, name):
    with pytest.raises(UserError) as refused:
        read_notebook(broken / f"{name}.ipynb")
    assert str(refused.value).startswith(f"{broken / name}.ipynb is no notebook: ")
    assert BROKEN[name][1] in str(refused.value)


def test_neither_is_a_folder_or_what_cannot_be_read(tmp_path):
    (tmp_path / "folder.ipynb").mkdir()
    with pytest.raises(UserError, match="folder.ipynb is no notebook: it is a folder"):
        read_notebook(tmp_path / "folder.ipynb")
    with pytest.raises(UserError, match="gone.ipynb is no notebook: it cannot be read: No such file"):
        read_notebook(tmp_path / "gone.ipynb")


def test_notebooks_of_other_programs_are_read(tmp_path):
    # An old format, no ids, ids that are equal.
    (tmp_path / "old.ipynb").write_text(OLD, "utf-8")
    assert [c.source for c in read_notebook(tmp_path / "old.ipynb").cells] == ["print('old')"]
    made = json.loads(TEXT)
    made["cells"] += made["cells"]
    (tmp_path / "equal.ipynb").write_text(json.dumps(made), "utf-8")
    assert len(read_notebook(tmp_path / "equal.ipynb").cells) == 2
    made["cells"] = [{key: value for key, value in cell.items() if key != "id"} for cell in made["cells"]]
    (tmp_path / "none.ipynb").write_text(json.dumps(made | {"nbformat_minor": 4}), "utf-8")
    assert len(read_notebook(tmp_path / "none.ipynb").cells) == 2


def test_the_other_notebooks_run_where_some_are_none(tmp_path):
    root = project(tmp_path, **{"00-good": notebook("print(1)"), "03-good": notebook("print(2)")})
    (root / "notebooks" / "01-conflict.ipynb").write_text("{\n<<<<<<< HEAD\n", "utf-8")
    (root / "notebooks" / "02-folder.ipynb").mkdir()
    (root / "notebooks" / "04-old.ipynb").write_text(OLD, "utf-8")
    done = cnnbook("run", "--root", root, "--jobs", 2)
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
    assert "3 passed, 0 passed before and unchanged, 2 failed" in done.stdout
    assert (
        f"FAILED 01-conflict: before its first cell\n  {root / 'notebooks' / '01-conflict.ipynb'} is"
        in done.stdout
    )
    assert "02-folder.ipynb is no notebook: it is a folder" in done.stdout
    page = (root / "build" / "summary.html").read_text("utf-8")
    assert "3 of 5 notebooks passed" in page and "line 2 is a mark of a merge conflict" in page
    # Mended, it is the only one that is run.
    write(root / "notebooks", {"01-conflict": notebook("print(3)")})
    again = cnnbook("run", "--root", root, "--only", "00,01,03,04")
    assert again.returncode == 0 and "1 passed, 3 passed before and unchanged" in again.stdout


def test_student_copies_are_all_or_none(tmp_path, capsys):
    root = project(tmp_path, **{"00-a": notebook("1 + 1")})
    (root / "notebooks" / "01-b.ipynb").write_text("", "utf-8")
    assert cli.main(["student", "--root", str(root)]) == 2
    assert "01-b.ipynb is no notebook: the file is empty" in capsys.readouterr().err
    assert not (root / "build" / "student").exists()


# Other systems take no name that is not text.
ODD = os.fsdecode(b"{x} {0} \xbe\xed\xbb\xfd") if sys.platform == "linux" else "{x} {0}"


def test_braces_and_bytes_that_are_no_text_in_a_path(tmp_path):
    made = notebook(code("size = 1", tags=["parameters"]), "print(size)")
    # Nor does it say for which kernel it was written.
    made.metadata.clear()
    root = project(tmp_path, name=ODD, **{"00-a": made, "01-b": notebook("1 / 0")})
    (root / "notebooks" / f"{ODD}.png").write_bytes(b"")
    (root / "notebooks" / "02-empty.ipynb").write_text("", "utf-8")
    (root / "notebooks" / "profiles" / "large.yaml").write_text("00-a: {size: 7}\n", "utf-8")
    done = cnnbook("run", "--root", root, "--profile", "large")
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert {name: r["status"] for name, r in results(root).items()} == {
        "00-a": "passed",
        "01-b": "failed",
        "02-empty": "failed",
    }
    executed = nbformat.read(root / "build" / "notebooks" / "00-a.ipynb", 4)
    assert executed.cells[-1].outputs[0].text == "7\n"
    assert executed.metadata.papermill.output_path == "00-a.ipynb"
    assert "02-empty.ipynb is no notebook" in (root / "build" / "summary.html").read_text("utf-8")


def profiled(root, text):
    (root / "notebooks" / "profiles" / "own.yaml").write_bytes(text.encode())
    return read_profile(Project(root), "own")["00-a"]


def test_values_of_a_profile_arrive_as_they_are_written(tmp_path):
    root = project(tmp_path, **{"00-a": notebook("1")})
    numbers = profiled(root, "00-a: {a: 1e-3, b: 5E-4, c: 1e3, d: -.5e+2, e: 1.5, f: 3, g: 1_000}\n")
    assert numbers == dict(a=0.001, b=0.0005, c=1000.0, d=-50.0, e=1.5, f=3, g=1000)
    assert isinstance(numbers["c"], float) and isinstance(numbers["f"], int)
    texts = profiled(root, "00-a: {a: 2024-05-01, b: 2024-05-01 12:30:00, c: 16:9, d: 1e, e: e3, f: '1e3'}\n")
    assert texts == dict(a="2024-05-01", b="2024-05-01 12:30:00", c="16:9", d="1e", e="e3", f="1e3")
    others = profiled(root, "00-a: {a: [1e-3, null], b: {c: 2024-05-01}, d: true, e: .inf, f: no}\n")
    assert others == dict(a=[0.001, None], b={"c": "2024-05-01"}, d=True, e=float("inf"), f=False)
    assert profiled(root, "\ufeff00-a: {a: 卷积}\n") == {"a": "卷积"}


@pytest.mark.parametrize("value", ["!!binary aGk=", "!!set {a, b}", "{1: 2}", "!!timestamp 2024-05-01"])
def test_a_value_that_no_notebook_can_be_given_is_named(tmp_path, value):
    root = project(tmp_path, **{"00-a": notebook(code("a = 1", tags=["parameters"]))})
    with pytest.raises(
        UserError, match="own.yaml gives 00-a the size .* which cannot be passed to a notebook"
    ):
        profiled(root, f"00-a: {{size: {value}}}\n")


def test_values_that_others_repeat_arrive_as_if_written_out(tmp_path):
    root = project(tmp_path, **{"00-a": notebook("1")})
    assert profiled(root, "00-a: {a: &two [1, 2], b: *two, c: [*two, *two]}\n") == dict(
        a=[1, 2], b=[1, 2], c=[[1, 2], [1, 2]]
    )


TENFOLD = "".join(f"  v{n}: &v{n} [{', '.join([f'*v{n - 1}'] * 10)}]\n" for n in range(1, 20))
MERGED = "".join(f"  m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 10)}]}}\n" for n in range(1, 20))


@pytest.mark.parametrize(
    "text",
    [
        f"00-a:\n  v0: &v0 1\n{TENFOLD}",
        f"00-a:\n  m0: &m0 {{x: 1}}\n{MERGED}",
        f"00-a: {{a: &a {'x' * 2000}, b: [{', '.join(['*a'] * 200)}]}}\n",
        "00-a: {a: &a [*a]}\n",
        "00-a: &a {a: {b: *a}}\n",
        f"00-a: {'[' * 500}\n",
        f"00-a: {{a: {'[' * 500}{']' * 500}}}\n",
    ],
    ids=["aliases", "merges", "texts", "itself", "itself as a mapping", "brackets", "depth"],
)
def test_a_profile_without_end_is_refused_at_once(tmp_path, text):
    root = project(tmp_path, **{"00-a": notebook("1")})
    tracemalloc.start()
    with pytest.raises(UserError, match=r"own.yaml (holds more than|is nested|is no YAML)") as error:
        profiled(root, text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6 and len(str(error.value)) < 1000


def test_a_value_in_a_refusal_is_short(tmp_path):
    root = project(tmp_path, **{"00-a": notebook("1")})
    with pytest.raises(UserError) as error:
        profiled(root, f"00-a: {{a: {{1: [{', '.join(['7'] * 2000)}]}}}}\n")
    assert "cannot be passed to a notebook" in str(error.value) and len(str(error.value)) < 500


def test_a_profile_that_is_no_text_is_named(tmp_path):
    root = project(tmp_path, **{"00-a": notebook("1")})
    (root / "notebooks" / "profiles" / "own.yaml").write_bytes("00-a: {a: 卷积}".encode("gbk"))
    with pytest.raises(UserError, match="own.yaml is no YAML"):
        plan.plan(Project(root), "own", None)


def test_a_kernel_that_dies_before_its_first_cell_is_started_again(tmp_path):
    root = project(tmp_path, **{"00-a": notebook("print(1)")})
    done = cnnbook("run", "--root", root, IPYTHONDIR=faulty_kernels(tmp_path, DIES))
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout
    log = (root / "build" / "logs" / "00-a.log").read_text("utf-8")
    assert "The kernel did not start: Kernel died before replying to kernel_info. It is started again." in log


def test_a_kernel_that_never_starts_is_started_twice(tmp_path):
    root = project(tmp_path, **{"00-a": notebook("print(1)"), "01-b": notebook("print(2)")})
    done = cnnbook("run", "--root", root, "--jobs", 1, IPYTHONDIR=faulty_kernels(tmp_path, DIES, times=2))
    assert done.returncode == 1
    assert (
        "FAILED 00-a: before its first cell\n  the kernel did not start, 2 times: Kernel died" in done.stdout
    )
    assert {name: r["status"] for name, r in results(root).items()} == {"00-a": "failed", "01-b": "passed"}


def test_a_silent_kernel_is_started_again(tmp_path, monkeypatch, capsys):
    root = project(tmp_path, **{"00-a": notebook("print(1)")})
    monkeypatch.setenv("IPYTHONDIR", faulty_kernels(tmp_path, IS_SILENT))
    monkeypatch.setattr(worker, "START_SECONDS", (5, 60))
    task = {"source": str(root / "notebooks" / "00-a.ipynb"), "partial": str(tmp_path / "00-a.ipynb")}
    assert worker.execute(task | {"parameters": {}}, lambda **message: None)["status"] == "passed"
    assert (
        "The kernel did not start: Kernel didn't respond in 5 seconds. It is started again."
        in capsys.readouterr().err
    )
    (cell,) = nbformat.read(tmp_path / "00-a.ipynb", 4).cells
    assert cell.outputs[0].text == "1\n"


def test_sync_starts_a_kernel_again(tmp_path, monkeypatch, capsys):
    root = project(tmp_path, **{"00-a": notebook("print(1)")})
    monkeypatch.setenv("IPYTHONDIR", faulty_kernels(tmp_path, DIES))
    assert sync.record(root / "notebooks" / "00-a.ipynb") == []
    assert read_notebook(root / "notebooks" / "00-a.ipynb").cells[0].outputs[0].text == "1\n"
    assert "00-a: the kernel did not start" in capsys.readouterr().err


REMOTE = '<script src="https://cdn.example/require.js"></script>'
CONFIGURED = '<script type="text/x-mathjax-config">\nMathJax.Hub({a: "</p>"})\n</script>'
MODULE = '<script type="module">import mermaid from "https://cdn.example/m.mjs"</script>'
OWN = '<script>own("src")</script><script src="own.js"></script><script type="text/x-own">x</script>'


def test_a_page_fetches_no_script_from_elsewhere():
    page = f"<html><head>{REMOTE}{OWN}{CONFIGURED}</head><body>{MODULE}{REMOTE}<p>1 < 2</p></body></html>"
    kept = f"<html><head>{OWN}{worker._MATHS}</head><body><p>1 < 2</p></body></html>"
    assert worker._offline(page) == kept
    # One that never ends takes the rest of the page with it, as in a browser.
    assert worker._offline(f"<head></head>a{MODULE[:30]}b") == f"<head>{worker._MATHS}</head>a"


@pytest.mark.parametrize(
    "piece",
    [
        "<script ",
        "<script>",
        '<script type="module">',
        '<script src="https://x"',
        '<script src="https://x">',
        "<script <",
    ],
)
def test_a_page_of_scripts_without_end_takes_no_time(piece):
    started = time.process_time()
    worker._offline("<head></head>" + piece * 40_000)
    assert time.process_time() - started < 2


ENTER = """
import sys, time
from pathlib import Path
from cnnbook.course.project import UserError
from cnnbook.course.records import Records

folder = Path(sys.argv[1])
print("ready", flush=True)
while not (folder / "start").exists():
    time.sleep(0.001)
try:
    with Records(folder / "build").locked():
        print("runs", flush=True)
        while not (folder / "end").exists():
            time.sleep(0.01)
except UserError as error:
    print(error, flush=True)
"""


def test_of_runs_that_start_at_the_same_instant_one_runs(tmp_path):
    command = [sys.executable, "-c", ENTER, str(tmp_path)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") for _ in range(6)]
    assert [run.stdout.readline() for run in runs] == ["ready\n"] * 6
    (tmp_path / "start").touch()
    said = [run.stdout.readline() for run in runs]
    (tmp_path / "end").touch()
    assert [run.wait(60) for run in runs] == [0] * 6
    refusal = f" is already running notebooks into {tmp_path / 'build'}: wait for it, or give another --out\n"
    assert said.count("runs\n") == 1 and sum(line.endswith(refusal) for line in said) == 5, said
    # The lock goes with the one that held it.
    with Records(tmp_path / "build").locked():
        pass


def test_a_home_that_cannot_be_written_shows_in_no_output(tmp_path):
    cell = "import matplotlib.pyplot, os; print(os.environ['MPLCONFIGDIR'])"
    root = project(tmp_path, **{"00-a": notebook(cell)})
    done = cnnbook("run", "--root", root, **homeless(tmp_path))
    assert done.returncode == 0, done.stdout
    (said,) = nbformat.read(root / "build" / "notebooks" / "00-a.ipynb", 4).cells[0].outputs
    assert said.name == "stdout" and not Path(said.text.strip()).exists(), "the folder is gone with the run"
    # jupyter_client interrupts every kernel before it ends it; one that is still at work says so in a line.
    log = (root / "build" / "logs" / "00-a.log").read_text("utf-8").splitlines()
    assert [line for line in log if "KeyboardInterrupt caught in kernel" not in line] == []


def test_only_what_cannot_be_written_at_home_is_moved(tmp_path, monkeypatch):
    for name, value in homeless(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "new" / "ipython"))
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    assert list(home.substitutes.__wrapped__()) == ["MPLCONFIGDIR"]
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "file"))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))
    assert list(home.substitutes.__wrapped__()) == ["IPYTHONDIR"]
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    assert home.substitutes.__wrapped__() == {} and not (tmp_path / "new").exists()


def test_without_a_home_the_backend_is_the_default(monkeypatch):
    for name in ("HOME", "USERPROFILE", "HOMEPATH", "KERAS_BACKEND", "KERAS_HOME"):
        monkeypatch.delenv(name, raising=False)
    # As in a container whose user has no name.
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert machine.backend() == "tensorflow"
    assert machine_path("in /home/ann/x") == "/home/ann/x" and machine_path("about ~") is None


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def three(folder):
    return project(folder, **{name: notebook("print(1)") for name in ("00-a", "01-b", "02-c")})


def test_a_full_disk_ends_a_run_in_words_and_loses_nothing(tmp_path, monkeypatch, capsys):
    root = three(tmp_path)
    keep = Records.keep

    def keep_the_first(records, task, partial):
        (keep if task.name == "00-a" else full_disk)(records, task, partial)

    with monkeypatch.context() as patch:
        patch.setattr(Records, "keep", keep_the_first)
        assert cli.main(["run", "--root", str(root), "--jobs", "1"]) == 1
    said = capsys.readouterr().out
    assert re.search(
        rf"STOPPED: {root / 'build'} cannot be written: No space left on device \(\d+ MB are free\)", said
    )
    assert "1 passed, 0 passed before and unchanged, 0 failed, 2 stopped" in said
    assert "1 of 3 notebooks passed" in (root / "build" / "summary.html").read_text("utf-8")
    assert set(results(root)) == {"00-a"}
    # With room again the rest is run.
    assert cli.main(["run", "--root", str(root)]) == 0
    assert "2 passed, 1 passed before and unchanged, 0 failed" in capsys.readouterr().out


def test_a_summary_that_cannot_be_written_is_not_pointed_to(tmp_path, monkeypatch, capsys):
    root = three(tmp_path)
    monkeypatch.setattr(run, "summary", full_disk)
    assert cli.main(["run", "--root", str(root), "--only", "00"]) == 1
    said = capsys.readouterr().out
    assert "1 passed" in said and "No space left on device" in said and "summary:" not in said


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_what_a_notebook_has_no_room_for_is_not_its_failure(tmp_path):
    root = project(tmp_path, **{"00-a": notebook("print('x' * 5_000_000)"), "01-b": notebook("print(1)")})
    limited = ["sh", "-c", 'ulimit -f 2000; exec "$@"', "sh", *command("run", "--root", root, "--jobs", 1)]
    done = subprocess.run(limited, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 1, done.stdout + done.stderr
    assert (
        f"STOPPED: {root / 'build' / 'partial' / '00-a.ipynb'} cannot be written: File too large"
        in done.stdout
    )
    assert "0 passed, 0 passed before and unchanged, 0 failed, 2 stopped" in done.stdout
    assert results(root) == {}


@pytest.mark.parametrize("arguments", [["run"], ["student"]])
def test_a_target_that_takes_no_files_is_refused_before_anything_runs(tmp_path, capsys, arguments):
    root = three(tmp_path)
    file = tmp_path / "file"
    file.write_text("mine", "utf-8")
    for out, words in {
        file: f"{file} is a file: give a folder with --out",
        file / "folder": f"{file} cannot be written: ",
    }.items():
        assert cli.main([*arguments, "--root", str(root), "--out", str(out)]) == 2
        said = capsys.readouterr()
        assert words in said.err and said.out == ""
    assert file.read_text("utf-8") == "mine" and not (root / "build").exists()


def test_every_command_says_in_words_where_it_cannot_write(tmp_path, monkeypatch, capsys):
    root = three(tmp_path)
    monkeypatch.setattr(os, "fsync", full_disk)
    assert cli.main(["student", "--root", str(root)]) == 1
    target = root / "build" / "student" / "00-a.ipynb"
    assert capsys.readouterr().err == f"cnnbook student: No space left on device: {target}\n"
    assert list(target.parent.iterdir()) == []
