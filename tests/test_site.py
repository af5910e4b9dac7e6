"""The rendered book: no remote request, words for every picture, live links, formulas and search with no network."""

import importlib.util
import inspect
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from helpers.notebooks import code, markdown, nbformat, notebook, output, printed, write

for module in (
    "sphinx",
    "myst_nb",
    "sphinx_book_theme",
    "sphinx_design",
    "sphinx_copybutton",
    "bs4",
    "pybtex",
):
    pytest.importorskip(module, reason="the book's tools are not installed: pip install -e '.[book,test]'")
BeautifulSoup = pytest.importorskip("bs4").BeautifulSoup

from cnnbook.course.sync import hiding  # noqa: E402

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).parents[1]
ADDRESS = "https://github.com/example/course"
# The smallest PNG: one grey pixel.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
TABLE = (
    '<table border="1" class="dataframe"><thead><tr><th></th><th>here</th></tr></thead>'
    "<tbody><tr><th>c1</th><td>156</td></tr></tbody></table>"
)


def picture():
    return output("display_data", data={"image/png": PIXEL, "text/plain": "<Figure>"})


def chapter():
    """One of everything that a chapter holds, with what JupyterLab and Colab read to hide a cell."""
    made = notebook(
        markdown("# VGG: small kernels\n\n**Can depth win alone?** See [the start](00-start.ipynb#data)."),
        code("%pip install cnnbook", tags=["colab"]),
        code("epochs = 5", tags=["parameters"]),
        markdown(
            "## The question\n\nThe [receptive field](../book/glossary.md#receptive-field) (感受野) of [simonyan2015]"
            " and [He et al.](../book/references.md#he2016), `[he2016]`; later [U-Net](19-unet.ipynb).\n\n"
            "$$27C^2 < 49C^2$$\n\n> [!NOTE]\n> Biases are *not* counted.\n\n"
            "<details>\n<summary>Answer</summary>\n\nIt is **2.303**.\n\n</details>"
        ),
        code("table", output("execute_result", data={"text/html": TABLE}, execution_count=1)),
        code("plot()", picture(), tags=["cover"], alt="A grey square.", caption="What the net sees."),
        code("plot()", picture(), tags=["hide-input"], mystnb={"image": {"alt": "Another square."}}),
        *claiming().cells[1:],
        code("print(36864)", printed("36864\n"), tags=["solution"]),
        markdown("It is $9 \\cdot 64^2$.", "solution"),
        markdown("## References\n\n- [simonyan2015] K. Simonyan, A. Zisserman."),
    )
    for cell in made.cells:
        cell.metadata.update(hiding(cell))
    return made


def start():
    return notebook(markdown("# Start\n\nRun this first, it is short.\n\n## Data\n\nText."))


def render(notebooks, out, address=""):
    command = [sys.executable, str(ROOT / "book/build.py"), "--notebooks", str(notebooks), "--out", str(out)]
    env = os.environ | {"CNNBOOK_REPOSITORY": address}
    return subprocess.run(
        command, env=env, capture_output=True, encoding="utf-8", errors="replace", timeout=300
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("课 程"), {"00-start": start(), "03-vgg": chapter()}
    done = render(write(folder / "笔记 本", made), folder / "名 字" / "book", ADDRESS)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "名 字" / "book"


@pytest.fixture(scope="module")
def pages(site):
    found = {path: BeautifulSoup(path.read_text("utf-8"), "html.parser") for path in site.rglob("*.html")}
    return {path: soup for path, soup in found.items() if "_static" not in path.parts}


@pytest.fixture(scope="module")
def vgg(site, pages):
    return pages[site / "notebooks/03-vgg.html"]


@pytest.fixture(scope="module")
def build():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "book")
        spec = importlib.util.spec_from_file_location("book_build", ROOT / "book/build.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def docstrings(build):
    return importlib.import_module("docstrings")


SAID = dict(sentence="it learns", asked="above 0.5", held=True, value=0.7, margin=0.2)


def claiming(*before):
    """A chapter with a claim and the table of its last cell, as stored."""
    line = {"text/plain": "claim: it learns: 0.7 (asked: above 0.5), held"}
    return notebook(
        markdown("# Claims\n\nText."),
        *before,
        code(
            "claim('it learns', 0.7, above=0.5)",
            output("display_data", data=line, metadata={"cnnbook_claim": SAID}),
        ),
        code("claims.report()", printed("as it was stored\n")),
    )


def shown(build, folder, made, key=None):
    """What the cells of a chapter show in the book, with a record of 23 of 24; key: of another version."""
    track = importlib.import_module("cnnbook.course.track")
    stage = build.Stage(write(folder / "notebooks", {"03-vgg": made}), folder / "source")
    now = track.current_claims(folder / "notebooks" / "03-vgg.ipynb", stage.package)["it learns"]
    row = dict(
        claim="it learns", key=key or now.record_key, runs="24", held="23", conditions="JAX x1; CPU x23"
    )
    stage.table.rows = {("03-vgg", "it learns"): row} if key != "" else {}
    cells = stage.notebook(stage.chapters["03-vgg"]).cells
    assert (
        nbformat.read(folder / "notebooks" / "03-vgg.ipynb", 4).cells[-1].outputs[0].text
        == "as it was stored\n"
    )
    return cells[-2].outputs[0].data["text/plain"].partition("\n    ")[2], cells[-1].outputs[0].text


@pytest.mark.parametrize(
    "key, before, words",
    [
        (None, [], "held in 23 of 24 runs on 2 kinds of machine"),
        ("another", [], "held in 23 of 24 runs on 2 kinds of machine (record of an earlier version)"),
        ("", [], "no record yet"),
        (None, [code("epochs = 9", tags=["injected-parameters"])],
         "held in 23 of 24 runs on 2 kinds of machine with the default sizes"),
    ],
)  # fmt: skip
def test_a_claim_stands_with_its_record(build, tmp_path, key, before, words):
    beside, table = shown(build, tmp_path, claiming(*before), key)
    assert beside == words
    assert table.startswith("1 measured claims in this notebook, 1 held in this run.\n\nclaim ")
    assert table.rstrip().endswith(words.removeprefix("held "))


def test_the_page_shows_the_record_below_the_claim(vgg):
    (line,) = [pre.text for pre in vgg.select("div.cell_output pre") if pre.text.startswith("claim: ")]
    assert line == "claim: it learns: 0.7 (asked: above 0.5), held\n    no record yet\n"


def test_every_page_is_sound(site, pages):
    bad = []
    for path, soup in pages.items():
        name = path.relative_to(site).as_posix()
        if not soup.html.get("lang"):
            bad.append(f"{name}: no language")
        if len(soup.find_all("h1")) != 1 and name != "genindex.html":
            bad.append(f"{name}: {len(soup.find_all('h1'))} titles")
        for tag in soup.find_all(["script", "link", "img", "iframe", "source"]):
            url = tag.get("src") or (tag.get("href") if tag.name == "link" else None)
            if url and re.match(r"(https?:)?//", url):
                bad.append(f"{name}: remote {tag.name} {url}")
        for style in soup.find_all("style"):
            if re.search(r"url\(.?(https?:)?//|@import", style.text):
                bad.append(f"{name}: remote style")
        for image in soup.find_all("img"):
            words = (image.get("alt") or "").strip()
            if not words or re.search(r"\.(png|svg|jpe?g|gif)$", words):
                bad.append(f"{name}: {image.get('src')} has the words {words!r}")
    assert not bad, "\n".join(bad)


def test_local_links_and_anchors_live(site, pages):
    def place(path, url):  # 404.html is shown at any address, so it names places from the host's root
        inside = url.startswith("/course/") and path.name == "404.html"
        return site / unquote(url.removeprefix("/course/")) if inside else path.parent / unquote(url)

    bad = []
    for path, soup in pages.items():
        for link in soup.find_all("a", href=True):
            url, anchor = urldefrag(link["href"])
            if re.match(r"[a-z]+:|//", url):
                continue
            target = place(path, url).resolve() if url else path
            if not target.exists():
                bad.append(f"{path.relative_to(site)}: {link['href']}")
            elif anchor and target in pages and not pages[target].find(id=unquote(anchor)):
                bad.append(f"{path.relative_to(site)}: no anchor {link['href']}")
        for tag in soup.find_all(["script", "img", "link"]):
            url = (tag.get("src") or tag.get("href") or "").partition("?")[0].partition("#")[0]
            if url and ":" not in url and not place(path, url).exists():
                bad.append(f"{path.relative_to(site)}: no file {url}")
    assert not bad, "\n".join(sorted(set(bad)))


def test_style_sheets_ask_for_nothing_remote(site):
    for path in (site / "_static").rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", path.read_text("utf-8")), path


def test_formulas_come_with_the_book(site, vgg):
    scripts = [tag["src"] for tag in vgg.find_all("script", src=True) if "mathjax" in tag["src"]]
    assert scripts and all(not script.startswith("http") for script in scripts)
    assert (site / "_static/vendor/mathjax/tex-svg.js").stat().st_size > 1_000_000
    assert (site / "_static/vendor/mathjax/LICENSE").exists()


def test_search_finds_english_and_chinese(site):
    index = json.loads(
        (site / "searchindex.js").read_text("utf-8").removeprefix("Search.setIndex(").rstrip(")")
    )

    def found(word):
        hits = index["terms"].get(word, [])
        return {index["docnames"][i] for i in (hits if isinstance(hits, list) else [hits])}

    assert {"book/glossary", "notebooks/03-vgg"} <= found("感受野")
    for word in ("步幅", "捷径", "卷积", "残差", "stride"):
        assert "book/glossary" in found(word), word


def test_cells_take_their_form(site, vgg):
    text = vgg.get_text()
    assert "%pip" not in text, "the cell for Colab is for Colab"
    assert "epochs = 5" in text
    solution = next(d for d in vgg.find_all("details") if "Show a solution" in d.summary.get_text())
    assert "36864" in solution.get_text() and not solution.has_attr("open")
    drawing = next(d for d in vgg.find_all("details") if "Show the code" in d.summary.get_text())
    assert "plot()" in drawing.get_text() and not drawing.find("img"), "the code folds, the picture stays"
    assert [image["alt"] for image in vgg.select(".cell_output img")] == ["A grey square.", "Another square."]
    assert vgg.find("figcaption").get_text(strip=True).startswith("What the net sees.")
    assert vgg.select_one(".admonition.note em").get_text() == "not"
    assert vgg.find("summary", string="Answer").parent.find("strong").get_text() == "2.303"
    assert vgg.select_one("table.dataframe")


def test_citations_terms_and_chapters_become_links(vgg):
    links = {link.get_text(): link["href"] for link in vgg.select(".bd-article a.reference")}
    for words in (
        "[Simonyan & Zisserman 2015]",
        "Simonyan & Zisserman 2015",
    ):  # in the text, in the closing list
        assert links[words].endswith("book/references.html#simonyan2015")
    assert links["He et al."].endswith("book/references.html#he2016")
    assert links["receptive field"].endswith("book/glossary.html#receptive-field")
    assert links["the start"].endswith("00-start.html#data")
    assert "U-Net" not in links, "a chapter to come is named, not linked"
    assert vgg.find("code", string="[he2016]"), "code stays as it was written"


def test_front_page_shows_the_chapters(site, pages):
    cards = pages[site / "index.html"].select(".chapter-card")
    assert [card.find("strong").get_text() for card in cards] == ["Start", "VGG: small kernels"]
    assert cards[1].find("img")["alt"] == "A grey square."
    assert "Can depth win alone?" in cards[1].get_text()
    assert "Cited in" in pages[site / "book/references.html"].get_text()


def test_downloads_are_the_notebooks_as_run(site):
    notebook = nbformat.read(site / "_sources/notebooks/03-vgg.ipynb", as_version=4)
    assert notebook.cells[1].source.startswith("%pip")


def test_colab_button_opens_the_notebook_at_its_address(site, vgg):
    path = "/github/example/course/blob/main/notebooks/03-vgg.ipynb"
    assert f"https://colab.research.google.com{path}" in str(vgg)
    assert 'href="/course/index.html"' in (site / "404.html").read_text("utf-8")
    assert not [left for left in site.parent.iterdir() if left != site], "the staging folder stays behind"


def test_a_book_of_the_version_before_holds_nothing_else(site, build):
    assert {path.name for path in site.iterdir()} <= build.BEFORE_MARKS | {".cnnbook"}


def test_address_has_one_place_and_without_it_there_are_no_buttons(monkeypatch):
    monkeypatch.delenv("CNNBOOK_REPOSITORY", raising=False)
    settings = runpy.run_path(str(ROOT / "book/conf.py"))
    address, branch = settings["repository"]()
    assert ("launch_buttons" in settings["html_theme_options"]) == bool(address)
    assert "launch_buttons" not in settings["theme_options"]("", branch)
    assert settings["theme_options"](ADDRESS, branch)["repository_url"] == ADDRESS


def test_what_a_chapter_must_mend_is_named(build, tmp_path):
    failed = output("error", ename="ValueError", evalue="no such layer", traceback=[])
    bad = notebook(
        markdown("# One\n\n# Two\n\n[nobody1999] [x](../book/glossary.md#nothing) [y](../no/file.py)"),
        code("plot()", picture()),
        code("boom", failed),
    )
    stage = build.Stage(write(tmp_path / "in", {"03-vgg": bad}), tmp_path / "out")
    stage.write()
    problems = "\n".join(stage.problems)
    for part in (
        "2 titles",
        "nobody1999",
        "glossary.md#nothing",
        "no/file.py",
        "cell 1: a figure without",
        "cell 2",
    ):
        assert part in problems, part
    assert "no such layer" in problems


def test_a_file_that_is_no_notebook_is_named(build, tmp_path, capsys):
    notebooks = write(tmp_path / "in", {"00-start": notebook(markdown("# One"))})
    (notebooks / "03-vgg.ipynb").write_text("{", "utf-8")
    assert build.main(["--notebooks", str(notebooks), "--out", str(tmp_path / "out")]) == 1
    assert f"book: {notebooks / '03-vgg.ipynb'} is no notebook: it is no JSON" in capsys.readouterr().err


def staged(build, folder, made):
    """The stage of one chapter, and its notebook as Sphinx reads it."""
    stage = build.Stage(write(folder / "notebooks", {"03-vgg": made}), folder / "source")
    return stage, stage.notebook(stage.chapters["03-vgg"])


def test_no_setting_of_a_notebook_reaches_the_book(build, tmp_path):
    """`mystnb` would have its cells run, `myst` its text read by other rules."""
    made = notebook(
        markdown("# One"),
        code(
            "open('ran', 'w')", picture(), render={"markdown_format": "myst"}, tags=["hide-input"],
            mystnb={"image": {"alt": "A square."}, "markdown_format": "myst", "code_prompt_show": "x"},
        ),
    )  # fmt: skip
    made.metadata |= {
        "mystnb": {"execution_mode": "force"},
        "myst": {"substitutions": {"a": "b"}, "html_meta": {"a": "b"}},
        "widgets": {},
        "kernelspec": {"name": "other", "language": "R", "display_name": "R"},
    }
    _, found = staged(build, tmp_path, made)
    assert dict(found.metadata) == {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python", "pygments_lexer": "ipython3"},
    }
    assert dict(found.cells[1].metadata) == {
        "tags": ["hide-input"],
        "mystnb": {"image": {"alt": "A square."}},
    }


def test_links_that_leave_the_course_are_refused(build, tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    os.utime(secret, (0, 0))
    up = os.path.relpath(secret, ROOT / "notebooks")
    links = [f"![a]({secret})", f"![a]({up})", f"[a]({secret})", f"[a]({up}#b)", f"![a](../book/../{up[3:]})"]
    stage, found = staged(build, tmp_path, notebook(markdown("# One"), *map(markdown, links)))
    leaves = [f"03-vgg.ipynb, cell {n}: {link[link.index('(') + 1 : -1]} leads out of the course"
              for n, link in enumerate(links, 1)]  # fmt: skip
    assert stage.problems == leaves
    assert [cell.source for cell in found.cells[1:]] == ["a"] * 5
    assert (secret.read_bytes(), secret.stat().st_mtime) == (b"secret", 0)
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == b"secret"]
    assert kept == [secret]
    for name in (str(tmp_path / "mine.txt"), "../mine.txt", "a/../../mine.txt"):
        with pytest.raises(ValueError, match="mine.txt lies outside of the folder that Sphinx reads"):
            stage.put(name, b"")
    assert not list(tmp_path.glob("**/mine.txt"))


def test_a_link_to_a_link_that_leaves_the_course_is_refused(build, tmp_path, monkeypatch):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.png").write_bytes(b"secret")
    (root / "mine.png").symlink_to(tmp_path / "secret.png")
    (root / "own.png").write_bytes(b"own")
    copied = {}
    prose = build.Stage.__init__.__globals__["Prose"]({}, copied.__setitem__)
    monkeypatch.setitem(prose.link.__func__.__globals__, "ROOT", root)
    assert prose("![a](../mine.png) ![b](../own.png)", "x", Path("notebooks")) == "a ![b](../own.png)"
    assert prose.problems == ["x: ../mine.png leads out of the course"] and copied == {"own.png": b"own"}


@pytest.mark.parametrize(
    "text, left",
    [
        ("```{include} ../../secret.txt\n```", "```include ../../secret.txt\n```"),
        ("> ~~~~ {literalinclude} /etc/hostname\n> ~~~~", "> ~~~~ literalinclude /etc/hostname\n> ~~~~"),
        (":::{eval-rst}\n.. automodule:: this\n:::", ":::eval-rst\n.. automodule:: this\n:::"),
        ("````{note}\n```{raw} html\n:file: /etc/hostname\n```\n````",
         "````{note}\n```raw html\n:file: /etc/hostname\n```\n````"),
        ("A {download}`../../secret.txt` file", "A download`../../secret.txt` file"),
    ],
)  # fmt: skip
def test_directives_and_roles_that_read_files_or_run_code_are_refused(build, tmp_path, text, left):
    stage, found = staged(build, tmp_path, notebook(markdown("# One"), markdown(text)))
    (problem,) = stage.problems
    assert re.fullmatch(
        r"03-vgg.ipynb, cell 1: \{[a-z-]+\} is nothing that a chapter may use; possible are .*", problem
    )
    assert found.cells[1].source == left


def test_text_that_only_looks_like_a_directive_stays(build, tmp_path):
    text = (
        "```{warning}\nAn `{include}` of $\\text{raw}$, {math}`x`.\n```\n\n```python\nf'{a}'\n```\n\n"
        "`` ValueError: {download}`x` `` and {1, 2}"
    )
    stage, found = staged(build, tmp_path, notebook(markdown("# One"), markdown(text)))
    assert stage.problems == [] and found.cells[1].source == text


def test_sphinx_itself_brings_no_file_from_elsewhere(build, tmp_path):
    """Forms of links that the stage does not know, and its settings as a second line."""
    from sphinx.application import Sphinx
    from sphinx.errors import SphinxError

    conf = runpy.run_path(str(ROOT / "book/conf.py"))
    assert "guard" in conf["extensions"]
    importlib.import_module("guard")
    (tmp_path / "secret.txt").write_text("the secret", "utf-8")
    (tmp_path / "secret.png").write_bytes(b"")
    source = tmp_path / "source"
    source.mkdir()

    def read(text):
        (source / "index.md").write_text(f"# One\n\n{text}\n", "utf-8")
        app = Sphinx(source, None, tmp_path / "html", tmp_path / "trees", "dummy", status=None, warning=None,
                     confoverrides={"extensions": ["myst_parser", "guard"]}, freshenv=True)  # fmt: skip
        app.build()
        return app.env.get_doctree("index").astext()

    inserted = "```{include} ../secret.txt\n```\n\n```{literalinclude} ../secret.txt\n```\n\n"
    assert "the secret" not in read(inserted + "```{raw} html\n:file: ../secret.txt\n```")
    for text in ("![a](<../secret.png>)", "![a][b]\n\n[b]: ../secret.png", "{download}`../secret.txt`"):
        with pytest.raises(SphinxError, match=r"index shows a file outside of the book: .*secret\.(png|txt)"):
            read(text)


@pytest.mark.parametrize("words", ['"Quoted" at first', "it's: {a} #b", "[x] & *y*", "卷积\nand a line"])
def test_words_of_a_cover_may_be_any(build, tmp_path, words):
    from myst_parser.parsers.options import options_to_items

    made = notebook(markdown("# One"), code("plot()", picture(), tags=["cover"], alt=words))
    stage = build.Stage(write(tmp_path / "notebooks", {"03-vgg": made}), tmp_path / "source")
    lines = stage.card(stage.chapters["03-vgg"])
    options = "\n".join(line[1:] for line in lines[1:] if line.startswith(":") and not line.startswith(":::"))
    assert dict(options_to_items(options)[0])["img-alt"] == " ".join(words.split())


MARKED = {"command": "book", "what": "", "names": ["index.html"]}


def site_of(folder, command="book"):
    """A folder as an earlier build left it, with the mark of its command."""
    folder.mkdir()
    (folder / "index.html").write_text("old", "utf-8")
    if command:
        (folder / ".cnnbook").write_text(json.dumps(MARKED | {"command": command}), "utf-8")
    return folder


def test_neighbours_of_a_book_stay_whatever_they_are_called(build, tmp_path, monkeypatch):
    for name in (".venv-jax", ".venv-bench", "venv-failed"):
        site_of(tmp_path / name, command=None)
    stale = site_of(tmp_path / ".venv-abc", command="book (unfinished)")
    final = site_of(tmp_path / ".venv-final")
    at_work = site_of(tmp_path / ".venv-def", command="book (unfinished)")
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    os.utime(at_work)

    def sphinx(work):
        (work / "html").mkdir()
        return 1

    monkeypatch.setattr(build, "sphinx", sphinx)
    for _ in range(2):
        assert build.main(["--notebooks", str(write(tmp_path / "in", {"00-start": start()})),
                           "--out", str(tmp_path / "venv")]) == 1  # fmt: skip
        left = {path.name for path in tmp_path.iterdir()} - {"in"}
        # What there is of the book went beside the folder that has its name, and there again.
        assert left == {".venv-jax", ".venv-bench", "venv-failed", final.name, at_work.name, "venv-failed-2"}
    assert not stale.exists() and (tmp_path / "venv-failed" / "index.html").exists()


@pytest.mark.parametrize(
    "made, words",
    [
        ({"searchindex.js": "of another site", "index.html": ""}, "holds what `cnnbook book` did not write (index.html"),
        ({".cnnbook": MARKED | {"command": "run"}}, "holds what `cnnbook run` wrote"),
        ({".cnnbook": MARKED, "index.html": "", "CNAME": "", ".git": ""}, "holds what is none of the book (.git, CNAME)"),
        ({"searchindex.js": "", "book/glossary.html": "", "notebooks/x.html": "", "CNAME": ""},
         "holds what is none of the book (CNAME)"),
    ],
)  # fmt: skip
def test_a_folder_that_is_no_book_of_ours_is_refused(build, tmp_path, capsys, made, words):
    out = tmp_path / "out"
    for name, content in made.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    notebooks = write(tmp_path / "in", {"00-start": start()})
    assert build.main(["--notebooks", str(notebooks), "--out", str(out)]) == 1
    assert words in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


@pytest.mark.parametrize("of_the_version_before", [False, True])
def test_a_book_takes_the_place_of_a_book(build, tmp_path, monkeypatch, of_the_version_before):
    out = site_of(tmp_path / "book", command=None if of_the_version_before else "book")
    if of_the_version_before:
        for name in ("searchindex.js", "book/glossary.html", "notebooks/x.html"):
            (out / name).parent.mkdir(exist_ok=True)
            (out / name).write_text("", "utf-8")

    def sphinx(work):
        (work / "html" / "_sources" / "notebooks").mkdir(parents=True)
        (work / "html" / "index.html").write_text("new", "utf-8")
        return 0

    monkeypatch.setattr(build, "sphinx", sphinx)
    notebooks = write(tmp_path / "in", {"00-start": start()})
    for _ in range(2):
        assert build.main(["--notebooks", str(notebooks), "--out", str(out)]) == 0
        assert (out / "index.html").read_text("utf-8") == "new" and not (out / "searchindex.js").exists()
        mark = json.loads((out / ".cnnbook").read_text("utf-8"))
        assert (mark["command"], mark["names"]) == ("book", ["404.html", "_sources", "index.html"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["book", "in"]


def test_the_old_book_comes_back_where_the_new_one_cannot_be_moved(build, tmp_path):
    out, site = site_of(tmp_path / "book"), tmp_path / "work" / "html"
    site.parent.mkdir()
    with pytest.raises(OSError):
        build.replace(site, out)  # it is not there
    assert (out / "index.html").read_text("utf-8") == "old"


def test_a_failed_build_leaves_the_old_book(build, tmp_path, monkeypatch, capsys):
    out = site_of(tmp_path / "book")
    (out / "searchindex.js").write_text("old")
    (out / ".cnnbook").write_text(json.dumps(MARKED | {"names": ["index.html", "searchindex.js"]}), "utf-8")
    monkeypatch.setattr(build, "sphinx", lambda work: 1)
    assert build.build(write(tmp_path / "in", {"00-start": start()}), out) == 1
    assert (out / "searchindex.js").read_text() == "old"
    assert "not rendered" in capsys.readouterr().out
    assert not list(tmp_path.glob(".book-*"))


@pytest.mark.parametrize("case", ["no folder", "other files"])
def test_wrong_folders_are_refused(build, tmp_path, case, capsys):
    notebooks, out = tmp_path / "nowhere", tmp_path / "out"
    if case == "other files":
        write(notebooks, {})
        out.mkdir()
        (out / "thesis.txt").write_text("mine")
    assert build.main(["--notebooks", str(notebooks), "--out", str(out)]) == 1
    assert ("nowhere" if case == "no folder" else "did not write (thesis.txt)") in capsys.readouterr().err
    assert case == "no folder" or (out / "thesis.txt").exists()


def test_every_room_has_a_page(site, pages):
    import cnnbook

    listed = pages[site / "book/api.html"].select_one(".bd-article").get_text()
    rooms = [
        name for name in cnnbook.__all__ if inspect.ismodule(getattr(cnnbook, name)) and name != "layers"
    ]
    assert len(rooms) > 10
    for room in rooms:
        module = getattr(cnnbook, room)
        assert f"cnnbook.{room}" in listed
        page = pages[site / f"book/api/{room}.html"]
        text = page.select_one(".bd-article").get_text()
        for name in getattr(module, "__all__", ()):
            if inspect.ismodule(getattr(module, name)):
                assert any(f"{room}.{name}" in title.get_text() for title in page.find_all("h2")), name
            elif room == "models":
                assert name in text or name == "BUILDERS", name
            else:
                assert page.find(id=f"cnnbook.{room}.{name}"), name
        for left in ("object at 0x", "`", "Built-in immutable", "Alias for field"):
            prose = "".join(
                tag.get_text() for tag in page.select(".bd-article p, .bd-article dt, .bd-article td")
            )
            assert left not in prose, f"{room}: {left}"


def test_a_function_says_what_its_docstring_says(site, pages):
    entry = pages[site / "book/api/viz.html"].find(id="cnnbook.viz.grad_cam").find_parent("dl")
    assert "Selvaraju et al. 2017" in entry.get_text()
    assert entry.find("a", href="https://arxiv.org/abs/1610.02391")
    load = pages[site / "book/api/data.html"].find(id="cnnbook.data.load").find_parent("dl")
    fields = {title.get_text(): title.find_next("dd") for title in load.select("dl.field-list > dt")}
    items = [item.get_text() for item in fields["Parameters:"].find_all("li")]
    assert any(item.startswith("size: side in pixels or (height, width)") for item in items), items
    assert any(item.startswith("train, test: how many images") for item in items), items
    assert fields["Raises:"].get_text().startswith("ValueError")


def test_networks_stand_in_a_table_for_each_paper(site, pages):
    from cnnbook import models

    page = pages[site / "book/api/models.html"]
    rows = {row.find("td").get_text(): [cell.get_text() for cell in row.find_all("td")]
            for row in page.select("table.room-table tbody tr")}  # fmt: skip
    counts = {}
    for row in models.figures():
        counts.setdefault(row["builder"], set()).add(f"{row['params']:,}" if row["params"] else "")
    for builder, published in counts.items():
        assert published & set(rows[builder]), builder
    assert "138,357,544" in rows["VGG16"] and "11,689,512" in rows["ResNet18"]
    assert rows["ResNetCIFAR"][-1] == "depth=20"
    assert len(page.select(".bd-article h2")) == len(set(models.BUILDERS.values()))


def test_docstrings_become_restructured_text(docstrings):
    text = """The share of *all* x_ in |A|, see `fit`. Long et al. 2015, arXiv:1411.4038.

    size: side in pixels, "same" or more; seed, other: of the draw. Raises ValueError for size=0.

    kind   what it is
           and more
    """

    lines = docstrings.restructured(text, ("size", "seed", "other"), {"fit": "cnnbook.training.fit"}.get)
    assert [line for line in lines if line] == [
        r"The share of \*all\* x\_ in \|A\|, see :py:obj:`fit <cnnbook.training.fit>`\ . "
        r"Long et al. 2015, `arXiv:1411.4038 <https://arxiv.org/abs/1411.4038>`__\ .",
        ".. list-table::",
        "   :class: room-table",
        "   * - ``kind``",
        "     - what it is",
        "   * -",
        "     - and more",
        ":Parameters:",
        '    * **size**: side in pixels, ``"same"``\\  or more',
        "    * **seed**, **other**: of the draw.",
        r":Raises: ValueError for ``size=0``\ .",
    ]
    first = docstrings.summary("A map (Long et al. 2015, eq. 3). Then `more`, of others.")
    assert first == "A map (Long et al. 2015, eq. 3)."


def test_references_page_is_written_from_the_bibliography(build):
    text = (ROOT / "book/references.md").read_text("utf-8")
    assert text == build.references(), "run `python book/build.py --references`"
    for key, entry in importlib.import_module("citations").bibliography().items():
        assert {"eprint", "doi", "url"} & set(entry.fields) or key == "krizhevsky2009", key
        assert re.fullmatch(r"\d{4}", entry.fields["year"])
