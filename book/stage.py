"""The folder that Sphinx reads: executed notebooks and Markdown, where what JupyterLab and GitHub can only show plainly
gets its form in the book: citations become links, solutions fold, cells for Colab go.

A folder of its own, not Sphinx's event `source-read`, since the notebooks may lie anywhere, the clone may be read-only, and
covers and pictures have to be written beside the pages.
"""

import base64
import copy
import json
import os
import re
from pathlib import Path

import nbformat
from citations import CITATION, bibliography, label, references
from conf import repository

from cnnbook.claims import METADATA, reported
from cnnbook.course.notebook import read_notebook
from cnnbook.course.project import KERNELSPEC, Project
from cnnbook.course.said import REPORT, claims_in
from cnnbook.course.track import Table, in_words
from cnnbook.sources.imports import Imports

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CHAPTER = re.compile(r"[\da]\d-[\w-]+")  # a0: an appendix
# Markdown links, images included; addresses with a scheme and anchors of the same page are sorted out later.
LINK = re.compile(r"(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<to>[^()\s]+)\)")
FENCE = re.compile(r"(^(?:```|~~~).*?^(?:```|~~~)|`[^`\n]+`)", re.M | re.S)
# What MyST takes for a directive or a role, in the forms that open one.
DIRECTIVE = re.compile(r"^(?P<before>[ \t>*+\-\d.)]*(?:`{3,}|~{3,}|:{3,})[ \t]*)\{(?P<name>[^}\n]*)\}", re.M)
ROLE = re.compile(r"\{(?P<name>[\w:+.-]+)\}\Z")
# Those that only shape what is written: others read files, import modules or show pages of other people.
DIRECTIVES = {"note", "tip", "hint", "important", "warning", "caution", "attention", "danger", "error", "seealso",
              "admonition", "dropdown", "math", "list-table", "code-block"}  # fmt: skip
ROLES = {"math", "sub", "sup", "abbr", "kbd"}
# What of a cell's metadata its page depends on, and of that what is for myst-nb; the rest is for other programs.
CELL_METADATA = ("tags", "alt", "caption", "mystnb")
CELL_SETTINGS = ("image", "figure")
IMAGES = ("image/png", "image/jpeg", "image/svg+xml", "image/gif")
PAGES = ("book/glossary", "book/references", "book/api", "book/speed")


class Chapter:
    """One executed notebook and what the front page says of it."""

    def __init__(self, path):
        self.path, self.name = path, path.stem
        self.number = self.name[:2].lstrip("0").upper() or "0"
        self.kind = "Appendix" if self.number.startswith("A") else "Chapter"
        self.notebook = read_notebook(path)
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


def only(metadata, names):
    """Of some metadata what has these names."""
    return nbformat.from_dict({name: metadata[name] for name in names if name in metadata})


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


