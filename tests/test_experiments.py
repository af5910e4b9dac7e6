"""Experiments: what a file of them holds, what its evidence stands on, and `cnnbook reproduce`, on a toy package."""

import _thread
import importlib
import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from cnnbook import experiments
from cnnbook.course import experiment as child
from cnnbook.course import jobs
from cnnbook.course import reproduce as command
from cnnbook.course.project import UserError
from cnnbook.experiments import Experiment
from cnnbook.experiments.common.evidence import together
from cnnbook.experiments.common.room import Room
from cnnbook.sources.imports import _parse
from cnnbook.sources.parts import _statements
from cnnbook.training import History

pytestmark = pytest.mark.jax
LINES = '''"""Toy experiments."""

import os
import time

import numpy as np

from cnnbook.experiments import Experiment
from {package} import data, viz
from {package}.parts import noise as rough

SCALE = 1.0


def square(x):
    """x times x."""
    return SCALE * x**2  # a comment


def line(*, slope, n, seed):
    """Points of a curve."""
    print("drawing", n)
    y = slope * square(np.arange(n)) + rough.noise(n, seed) + data.OFFSET
    return {{"points": y, "top": y.max(), "n": n}}


def other(*, slope, n, seed):
    """Waits where it is told to, so that somebody can interrupt it."""
    while slope and os.path.exists(os.environ.get("TOY_WAITS", "")):
        time.sleep(0.05)
    return {{"top": float(slope + seed)}}


LINE = Experiment(
    line, variants={{"flat": dict(slope=0.0), "steep/up": dict(slope=2.0)}},
    live=dict(n=3), kept=dict(n=5), live_seeds=2, kept_seeds=2,
)
OTHER = Experiment(
    other, variants={{"now": dict(slope=0), "later": dict(slope=1)}}, live=dict(n=1), kept=dict(n=2), kept_seeds=1,
)
'''
FILES = {
    "__init__.py": '"""Toy."""\n',
    "data/__init__.py": '"""Data."""\n\nOFFSET = 3.0\n',
    "parts/__init__.py": '"""Parts."""\n',
    "parts/noise.py": "import numpy as np\n\n\ndef noise(n, seed):\n    return np.random.default_rng(seed).normal(size=n)\n",
    "viz/__init__.py": '"""Viz."""\n',
    "experiments/__init__.py": '"""Experiments."""\n',
}


@pytest.fixture
def room(tmp_path, monkeypatch):
    """The experiments of a package of its own, in which files can be edited."""
    package = f"toybook_{tmp_path.name.replace('-', '_')}"
    for name, text in {**FILES, "experiments/lines.py": LINES.format(package=package)}.items():
        path = tmp_path / "path" / package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    importlib.invalidate_caches()
    yield Room(f"{package}.experiments")
    for name in [name for name in sys.modules if name.startswith(package)]:
        del sys.modules[name]


@pytest.fixture
def quick(room, monkeypatch):
    """The same, with runs in this process."""

    def work_here(trials, jobs, timeout, finished, board):
        for trial in trials:
            partial = finished.scratch / trial.file
            try:
                trial.status = child.execute(trial.job(partial), lambda **said: None)["status"]
            except Exception as error:
                trial.status, trial.error = "failed", f"{type(error).__name__}: {error}"
            finished.keep(trial, partial)

    monkeypatch.setattr(jobs, "work", work_here)
    return room


def reproduced(room, tmp_path, *names, **options):
    return command.reproduce(list(names or ["lines.line"]), tmp_path / "runs", room=room, **options)


def edit(room, name, old, new):
    """Edits a file of the package; returns its experiments as another process would find them."""
    path = room.folder.parent / name
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    _parse.cache_clear()
    _statements.cache_clear()
    for module in [name for name in sys.modules if name.startswith(room.package)]:
        del sys.modules[module]
    importlib.invalidate_caches()
    return Room(room.package)


def test_experiments_go_by_file_and_name(room):
    assert room.names() == ["lines.line", "lines.other"]
    line = room.load("lines.line")
    assert line.name == "lines.line" and list(line.variants) == ["flat", "steep/up"]
    with pytest.raises(ValueError, match="no experiment 'lines.lin'; there is: lines.line, lines.other"):
        room.load("lines.lin")
    with pytest.raises(ValueError, match="there is no experiment 'nothing'"):
        experiments.load("nothing")


