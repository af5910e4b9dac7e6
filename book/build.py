"""Render the book: `python book/build.py [--notebooks DIR] [--out DIR]`.

The chapters are executed notebooks in portable Markdown. They are copied to a staging folder, where what JupyterLab
and GitHub can only show plainly gets its form in the book: citations become links, solutions fold, cells for Colab
go. Sphinx reads the staging folder and writes beside the target; the finished site is moved into place at the end,
so an interrupted or failed build never passes for a book.
"""

import argparse
import base64
import copy
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

try:
    import nbformat
    from pybtex.database import parse_file
except ImportError as error:
    raise SystemExit(f"book: {error}; python -m pip install -e '.[book]' installs the book's tools") from None

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CHAPTER = re.compile(r"[\da]\d-[\w-]+")  # a0: an appendix
# Markdown links, images included; addresses with a scheme and anchors of the same page are sorted out later.
LINK = re.compile(r"(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<to>[^()\s]+)\)")
CITATION = re.compile(
    r"(?P<item>^[-*] (?=\[))?(?<![\]!\w`])\[(?P<key>[a-z]+\d{4}[a-z]*|keras|tfds)\](?![(\[`])", re.M
)
FENCE = re.compile(r"(^(?:```|~~~).*?^(?:```|~~~)|`[^`\n]+`)", re.M | re.S)
IMAGES = ("image/png", "image/jpeg", "image/svg+xml", "image/gif")
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
    except (OSError, ValueError) as error:
        print(f"book: {error}", file=sys.stderr)
        return 1


