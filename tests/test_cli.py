"""The command line: wrong input; notebooks that pass, fail, die, sleep and are interrupted."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from helpers.notebooks import code, nbformat, notebook
from helpers.runs import cnnbook, command, project, results

from cnnbook.course import cli, plan
from cnnbook.course.project import Project, UserError, machine_path

ROOT = Path(__file__).parents[1]
pytest.importorskip("papermill")
psutil = pytest.importorskip("psutil")
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


# Two programs that do not end by themselves, the second one not even in the kernel's group.
LEAVES = """
import os, pathlib, signal, subprocess, sys
command = [sys.executable, "-c", "import time; time.sleep(600)"]
left = [subprocess.Popen(command, start_new_session=own) for own in (False, True)]
pathlib.Path("../left.txt").write_text(" ".join(str(process.pid) for process in left))
"""


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """One run of notebooks that pass, fail and die, two at a time."""
    root = project(
        tmp_path_factory.mktemp("run"),
        **{
            "00-good": notebook(
                code("size = 3", tags=["parameters"]), "print('size', size); taken = b'1' * 400_000_000"
            ),
            "01-fails": notebook(
                "before = 1", code("raise ValueError(f'{before} is wrong')", tags=["boom"]), "after = 1"
            ),
            "02-dies": notebook(LEAVES, "os.kill(os.getpid(), getattr(signal, 'SIGKILL', 9))"),
            "03-中文": notebook("import os; print(os.environ.get('TF_NUM_INTRAOP_THREADS'))"),
        },
    )
    (root / "notebooks" / "profiles" / "large.yaml").write_text("00-good: {size: 7}\n", "utf-8")
    return root, cnnbook("run", "--root", root, "--jobs", 2)


def test_one_failure_fails_the_run_and_the_others_still_run(mixed):
    root, done = mixed
    assert done.returncode == 1, done.stdout + done.stderr
    status = {name: r["status"] for name, r in results(root).items()}
    assert status == {"00-good": "passed", "01-fails": "failed", "02-dies": "failed", "03-中文": "passed"}
    assert "2 passed, 0 passed before and unchanged, 2 failed" in done.stdout


def test_failure_names_notebook_cell_tag_and_error(mixed):
    root, done = mixed
    assert "FAILED 01-fails: cell 2 of 3 [boom]\n  ValueError: 1 is wrong" in done.stdout
    assert "FAILED 02-dies: cell 2 of 2\n  the kernel died" in done.stdout
    failed = nbformat.read(root / "build" / "failed" / "01-fails.ipynb", 4)
    assert any(o.output_type == "error" for c in failed.cells for o in c.get("outputs", []))


def test_a_kernel_that_dies_leaves_nothing_that_its_cells_have_started(mixed):
    root, _ = mixed
    left = list(map(int, (root / "left.txt").read_text().split()))
    assert len(left) == 2
    for pid in left:
        end = time.monotonic() + 5
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie":
            assert time.monotonic() < end, f"process {pid} runs on"
            time.sleep(0.05)


def test_two_at_a_time_have_one_thread_each(mixed):
    root, _ = mixed
    executed = nbformat.read(root / "build" / "notebooks" / "03-中文.ipynb", 4)
    assert executed.cells[0].outputs[0].text == "1\n"


@pytest.mark.checkout
def test_the_book_is_rendered_and_the_page_of_a_failed_notebook_says_so(tmp_path):
    for module in ("sphinx", "myst_nb", "bs4"):
        pytest.importorskip(module)
    from bs4 import BeautifulSoup

    def chapter(title, text, source, stored):
        made = notebook(source)
        made.cells.insert(0, nbformat.v4.new_markdown_cell(f"# {title}\n\n{text}", id="title"))
        made.cells[1].outputs = [nbformat.v4.new_output("stream", text=stored)]
        return made

    links = "Then comes [the other](01-fails.ipynb), and [one more](02-half.ipynb)"
    error = "raise ValueError('`[he2016]` is\\nwrong')"
    root = project(
        tmp_path,
        **{
            "00-good": chapter("Good", f"{links}.", "print(6 * 7)", "stale\n"),
            "01-fails": chapter("Fails", "**Does it fail, and where?** Yes.", error, "stored output\n"),
        },
    )
    # This one has no page, and the link to it is plain text.
    (root / "notebooks" / "02-half.ipynb").write_text('{"cells": [', "utf-8")
    (root / "book").mkdir()
    book = ROOT / "book"
    build = (
        f"import runpy, sys; sys.path.insert(0, {str(book)!r})\n"
        f"runpy.run_path({str(book / 'build.py')!r}, run_name='__main__')"
    )
    (root / "book" / "build.py").write_text(build, "utf-8")
    done = cnnbook("run", "--root", root)
    assert done.returncode == 1, "the run has failed although the book is rendered"
    assert (root / "build" / "book" / "index.html").exists(), done.stdout + done.stderr

    def page(name):
        html = (root / "build" / "book" / "notebooks" / f"{name}.html").read_text("utf-8")
        return BeautifulSoup(html, "html.parser").select_one("article")

    good, fails = page("00-good"), page("01-fails")
    assert good.find("a", string="the other")["href"] == "01-fails.html"
    assert "and one more." in good.text and not good.find("a", string="one more")
    assert "42" in good.text and "stale" not in good.text and not good.select(".warning")
    (warning,) = fails.select(".warning")
    assert warning.find_previous("h1") and warning.find_next("strong").text != "Does it fail, and where?"
    said = " ".join(warning.text.split())
    assert "failed on this machine" in said and "cell 2 of 2, ValueError: `[he2016]` is" in said
    assert "The outputs below" in said and "stored in the repository" in said
    assert "stored output" in fails.text
    assert "Does it fail, and where?" in (root / "build" / "book" / "index.html").read_text("utf-8")
    assert not (root / "build" / "partial").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows does not say what a process took")
def test_what_each_notebook_took_is_told(mixed):
    root, done = mixed
    used = {name: r["used"] for name, r in results(root).items()}
    more = used["00-good"]["memory"] - used["03-中文"]["memory"]
    assert 300 < more < 600 and 0 < used["00-good"]["cpu"] < 60
    said = f"{used['00-good']['cpu']:.0f} s of CPU, {used['00-good']['memory']:,} MB"
    assert said in done.stdout and said in (root / "build" / "summary.html").read_text("utf-8")


def test_summary_links_every_notebook(mixed):
    root, _ = mixed
    page = (root / "build" / "summary.html").read_text("utf-8")
    assert "2 of 4 notebooks passed" in page and "ValueError: 1 is wrong" in page
    links = re.findall(r'href="([^"]+)"', page)
    assert {"html/00-good.html", "failed/01-fails.html"} <= set(links)
    for link in links:
        assert (root / "build" / link).is_file(), link


def test_sources_are_left_alone(mixed):
    root, _ = mixed
    for path in (root / "notebooks").glob("*.ipynb"):
        assert "papermill" not in path.read_text("utf-8")
    assert not (root / "build" / "partial").exists() and not (root / "build" / "run.pid").exists()


def test_only_what_changed_or_failed_runs_again(mixed):
    root, _ = mixed
    again = cnnbook("run", "--root", root, "--only", "good,03", "--jobs", 1)
    assert again.returncode == 0 and "0 passed, 2 passed before and unchanged" in again.stdout
    page = (root / "build" / "summary.html").read_text("utf-8")
    assert "failed in an earlier run" in page and "2 of 4 notebooks passed" in page
    # A result that was tampered with, or half written, does not count; nor does one of other parameters.
    (root / "build" / "notebooks" / "03-中文.ipynb").write_text("{}", "utf-8")
    again = cnnbook("run", "--root", root, "--only", "good,03", "--jobs", 2, "--profile", "large")
    assert again.returncode == 0 and "2 passed, 0 passed before and unchanged" in again.stdout
    executed = nbformat.read(root / "build" / "notebooks" / "00-good.ipynb", 4)
    assert "size 7\n" in [o.get("text") for c in executed.cells for o in c.outputs]


def test_wrong_input_says_what_is_possible(mixed, capsys):
    root, _ = mixed
    profiles = root / "notebooks" / "profiles"
    (profiles / "typo.yaml").write_text("00-good: {sise: 7}\n", "utf-8")
    (profiles / "stray.yaml").write_text("99-none: {size: 7}\n", "utf-8")
    (profiles / "broken.yaml").write_text("a: [", "utf-8")
    (profiles / "flat.yaml").write_text("size: 7\n", "utf-8")
    before = results(root)
    for arguments, words in [
        (["--profile", "huge"], ["'huge'", "default", "large"]),
        (["--profile", "typo"], ["'sise'", "00-good", "size"]),
        (["--profile", "stray"], ["'99-none'", "00-good"]),
        (["--profile", "broken"], ["broken.yaml"]),
        (["--profile", "flat"], ["flat.yaml"]),
        (["--only", "vgg"], ["'vgg'", "00-good"]),
        (["--only", ","], ["00-good"]),
        (["--out", str(root / "notebooks")], ["--out"]),
    ]:
        assert cli.main(["run", "--root", str(root), *arguments]) == 2
        said = capsys.readouterr().err
        assert all(w in said for w in words), said
    assert results(root) == before, "wrong input loses no result"
    for arguments in (["--jobs", "0"], ["--jobs", "x"], ["--timeout", "-1"], ["--timeout", "nan"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(["run", "--root", str(root), *arguments])
        assert stop.value.code == 2
        assert repr(arguments[1]) in capsys.readouterr().err


def test_no_course_here(tmp_path, capsys):
    assert cli.main(["run", "--root", str(tmp_path)]) == 2
    assert "no folder notebooks/" in capsys.readouterr().err
    assert cli.main(["run", "--root", str(project(tmp_path))]) == 2
    assert "there is no notebook" in capsys.readouterr().err


def test_timeout(tmp_path):
    root = project(tmp_path, **{"00-slow": notebook("import time; time.sleep(60)")})
    started = time.monotonic()
    done = cnnbook("run", "--root", root, "--timeout", 4)
    assert done.returncode == 1 and time.monotonic() - started < 30
    assert "FAILED 00-slow" in done.stdout and "not done within 4 s" in done.stdout


NAP = """
import os, pathlib, time
pathlib.Path(os.environ["MARKS"], "{name}").write_text(str(os.getpid()))
time.sleep(float(os.environ["NAP"]))
"""


def _with_all_signals():
    """In a new process: these tests may themselves run under nohup, or in the background, where some are ignored."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)