class Prose:
    """Markdown with its citations and links made good; code in it is left alone.

    titles: {chapter: title}, the pages that there are. copy(name, bytes): takes the pictures that the text shows. What the
    text has to mend is added to `problems`; `cited` holds who cites what, {key: {chapter: title}}.
    """

    def __init__(self, titles, copy):
        self.titles, self.copy = titles, copy
        self.entries = bibliography()
        self.terms = set(re.findall(r'<a id="([\w-]+)">', (HERE / "glossary.md").read_text("utf-8")))
        self.repository, self.branch = repository()
        self.problems, self.cited = [], {}

    def __call__(self, text, where, folder, chapter=None):
        """text: Markdown of the folder `folder`, of a chapter or none. where: its place, in words, for what is wrong."""
        text = DIRECTIVE.sub(lambda match: match["before"] + self.directive(match, where, DIRECTIVES), text)
        parts = FENCE.split(text)
        for i in range(0, len(parts), 2):
            if i + 1 < len(parts):
                parts[i] = ROLE.sub(lambda match: self.directive(match, where, ROLES), parts[i])
            part = CITATION.sub(lambda match: self.citation(match, where, chapter), parts[i])
            parts[i] = LINK.sub(lambda match: self.link(match, where, folder, chapter), part)
        return "".join(parts)

    def directive(self, match, where, known):
        """A directive or a role that a chapter may use stays; another one becomes plain text."""
        if match["name"].strip() in known:
            return match[0][len(match.groupdict().get("before", "")) :]
        self.problems.append(
            f"{where}: {{{match['name']}}} is nothing that a chapter may use; possible are {', '.join(sorted(known))}"
        )
        return match["name"]

    def citation(self, match, where, chapter):
        key = match["key"]
        if key not in self.entries:
            if re.search(r"\d{4}", key):
                self.problems.append(f"{where}: [{key}] is not in book/refs.bib")
            return match[0]
        words = label(self.entries[key])
        to = f"(#{self.cite(key, chapter)})"
        # An item of the list that closes a chapter begins with its key.
        return f"{match['item']}[{words}]{to}:" if match["item"] else f"[\\[{words}\\]]{to}"

    def cite(self, key, chapter):
        if chapter:
            self.cited.setdefault(key, {})[chapter] = self.titles[chapter]
        return key

    def link(self, match, where, folder, chapter):
        text, to = match["text"], match["to"]
        if re.match(r"[a-z][a-z0-9+.-]*:", to) or to.startswith("#"):
            return match[0]
        path, _, anchor = to.partition("#")
        target = Path(os.path.normpath(folder / path))
        if target.is_absolute() or not (ROOT / target).resolve().is_relative_to(ROOT.resolve()):
            self.problems.append(f"{where}: {to} leads out of the course")
            return text
        if target.parent.name in ("notebooks", "chapters") and CHAPTER.fullmatch(target.stem):
            if target.stem not in self.titles:  # a chapter still to come, or not part of this run
                return text
            page = os.path.relpath(f"notebooks/{target.stem}.ipynb", folder).replace(os.sep, "/")
            return f"[{text}]({page}{f'#{anchor.lower()}' if anchor else ''})"
        if target.as_posix() in ("book/references.md", "book/glossary.md") and anchor:
            cites = target.stem == "references"
            if anchor in (self.entries if cites else self.terms):
                return f"[{text}](#{self.cite(anchor, chapter) if cites else anchor})"
        elif target.with_suffix("").as_posix() in PAGES:
            return match[0]
        elif match["image"] and (ROOT / target).is_file():
            self.copy(target.as_posix(), (ROOT / target).read_bytes())
            return match[0]
        elif not match["image"] and (ROOT / target).exists():
            # A file of the course that is no page of the book: its address, once there is one.
            address = f"{self.repository}/blob/{self.branch}/{target.as_posix()}"
            return f"[{text}]({address})" if self.repository else text
        self.problems.append(
            f"{where}: no picture {to}" if match["image"] else f"{where}: {to} leads nowhere"
        )
        return text


