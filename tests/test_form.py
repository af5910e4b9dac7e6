"""The form of a chapter: prose for its code, cells that one takes in at a glance, hidden cells that only draw."""

import ast
from pathlib import Path

import pytest
from helpers.notebooks import code, markdown, nbformat, notebook, output

from cnnbook.course import cli
from cnnbook.course.form import Work, form, measure, prose, sentences, words
from cnnbook.course.project import Project, UserError

pytest.importorskip("jupytext")

ROOT = Path(__file__).parents[1]
# 15 words.
SENTENCE = "A layer reads what lies below its window, so its sides decide what it sees."
TEXT = " ".join([SENTENCE] * 4)


def chapter(*cells, title="# Small kernels", text=TEXT):
    return notebook(markdown(f"{title}\n\n{text}"), *cells)


def problems(*cells, twin=None, **kwargs):
    return measure("00-a", chapter(*cells, **kwargs), twin).problems


def test_a_chapter_in_form():
    found = measure("00-a", chapter(code("x = 1\n\ny = 2"), code("plt.plot(x)\n" * 30, tags=["hide-input"])))
    assert found.problems == []
    assert (found.words, found.lines, found.words_a_line, found.words_a_sentence) == (60, 2, 30, 15)
    assert found.text() == (
        "00-a                      30.0 words a line (60 words, 2 lines)  longest cell 2 lines (cell 2)  "
        "15.0 words a sentence"
    )


def test_words_for_each_visible_line():
    four, five = "x = 1\n" * 4, "x = 1\n" * 2
    assert problems(code(four)) == []
    assert problems(code(four), code(five)) == [
        "10.0 words for each visible line of code: 15 at least, so 30 words are missing or 2 lines too many. "
        "Most lines: cell 2 (4), cell 3 (2)"
    ]


@pytest.mark.parametrize(
    "tag", ["hide-input", "hide-cell", "solution", "colab", "parameters", "remove-input"]
)
def test_what_is_no_visible_line(tag):
    assert measure("00-a", chapter(code("x = 1\n" * 30, tags=[tag, "cover-t1"]))).lines == 0


def showing(*texts, tags=()):
    return code(
        "show_source(vgg.block)",
        *(output("display_data", data={"text/markdown": text, "text/plain": "<Markdown>"}) for text in texts),
        tags=list(tags),
    )


def test_sources_shown_count():
    source = "````python\ndef block():\n    '''\n    ```python\n    '''\n\n    return 1\n````"
    for tags, lines in (
        ((), 6),
        (("hide-input",), 5),
        (("remove-input",), 5),
        (("solution",), 0),
        (("hide-cell",), 0),
    ):
        made = chapter(showing(tags=tags))
        found = measure("00-a", made, notebook(showing(source, tags=tags)))
        assert found.lines == lines, tags
    two = measure("00-a", chapter(showing()), notebook(showing(f"{source}\n\n```python\nx = 1\n```")))
    assert two.sources == {2: 6} and two.code == {2: 1}
    # It has no limit of lines, but for what it costs in words.
    long = measure(
        "00-a", chapter(showing(), text=TEXT * 10), notebook(showing("```python\n" + "x = 1\n" * 30 + "```"))
    )
    assert long.problems == []


@pytest.mark.parametrize(
    "twin", [None, notebook("show_source(vgg.conv)"), notebook("show_source(vgg.block)")]
)
def test_sources_that_are_not_stored_are_told(twin):
    assert problems(code("show_source(vgg.block)"), twin=twin) == [
        "cell 2: the sources that it shows are not stored: cnnbook sync --execute --only 00-a"
    ]


def test_a_visible_cell_is_short():
    text = TEXT * 10
    assert problems(code("x = 1\n\n" * 20), text=text) == []
    (told,) = problems(code("x = 1\n" * 21), text=text)
    assert told.startswith("cell 2: 21 lines: 20 at most. Split it")
    assert problems(code("x = 1\n" * 21, tags=["hide-input"]), text=text) == []


@pytest.mark.parametrize(
    "source, told",
    [
        ("assert x == 1, 'one'", "asserts"),
        ("training.fit(net, x)", "trains (training.fit)"),
        ("training.optimiser()", "trains (training.optimiser)"),
        ("run = fitting(net)", "trains (fitting)"),
        ("net.fit(x, y)", "trains (net.fit)"),
        ("PCA(2).fit(x)", "trains (PCA(2).fit)"),
        ("net.compile(loss='mse')", "trains (net.compile)"),
        ("curves = experiments.load('a.b').live(seed=seed)", "trains (experiments.load('a.b').live)"),
        ("net = VGG16()", "builds (VGG16)"),
        ("net = models.VGG16()", "builds (models.VGG16)"),
        ("net = cnnbook.models.VGG16()", "builds (cnnbook.models.VGG16)"),
        ("x = vgg.block(x, 2, 64, name='a')", "builds (vgg.block)"),
        ("net = keras.Model(x, y)", "builds (keras.Model)"),
        ("x = L.Conv2D(3, 3)(x)", "builds (L.Conv2D)"),
        ("fig = draw(slim())", "builds or trains by a function of this chapter (slim)"),
        ("outer()", "builds or trains by a function of this chapter (outer)"),
        ("for net in nets:\n    def f():\n        net.fit(x)\n    f()", "trains (net.fit)"),
    ],
)
def test_hidden_cells_only_draw(source, told):
    imports = (
        "import keras\nfrom keras import layers as L\nimport cnnbook\nfrom cnnbook import models, training\n"
        "from cnnbook.models import VGG16, vgg\nfrom cnnbook.training import fit as fitting\n"
        "def slim():\n    return VGG16()\ndef outer(): return slim()\ndef draw(net): return net.name"
    )
    text = TEXT * 10
    for tag in ("hide-input", "hide-cell"):
        found = problems(code(imports), code(source, tags=[tag]), text=text)
        assert [p for p in found if p.startswith("cell 3 is hidden and ") and told in p] == found and found
    assert problems(code(imports), code(source), text=text) == []


@pytest.mark.parametrize(
    "source",
    [
        "%matplotlib inline\nstacks = viz.stacks(graph.blueprint(VGG16))",
        "pattern = re.compile('a')\nbest = np.polyfit(x, y, 1)",
        "table = models.table('VGG16')\nfig, axes = plt.subplots()",
        "claims.report()",
        "fig = draw(net)",
        "figure.savefig('a')\nfits = training_curves(history)",
    ],
)
def test_what_hidden_cells_may_do(source):
    imports = "import re\nfrom cnnbook import models\nfrom cnnbook.models import VGG16\ndef draw(net): return net.name"
    assert problems(code(imports), code(source, tags=["hide-input"]), text=TEXT * 10) == []


def test_solutions_may_build():
    assert problems(code("net.fit(x)", tags=["solution"])) == []
    work = Work([ast.parse("def f(): net.fit(x)")])
    assert list(work.of(ast.parse("print(f)"))) == []


def test_the_mean_sentence():
    assert problems(text="It is so. " * 20) == [
        "the mean sentence has 3.0 words: 11 to 20; join what belongs together by because, so, but, first in cell 1 (3)"
    ]
    long = SENTENCE[:-1] + ", and also where it stands in the net. "
    assert problems(text=long * 3) == [
        "the mean sentence has 23.0 words: 11 to 20; split the long ones, first in cell 1 (23)"
    ]
    # The cells that are worst come first, those with one sentence alone left out.
    cells = [
        markdown("Yes. No."),
        markdown(TEXT),
        markdown("A b. C d e."),
        markdown("One."),
        markdown("F g h. I j k l."),
    ]
    (told,) = problems(*cells, text="It is. " * 40)
    assert told.endswith("first in cell 2 (1), cell 1 (2), cell 4 (2)")


@pytest.mark.parametrize(
    "title, told",
    [
        ("# VGG: depth from 3x3 convolutions alone", []),
        ("# VGG: all the depth from 3x3 convolutions alone",
         ["cell 1: the title has 8 words: 6 at most; the question may follow it"]),
        ("## A section", ["cell 1: no title: begin with a line such as # VGG: depth from 3x3 convolutions"]),
    ],
)  # fmt: skip
def test_the_title(title, told):
    assert problems(title=title) == told


