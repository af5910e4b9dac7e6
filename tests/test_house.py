"""Networks that are their paper's table: how long their files and functions are, and what they lean on."""

import ast
import statistics
from pathlib import Path

import pytest

import cnnbook
from cnnbook import models

ROOT = Path(cnnbook.__file__).parent
PAPERS = {name: ROOT / f"models/{name}.py" for name in sorted(set(models.BUILDERS.values()))}
LONG = {"nasnet", "mobilenet_v3"}  # two cells of thirteen operations; two tables of fifteen rows
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


def functions(path):
    """(name, lines without the docstring) of every function of a file."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            documented = ast.get_docstring(node) is not None
            docstring = first.end_lineno - first.lineno + 1 if documented else 0
            yield node.name, node.end_lineno - node.lineno + 1 - docstring


def test_a_paper_fits_on_a_screen_or_two():
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in PAPERS.items()}
    assert {name: n for name, n in lines.items() if n > 120 and name not in LONG} == {}
    assert statistics.median(lines.values()) <= 60


@pytest.mark.parametrize("room", ["models", "parts", "weights"])
def test_no_function_is_longer_than_fifty_lines(room):
    long = {
        f"{path.name}:{name}": n
        for path in (ROOT / room).glob("*.py")
        for name, n in functions(path)
        if n > 50
    }
    assert long == {}


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
    others = {path for room in ("models", "parts", "weights") for path in (ROOT / room).glob("*.py")}
    others -= {*PAPERS.values()}
    assert [path.name for path in others if "MobileNetV2" in path.read_text("utf-8")] == []
    assert models.imagenet_sources()["MobileNetV2"] is models.MobileNetV2.imagenet
