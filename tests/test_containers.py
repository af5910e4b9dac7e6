"""The files for containers, read dry: nothing here builds or runs them."""

import json
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "Dockerfile", ROOT / ".devcontainer" / "Dockerfile"]


def instructions(path):
    """[(instruction, its arguments)] of a Dockerfile; lines that a backslash joins are one."""
    text = re.sub(r"\\\n", " ", path.read_text("utf-8"))
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(None, 1)) for line in lines]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_a_container_runs_as_nobody_special_on_a_python_that_is_supported(path):
    words = [word for word, _ in instructions(path)]
    assert words[0] == "FROM" and set(words) <= {
        "FROM",
        "ARG",
        "COPY",
        "RUN",
        "ENV",
        "USER",
        "WORKDIR",
        "EXPOSE",
        "CMD",
    }
    image = dict(instructions(path))["FROM"]
    assert re.fullmatch(r"python:3\.1[123]-[a-z-]+", image), "no other registry than the client's own"
    assert [argument for word, argument in instructions(path) if word == "USER"][-1] not in ("root", "0")
    assert "not built" in path.read_text("utf-8").lower()


def test_the_hubs_image_installs_what_exists_and_leaves_it_to_root():
    said = instructions(FILES[0])
    run = next(argument for word, argument in said if word == "RUN")
    extras = re.search(r"/opt/cnnbook\[([\w,]+)\]", run)[1].split(",")
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert all(re.search(rf"^{extra} = \[", project, re.M) for extra in extras)
    assert "-c /opt/cnnbook/constraints.txt" in run and (ROOT / "constraints.txt").exists()
    assert "go-w /opt/cnnbook /opt/venv" in run
    order = [word for word, _ in said]
    assert order.index("USER") > order.index("RUN")


def test_what_the_hubs_image_starts_is_a_shell_line_and_keeps_a_students_work():
    command = json.loads(dict(instructions(FILES[0]))["CMD"])
    assert command[:2] == ["sh", "-c"]
    assert subprocess.run(["sh", "-n", "-c", command[2]]).returncode == 0
    assert "cp -rn /opt/cnnbook/notebooks/." in command[2]


def test_the_start_copies_once(tmp_path):
    """The line of the start, with folders of the test and `echo` for what it runs."""
    line = json.loads(dict(instructions(FILES[0]))["CMD"])[2]
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt" / "00-start.ipynb").write_text("ours")
    line = line.replace("/opt/cnnbook/notebooks", str(tmp_path / "opt")).replace("exec ", "echo ")
    for token, said in (("", "jupyter lab"), ("x", "jupyterhub-singleuser")):
        environment = {"PATH": "/usr/bin:/bin", "JUPYTERHUB_API_TOKEN": token}
        done = subprocess.run(
            ["sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.stdout.startswith(said), done
        (tmp_path / "course" / "00-start.ipynb").write_text("a student's")
    assert (tmp_path / "course" / "00-start.ipynb").read_text() == "a student's"


def test_the_development_container():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    assert (ROOT / ".devcontainer" / container["build"]["dockerfile"]).exists()
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert container["postCreateCommand"] == "make env" and re.search(r"^env:", makefile, re.M)


def test_the_readme_says_that_they_were_not_run():
    readme = (ROOT / "README.md").read_text("utf-8")
    assert re.search(r"`Dockerfile`.*?not (been )?(built|run)", readme, re.S)
