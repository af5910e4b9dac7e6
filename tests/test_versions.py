"""The wheel among other versions (tools/versions.py): what is installed, what runs where, and which tests stay out."""

import ast
import importlib
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

requirements = pytest.importorskip("packaging.requirements")
version = pytest.importorskip("packaging.version")

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ["00-start", "03-vgg", "16-your-own-images", "18-fcn-deconvnet"]
RUNTIMES = sorted((ROOT / "tools" / "runtimes").glob("*.txt"))


@pytest.fixture
def versions(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    return importlib.import_module("versions")


def pins(path):
    lines = path.read_text("utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_what_is_declared_is_what_is_tested(versions):
    """The lower bound of what Colab has is the oldest version among its runtimes, written as far as the bound goes."""
    tested = {}
    for path in RUNTIMES:
        for name, text in pins(path).items():
            tested[name] = min(tested.get(name, version.Version("9999")), version.Version(text))
    declared = {}
    for requirement in map(requirements.Requirement, versions.requirements("cpu,lab,jax")):
        (low,) = (s.version for s in requirement.specifier if s.operator == ">=")
        if requirement.name in tested:
            declared[requirement.name] = version.Version(low).release
    assert {"keras", "tensorflow-cpu", "numpy", "jax", "matplotlib", "pandas", "scikit-image"} <= set(
        declared
    )
    oldest = {name: tested[name].release[: len(low)] for name, low in declared.items()}
    assert declared == oldest


@pytest.mark.parametrize("path", RUNTIMES, ids=lambda path: path.stem)
def test_a_runtime_names_its_python_its_source_and_versions(versions, path):
    head = path.read_text("utf-8").splitlines()[:2]  # and where it differs from the list
    assert re.match(rf"# Colab's runtime {re.escape(path.stem)}, Python 3\.\d+: ", head[0])
    assert re.search(r"googlecolab/backend-info at [0-9a-f]{40}$", head[1])
    assert (3, 11) <= versions.python_of_runtime(path.stem) <= (3, 13)
    held = pins(path)
    assert held["tensorflow"] == held["tensorflow-cpu"] and {"keras", "jax", "numpy", "ipython"} <= set(held)


def test_the_default_runtime_is_there():
    default = re.search(r"^COLAB \?= (\S+)$", (ROOT / "Makefile").read_text("utf-8"), re.M)[1]
    assert default in [path.stem for path in RUNTIMES]


@pytest.fixture
def run(versions, monkeypatch, tmp_path):
    """Runs the tool with pip, pytest and notebooks replaced; gives what was installed, what was called, and the status.

    failing: the parts that shall fail: environment, or what stands in a command.
    """

    def run(*arguments, failing=()):
        made = SimpleNamespace(installed=[], strict=[], calls={}, copied={}, folder=tmp_path)

        def provide(folder, want, install):
            made.installed.append((folder, want, install))
            return int("environment" in failing)

        def wheel(python, folder, strict):
            made.strict.append(strict)
            return True

        def call(python, *arguments, cwd, env):
            part = next(n for n in ("doctor", "tests", "tests/test_distributed.py", "run") if n in arguments)
            made.calls[part] = (arguments, env)
            made.copied = {path.relative_to(cwd).as_posix() for path in cwd.rglob("*.*")}
            assert tmp_path in cwd.parents
            return int(part in failing)

        monkeypatch.setattr(versions.environment, "provide", provide)
        monkeypatch.setattr(versions, "_wheel", wheel)
        monkeypatch.setattr(versions, "_call", call)
        monkeypatch.setattr(versions, "_usable", lambda name: None)
        monkeypatch.setattr(versions.sys, "version_info", (3, 11, 7))
        monkeypatch.setattr(versions.tempfile, "tempdir", str(tmp_path))
        made.status = versions.main(list(arguments))
        return made

    return run


def test_a_runtime_of_colab_is_installed_by_its_file(run):
    made = run("2026.01")
    ((folder, _, install),) = made.installed
    assert made.status == 0 and folder == ROOT / ".venv-colab"
    assert install[:2] == ["-c", str(ROOT / "tools" / "runtimes" / "2026.01.txt")]
    assert any(re.fullmatch(r"keras>=[\d.]+,<[\d.]+", line) for line in install)
    assert made.strict == [True], "versions that do not fit together are a failure"


def test_the_newest_has_no_upper_bounds_and_is_another_tomorrow(run):
    made = run("newest")
    ((folder, want, install),) = made.installed
    assert made.status == 0 and folder == ROOT / ".venv-newest" and made.strict == [False]
    assert install[:3] == ["--upgrade", "--upgrade-strategy", "eager"] and "-c" not in install
    assert any(re.fullmatch(r"keras>=[\d.]+", line) for line in install)
    assert not any("<" in line.partition(";")[0] for line in install)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", want["day"])


def test_tests_and_notebooks_run_on_copies_that_can_import_the_wheel_alone(run, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    made = run("2026.01")
    assert not any(path.startswith("cnnbook/") for path in made.copied)
    assert {path for path in made.copied if path.endswith(".ipynb")} == {
        f"course/notebooks/{name}.ipynb" for name in NOTEBOOKS
    }
    assert {
        "tests/test_fast.py",
        "tests/conftest.py",
        "tests/helpers/nets.py",
        "pyproject.toml",
    } <= made.copied
    assert (
        not {"tests/test_environment.py", "tests/test_benchmarks.py", "tests/test_versions.py"} & made.copied
    )
    for arguments, env in made.calls.values():
        on_jax = "tests/test_distributed.py" in arguments
        assert (
            arguments[0] == "-m"
            and "PYTHONPATH" not in env
            and env.get("KERAS_BACKEND") == ("jax" if on_jax else None)
        )
    assert "not checkout and not every_variant" in made.calls["tests"][0]


STEPS = {"doctor": "doctor", "tests": "tests", "tests/test_distributed.py": "on JAX", "run": "notebooks"}


@pytest.mark.parametrize("part", STEPS)
def test_one_failing_part_fails_the_whole_and_what_was_run_is_kept(run, capsys, part):
    made = run("2026.01", failing=[part])
    assert made.status == 1 and set(made.calls) == set(STEPS)
    said = capsys.readouterr().out
    assert re.findall(r"^  (\S.*\S) +FAILED ", said, re.M) == [STEPS[part]]
    assert Path(re.search(r"what was run is kept: (.*)", said)[1]).is_dir()
    assert run("2026.01").status == 0 and len(list(made.folder.iterdir())) == 1, "what passed leaves nothing"


def test_nothing_runs_without_an_environment(run):
    made = run("2026.01", failing=["environment"])
    assert made.status == 1 and not made.strict and not made.calls


def test_a_python_too_new_for_a_runtime_is_told(versions, run, monkeypatch, capsys):
    monkeypatch.setattr(versions, "python_of_runtime", lambda name: (3, 10))
    assert run("2026.01").status == 2
    assert "make test-colab PYTHON=/path/to/python3.10" in capsys.readouterr().err


# --------------------------------------------------------------------------- which tests stay out

READS = re.compile(r"""\bROOT / f?["'](?!tests\b)|\bProject(?:\.find)?\(ROOT\)""")
MARK = "pytest.mark.checkout"


def definitions(path):
    """(name, names of arguments, source with decorators) of a file's functions, and the rest of the file's source."""
    text = path.read_text("utf-8")
    lines, rest, found = text.splitlines(), text.splitlines(), []
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)]) - 1
            source = "\n".join(lines[first : node.end_lineno])
            found.append((node.name, {a.arg for a in node.args.args}, source))
            rest[first : node.end_lineno] = [""] * (node.end_lineno - first)
    return found, "\n".join(rest)


@pytest.mark.parametrize("path", sorted((ROOT / "tests").glob("test_*.py")), ids=lambda path: path.stem)
def test_what_reads_the_checkout_has_the_mark_and_nothing_else_has(path):
    functions, rest = definitions(path)
    reading = {name for name, _, source in functions if READS.search(source)}
    needs = {name for name, arguments, _ in functions if name in reading or arguments & reading}
    if re.search(rf"^pytestmark = .*{re.escape(MARK)}\b", rest, re.M):
        assert reading or READS.search(rest), "no test of this file needs the mark `checkout`"
        return
    assert not READS.search(rest), (
        "this file reads the checkout as it is imported: give it the mark `checkout`"
    )
    marked = {name for name, _, source in functions if MARK in source}
    assert marked == {name for name in needs if name.startswith("test_")}