class Stage:
    """Writes the folder that Sphinx reads. `problems` lists what the chapters have to mend."""

    def __init__(self, notebooks, folder):
        self.folder = folder
        self.chapters, damaged = {}, []
        for path in sorted(notebooks.glob("*.ipynb")):
            if CHAPTER.fullmatch(path.stem):
                try:
                    self.chapters[path.stem] = Chapter(path)
                except (ValueError, KeyError, AttributeError) as error:
                    damaged.append(f"{path.name}: not a notebook ({type(error).__name__}: {error})")
        titles = {name: chapter.title for name, chapter in self.chapters.items()}
        self.prose = Prose(titles, self.put)
        self.table, self.package = Table(Project(ROOT).claims_table), Imports()
        self.problems = self.prose.problems
        self.problems += damaged

    def write(self):
        for chapter in self.chapters.values():
            notebook = json.dumps(self.notebook(chapter), ensure_ascii=False)
            self.put(f"notebooks/{chapter.name}.ipynb", notebook)
        self.put("index.md", self.front_page())
        for name in ("glossary.md", "speed.md", "api.md"):
            self.page(name, (HERE / name).read_text("utf-8"))
        self.page("references.md", references(self.prose.cited))

    def put(self, name, content):
        path = self.folder / name
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise ValueError(f"{name} lies outside of the folder that Sphinx reads")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)

    def page(self, name, text):
        """`<a id="x"></a>` works on GitHub; MyST wants the target in its own form to find it from other pages."""
        text = re.sub(r'^<a id="([\w-]+)"></a>$', r"(\1)=", text, flags=re.M)
        self.put(f"book/{name}", self.prose(text, name, Path("book")))

    def notebook(self, chapter):
        book = copy.deepcopy(chapter.notebook)
        if len(chapter.titles) != 1:
            self.problems.append(
                f"{chapter.path.name}: {len(chapter.titles)} titles (`# ...`); a chapter has one"
            )
        # Nothing else of the notebook's metadata: `mystnb` among it would have the cells run, whatever conf.py says.
        # language_info is kept out of the stored notebooks, since it changes with every Python; colouring needs it.
        language = {"name": "python", "pygments_lexer": "ipython3"}
        book.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": language})
        add_records(book.cells, self.table.of(chapter.name), self.package)
        cells = []
        for number, cell in enumerate(book.cells):
            where = f"{chapter.path.name}, cell {number}"
            cell.metadata = only(cell.metadata, CELL_METADATA)
            if "mystnb" in cell.metadata:
                cell.metadata.mystnb = only(cell.metadata.mystnb, CELL_SETTINGS)
            if not {"colab", "remove-cell"} & set(tags(cell)):
                if cell.cell_type == "markdown":
                    self.text_cell(cell, where, chapter)
                elif cell.cell_type == "code":
                    self.code_cell(cell, where)
                cells.append(cell)
        book.cells = cells
        return book

    def text_cell(self, cell, where, chapter):
        cell.source = self.prose(cell.source, where, Path("notebooks"), chapter.name)
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

    def front_page(self):
        text = self.prose((ROOT / "index.md").read_text("utf-8"), "index.md", Path("."))
        cards = [line for chapter in self.chapters.values() for line in self.card(chapter)]
        grid = (
            ["::::{grid} 1 2 2 3", ":gutter: 3", "", *cards, "::::"]
            if cards
            else ["No chapter has been run yet."]
        )
        text = text.replace("<!-- chapters -->", "\n".join(grid))
        entries = [f"{c.number} · {c.title} <notebooks/{c.name}>" for c in self.chapters.values()]
        tree = toctree("Chapters", entries) if entries else []
        return "\n".join([text, "", *tree, *toctree("Reference", PAGES)])

    def card(self, chapter):
        lines = [":::{grid-item-card}", f":link: notebooks/{chapter.name}", ":link-type: doc"]
        lines += [":class-card: chapter-card"]
        cover = chapter.cover()
        if cover:
            self.put(f"covers/{chapter.name}.png", cover[0])
            # In quotation marks, for the words may begin with what has a meaning there.
            words = json.dumps(" ".join(cover[1].split()), ensure_ascii=False)
            lines += [f":img-top: covers/{chapter.name}.png", f":img-alt: {words}"]
        lines += ["", f'<span class="chapter-number">{chapter.kind} {chapter.number}</span>', ""]
        return [*lines, f"**{chapter.title}**", "", chapter.lead, ":::", ""]


def add_records(cells, rows, package):
    """Beside each claim how often it has held, and so in the table of the notebook's last cell, as known today."""
    words = in_words(cells, rows, package)
    for cell in cells:
        for output in cell.get("outputs", []):
            facts = output.get("metadata", {}).get(METADATA)
            if facts:
                record = words[facts["sentence"]]
                held = "held " if record.startswith("in ") else ""
                output.data["text/plain"] += f"\n    {held}{record}"
        if cell.cell_type == "code" and REPORT.search(cell.source):
            text = reported(claims_in(cells), words) + "\n"
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]


def toctree(caption, entries):
    return ["```{toctree}", ":hidden:", f":caption: {caption}", "", *entries, "```", ""]
