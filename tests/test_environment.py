"""What is installed where: pyproject.toml, environment.yml, constraints.txt, Makefile and README agree."""

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

requirements = pytest.importorskip("packaging.requirements")
specifiers = pytest.importorskip("packaging.specifiers")
yaml = pytest.importorskip("yaml")

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
CONSTRAINTS = [
    line
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]


def named(lines):
    return {requirements.Requirement(line).name.lower().replace("_", "-") for line in lines}


def environment_module():
    spec = importlib.util.spec_from_file_location("environment", ROOT / "tools" / "environment.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_base_brings_no_backend():
    assert named(PROJECT["dependencies"]) == {"filelock", "keras", "numpy", "tqdm"}
    for extra in ("lab", "test", "book", "dev", "jax", "torch"):
        assert not any(name.startswith("tensorflow") for name in named(EXTRAS[extra])), extra


def test_jax_and_torch_run_the_same():
    assert EXTRAS["jax"][0].startswith("jax>") and EXTRAS["torch"][0].startswith("torch>")
    assert EXTRAS["jax"][1:] == EXTRAS["torch"][1:]


def test_environment_yml_agrees():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    assert conda["name"] == PROJECT["name"] and conda["channels"][-1] == "nodefaults"
    plain = {re.split("[=>]", d)[0]: d for d in conda["dependencies"] if isinstance(d, str)}
    assert set(plain) == {"python", "pip"}, "everything else comes from pyproject.toml"
    python = plain["python"].partition("=")[2]
    assert specifiers.SpecifierSet(PROJECT["requires-python"]).contains(f"{python}.0")
    constraints, install = next(d["pip"] for d in conda["dependencies"] if isinstance(d, dict))
    assert constraints == "-c constraints.txt"
    asked = re.fullmatch(r"-e \.\[(.+)\]", install)[1].split(",")
    dev = re.fullmatch(r"cnnbook\[(.+)\]", EXTRAS["dev"][0])[1].split(",")
    assert asked == ["cpu", *dev]


def test_constraints_hold_names_and_versions_only():
    for line in CONSTRAINTS:
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*==[0-9][\w.]*", line), line
    assert len(named(CONSTRAINTS)) == len(CONSTRAINTS)


def test_uv_is_held_to_the_same_versions():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
    assert tools["uv"]["constraint-dependencies"] == CONSTRAINTS
    assert "uv.lock" in (ROOT / ".gitignore").read_text("utf-8").split()


def test_constraints_cover_and_satisfy_what_is_asked():
    pinned = {r.name: str(r.specifier)[2:] for r in map(requirements.Requirement, CONSTRAINTS)}
    asked = [
        PROJECT["dependencies"],
        *(lines for extra, lines in EXTRAS.items() if extra not in ("gpu", "dev")),
    ]
    for requirement in map(requirements.Requirement, sum(asked, [])):
        assert requirement.name in pinned, f"constraints.txt lacks {requirement.name}"
        assert requirement.specifier.contains(pinned[requirement.name]), str(requirement)


def test_what_the_package_imports_stands_in_an_extra():
    names = {
        "IPython": "ipykernel",
        "PIL": "pillow",
        "nbclient": "papermill",
        "nbconvert": "jupyterlab",
    }
    names |= {"nbformat": "jupytext", "scipy": "scikit-image", "skimage": "scikit-image", "yaml": "papermill"}
    names |= {
        "sklearn": "scikit-learn",
        "tensorflow": "tensorflow-cpu",
        "h5py": "keras",
        "packaging": "keras",
        "fontTools": "matplotlib",
        "torch": "keras",  # one of its backends, asked only where it is Keras' own
    }  # the rest: what brings them, or their own
    asked = named(PROJECT["dependencies"]) | named(EXTRAS["cpu"] + EXTRAS["lab"] + EXTRAS["jax"])
    for path in (ROOT / "cnnbook").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else found
            for top in (
                {name.partition(".")[0] for name in found} - set(sys.stdlib_module_names) - {"cnnbook"}
            ):
                assert names.get(top, top).replace("_", "-") in asked, f"{path.name} imports {top}"


def test_no_package_index_is_named():
    words = re.compile(r"index-url|find-links|trusted-host|INDEX_URL|://[\w.-]*/simple")
    names = (
        "Makefile",
        "pyproject.toml",
        "constraints.txt",
        "environment.yml",
        ".ci/run",
        "tools/environment.py",
    )
    for path in [*(ROOT / n for n in names), *(ROOT / ".github" / "workflows").glob("*.yml")]:
        assert not words.search(path.read_text("utf-8")), path.name


def test_make_installs_extras_that_exist():
    asked = re.findall(r"tools/environment\.py \S+ (\S+)", (ROOT / "Makefile").read_text("utf-8"))
    assert asked == ["cpu,dev", "jax", "torch", "cpu,bench"]
    for extras in asked:
        assert set(extras.split(",")) <= set(EXTRAS)


def test_make_targets_are_those_of_the_readme():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    assert targets >= {"run", "test", "test-jax", "lab", "book", "lint", "bench", "sync", "student", "doctor"}
    assert targets <= set(re.search(r"\.PHONY: (.*)", makefile)[1].split())
    mentioned = set(re.findall(r"\bmake ([a-z-]+)", (ROOT / "README.md").read_text("utf-8")))
    assert mentioned <= targets and {"run", "test"} <= mentioned


def test_files_with_the_mark_jax_run_without_tensorflow():
    """`make test-jax` selects by the mark alone, so a file that lost it would fall out without a word."""
    texts = {
        path.stem.removeprefix("test_"): path.read_text("utf-8") for path in ROOT.glob("tests/test_*.py")
    }
    marked = {
        name
        for name, text in texts.items()
        if re.search(r"^pytestmark = .*\bpytest\.mark\.jax\b", text, re.M)
    }
    assert marked >= {
        "distributed",
        "fast",
        "graph",
        "models",
        "published_figures",
        "training",
        "weight_ports",
    }
    for name in marked:
        imports = [
            node for node in ast.parse(texts[name]).body if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        modules = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
        modules |= {node.module for node in imports if isinstance(node, ast.ImportFrom)}
        assert not {m.split(".")[0] for m in modules} & {"tensorflow", "tensorflow_datasets"}, name
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert '$(PYJAX) -m pytest tests -m "jax and not every_variant"' in makefile


def test_files_with_the_mark_torch_are_those_that_stand_on_lines_of_its_own():
    texts = {
        path.stem.removeprefix("test_"): path.read_text("utf-8") for path in ROOT.glob("tests/test_*.py")
    }
    marked = {
        name
        for name, text in texts.items()
        if re.search(r"^pytestmark = .*\bpytest\.mark\.torch\b", text, re.M)
    }
    assert marked >= {"backends", "gradients", "numerics", "saved_models", "segmentation", "viz_inside"}
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert '$(PYTORCH) -m pytest tests -m "torch and not every_variant"' in makefile


def test_ci_runs_the_tests_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert re.search(r"for target in lint book test-jax test;", script)
    assert subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")]).returncode == 0


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """tools/environment.py with pip and venv replaced: `calls` lists what it would have done."""
    module = environment_module()
    folder = tmp_path / "环 境"
    calls, outcome = [], {"pip": 0}

    def venv(target):
        calls.append("venv")
        module.python_of(target).parent.mkdir(parents=True, exist_ok=True)
        module.python_of(target).touch()
        return True

    def pip(target, arguments, started):
        calls.append("pip")
        if isinstance(outcome["pip"], BaseException):
            raise outcome["pip"]
        return outcome["pip"]

    monkeypatch.setattr(module, "_venv", venv)
    monkeypatch.setattr(module, "_pip", pip)
    return module, folder, calls, outcome


def test_environment_is_made_once(setup):
    module, folder, calls, _ = setup
    assert module.main([folder, "cpu"]) == 0 and calls == ["venv", "pip"]
    assert module.main([folder, "cpu"]) == 0 and calls == ["venv", "pip"]
    assert module.main([folder, "cpu,dev"]) == 0 and calls == ["venv", "pip", "pip"], (
        "other extras: completed"
    )


def test_interrupted_environment_is_made_anew(setup):
    module, folder, calls, outcome = setup
    outcome["pip"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        module.main([folder, "cpu"])
    outcome["pip"] = 0
    calls.clear()
    assert module.main([folder, "cpu"]) == 0 and calls == ["venv", "pip"]


def test_failed_completion_keeps_the_environment(setup, capsys):
    module, folder, calls, outcome = setup
    module.main([folder, "cpu"])
    calls.clear()
    outcome["pip"] = 1
    assert module.main([folder, "cpu,dev"]) == 1 and "failed" in capsys.readouterr().err
    outcome["pip"] = 0
    assert module.main([folder, "cpu"]) == 0 and calls == ["pip"], "what was whole still is"


def test_moved_or_other_python_is_made_anew(setup, monkeypatch):
    module, folder, calls, _ = setup
    module.main([folder, "cpu"])
    calls.clear()
    moved = {**module.wanted("cpu"), "root": "/elsewhere"}
    monkeypatch.setattr(module, "wanted", lambda extras: moved)
    assert module.main([folder, "cpu"]) == 0 and calls == ["venv", "pip"]


def test_python_range_is_that_of_pyproject():
    module = environment_module()
    allowed = specifiers.SpecifierSet(PROJECT["requires-python"])
    inside = [(3, minor) for minor in range(8, 20) if allowed.contains(f"3.{minor}.0")]
    assert (inside[0], inside[-1]) == (module.OLDEST, module.NEWEST)


def test_wrong_python_is_told(monkeypatch, capsys, tmp_path):
    module = environment_module()
    monkeypatch.setattr(module, "NEWEST", (3, 10))
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    assert module.main([tmp_path, "cpu"]) == 2
    assert "PYTHON=" in capsys.readouterr().err
