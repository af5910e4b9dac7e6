"""`pytest --nbval notebooks` compares what it should, ignores what is tagged so, notices a dead kernel."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.notebooks import code, notebook, printed, write
from helpers.runs import DIES, faulty_kernels, homeless

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).parents[1]
pytest.importorskip("nbval")
pytest.importorskip("xdist")


def printing(source, text, *tags):
    """A cell and what it is said to have printed."""
    return code(source, printed(text), tags=tags)


def pytest_in(folder, *arguments, **environment):
    started = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment},
        capture_output=True, text=True, encoding="utf-8", timeout=120,
    )  # fmt: skip
    found = re.findall(r"(PASSED|FAILED|ERROR) notebooks/([\w-]+)::ipynb::Cell (\d+)", done.stdout)
    return {(name, int(cell)): result for result, name, cell in found}, done, time.monotonic() - started


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A tiny course with this repository's conftest.py and sanitize file."""
    folder = tmp_path_factory.mktemp("课 程")
    (folder / "notebooks").mkdir()
    shutil.copy(ROOT / "conftest.py", folder)
    shutil.copy(ROOT / "notebooks" / "sanitize.cfg", folder / "notebooks")
    made = {
        "right": notebook(
            printing("print(3 * 9)", "27\n"),
            printing("print('parameters: 138,357,544')", "parameters: 138,357,544\n"),
            printing("import random; print(random.random())", "0.5\n", "nbval-ignore-output"),
            printing("print('accuracy 0.690')", "accuracy 0.667\n", "nbval-approx=0.05"),
            printing("print(object())", "<object object at 0x7f0000000000>\n"),
            printing("print('12/12 - 3s - 250ms/step')", "12/12 - 1s - 90ms/step\n"),
        ),
        "changed": notebook(
            printing("print(3 * 9)", "28\n"),
            printing("print('accuracy 0.690')", "accuracy 0.9\n", "nbval-approx=0.05"),
            printing("print('accuracy 0.690')", "score 0.690\n", "nbval-approx=0.05"),
            printing("print(3 * 9)", "27\n"),
        ),
        "dead": notebook("import os, signal; os.kill(os.getpid(), getattr(signal, 'SIGKILL', 9))"),
    }
    write(folder / "notebooks", made)
    # On two workers, where the cells of a notebook must stay together: conftest.py sees to it.
    return folder, *pytest_in(folder, "--nbval", "notebooks", "-n", "2")


def test_equal_ignored_and_approximate_outputs_pass(course):
    _, found, done, _ = course
    assert [found[("right", i)] for i in range(6)] == ["PASSED"] * 6, done.stdout


def test_a_changed_number_fails(course):
    _, found, done, _ = course
    assert found[("changed", 0)] == found[("changed", 1)] == found[("changed", 2)] == "FAILED", done.stdout
    assert found[("changed", 3)] == "PASSED" and done.returncode == 1


def test_a_dead_kernel_is_named_in_seconds(course):
    _, found, done, seconds = course
    assert found[("dead", 0)] == "FAILED" and "the kernel died" in done.stdout
    assert seconds < 120, "nbval alone waits for the whole time-out of a cell, here 600 s"


def test_pytest_without_nbval_works(course):
    folder, *_ = course
    (folder / "test_one.py").write_text("def test_one():\n    pass\n")
    _, done, _ = pytest_in(folder, "-p", "no:nbval", "test_one.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_kernel_that_does_not_start_is_started_again(course, tmp_path):
    folder, *_ = course
    found, done, _ = pytest_in(
        folder, "--nbval", "notebooks/right.ipynb", "-n", "1", IPYTHONDIR=faulty_kernels(tmp_path, DIES)
    )
    assert [found[("right", i)] for i in range(6)] == ["PASSED"] * 6, done.stdout
    assert "the kernel did not start: Kernel died before replying to kernel_info. It is" in done.stdout


def test_a_home_that_cannot_be_written_changes_no_output(course, tmp_path):
    folder, *_ = course
    figure = notebook(printing("import matplotlib.pyplot\nprint(1)", "1\n"))
    write(folder / "notebooks", {"figure": figure})
    _, done, _ = pytest_in(folder, "--nbval", "notebooks/figure.ipynb", **homeless(tmp_path))
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout
