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


def test_a_failed_build_leaves_the_old_book(build, tmp_path, monkeypatch, capsys):
    out = tmp_path / "book"
    out.mkdir()
    (out / "searchindex.js").write_text("old")
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
    assert ("nowhere" if case == "no folder" else "not a book") in capsys.readouterr().err
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
