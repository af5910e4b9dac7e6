"""What counts as unchanged: a notebook's key follows what it imports, and nothing else of the package."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from cnnbook.course.dependencies import Package
from cnnbook.course.plan import Keys, Task
from cnnbook.course.project import Project

ROOT = Path(__file__).parents[1]
LAZY = """
import importlib
_FILES = {TABLE}
def __getattr__(name):
    return getattr(importlib.import_module(f"cnnbook.ROOM.{_FILES[name]}"), name)
"""
FILES = {
    "__init__.py": LAZY.replace("ROOM.", "").replace("{TABLE}", '{"summary": "graph"}'),
    "course/__init__.py": "",
    "course/run.py": "from cnnbook import graph",
    "course/launcher.py": "from cnnbook.data import load",
    "distributed.py": "from .course.launcher import launch",
    "graph.py": "import math",
    "exercises.py": "def check(key):\n    import importlib\n"
    '    return importlib.import_module(f"cnnbook.answers.{key}")',
    "answers/a00.py": "",
    "answers/a01.py": "",
    "data/__init__.py": "from .images import load",
    "data/images.py": "def load():\n    from . import photographs",
    "data/photographs.py": "from ..graph import x",
    "data/unused.py": "",
    "data/files/set.npz": "1, 2, 3",
    "models/__init__.py": LAZY.replace("ROOM", "models").replace("{TABLE}", "dict.fromkeys(())"),
    "models/vgg.py": "import cnnbook.data",
    "models/fcn.py": "from .vgg import block",
    "models/figures.csv": "a, b",
    "viz/__init__.py": LAZY.replace("ROOM", "viz").replace("{TABLE}", '{"film": "films", "space": "maps"}'),
    "viz/films.py": "from cnnbook.models import fcn",
    "viz/maps.py": "",
}
GROUND = {"__init__.py"}
GRAPH = GROUND | {"graph.py"}
DATA = GRAPH | {"data/__init__.py", "data/images.py", "data/photographs.py", "data/files/set.npz"}
VGG = DATA | {"models/__init__.py", "models/vgg.py", "models/figures.csv"}
FILM = VGG | {"models/fcn.py", "viz/__init__.py", "viz/films.py"}
# Of the course what starts processes, since cnnbook.distributed imports it.
ALL = {name for name in FILES if name != "course/run.py"}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package") / "cnnbook"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder


@pytest.mark.parametrize(
    "cells, expected",
    [
        (["import numpy as np", "print('cnnbook, too')"], set()),
        (["import cnnbook"], GROUND),
        (["import cnnbook", "cnnbook.summary(model)"], GRAPH),
        (["from cnnbook import summary"], GRAPH),
        (["import cnnbook as c\nc.graph.trace"], GRAPH),
        (["from cnnbook.course import run"], GRAPH | {"course/__init__.py", "course/run.py"}),
        (["from cnnbook import data"], DATA),
        (["from cnnbook.models import vgg"], VGG),
        (["import cnnbook.models.vgg as v"], VGG),
        (["from cnnbook import models"], VGG | {"models/fcn.py"}),
        (["import cnnbook", "cnnbook.models.VGG16()"], VGG | {"models/fcn.py"}),
        (["from cnnbook.models import VGG16"], VGG | {"models/fcn.py"}),
        (["from cnnbook.viz import film"], FILM),
        (["from cnnbook.viz import space"], GROUND | {"viz/__init__.py", "viz/maps.py"}),
        (["from cnnbook import viz"], FILM | {"viz/maps.py"}),
        (
            ["from cnnbook.exercises import check"],
            GROUND | {"exercises.py", "answers/a00.py", "answers/a01.py"},
        ),
        (
            ["from cnnbook import distributed"],
            DATA | {"distributed.py", "course/__init__.py", "course/launcher.py"},
        ),
        # Code in a string, and a module run by another process.
        (["script = '''\nfrom cnnbook import graph\n'''"], GRAPH),
        (["run([python, '-m', 'cnnbook.graph'])"], GRAPH),
        # Magics.
        (["%matplotlib inline\nif 1:\n    %pip install cnnbook\nimport cnnbook"], GROUND),
        (["%%time\nfrom cnnbook import graph"], GRAPH),
        # In doubt all.
        (["!python -m cnnbook.graph"], ALL),
        (["%%bash\npython -c 'import cnnbook' && :"], ALL),
        (["import cnnbook\nlist(vars(cnnbook))"], ALL),
        (["from cnnbook import *"], ALL),
        (["from cnnbook import no_such_name"], ALL),
        (["import importlib\nimportlib.import_module(name)"], ALL),
        (["import importlib\nimportlib.import_module(f'cnnbook.{name}')"], ALL),
        (["import importlib\nimportlib.import_module('cnnbook.graph')"], GRAPH),
        (["import importlib\nimportlib.import_module('numpy')"], set()),
    ],
)
def test_the_files_that_cells_depend_on(package, cells, expected):
    files = Package(package).files(cells)
    assert {path.relative_to(package).as_posix() for path in files} == expected


def keys(package, root):
    notebooks = {
        "00-data": "from cnnbook import data",
        "01-models": "from cnnbook import models",
        "02-viz": "from cnnbook import viz",
    }
    (root / "notebooks").mkdir(exist_ok=True)
    found = {}
    for name, source in notebooks.items():
        path = root / "notebooks" / f"{name}.ipynb"
        path.write_text(json.dumps({"cells": [{"cell_type": "code", "source": source}]}), "utf-8")
        found[name] = Keys(Project(root), Package(package)).of(Task(path, {}))
    return found


@pytest.mark.parametrize(
    "name, rerun",
    [
        ("viz/maps.py", {"02-viz"}),
        ("models/vgg.py", {"01-models", "02-viz"}),
        ("models/figures.csv", {"01-models", "02-viz"}),
        ("graph.py", {"00-data", "01-models", "02-viz"}),
        ("data/files/set.npz", {"00-data", "01-models", "02-viz"}),
        ("data/unused.py", set()),
        ("course/run.py", set()),
    ],
)
def test_a_changed_file_reruns_the_notebooks_that_use_it(package, tmp_path, name, rerun):
    from cnnbook.course import dependencies

    before, text = keys(package, tmp_path), (package / name).read_text("utf-8")
    try:
        (package / name).write_text(text + "\n# changed", "utf-8")
        dependencies._parse.cache_clear()
        after = keys(package, tmp_path)
    finally:
        (package / name).write_text(text, "utf-8")
    assert {stem for stem in before if before[stem] != after[stem]} == rerun


def test_a_module_beside_the_notebooks_counts_with_what_it_imports(package, tmp_path):
    before = keys(package, tmp_path)
    (tmp_path / "notebooks" / "helper.py").write_text("from cnnbook import viz", "utf-8")
    helped = keys(package, tmp_path)
    assert all(before[stem] != helped[stem] for stem in before)


def test_versions_and_kernels_count(package, tmp_path, monkeypatch):
    before = keys(package, tmp_path)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert not set(before.values()) & set(keys(package, tmp_path).values())


@pytest.mark.checkout
def test_what_a_chapter_loads_is_among_what_it_depends_on():
    """By Python's own record of the modules: the imports of chapter 02, and the names of cnnbook that it uses."""
    notebook = json.loads((ROOT / "notebooks" / "02-lenet-alexnet.ipynb").read_text("utf-8"))
    sources = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    package = Package()
    expected = package.closure(package.imports_of(sources))
    imports = [
        ast.unparse(statement)
        for source in sources
        for statement in ast.parse(source).body
        if isinstance(statement, (ast.Import, ast.ImportFrom))
    ]
    uses = "cnnbook.summary, cnnbook.compare, models.LeNet5, models.AlexNet, viz.stacks, viz.diagram"
    code = "\n".join(
        [*imports, uses, "import sys", "print(*(m for m in sys.modules if m.startswith('cnnbook')))"]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split("\n")[-2].split())
    assert {"cnnbook.graph.rows", "cnnbook.models.lenet"} < loaded <= expected
    assert not {m for m in expected if m.startswith("cnnbook.course")}
