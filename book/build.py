"""Render the book: `python book/build.py [--notebooks DIR] [--out DIR]`.

The chapters are executed notebooks in portable Markdown. They are copied to a staging folder, where what JupyterLab
and GitHub can only show plainly gets its form in the book: citations become links, solutions fold, cells for Colab
go. Sphinx reads the staging folder and writes beside the target; the finished site is moved into place at the end,
so an interrupted or failed build never passes for a book.
"""

import argparse
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

try:
    from citations import references
    from stage import Stage

    from cnnbook.course import mark
    from cnnbook.course.project import UserError
except ImportError as error:
    raise SystemExit(f"book: {error}; python -m pip install -e '.[book]' installs the book's tools") from None

UNFINISHED = "book (unfinished)"  # the mark of a staging folder
# What stands at the top of a book that was rendered before books bore a mark.
BEFORE_MARKS = {
    *(
        ".buildinfo",
        ".doctrees",
        "_downloads",
        "_images",
        "_modules",
        "_sources",
        "_sphinx_design_static",
        "_static",
    ),
    *(
        "404.html",
        "genindex.html",
        "index.html",
        "py-modindex.html",
        "search.html",
        "searchindex.js",
        "objects.inv",
    ),
    *("book", "covers", "jupyter_execute", "notebooks", "reports"),
}
LEFT_OVERS = 3600  # seconds after which another build's staging folder can only be one that was killed


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Render the book from executed notebooks.")
    parser.add_argument(
        "--notebooks", type=Path, default=ROOT / "notebooks", help="folder of executed notebooks"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "book", help="where the site goes")
    parser.add_argument("--references", action="store_true", help="only rewrite references.md from refs.bib")
    options = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):  # paths may hold any letters, whatever the console's code page
        stream.reconfigure(errors="backslashreplace")
    if options.references:
        (HERE / "references.md").write_text(references(), "utf-8")
        return 0
    try:
        return build(options.notebooks.resolve(), options.out.resolve())
    except (OSError, ValueError, UserError) as error:
        print(f"book: {error}", file=sys.stderr)
        return 1


def build(notebooks, out):
    """Stage, render and move into place. Returns the exit status."""
    start = time.monotonic()
    if not notebooks.is_dir():
        raise ValueError(f"no folder {notebooks}; `cnnbook run` writes executed notebooks")
    check(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    for old in out.parent.glob(f".{glob.escape(out.name)}-*"):
        # Its name is not enough: .venv-jax stands beside a book called venv.
        if mark.kind(old) == UNFINISHED and time.time() - old.stat().st_mtime > LEFT_OVERS:
            shutil.rmtree(old, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        mark.leave(work, UNFINISHED)
        stage = Stage(notebooks, work / "source")
        say(f"{len(stage.chapters)} chapters from {notebooks}")
        if not render(stage, work, out):
            return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    pages = len(list(out.rglob("*.html")))
    say(f"{pages} pages in {time.monotonic() - start:.0f} s: {out / 'index.html'}")
    return 0


def check(out):
    """Raises UserError where there is something at `out` that is no book, or something more."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: give a folder with --out")
    old = all((out / name).exists() for name in ("searchindex.js", "book/glossary.html", "notebooks"))
    mark.check(out, "book", recognised=old)
    if mark.kind(out) or old:
        ours = mark.names(out) if mark.kind(out) else BEFORE_MARKS
        strange = {path.name for path in out.iterdir()} - ours - mark.NOBODYS - {mark.MARK}
        if strange:
            raise UserError(
                f"{out} holds what is none of the book ({mark.listed(strange)}) and would go with the old one: "
                "move it away, or give another --out"
            )


def render(stage, work, out):
    """Whether the book is whole, and so stands at `out`; what there is of another one goes beside it."""
    stage.write()
    for problem in stage.problems:
        print(f"book: {problem}", file=sys.stderr)
    say("rendering")
    status = sphinx(work)
    site, failed = work / "html", out.with_name(out.name + "-failed")
    if status == 0 or (site / "index.html").exists():
        finish(stage, site)
    if site.exists():
        mark.leave(site, "book", os.listdir(site))
    if not status and not stage.problems:
        replace(site, out)
        if mark.kind(failed) == "book":
            shutil.rmtree(failed)
        return True
    say(f"not rendered: {len(stage.problems)} problems in the chapters, Sphinx ended with {status}")
    if site.exists():
        say(f"what there is of it: {site.rename(place_of_failed(failed))}")
    return False


def place_of_failed(path):
    """Where what there is of a book goes: over another one, never over what is none."""
    place, number = path, 1
    while os.path.lexists(place) and mark.kind(place) != "book":
        number += 1
        place = path.with_name(f"{path.name}-{number}")
    if place.exists():
        shutil.rmtree(place)
    return place


def say(text):
    print(f"book: {text}", flush=True)


def sphinx(work):
    """Sphinx' exit status; any warning counts."""
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-b",
        "html",
        "-q",
        "-W",
        "--keep-going",
        "-n",
        "-c",
        str(HERE),
    ]
    command += ["-d", str(work / "doctrees"), str(work / "source"), str(work / "html")]
    # The clone may be read-only, and a locale of the machine must not change the pages.
    env = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1", "LANGUAGE": "en"}
    # The pages of the rooms import the package: under JAX in a third of TensorFlow's time, and without its messages.
    env |= {"KERAS_BACKEND": "jax"} if find_spec("jax") else {}
    return subprocess.run(command, env=env, stdin=subprocess.DEVNULL).returncode


def replace(site, out):
    """Put the new site where the old one is; at no moment does `out` hold a part of a site."""
    old = site.with_name("old")
    if out.exists():
        out.rename(old)
    try:
        site.rename(out)
    except BaseException:
        if old.exists() and not out.exists():
            old.rename(out)
        raise


def finish(stage, site):
    """What Sphinx does not do: hand out the notebooks as they were run, and a page for wrong addresses."""
    for chapter in stage.chapters.values():
        shutil.copyfile(chapter.path, site / "_sources" / "notebooks" / chapter.path.name)
    # The theme repeats the title for print, hidden on screen; a page has one title.
    printed = re.compile(r'(<div id="jb-print-docs-body" class="onlyprint">\s*)<h1>.*?</h1>', re.S)
    for path in site.rglob("*.html"):
        path.write_text(printed.sub(r"\1", path.read_text("utf-8")), "utf-8")
    # A host serves this page at any depth, so its one link has to be absolute where the address is known.
    name = stage.prose.repository.rpartition("/")[2]
    page = (HERE / "404.html").read_text("utf-8")
    (site / "404.html").write_text(
        page.replace("@HOME@", f"/{name}/index.html" if name else "index.html"), "utf-8"
    )


if __name__ == "__main__":
    sys.exit(main())
