"""What stands on the pages that are read first: README's code runs, the citation is valid, the changes name the version."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import cnnbook

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).parents[1]


def test_code_of_the_readme_runs(tmp_path, monkeypatch):
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["clothes"].x_train.shape == (1000, 28, 28, 1) and names["model"].built
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(find_spec("check_jsonschema") is None, reason="check-jsonschema is not installed")
def test_the_citation_is_valid_and_of_this_version():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.citation-file-format"]
    done = subprocess.run([*command, str(ROOT / "CITATION.cff")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"\nversion: {cnnbook.__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")


def test_the_changes_name_this_version():
    newest = re.search(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)[1]
    assert newest == cnnbook.__version__


def test_files_that_the_front_pages_name_are_there():
    for page in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for name in re.findall(r"`([A-Z]+\.(?:md|cff))`", (ROOT / page).read_text("utf-8")):
            assert (ROOT / name).is_file(), f"{page} names {name}"


def test_commands_of_the_contributing_page_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    assert set(re.findall(r"\bmake ([a-z-]+)", (ROOT / "CONTRIBUTING.md").read_text("utf-8"))) <= targets
