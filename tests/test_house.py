"""The house rules: short functions, short papers, rooms that say what they hold, imports that only go down."""

import ast
import os
import shutil
import statistics
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from cnnbook import models

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cnnbook"
MODULES = sorted(PACKAGE.rglob("*.py"))
# Papers whose tables are long; everything else that is long should be several functions or several files.
LONG_PAPERS = {"nasnet", "mobilenet_v3"}
PAPERS = {name: PACKAGE / f"models/{name}.py" for name in sorted(set(models.BUILDERS.values()))}
# What a paper's file may import beside other papers.
SHARED = {
    "keras",
    "functools",
    "math",
    "..parts",
    "..parts.blocks",
    "..parts.layers",
    "..weights",
    ".network",
}
# The public face, what notebooks say, and the ground: all that is not a room.
LOOSE = {"__init__", "__main__", "layers", "distributed", "claims", "counts", "exercises", "segmentation"} | {
    *("arguments", "machine", "numerics", "files", "tables", "keras_internals")
}


def lines(node):
    """How many lines a function has, its decorators and its docstring not counted."""
    total = node.end_lineno - node.lineno + 1
    if ast.get_docstring(node, clean=False) is not None:
        total -= node.body[0].end_lineno - node.body[0].lineno + 1
    return total


def functions(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_function_is_longer_than_fifty_lines():
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines(node)}"
        for path in MODULES
        for node in functions(path)
        if lines(node) > 50
    ]
    assert not long, "\n".join(["Longer than 50 lines without the docstring:", *long])


def test_how_lines_of_a_function_are_counted():
    text = 'def f(\n    a,\n):\n    """One.\n\n    Two.\n    """\n    return a\n\ndef g(): return 1\n'
    assert [lines(node) for node in ast.parse(text).body] == [4, 1]


def test_a_paper_is_one_short_file():
    papers = {name: len(path.read_text("utf-8").splitlines()) for name, path in PAPERS.items()}
    assert len(papers) >= 30
    longest = sorted(papers.items(), key=lambda item: -item[1])
    assert statistics.median(papers.values()) <= 60, longest
    assert not [(name, n) for name, n in longest if n > 120 and name not in LONG_PAPERS], longest


def test_no_loose_module():
    loose = {path.stem for path in PACKAGE.glob("*.py")}
    assert not loose - LOOSE, f"{sorted(loose - LOOSE)}: put it into a room"


def rooms():
    return sorted(path.parent for path in MODULES if path.name == "__init__.py" and path.parent != PACKAGE)


@pytest.mark.parametrize("room", rooms(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_room_says_what_lives_there(room):
    """In its docstring; a room that others import from also lists its public names."""
    tree = ast.parse((room / "__init__.py").read_text("utf-8"))
    assert (ast.get_docstring(tree) or "").strip(), f"{room.name} has no docstring"
    assigned = [node.targets for node in tree.body if isinstance(node, ast.Assign)]
    names = {target.id for targets in assigned for target in targets if isinstance(target, ast.Name)}
    assert "__all__" in names or room.parent != PACKAGE, f"{room.name} has no __all__"


@pytest.mark.skipif(find_spec("importlinter") is None, reason="import-linter is not installed")
def test_imports_only_go_down():
    """The contracts of pyproject.toml; `lint-imports` prints each arrow that breaks one."""
    command = shutil.which(
        "lint-imports", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([command, "--no-cache"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", PAPERS)
def test_a_file_leans_on_parts_and_on_the_papers_it_modifies(name):
    imported = set()
    for node in ast.walk(ast.parse(PAPERS[name].read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            imported |= {module} if module != "." else {f".{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
    assert {m for m in imported - SHARED if m.lstrip(".") not in PAPERS} == set()
    if name == "resnet":  # its layers are found in this file and in the block that convolves
        assert not {m.lstrip(".") for m in imported} & PAPERS.keys()


def test_what_a_new_network_with_weights_takes():
    """Its file, with the source of the weights beside the builder, and lines of figures.csv: no other file knows it."""
    others = {path for room in ("models", "parts", "weights") for path in (PACKAGE / room).glob("*.py")}
    others -= {*PAPERS.values()}
    assert [path.name for path in others if "MobileNetV2" in path.read_text("utf-8")] == []
    assert models.imagenet_sources()["MobileNetV2"] is models.MobileNetV2.imagenet