def test_the_live_size_runs_here(room, capsys):
    runs = room.load("lines.line").live(seed=7)
    assert [(run.variant, run.seed) for run in runs] == [
        ("flat", 7), ("flat", 8), ("steep/up", 7), ("steep/up", 8)
    ]  # fmt: skip
    assert [run.values["n"] for run in runs] == [3] * 4 and capsys.readouterr().out == "drawing 3\n" * 4
    noise = [np.random.default_rng(seed).normal(size=3) for seed in (7, 8)]
    assert runs.arrays("points")["flat"] == pytest.approx(np.array(noise) + 3)
    mean, low, high = runs.spread("points")["steep/up"]
    assert mean == pytest.approx(np.mean(noise, 0) + 3 + [0, 2, 8])
    assert low == pytest.approx(np.min(noise, 0) + 3 + [0, 2, 8]) and (high >= low).all()
    tops = [n.max() + 3 for n in noise]
    assert runs.spread("top")["flat"] == pytest.approx((np.mean(tops), min(tops), max(tops)))
    table = runs.table("top")
    assert list(table.columns) == ["seeds", "mean", "lowest", "highest"] and table.loc["flat", "seeds"] == 2
    assert list(runs.table("points").index)[3:] == [("steep/up", 0), ("steep/up", 1), ("steep/up", 2)]


def test_a_line_says_how_far_it_is_where_it_takes_long(room, capsys, monkeypatch):
    monkeypatch.setattr(experiments.common.experiment, "PATIENCE", 0)
    room.load("lines.line").live(seeds=1)
    assert "lines.line: 100%" in capsys.readouterr().out


def test_live_sizes_seeds_and_variants_can_be_chosen(room):
    line = room.load("lines.line")
    (run,) = line.live(seeds=1, variants=["steep/up"], n=4)
    assert (run.variant, run.seed, len(run.values["points"])) == ("steep/up", 0, 4)
    for arguments, words in (
        (dict(m=3), "has no size 'm'; it has: n"),
        (dict(variants=["up"]), "has no variant 'up'; it has: flat, steep/up"),
        (dict(seeds=0), "seeds is a whole number of at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=words):
            line.live(**arguments)
    with pytest.raises(AttributeError, match="no history but values: points, top, n"):
        _ = run.history
    with pytest.raises(ValueError, match="nothing called 'loss' was measured; there is: points, top, n"):
        experiments.Runs([run]).spread("loss")


def trained(*, rate, epochs, seed):
    return History("net", {"loss": [rate / (1 + e + seed) for e in range(epochs)]}, dict(seed=seed), 2.0)


def test_histories_are_grouped_as_curves_take_them():
    sizes = dict(live=dict(epochs=3), kept=dict(epochs=4))
    experiment = Experiment(trained, variants={"slow": dict(rate=1.0), "fast": dict(rate=2.0)}, **sizes)
    runs = experiment.live(seeds=2)
    assert {v: [h.settings["seed"] for h in hs] for v, hs in runs.histories().items()} == {
        "slow": [0, 1], "fast": [0, 1]
    }  # fmt: skip
    assert runs.spread("loss")["fast"] == pytest.approx((7 / 12, 1 / 2, 2 / 3))
    assert runs.spread("loss", last=2)["slow"] == pytest.approx(((5 / 12 + 7 / 24) / 2, 7 / 24, 5 / 12))
    assert runs.arrays("loss")["slow"].shape == (2, 3)
    assert experiments.Run.from_dict(json.loads(json.dumps(runs[0].to_dict()))).history.curves == {
        "loss": [1.0, 0.5, 0.33333]
    }
    with pytest.raises(ValueError, match="was not loaded by its name, so nothing is kept"):
        experiment.evidence()


@pytest.mark.parametrize(
    "changed, words",
    [
        (
            dict(kept=dict(epoch=4)),
            "missing a required argument: 'epochs'|unexpected keyword argument 'epoch'",
        ),
        (dict(live=dict(epochs=3, rate=1)), "'slow', live size: rate is given twice"),
        (dict(live=dict(epochs=3, seed=1)), "seed is given twice; the seed comes by itself"),
        (dict(kept_seeds=0), "kept_seeds is a whole number of at least 1, got 0"),
        (dict(variants={}), "needs at least one variant"),
        (dict(variants={"slow": dict(rate=trained)}), "rate is function, which no file can hold"),
    ],
)
def test_parameters_that_do_not_fit_are_said(changed, words):
    fits = dict(variants={"slow": dict(rate=1.0)}, live=dict(epochs=3), kept=dict(epochs=4))
    with pytest.raises(ValueError, match=words):
        Experiment(trained, **{**fits, **changed})


@pytest.mark.parametrize("returned", [None, [1.0], {}, {"a": "text"}, {"a": [[1.0]]}])
def test_a_function_returns_a_history_or_numbers_by_name(returned):
    def wrong(*, seed):
        return returned

    with pytest.raises(TypeError, match="number or (a )?list of numbers"):
        Experiment(wrong, variants={"one": {}}, live={}, kept={}).live()


def test_a_key_follows_code_and_parameters(room):
    before = {name: room.load(name).key for name in room.names()}

    def changed(name, old, new):
        now = edit(room, name, old, new)
        found = {n for n in now.names() if now.load(n).key != before[n]}
        edit(room, name, new, old)
        return found

    both = {"lines.line", "lines.other"}
    lines = "experiments/lines.py"
    # What decides nothing.
    assert changed(lines, "  # a comment", "  # another") == set()
    assert changed(lines, "x times x", "The square of x") == set()
    assert changed(lines, "import time\n", "import time\nimport json\n") == set()
    assert changed(lines, "import noise as rough", "import noise, noise as rough") == set()
    assert (
        changed("viz/__init__.py", "Viz.", "Viz.\n") == changed("data/__init__.py", "Data.", "All.") == set()
    )
    assert changed(lines, "live=dict(n=3)", "live=dict(n=4)") == set()
    # The function, one that it calls, a constant that this reads, modules that it imports.
    assert changed(lines, "slope * square", "-slope * square") == {"lines.line"}
    assert changed(lines, "x**2", "x**3") == changed(lines, "SCALE = 1.0", "SCALE = 2.0") == {"lines.line"}
    assert changed("data/__init__.py", "3.0", "4.0") == {"lines.line"}
    assert changed("parts/noise.py", "normal(", "uniform(") == {"lines.line"}
    assert changed(lines, "import data, viz", "import viz as data") == {"lines.line"}
    # Parameters of the kept size, seeds and variants.
    assert changed(lines, "kept=dict(n=5)", "kept=dict(n=6)") == {"lines.line"}
    assert changed(lines, "kept_seeds=1", "kept_seeds=2") == {"lines.other"}
    assert changed(lines, "slope=2.0", "slope=2.5") == changed(lines, '"flat"', '"level"') == {"lines.line"}
    assert changed(lines, "seed):", "seed, **more):") == both


def test_evidence_is_made_and_read(quick, tmp_path, capsys):
    line = quick.load("lines.line")
    with pytest.raises(FileNotFoundError, match="lines.line is not made yet: cnnbook reproduce lines.line"):
        line.evidence()
    assert reproduced(quick, tmp_path) == 0
    out = capsys.readouterr().out
    assert "lines.line: 4 runs at n=5\n" in out and f": {quick.kept / 'lines.line.json'}" in out
    kept = line.evidence()
    assert [(run.variant, run.seed) for run in kept] == line.kept_runs and kept.current
    assert kept.parameters == line.parameters == {
        "variants": {"flat": {"slope": 0.0}, "steep/up": {"slope": 2.0}}, "kept": {"n": 5}, "seeds": 2
    }  # fmt: skip
    assert (
        kept.key == line.key
        and {"date", "processor", "cores", "python", "keras", "numpy"} <= kept.facts.keys()
    )
    expected = 2 * np.arange(5) ** 2 + np.random.default_rng(1).normal(size=5) + 3
    assert kept.of("steep/up")[1].values["points"] == pytest.approx(expected, rel=5e-5)
    assert "2 variants x 2 seeds, n=5, 0 CPU seconds a run" in kept.in_words()
    # A line for each run, and numbers of five digits.
    text = (quick.kept / "lines.line.json").read_text("utf-8")
    assert sum(line.startswith('  {"variant"') for line in text.splitlines()) == 4 and len(text) < 2000


def runs_done(monkeypatch):
    done = []
    execute = child.execute
    monkeypatch.setattr(
        child, "execute", lambda job, tell: done.append((job["variant"], job["seed"])) or execute(job, tell)
    )
    return done


def test_what_has_run_is_not_run_again(quick, tmp_path, capsys, monkeypatch):
    done = runs_done(monkeypatch)
    assert reproduced(quick, tmp_path) == 0 and len(done) == 4
    written = (quick.kept / "lines.line.json").stat().st_mtime_ns
    assert reproduced(quick, tmp_path) == 0 and len(done) == 4
    assert "4 of them done before" in capsys.readouterr().out
    assert (quick.kept / "lines.line.json").stat().st_mtime_ns == written
    # More seeds, in a fresh clone: those of the evidence stay.
    room = edit(quick, "experiments/lines.py", "kept_seeds=2", "kept_seeds=3")
    assert not room.load("lines.line").evidence().current
    assert command.reproduce(["lines"], tmp_path / "clone", room=room) == 0
    assert done[4:] == [("flat", 2), ("steep/up", 2), ("now", 0), ("later", 0)]
    assert room.load("lines.line").evidence().current and len(room.load("lines.line").evidence()) == 6
    # Another name for a variant is no other run.
    room = edit(room, "experiments/lines.py", '"flat"', '"level"')
    assert reproduced(room, tmp_path) == 0 and len(done) == 8
    assert room.load("lines.line").evidence().variants == ["level", "steep/up"]
    # Code that has changed, and --fresh.
    room = edit(room, "parts/noise.py", "normal(", "uniform(")
    assert reproduced(room, tmp_path) == 0 and len(done) == 14
    assert reproduced(room, tmp_path, fresh=True) == 0 and len(done) == 20


def test_evidence_of_other_seeds_or_elsewhere_leaves_the_package_alone(quick, tmp_path):
    assert reproduced(quick, tmp_path, seeds=1) == 0 and not quick.kept.exists()
    stored = json.loads((tmp_path / "runs" / "lines.line.json").read_text("utf-8"))
    assert stored["parameters"]["seeds"] == 1 and len(stored["runs"]) == 2
    assert reproduced(quick, tmp_path) == 0
    kept = (quick.kept / "lines.line.json").read_bytes()
    # A reproduction is one: the package's evidence is not looked at.
    assert command.reproduce(["lines.line"], tmp_path / "again", room=quick, apart=True) == 0
    assert (tmp_path / "again" / "lines.line.json").exists() and len(
        list((tmp_path / "again/runs").iterdir())
    ) == 4
    assert (quick.kept / "lines.line.json").read_bytes() == kept


def test_what_is_half_written_does_not_count(quick, tmp_path, monkeypatch):
    done = runs_done(monkeypatch)
    assert reproduced(quick, tmp_path) == 0
    line, path = quick.load("lines.line"), quick.kept / "lines.line.json"
    whole = path.read_text("utf-8")
    path.write_text(whole[:-40], "utf-8")
    with pytest.raises(
        ValueError, match="lines.line.json is not whole: cnnbook reproduce lines.line makes it"
    ):
        line.evidence()
    assert command.state(line)[0] == "not whole"
    first = tmp_path / "runs" / "runs" / f"{line.run_key('flat', 0)}.json"
    first.write_text(first.read_text("utf-8")[:-3], "utf-8")
    other = tmp_path / "runs" / "runs" / f"{line.run_key('flat', 1)}.json"
    other.write_text("[1]", "utf-8")
    assert reproduced(quick, tmp_path) == 0 and done[4:] == [("flat", 0), ("flat", 1)]
    assert line.evidence().current
    path.write_text('{"runs": [1]}', "utf-8")
    with pytest.raises(ValueError, match="holds no evidence"):
        line.evidence()


def test_a_run_that_fails_leaves_the_others(quick, tmp_path, capsys):
    room = edit(
        quick, "experiments/lines.py", 'print("drawing", n)', "assert slope == 0 or seed == 0, 'too steep'"
    )
    assert reproduced(room, tmp_path) == 1
    out = capsys.readouterr().out
    assert "lines.line: 3 of 4 runs are kept, 1 are to do; no evidence is written" in out
    assert "FAILED steep/up, seed 1: AssertionError: too steep" in out
    assert not room.kept.exists() and len(list((tmp_path / "runs/runs").iterdir())) == 3


def test_names_that_there_are_not(room, tmp_path):
    with pytest.raises(
        UserError, match="no experiment 'curve', nor a file of that name; there is: lines.line, "
    ):
        reproduced(room, tmp_path, "curve")


def test_the_list_and_the_line_of_lint(quick, tmp_path):
    assert command.standing(quick) == (
        "2 experiments: 0 with evidence, 0 with evidence of an earlier version, 2 without\n"
        "  lines.line: not made yet\n  lines.other: not made yet"
    )
    assert reproduced(quick, tmp_path, "lines") == 0
    assert command.standing(quick).startswith("2 experiments: 2 with evidence, 0 with")
    room = edit(quick, "parts/noise.py", "normal(", "uniform(")
    assert command.standing(room).endswith("earlier version, 0 without\n  lines.line: of an earlier version")
    date = room.load("lines.line").evidence().facts["date"]
    rows = [line.split("  ") for line in command.listed(room=room).splitlines()[2:]]
    assert [[cell.strip() for cell in row if cell.strip()] for row in rows] == [
        ["lines.line", "n=5", "2 x 2", "0", "0", date, "of an earlier version"],
        ["lines.other", "n=2", "2 x 1", "0", "0", date, "current"],
    ]
    assert "lines.line" not in command.listed(["lines.other"], room)


def test_facts_of_several_machines_stand_together():
    one = dict(date="2026-01-02", processor="P", cores=2)
    assert together([one, dict(one, date="2026-01-01", processor="Q")]) == dict(one, processor="P; Q")


def test_an_interrupted_call_goes_on_where_it_was(room, tmp_path, monkeypatch, capsys):
    """In processes of their own, as in life."""
    pytest.importorskip("psutil")
    (tmp_path / "waits").touch()
    monkeypatch.setenv("TOY_WAITS", str(tmp_path / "waits"))

    def interrupt():
        for _ in range(6000):
            if list((tmp_path / "runs" / "runs").glob("*.json")):
                break
            time.sleep(0.1)
        _thread.interrupt_main()

    thread = threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        thread.start()
        assert reproduced(room, tmp_path, "lines.other", jobs=2) == 130
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert "lines.other: 1 of 2 runs are kept, 1 are to do" in capsys.readouterr().out
    assert not room.kept.exists() and not (tmp_path / "runs" / "partial").exists()
    (tmp_path / "waits").unlink()
    assert reproduced(room, tmp_path, "lines.other", jobs=2) == 0
    out = capsys.readouterr().out
    assert "2 runs at n=2, 1 of them done before" in out and "lines.other, later, seed 0  passed" in out
    assert room.load("lines.other").evidence().spread("top") == {"now": (0, 0, 0), "later": (1, 1, 1)}


def read_by_a_chapter():
    """The experiments that chapters load and do not run live alone; `cnnbook reproduce --list` also names those whose runs
    are not made yet."""
    read = set()
    for path in (Path(__file__).parents[1] / "chapters").glob("*.md"):
        text = path.read_text("utf-8")
        loaded = dict(re.findall(r'^(\w+) = experiments\.load\("([\w.]+)"\)$', text, re.M))
        live_alone = {name for variable, name in loaded.items() if f"{variable}.evidence()" not in text}
        read |= set(re.findall(r'"(\w+\.\w+)"', text)) - live_alone
    return [name for name in experiments.names() if name in read]


def test_chapters_load_experiments_by_their_names():
    assert len(read_by_a_chapter()) >= 28 and "fcn.strides" in read_by_a_chapter()


@pytest.mark.parametrize("name", read_by_a_chapter())
def test_the_evidence_of_the_chapters_is_there(name):
    """All variants with all seeds, with the parameters that stand in the code. Whether it is current, lint says."""
    experiment = experiments.load(name)
    kept = experiment.evidence()
    assert kept.parameters == experiment.parameters
    assert [(run.variant, run.seed) for run in kept] == experiment.kept_runs
    assert all(kept.keys[run] for run in experiment.kept_runs)