class Napping:
    """A run whose two notebooks sleep in a cell; knows the kernels' process ids."""

    def __init__(self, folder):
        self.marks = folder / "marks"
        self.marks.mkdir()
        names = ("00-a", "01-b")
        self.root = project(folder, **{name: notebook(NAP.format(name=name)) for name in names})

    def start(self, nap, before=()):
        for mark in self.marks.iterdir():
            mark.unlink()
        self.process = subprocess.Popen(
            [*before, *command("run", "--root", self.root, "--jobs", 2)],
            env={**os.environ, "NAP": str(nap), "MARKS": str(self.marks)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            preexec_fn=_with_all_signals,
        )
        self.wait(lambda: len([p for p in self.marks.iterdir() if p.read_text()]) == 2)
        self.kernels = [int(p.read_text()) for p in sorted(self.marks.iterdir())]
        self.workers = psutil.Process(self.process.pid).children()
        return self

    def wait(self, ready, seconds=60):
        end = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < end, "waited too long"
            time.sleep(0.05)

    def nothing_left(self):
        alive = [p for p in self.kernels if psutil.pid_exists(p) and psutil.Process(p).status() != "zombie"]
        return not alive and not any(w.is_running() and w.status() != "zombie" for w in self.workers)


@posix
def test_interruptions_leave_no_process_and_no_result(tmp_path):
    nap = Napping(tmp_path).start(60)
    # The process of one notebook is killed, then Ctrl-C for the rest.
    next(w for w in nap.workers if nap.kernels[0] in [c.pid for c in w.children()]).kill()
    nap.wait(lambda: "00-a" in results(nap.root))
    nap.process.send_signal(signal.SIGINT)
    said, _ = nap.process.communicate(timeout=60)
    assert nap.process.returncode == 130, said
    assert "its process ended by signal 9" in said and "stopped" in said
    nap.wait(nap.nothing_left, 10)
    assert "01-b" not in results(nap.root) and results(nap.root)["00-a"]["status"] == "failed"

    # kill -9 of the runner itself: its workers and kernels go with it.
    nap.start(60)
    second = cnnbook("run", "--root", nap.root)
    assert second.returncode == 2 and f"process {nap.process.pid} is already running" in second.stderr
    nap.process.kill()
    nap.process.communicate()
    nap.wait(nap.nothing_left, 10)
    assert not any(r["status"] == "passed" for r in results(nap.root).values())

    # What is left does not stop or deceive the next run.
    nap.start(0.1)
    said, _ = nap.process.communicate(timeout=60)
    assert nap.process.returncode == 0 and "2 passed, 0 passed before" in said, said


@posix
def test_a_closed_terminal_ends_a_run_and_nohup_keeps_it(tmp_path):
    nap = Napping(tmp_path).start(60)
    nap.process.send_signal(signal.SIGHUP)
    said, _ = nap.process.communicate(timeout=60)
    assert nap.process.returncode == 130, said

    nap.start(2, before=["nohup"])
    nap.process.send_signal(signal.SIGHUP)
    said, _ = nap.process.communicate(timeout=60)
    assert nap.process.returncode == 0 and "2 passed" in said, said


@pytest.mark.checkout
def test_profiles_of_the_course_fit_its_notebooks():
    course = Project.find(ROOT)
    assert course.notebook_paths()
    for path in (ROOT / "notebooks" / "profiles").glob("*.yaml"):
        plan.plan(course, path.stem, None)


def test_help_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys, contextlib; from cnnbook.course import cli\n"
        "with contextlib.suppress(SystemExit): cli.main(['--help'])\n"
        "heavy = {'keras', 'numpy', 'jax', 'papermill', 'nbformat', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout and time.monotonic() - started < 5


def test_module_is_the_command():
    assert "cnnbook 0." in cnnbook("--version").stdout
    assert cnnbook("nonsense").returncode == 2


def test_models_table(monkeypatch, capsys):
    rows = [
        {"builder": "LeNet5", "input": (32, 32, 1), "params": 61706, "macs": 416520, "receptive_field": 32,
         "stride": 4, "source": "LeCun 1998", "note": ""},
        {"builder": "VGG16", "input": (224, 224, 3), "params": 138357544, "macs": 15470264320,
         "receptive_field": 212, "stride": 32, "source": "Table 1", "note": ""},
    ]  # fmt: skip

    def table(only=None, tell=None):
        return [r for r in rows if only is None or only.lower() in r["builder"].lower()]

    monkeypatch.setitem(
        sys.modules, "cnnbook.models", types.SimpleNamespace(table=table, figures=lambda: rows)
    )
    assert cli.main(["models", "--only", "vgg"]) == 0
    said = capsys.readouterr().out
    assert "138,357,544" in said and "224 x 224 x 3" in said and "LeNet5" not in said
    assert cli.main(["models", "--json"]) == 0
    assert [r["builder"] for r in json.loads(capsys.readouterr().out)] == ["LeNet5", "VGG16"]
    assert cli.main(["models", "--only", "resnext"]) == 2
    assert "LeNet5, VGG16" in capsys.readouterr().err


def test_the_doctor_says_what_is_here_and_what_to_do(monkeypatch, capsys):
    from cnnbook import data, machine

    machine.report()
    report = capsys.readouterr().out
    assert f"  python               {machine.versions()['python']}\n" in report
    assert f"  cores                {machine.cores()} usable of {os.cpu_count()}\n" in report
    assert re.search(rf"  keras                [\d.]+ on {machine.backend()}\n", report)
    assert machine_path(report) is None

    monkeypatch.setattr(machine, "memory", lambda: (1.0, 8.0))
    monkeypatch.setattr(data, "where", lambda: 1 / 0)
    assert cli.main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "1.0 GiB free of 8.0" in said
    assert "  - less than 1.5 GiB of memory is free: run one notebook at a time (--jobs 1)\n" in said
    assert "  - cnnbook.data cannot list the data sets: ZeroDivisionError: division by zero\n" in said

    monkeypatch.setenv("KERAS_BACKEND", "nonsense")
    assert cli.main(["doctor"]) == 1
    assert "the backend nonsense is not installed" in capsys.readouterr().out


def test_student_copies(tmp_path):
    made = notebook("1 + 1", code("answer = ...", tags=["exercise"]), code("answer = 2", tags=["solution"]))
    made.cells[0].outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "2"}, execution_count=1)]
    made.cells[0].execution_count = 1
    root = project(tmp_path, **{"00-a": made})
    assert cli.main(["student", "--root", str(root)]) == 0
    copy = nbformat.read(root / "build" / "student" / "00-a.ipynb", 4)
    assert [c.source for c in copy.cells] == ["1 + 1", "answer = ..."]
    assert all(c.outputs == [] and c.execution_count is None for c in copy.cells)


