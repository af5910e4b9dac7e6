"""The GitHub workflows are valid, and everything that they call exists."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps(path):
    for job in yaml.safe_load(path.read_text("utf-8"))["jobs"].values():
        yield from job["steps"]


def test_the_six_are_here():
    assert [p.stem for p in WORKFLOWS] == ["ci", "gpu", "jax", "release", "torch", "weekly"]


@pytest.mark.skipif(find_spec("check_jsonschema") is None, reason="check-jsonschema is not installed")
def test_valid_by_the_schema():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run([*command, *map(str, WORKFLOWS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_what_is_called_exists(path):
    from cnnbook.course.cli import _parser

    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text("utf-8"), re.M)
    for line in "\n".join(s.get("run", "") for s in steps(path)).splitlines():
        for target in re.findall(r"\bmake ([a-z-]+)", line):
            assert target in targets, line
        for arguments in re.findall(r"\bcnnbook (.+)", line):
            _parser().parse_args(arguments.split())  # SystemExit names what is wrong
        for asked in re.findall(r"\.\[([\w,]+)\]", line):
            assert set(asked.split(",")) <= set(extras), line
        for test in re.findall(r"\btests/\w+\.py", line):
            assert (ROOT / test).exists(), line
        assert "constraints.txt" not in line or (ROOT / "constraints.txt").exists()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_code_under_test_gets_no_rights(path):
    """The token of a checkout is not left where a pull request's code can read it, and may read only."""
    workflow = yaml.safe_load(path.read_text("utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in workflow[True]
    checkouts = [s for s in steps(path) if s.get("uses", "").startswith("actions/checkout@")]
    assert checkouts and all(s["with"]["persist-credentials"] is False for s in checkouts)
    for step in steps(path):
        # What others write, such as the title of a pull request, does not become a part of a command.
        assert not re.search(r"\$\{\{(?!\s*matrix\.)", step.get("run", "")), step["run"]


def test_weekly_tries_every_runtime_of_colab_on_its_python():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "weekly.yml").read_text("utf-8"))["jobs"]
    tried = {row["runtime"]: row["python"] for row in jobs["colab"]["strategy"]["matrix"]["include"]}
    files = (ROOT / "tools" / "runtimes").glob("*.txt")
    assert tried == {
        path.stem: re.search(r"Python ([\d.]+)[:,]", path.read_text("utf-8"))[1] for path in files
    }


def test_weekly_leaves_no_test_out_on_the_newest():
    """The wheel's tests (tools/versions.py), then the others and the notebooks, in the environment that it made."""
    runs = [s["run"] for s in steps(ROOT / ".github" / "workflows" / "weekly.yml") if "run" in s]
    newest = runs.index("make test-newest")
    assert runs[newest + 1 :] == [
        '.venv-newest/bin/python -m pytest tests -m "checkout or every_variant"',
        ".venv-newest/bin/python -m pytest --nbval notebooks",
    ]
    tool = (ROOT / "tools" / "versions.py").read_text("utf-8")
    assert 'SELECTED = "not checkout and not every_variant"' in tool and '".venv-newest"' in tool
    assert not any("constraints" in run for run in runs)


def test_jax_runs_every_notebook_without_tensorflow():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "jax.yml").read_text("utf-8"))
    assert workflow[True]["schedule"]  # YAML takes the word `on` for true
    assert "make test-jax-notebooks" in [step.get("run") for step in workflow["jobs"]["jax"]["steps"]]
    recipe = re.search(
        r"^test-jax-notebooks: env-jax\n(.*?)\n\n", (ROOT / "Makefile").read_text("utf-8"), re.M | re.S
    )[1]
    assert recipe.startswith("\t@$(NO_TENSORFLOW)\n")
    assert "KERAS_BACKEND=jax $(PYJAX) -m cnnbook run" in recipe and "--only" not in recipe


def test_gpu_runs_every_notebook_at_full_size():
    runs = [s["run"] for s in steps(ROOT / ".github" / "workflows" / "gpu.yml") if "run" in s]
    (line,) = [r for r in runs if "cnnbook run" in r]
    assert "--profile gpu" in line and "--only" not in line


def test_a_release_tests_the_wheel_and_sends_nothing():
    path = ROOT / ".github" / "workflows" / "release.yml"
    runs = [s["run"] for s in steps(path) if "run" in s]
    assert runs.index("python -m build") < runs.index("python -m twine check --strict dist/*")
    assert {"make test-colab", "make test-newest"} <= set(runs)
    assert not any("upload" in run for run in runs) and "secrets" not in path.read_text("utf-8")
