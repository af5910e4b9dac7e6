"""Toy courses, and the command `cnnbook` on them in a process of its own."""

import json
import os
import subprocess
import sys

from helpers.notebooks import write


def project(folder, name="卷积 课程", **notebooks):
    """A course with these notebooks, in a path as students have them."""
    root = folder / name
    write(root / "notebooks", notebooks)
    (root / "notebooks" / "profiles").mkdir()
    return root


def command(*arguments):
    return [sys.executable, "-m", "cnnbook", *map(str, arguments)]


def cnnbook(*arguments, **environment):
    return subprocess.run(
        command(*arguments), env={**os.environ, **environment},
        capture_output=True, text=True, encoding="utf-8", timeout=120,
    )  # fmt: skip


def results(root):
    return {p.stem: json.loads(p.read_text("utf-8")) for p in (root / "build" / "results").glob("*.json")}


# What IPython runs in a kernel before its first cell, the first time only.
STARTUP = """
import os, time
try:
    os.close(os.open({mark!r}, os.O_CREAT | os.O_EXCL))
except FileExistsError:
    pass
else:
    {fault}
"""
DIES, IS_SILENT = "os._exit(1)", "time.sleep(1000)"


def faulty_kernels(folder, fault, times=1):
    """IPython's folder with which the next kernels die or are silent while they start, `times` of them."""
    startup = folder / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    for time in range(times):
        text = STARTUP.format(mark=str(folder / f"started-{time}"), fault=fault)
        (startup / f"{time}.py").write_text(text, "utf-8")
    return str(folder / "ipython")


def homeless(folder):
    """Variables of a home that cannot be written, not even by the superuser."""
    (folder / "file").write_text("", "utf-8")
    home = str(folder / "file" / "home")
    return {"HOME": home, "USERPROFILE": home, "XDG_CONFIG_HOME": "", "XDG_CACHE_HOME": ""}