def test_choose():
    from cnnbook.course.project import choose

    paths = [Path(f"{n}.ipynb") for n in ("00-start", "03-vgg", "08-residual-learning")]
    assert choose(paths, None, "notebook") == paths
    assert choose(paths, "residual, 00", "notebook") == [paths[0], paths[2]]
    assert choose(paths, "03-vgg.ipynb", "notebook") == [paths[1]]
    with pytest.raises(UserError, match="'inception'; there is: 00-start, 03-vgg"):
        choose(paths, "inception", "notebook")


@pytest.mark.parametrize("text", ["saved to /home/ann/x.npz", r"C:\Users\ann\x", f"in {Path.home()}/x"])
def test_machine_paths_are_seen(text):
    assert machine_path(text)


@pytest.mark.parametrize("text", ["https://example.org/home/page", "train/val", "a / b", "1/home"])
def test_other_texts_are_no_machine_path(text):
    assert machine_path(text) is None


def test_the_longest_notebooks_start_first_and_a_new_one_by_its_size():
    lines = dict(short=10, new=30, long=20, tiny=2, failed=10, stopped=10)
    tasks = [
        plan.Task(Path(f"{name}.ipynb"), {}, [("markdown", "text\n" * 99), ("code", "x\n\n" * n)])
        for name, n in lines.items()
    ]
    records = dict.fromkeys(lines, {}) | {
        "short": dict(status="passed", seconds=3.0),
        "long": dict(status="passed", seconds=90.0),
        "failed": dict(status="failed", seconds=1.0),
        "stopped": dict(status="failed", seconds=1800.0),
    }
    # 93 s for 30 lines.
    expected = plan.expected_seconds(tasks, records)
    assert expected == dict(short=3.0, new=93.0, long=90.0, tiny=6.2, failed=31.0, stopped=1800.0)
    ordered = [task.name for task in plan.longest_first(tasks, expected)]
    assert ordered == ["stopped", "new", "long", "failed", "tiny", "short"]
    nothing_known = plan.expected_seconds(tasks, dict.fromkeys(lines, {}))
    assert plan.longest_first(tasks, nothing_known)[0].name == "new"
