"""What counts as unchanged: a notebook's key follows what its kernel imported, and nothing else of the package."""

import os
import shutil
from pathlib import Path

import pytest
from helpers.notebooks import code, notebook
from helpers.runs import cnnbook, project, results

from cnnbook.course.dependencies import PACKAGE, Package
from cnnbook.course.plan import Keys, Task
from cnnbook.course.project import Project

FILES = {
    "__init__.py": "",
    "graph.py": "",
    "course/__init__.py": "",
    "course/run.py": "",
    "models/__init__.py": "",
    "models/vgg.py": "",
    "models/nasnet.py": "",
    "models/figures.csv": "a, b",
    "data/__init__.py": "",
    "data/files/set.npz": "1, 2, 3",
    "viz/__init__.py": "",
    "pretrained/weights.npz": "0",
}
VGG = ["cnnbook", "cnnbook.models", "cnnbook.models.vgg"]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package") / "cnnbook"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder


@pytest.mark.parametrize(
    "imported, expected",
    [
        ([], set()),
        (["cnnbook"], {"__init__.py", "pretrained/weights.npz"}),
        (
            VGG,
            {
                "__init__.py",
                "models/__init__.py",
                "models/vgg.py",
                "models/figures.csv",
                "pretrained/weights.npz",
            },
        ),
        (["cnnbook.data"], {"data/__init__.py", "data/files/set.npz", "pretrained/weights.npz"}),
        (["cnnbook.models.gone"], {"models/gone.py", "models/figures.csv", "pretrained/weights.npz"}),
        (None, set(FILES)),
    ],
)
def test_the_files_of_what_was_imported(package, imported, expected):
    files = Package(package).files(imported)
    assert {path.relative_to(package).as_posix() for path in files} == expected


@pytest.mark.parametrize(
    "source",
    [
        "script = '''\nfrom cnnbook import graph\n'''",
        "text = f'import cnnbook  # {n}'",
        "run([python, '-m', 'cnnbook.distributed', script])",
        "run([python, '-m', 'cnnbook', 'doctor'])",
        "run(('cnnbook', 'run'))",
        "os.system('python -m cnnbook doctor')",
        "!cnnbook doctor",
        "if 1:\n    !python -m cnnbook doctor",
        "said = !cnnbook doctor",
        "%run -m cnnbook.distributed",
        "%%bash\npython -c 'import cnnbook' && :",
        "%%writefile train.py\nfrom cnnbook import training",
    ],
)
def test_where_another_process_may_import_it_everything_counts(package, source):
    assert Package(package).is_used_elsewhere(source)


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np",
        "import cnnbook\nfrom cnnbook import models",
        "print('cnnbook counts every number')",
        "importlib.util.find_spec('cnnbook')",
        "%matplotlib inline\nif 1:\n    %pip install cnnbook\nimport cnnbook",
        "%%time\nfrom cnnbook import graph",
        "!ls\nfrom cnnbook import graph",
    ],
)
def test_what_the_kernel_imports_is_known_from_the_kernel(package, source):
    assert not Package(package).is_used_elsewhere(source)


def keys(package, root, cells=("from cnnbook import models",), imported=VGG):
    (root / "notebooks").mkdir(exist_ok=True)
    task = Task(root / "notebooks" / "00-a.ipynb", {}, [("code", source) for source in cells])
    return Keys(Project(root), Package(package)).of(task, imported)


@pytest.mark.parametrize(
    "name, cells, imported, changes",
    [
        ("models/vgg.py", ["1"], VGG, True),
        ("models/figures.csv", ["1"], VGG, True),
        ("pretrained/weights.npz", ["1"], VGG, True),
        ("models/nasnet.py", ["1"], VGG, False),
        ("course/run.py", ["1"], VGG, False),
        ("data/files/set.npz", ["1"], VGG, False),
        ("models/nasnet.py", ["1"], None, True),
        ("course/run.py", ["!cnnbook doctor"], VGG, True),
        ("models/nasnet.py", ["script = 'import cnnbook'"], VGG, True),
    ],
)
def test_a_changed_file_changes_the_keys_of_those_that_use_it(
    package, tmp_path, name, cells, imported, changes
):
    before, text = keys(package, tmp_path, cells, imported), (package / name).read_text("utf-8")
    try:
        (package / name).write_text(text + "\n# changed", "utf-8")
        assert (keys(package, tmp_path, cells, imported) != before) == changes
    finally:
        (package / name).write_text(text, "utf-8")


def test_a_module_that_is_gone_changes_the_key(package, tmp_path):
    before = keys(package, tmp_path)
    moved = (package / "models" / "vgg.py").rename(package / "models" / "vgg_net.py")
    try:
        assert keys(package, tmp_path) != before
    finally:
        moved.rename(package / "models" / "vgg.py")


def test_cells_and_what_lies_beside_count(package, tmp_path):
    before = keys(package, tmp_path)
    assert keys(package, tmp_path, cells=["from cnnbook import models as m"]) != before
    (tmp_path / "notebooks" / "table.csv").write_text("1", "utf-8")
    beside = keys(package, tmp_path)
    assert beside != before
    # A script that a notebook may start imports what nobody sees.
    (tmp_path / "notebooks" / "script.py").write_text("from cnnbook import viz", "utf-8")
    assert keys(package, tmp_path) not in (before, beside)
    assert keys(package, tmp_path) == keys(package, tmp_path, imported=None)


def test_versions_and_kernels_count(package, tmp_path, monkeypatch):
    before = keys(package, tmp_path)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert keys(package, tmp_path) != before


def test_a_run_keeps_what_the_kernel_imported_and_an_edit_reruns_those_notebooks(tmp_path):
    root = project(
        tmp_path,
        **{
            "00-doctor": notebook("from cnnbook.course import doctor"),
            "01-vgg": notebook(
                code("sides = 32", tags=["parameters"]), "from cnnbook import models\nmodels.VGG16"
            ),
            "02-tables": notebook("from cnnbook import tables"),
            "03-none": notebook("cnnbook = 1"),
        },
    )
    # A copy of the package, so that it can be edited.
    copy = shutil.copytree(PACKAGE, tmp_path / "cnnbook", ignore=shutil.ignore_patterns("__pycache__"))
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))

    def run():
        # Safe: the current folder holds the package, too.
        done = cnnbook("run", "--root", root, "--jobs", 1, PYTHONPATH=path, PYTHONSAFEPATH="1")
        assert done.returncode == 0, done.stdout + done.stderr
        return {line.split()[0] for line in done.stdout.splitlines() if " running " in line}

    assert run() == {"00-doctor", "01-vgg", "02-tables", "03-none"}
    imported = {name: set(record["imported"]) for name, record in results(root).items()}
    assert imported["03-none"] == set()
    assert imported["02-tables"] == {"cnnbook", "cnnbook.machine", "cnnbook.tables"}
    assert {"cnnbook.course.doctor", "cnnbook.course.board"} < imported["00-doctor"]
    assert "cnnbook.models.vgg" in imported["01-vgg"] and "cnnbook.models.nasnet" not in imported["01-vgg"]
    for name, rerun in {"models/nasnet.py": set(), "course/doctor.py": {"00-doctor"}}.items():
        with open(copy / Path(name), "a", encoding="utf-8") as file:
            file.write("\n# changed\n")
        assert run() == rerun, name