MARKDOWN = """# A title of a chapter

**You will be able to** count, see [the paper](https://example.org/a_b) [simonyan2015].

| a | b |
|---|---|
| one | two |

> [!NOTE]
> **Predict first (先猜).** How many
> `graph.trace(net)` rows?

```python
x = 1
```

$$a = b$$

1. It *is* $a + b$, so `f(x)` fits.
- An item
<!-- a note -->
**1.** Show it, e.g. by Fig. 3, i.e. as He et al. Then stop. "Why?" (A hint.) That row is C.

## References

- [Simonyan](../book/references.md#simonyan2015): VGG; all of its tables are here.
"""


def test_what_is_prose():
    blocks, inside = prose(MARKDOWN)
    assert (
        inside
        and prose("- more of them.", inside) == ([], True)
        and prose("## Next\n\nText.", inside) == (["Text."], False)
    )
    assert [" ".join(block.split()) for block in blocks] == [
        "You will be able to count, see the paper .",
        "How many Code rows?",
        "It is Formula, so Code fits.",
        "An item",
        'Show it, e.g. by Fig. 3, i.e. as He et al. Then stop. "Why?" (A hint.) That row is C.',
    ]  # fmt: skip
    assert [list(sentences(block)) for block in blocks[1:3]] == [
        ["How many Code rows?"],
        ["It is Formula, so Code fits."],
    ]


@pytest.mark.parametrize(
    "block, expected",
    [
        ("One is here. Two is there!", ["One is here.", "Two is there!"]),
        ("As in Fig. 3 and e.g. Code. Then", ["As in Fig. 3 and e.g. Code."]),
        ("It costs 2.5 times as much: why? Because.", ["It costs 2.5 times as much: why?", "Because."]),
        ("The net then says:", ["The net then says:"]),
        ("An item of a list", []),
        ('He said "so." (It was.) That row is C.', ['He said "so."', "(It was.)", "That row is C."]),
        ("它是卷积。然后停。", ["它是卷积。", "然后停。"]),
        ("...", []),
    ],
)
def test_sentences(block, expected):
    assert list(sentences(block)) == expected


def test_words():
    assert words("A 3x3 kernel (核), so - 27 C.") == ["A", "3x3", "kernel", "(核),", "so", "27", "C."]


MD = """---
kernelspec:
  display_name: Python 3 (ipykernel)
  language: python
  name: python3
---

# A chapter

TEXT

```{code-cell} ipython3
:tags: [hide-input]

assert 1, "one"
```
"""


@pytest.fixture
def course(tmp_path):
    for folder in ("chapters", "notebooks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "pyproject.toml").write_text("[tool.cnnbook]\nform = ['00-good']\n", "utf-8")
    bad = MD.replace("TEXT", TEXT)
    (tmp_path / "chapters" / "01-bad.md").write_text(bad, "utf-8")
    (tmp_path / "chapters" / "00-good.md").write_text(bad.replace("assert", "print"), "utf-8")
    nbformat.write(
        notebook(code('print 1, "one"', tags=["hide-input"])), tmp_path / "notebooks" / "00-good.ipynb"
    )
    return tmp_path


def test_the_command_judges_chapters_that_are_listed_or_chosen(course, capsys):
    assert cli.main(["form", "--root", str(course)]) == 0
    good, bad = capsys.readouterr().out.splitlines()
    assert good.startswith("00-good") and good.endswith("15.0 words a sentence")
    assert bad.startswith("01-bad") and bad.endswith("(not held to the form yet)")
    assert cli.main(["form", "--root", str(course), "--only", "bad"]) == 1
    _, told = capsys.readouterr().out.splitlines()
    assert told.startswith("    cell 3 is hidden and asserts: ") or told.startswith(
        "    cell 2 is hidden and asserts: "
    )
    (course / "pyproject.toml").write_text("[tool.cnnbook]\nform = ['00-good', '01-bad']\n", "utf-8")
    assert cli.main(["form", "--root", str(course)]) == 1
    assert "is hidden and asserts" in capsys.readouterr().out


def test_a_list_that_names_no_chapter_is_refused(course):
    (course / "pyproject.toml").write_text("[tool.cnnbook]\nform = ['09-none']\n", "utf-8")
    with pytest.raises(UserError, match="lists 09-none: there is no such chapter"):
        form(Project(course))


@pytest.mark.checkout
def test_the_books_list_names_chapters():
    course = Project(ROOT)
    assert set(course.form) <= {path.stem for path in course.chapter_paths()}