def build(notebooks, out):
    """Stage, render and move into place. Returns the exit status."""
    start = time.monotonic()
    if not notebooks.is_dir():
        raise ValueError(f"no folder {notebooks}; `cnnbook run` writes executed notebooks")
    if out.exists() and not (out.is_dir() and ((out / "searchindex.js").exists() or not any(out.iterdir()))):
        raise ValueError(f"{out} exists and is not a book; choose another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    for old in out.parent.glob(f".{out.name}-*"):
        if time.time() - old.stat().st_mtime > LEFT_OVERS:
            shutil.rmtree(old, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        stage = Stage(notebooks, work / "source")
        say(f"{len(stage.chapters)} chapters from {notebooks}")
        stage.write()
        for problem in stage.problems:
            print(f"book: {problem}", file=sys.stderr)
        say("rendering")
        status = sphinx(work)
        site = work / "html"
        if status == 0 or (site / "index.html").exists():
            finish(stage, site)
        failed = out.with_name(out.name + "-failed")
        if failed.exists():
            shutil.rmtree(failed)
        if status or stage.problems:
            if site.exists():
                site.rename(failed)
            say(f"not rendered: {len(stage.problems)} problems in the chapters, Sphinx ended with {status}")
            return 1
        replace(site, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    pages = len(list(out.rglob("*.html")))
    say(f"{pages} pages in {time.monotonic() - start:.0f} s: {out / 'index.html'}")
    return 0


def say(text):
    print(f"book: {text}", flush=True)


def sphinx(work):
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
    return subprocess.run(command, env=env, stdin=subprocess.DEVNULL).returncode


def replace(site, out):
    """Put the new site where the old one is; at no moment does `out` hold a part of a site."""
    old = site.with_name("old")
    if out.exists():
        out.rename(old)
    site.rename(out)


def finish(stage, site):
    """What Sphinx does not do: hand out the notebooks as they were run, and a page for wrong addresses."""
    for chapter in stage.chapters.values():
        shutil.copyfile(chapter.path, site / "_sources" / "notebooks" / chapter.path.name)
    # The theme repeats the title for print, hidden on screen; a page has one title.
    printed = re.compile(r'(<div id="jb-print-docs-body" class="onlyprint">\s*)<h1>.*?</h1>', re.S)
    for path in site.rglob("*.html"):
        path.write_text(printed.sub(r"\1", path.read_text("utf-8")), "utf-8")
    # A host serves this page at any depth, so its one link has to be absolute where the address is known.
    name = stage.repository.rpartition("/")[2]
    page = (HERE / "404.html").read_text("utf-8")
    (site / "404.html").write_text(
        page.replace("@HOME@", f"/{name}/index.html" if name else "index.html"), "utf-8"
    )


class Chapter:
    """One executed notebook and what the front page says of it."""

    def __init__(self, path):
        self.path, self.name = path, path.stem
        self.number = self.name[:2].lstrip("0").upper() or "0"
        self.kind = "Appendix" if self.number.startswith("A") else "Chapter"
        self.notebook = nbformat.read(path, as_version=4)
        prose = "\n\n".join(cell.source for cell in self.notebook.cells if cell.cell_type == "markdown")
        bare = FENCE.sub(lambda match: match[0] if match[0][:3] not in ("```", "~~~") else "", prose)
        self.titles = re.findall(r"^# +(.+?)\s*#*$", bare, re.M)
        self.title = self.titles[0] if self.titles else self.name
        self.lead = lead(bare.partition(f"# {self.title}")[2])

    def cover(self):
        """The first PNG of the cell tagged `cover`, else of the notebook, with its words; None where there is none."""
        cells = [cell for cell in self.notebook.cells if cell.cell_type == "code"]
        for cell in sorted(cells, key=lambda cell: "cover" not in tags(cell)):
            for output in cell.outputs:
                png = output.get("data", {}).get("image/png")
                if png:
                    return base64.b64decode(png), alt_text(
                        cell, output
                    ) or f"A figure of the chapter {self.title}"
        return None


def lead(text):
    """What a card can hold: the question in bold that opens the chapter, else the first sentence below the title."""
    question = re.search(r"\*\*([^*]{15,200}\?)\*\*", text)
    if question:
        return plain(question[1])
    for paragraph in re.split(r"\n\s*\n", text):
        first = paragraph.strip()
        if first and (first[0] not in "#|<>-*`!$" or first.startswith("**")):
            first = re.sub(r"^You will be able to (.)", lambda match: match[1].upper(), plain(first))
            sentence = re.match(r".{20,}?[.?!。](?=\s|$)", first)
            first = sentence[0] if sentence else first
            return first if len(first) <= 200 else first[:200].rsplit(" ", 1)[0] + " …"
    return ""


def plain(text):
    text = LINK.sub(lambda match: match["text"], " ".join(text.split()))
    return re.sub(r"[*_`]", "", re.sub(r" ?" + CITATION.pattern, "", text))


def tags(cell):
    return cell.metadata.get("tags", [])


def alt_text(cell, output=None):
    """A figure's words: of the output itself, else of its cell (`alt`, or myst-nb's own place for it)."""
    for mime in IMAGES:
        own = (output or {}).get("metadata", {}).get(mime, {})
        if isinstance(own, dict) and own.get("alt"):
            return own["alt"]
    image = cell.metadata.get("mystnb", {}).get("image", {})
    return cell.metadata.get("alt") or image.get("alt") or ""


class Stage:
    """The folder that Sphinx reads. `problems` lists what the chapters have to mend."""

    def __init__(self, notebooks, folder):
        self.folder = folder
        self.problems = []
        self.chapters = {}
        for path in sorted(notebooks.glob("*.ipynb")):
            if CHAPTER.fullmatch(path.stem):
                try:
                    self.chapters[path.stem] = Chapter(path)
                except (ValueError, KeyError, AttributeError) as error:
                    self.problems.append(f"{path.name}: not a notebook ({type(error).__name__}: {error})")
        self.entries = bibliography()
        settings = {"__file__": str(HERE / "conf.py")}
        exec(compile((HERE / "conf.py").read_text("utf-8"), "conf.py", "exec"), settings)
        self.repository, self.branch = settings["repository"]()
        self.terms = set(re.findall(r'<a id="([\w-]+)">', (HERE / "glossary.md").read_text("utf-8")))
        self.cited = {}

    def write(self):
        for chapter in self.chapters.values():
            self.put(
                f"notebooks/{chapter.name}.ipynb", json.dumps(self.notebook(chapter), ensure_ascii=False)
            )
        self.put("index.md", self.front_page())
        self.put("book/glossary.md", self.anchored((HERE / "glossary.md").read_text("utf-8"), "glossary.md"))
        self.put("book/references.md", self.anchored(references(self.cited), "references.md"))
        self.put(
            "book/speed.md", self.prose((HERE / "speed.md").read_text("utf-8"), "speed.md", Path("book"))
        )

    def put(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)

    def anchored(self, text, name):
        """`<a id="x"></a>` works on GitHub; MyST wants the target in its own form to find it from other pages."""
        text = re.sub(r'^<a id="([\w-]+)"></a>$', r"(\1)=", text, flags=re.M)
        return self.prose(text, name, Path("book"))

    def notebook(self, chapter):
        book = copy.deepcopy(chapter.notebook)
        if len(chapter.titles) != 1:
            self.problems.append(
                f"{chapter.path.name}: {len(chapter.titles)} titles (`# ...`); a chapter has one"
            )
        book.metadata.pop("widgets", None)
        # Kept out of the stored notebooks, since it changes with every Python; colouring needs it.
        book.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
        cells = []
        for number, cell in enumerate(book.cells):
            where = f"{chapter.path.name}, cell {number}"
            if not {"colab", "remove-cell"} & set(tags(cell)):
                if cell.cell_type == "markdown":
                    self.text_cell(cell, where, chapter)
                elif cell.cell_type == "code":
                    self.code_cell(cell, where)
                cells.append(cell)
        book.cells = cells
        return book

    def text_cell(self, cell, where, chapter):
        cell.source = self.prose(cell.source, where, Path("notebooks"), chapter)
        if "solution" in tags(cell):
            cell.source = f"::::::{{dropdown}} Show a solution\n\n{cell.source}\n\n::::::"

    def code_cell(self, cell, where):
        settings = cell.metadata.setdefault("mystnb", {})
        if "solution" in tags(cell):
            cell.metadata["tags"] = [*tags(cell), "hide-cell"]
            settings |= {"code_prompt_show": "Show a solution", "code_prompt_hide": "Hide the solution"}
        elif "injected-parameters" in tags(cell):
            cell.metadata["tags"] = [*tags(cell), "hide-input"]
            settings |= {"code_prompt_show": "Show the parameters of this run"}
        if cell.metadata.get("caption"):
            settings.setdefault("figure", {}).setdefault("caption", cell.metadata["caption"])
        kept = []
        for output in cell.outputs:
            if output.output_type == "error" and "raises-exception" not in tags(cell):
                self.problems.append(f"{where}: failed with {output.ename}: {output.evalue}")
            data = output.get("data", {})
            data.pop(
                "application/vnd.jupyter.widget-view+json", None
            )  # a slider without a kernel moves nothing
            if "text/html" not in data and any(mime in data for mime in IMAGES):
                alt = alt_text(cell, output)
                if not alt:
                    self.problems.append(
                        f"{where}: a figure without words; give the cell `:alt: what it shows`"
                    )
                settings.setdefault("image", {})["alt"] = alt or "A figure"
            if data or output.output_type in ("stream", "error"):
                kept.append(output)
        cell.outputs = kept

    def prose(self, text, where, folder, chapter=None):
        """Markdown with its citations and links made good; code in it is left alone."""
        parts = FENCE.split(text)
        for i in range(0, len(parts), 2):
            part = CITATION.sub(lambda match: self.citation(match, where, chapter), parts[i])
            parts[i] = LINK.sub(lambda match: self.link(match, where, folder, chapter), part)
        return "".join(parts)

    def citation(self, match, where, chapter):
        key, listed = (
            match["key"],
            match["item"],
        )  # an item of the list that closes a chapter begins with its key
        if key not in self.entries:
            if re.search(r"\d{4}", key):
                self.problems.append(f"{where}: [{key}] is not in book/refs.bib")
            return match[0]
        words = label(self.entries[key])
        to = f"(#{self.cite(key, chapter)})"
        return f"{listed}[{words}]{to}:" if listed else f"[\\[{words}\\]]{to}"

    def cite(self, key, chapter):
        if chapter:
            self.cited.setdefault(key, {})[chapter.name] = chapter.title
        return key

    def link(self, match, where, folder, chapter):
        text, to = match["text"], match["to"]
        if re.match(r"[a-z][a-z0-9+.-]*:", to) or to.startswith("#"):
            return match[0]
        path, _, anchor = to.partition("#")
        target = Path(os.path.normpath(folder / path))
        if match["image"]:
            source = ROOT / target
            if not source.is_file():
                self.problems.append(f"{where}: no picture {to}")
                return text
            self.put(target.as_posix(), source.read_bytes())
            return match[0]
        page = target.stem
        if target.parent.name in ("notebooks", "chapters") and CHAPTER.fullmatch(page):
            if page not in self.chapters:  # a chapter still to come, or not part of this run
                return text
            anchor = f"#{anchor.lower()}" if anchor else ""
            return (
                f"[{text}]({os.path.relpath(f'notebooks/{page}.ipynb', folder).replace(os.sep, '/')}{anchor})"
            )
        if target.as_posix() in ("book/references.md", "book/glossary.md"):
            if not anchor:
                return match[0]
            known = self.entries if page == "references" else self.terms
            if anchor not in known:
                self.problems.append(f"{where}: {to} leads nowhere")
                return text
            return f"[{text}](#{self.cite(anchor, chapter) if page == 'references' else anchor})"
        if not (ROOT / target).exists():
            self.problems.append(f"{where}: {to} leads nowhere")
            return text
        # A file of the course that is no page of the book: its address, once there is one.
        return (
            f"[{text}]({self.repository}/blob/{self.branch}/{target.as_posix()})" if self.repository else text
        )

    def front_page(self):
        text = self.prose((ROOT / "index.md").read_text("utf-8"), "index.md", Path("."))
        cards, entries = [], []
        for chapter in self.chapters.values():
            card = [":::{grid-item-card}", f":link: notebooks/{chapter.name}", ":link-type: doc"]
            card += [":class-card: chapter-card"]
            cover = chapter.cover()
            if cover:
                self.put(f"covers/{chapter.name}.png", cover[0])
                words = " ".join(cover[1].split())
                card += [f":img-top: covers/{chapter.name}.png", f":img-alt: {words}"]
            card += ["", f'<span class="chapter-number">{chapter.kind} {chapter.number}</span>', ""]
            cards += [*card, f"**{chapter.title}**", "", chapter.lead, ":::", ""]
            entries.append(f"{chapter.number} · {chapter.title} <notebooks/{chapter.name}>")
        grid = (
            ["::::{grid} 1 2 2 3", ":gutter: 3", "", *cards, "::::"]
            if cards
            else ["No chapter has been run yet."]
        )
        text = text.replace("<!-- chapters -->", "\n".join(grid))
        tree = ["```{toctree}", ":hidden:", ":caption: Chapters", "", *entries, "```", ""] if entries else []
        tree += [
            "```{toctree}",
            ":hidden:",
            ":caption: Reference",
            "",
            "book/glossary",
            "book/references",
            "book/speed",
            "```",
        ]
        return "\n".join([text, "", *tree, ""])


def bibliography():
    return parse_file(str(HERE / "refs.bib"), bib_format="bibtex").entries


def names(person):
    first = " ".join(map(str, person.first_names + person.middle_names))
    last = " ".join(map(str, person.prelast_names + person.last_names + person.lineage_names)).strip("{}")
    return first, last


def label(entry):
    """He et al. 2016; a second one of the same people and year is He et al. 2016b."""
    people = [names(person)[1] for person in entry.persons["author"]]
    if len(people) == 2 and people[1] != "others":
        people = [" & ".join(people)]
    text = f"{people[0]}{' et al.' if len(people) > 1 else ''} {entry.fields['year']}"
    letter = re.fullmatch(r"[a-z]+\d{4}([a-z]{2,})", entry.key or "")
    return text + "b" if letter else text


def reference(key, entry, cited):
    people = [" ".join(filter(None, names(person))) for person in entry.persons["author"]]
    others = people[-1] == "others"
    people = people[:-1] if others else people
    who = (
        ", ".join(people) + " and others"
        if others
        else " and ".join(filter(None, [", ".join(people[:-1]), people[-1]]))
    )
    fields = entry.fields
    where = fields.get("journal") or fields.get("booktitle") or fields.get("institution")
    where = (f"{where}, " if where else "") + fields["year"]
    links = []
    if "eprint" in fields:
        links.append(f"[arXiv:{fields['eprint']}](https://arxiv.org/abs/{fields['eprint']})")
    if "doi" in fields:
        links.append(f"[doi:{fields['doi']}](https://doi.org/{fields['doi']})")
    if "url" in fields:
        links.append(f"[{fields['url'].partition('://')[2]}]({fields['url']})")
    text = f"**{label(entry)}**. {who}. *{fields['title']}*. {where.replace('--', '–')}. {' · '.join(links)}".strip()
    if cited:
        text += "\\\nCited in " + ", ".join(
            f"[{title}](../notebooks/{name}.ipynb)" for name, title in cited.items()
        )
    return [f'<a id="{key}"></a>', text, ""]


def references(cited=None):
    """references.md: readable on GitHub, and the source of the book's page, which adds who cites what."""
    lines = ["# References", "", "Written from `refs.bib` by `python book/build.py --references`.", ""]
    if cited is not None:
        lines = ["# References", "", "The papers behind the chapters, by first author.", ""]
    order = sorted(bibliography().items(), key=lambda item: (label(item[1]).lower(), item[0]))
    for key, entry in order:
        lines += reference(key, entry, (cited or {}).get(key))
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.exit(main())
