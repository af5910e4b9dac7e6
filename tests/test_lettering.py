"""Names in figures: Chinese ones are drawn on a machine without a Chinese font, and all of them as they are, "$" too."""

import io
import logging
import pickle
import re
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ET
from base64 import b64decode
from pathlib import Path

import keras
import matplotlib
import numpy as np
import pytest
from fontTools.ttLib import TTFont
from helpers import nets
from keras import layers as L
from matplotlib import font_manager

from cnnbook import data, lettering, transfer, viz
from cnnbook.viz import style

ROOT = Path(__file__).parents[1]
# Two are Chinese, one is a formula, one of which matplotlib cannot read, and one is of both kinds.
NAMES = ["猫", "郁金香", "$5_bill$", "$x^$", "熵（a$b）\\$"]


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """Without a font for Chinese but ours, and with a warning of a glyph, and each in the log, an error."""
    monkeypatch.setattr(lettering, "ELSEWHERE", ())
    lettering._elsewhere.cache_clear()
    said, handler = [], logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger = logging.getLogger("matplotlib")
    logger.addHandler(handler)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Glyph")
        yield
    logger.removeHandler(handler)
    lettering._elsewhere.cache_clear()
    assert said == []


@pytest.fixture(scope="module")
def classifier():
    """A net of five classes whose layers have Chinese names, eight images and their labels."""
    x = inputs = keras.Input((16, 16, 3), name="图像")
    x = L.Conv2D(4, 3, padding="same", activation="relu", name="卷积")(x)
    x = L.GlobalAveragePooling2D(name="池化")(x)
    model = nets.seeded(keras.Model(inputs, L.Dense(5, activation="softmax", name="分类")(x), name="network"))
    return model, nets.image((8, 16, 16, 3)), np.arange(8) % 5


@pytest.fixture(scope="module")
def evaluation(classifier):
    model, x, y = classifier
    pixels = np.clip(128 + 40 * x, 0, 255).astype("uint8")
    probabilities = keras.ops.convert_to_numpy(model(x))
    return transfer.Evaluation(NAMES, pixels, y, probabilities, [f"{NAMES[k]}.png" for k in y])


@pytest.fixture(scope="module")
def pictures(classifier, evaluation):
    """{what: picture} of everything in which names stand."""
    model, x, y = classifier
    heat = viz.grad_cam(model, x[0], "卷积", names=NAMES)
    mask = np.arange(256).reshape(16, 16) % 5
    rows = [dict(net=name, group=name, top1=k, macs=k + 1) for k, name in enumerate(NAMES)]
    return {
        "grad_cam": heat,
        "deletion": viz.deletion(model, x[0], heat, steps=2),
        "beside": viz.beside(heat, heat, titles=NAMES[:2]),
        "embed": viz.embed(model, x, "卷积", y, names=NAMES),
        "nearest": viz.nearest(model, x, 0, "卷积", k=3, labels=y, names=NAMES),
        "overlay": viz.overlay(np.zeros((16, 16)), mask, NAMES, background=None, title=NAMES[0]),
        "confusion": viz.confusion(evaluation),
        "hardest": viz.hardest(evaluation, 5),
        "feature_maps": viz.feature_maps(model, x[0], "卷积"),
        "trade_off": viz.trade_off(rows, "macs", "top1", "macs"),
        "diagram": viz.diagram(model),
        "browse": viz.browse(model, x[0]),
    }


def test_names_are_drawn_as_they_are(pictures):
    """matplotlib warns of every glyph that it lacks, and raises on a formula that it cannot read: here neither."""
    for what, picture in pictures.items():
        if what == "browse":
            assert len(picture.frames()) == 1
            continue
        figure = picture.figure()
        figure.savefig(io.BytesIO())
        texts = [
            t
            for t in figure.findobj(matplotlib.text.Text)
            if any(n in t.get_text() for n in (*NAMES, "卷积"))
        ]
        assert texts, what
        for text in texts:
            assert text._preprocess_math(text.get_text()) == (text.get_text(), False), what
            assert text.get_fontfamily()[-1] == lettering.FAMILY, what


def test_images_show_their_classes(evaluation):
    e = evaluation
    mine = data.Images("mine", tuple(NAMES), "here", e.x, e.y, e.x[:0], e.y[:0], e.x, e.y)
    figure = mine.show(rows=1, columns=5)
    figure.savefig(io.BytesIO())
    assert [axis.get_title() for axis in figure.axes] == NAMES
    assert all(axis.title._preprocess_math(axis.get_title())[1] is False for axis in figure.axes)


def ink(text, **options):
    """The pixels of a text drawn in a figure of the course."""
    figure, axes = style.figure(1, 1)
    axes.remove()
    figure.text(0.1, 0.3, text, size=40, **options)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., 0] < 128
    matplotlib.pyplot.close(figure)
    return pixels


def test_the_pixels_are_the_character_s():
    """Not those of the box that stands for what a font lacks, in plain, bold and italic alike."""
    cat, dog = ink("猫"), ink("狗")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        box = ink("\U000e0fff")
    assert cat.sum() > 300 and (cat != dog).sum() > 200 and (cat != box).sum() > 200
    assert np.array_equal(cat, ink("猫", weight="bold")) and np.array_equal(cat, ink("猫", style="italic"))


def test_latin_and_what_the_user_sets_stay(monkeypatch):
    """Letters come from the user's font, the same pixels as without ours; settings are as they were."""
    before = dict(matplotlib.rcParams)
    ours = ink("Ag 0.5")
    monkeypatch.setattr(lettering, "figure_class", lambda: matplotlib.figure.Figure)
    assert np.array_equal(ours, ink("Ag 0.5"))
    monkeypatch.undo()
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({"font.family": ["STIXGeneral"]}):
        figure, axes = style.figure()
        axes.set_title("猫 A")
        figure.draw_without_rendering()
        assert axes.title.get_fontfamily() == ["STIXGeneral", lettering.FAMILY]
    again = pickle.loads(pickle.dumps(figure))
    assert type(again) is type(figure) and again.axes[0].get_title() == "猫 A"
    assert repr(figure).startswith("<Figure size ")
    mono = font_manager.FontProperties(fname=font_manager.findfont("DejaVu Sans Mono"))
    text = axes.text(0, 0, "A", fontproperties=mono)
    figure.draw_without_rendering()
    assert text.get_fontproperties().get_file() == mono.get_file()


def test_a_formula_of_a_chapter_stays_one():
    """Only names are no mathematics: a chapter's own figure, and the powers of ten at an axis."""
    figure, axes = style.figure()
    axes.set_title("$x^2$")
    figure.draw_without_rendering()
    assert axes.title._preprocess_math("$x^2$")[1] is True
    with lettering.as_names():
        figure, axes = style.figure()
    axes.set(yscale="log", ylim=(1, 1e6), title="$x^2$")
    figure.draw_without_rendering()
    ticks = [t for t in axes.get_yticklabels() if t.get_text()]
    assert ticks and all(t._preprocess_math(t.get_text())[1] is True for t in ticks)
    assert axes.title._preprocess_math("$x^2$")[1] is False


def test_a_rare_character_asks_the_machine_and_stops_nothing(monkeypatch, caplog):
    """Where the machine has one of the fonts that are known to hold more, it is asked after ours."""
    monkeypatch.setattr(lettering, "ELSEWHERE", ("No such font", "STIXGeneral"))
    lettering._elsewhere.cache_clear()
    figure, axes = style.figure()
    axes.set(title="鱻", xlabel="猫")
    with pytest.warns(UserWarning, match="Glyph 40059"):
        figure.savefig(io.BytesIO())
    assert axes.title.get_fontfamily()[-2:] == [lettering.FAMILY, "STIXGeneral"]
    assert axes.xaxis.label.get_fontfamily()[-1] == lettering.FAMILY


# --------------------------------------------------------------------------- drawings as SVG


def test_a_drawing_brings_its_characters(classifier):
    """An SVG file is shown by itself, where no page's font reaches: it holds the few glyphs that it needs."""
    drawing = viz.diagram(classifier[0])
    svg = drawing.svg()
    root = ET.fromstring(svg)
    (sheet,) = root.findall("{http://www.w3.org/2000/svg}style")
    font = TTFont(io.BytesIO(b64decode(re.search(r"base64,([^)]*)\)", sheet.text)[1])))
    words = "".join(root.itertext()).replace(sheet.text, "")
    assert {c for c in words if ord(c) > 0x2E80} == set(map(chr, font.getBestCmap())) >= set("卷积池化分类")
    # A browser that meets a font as a fallback only draws its first word without: here it comes first.
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        first = (text.get("font-family") or root.get("font-family")).split(",")[0]
        assert (first == lettering.FAMILY) == (not text.text.isascii() and "×" not in text.text), text.text
    assert len(svg) < 15_000
    assert drawing.svg() == svg
    latin = viz.diagram(nets.cam_net()).svg()
    assert "<style" not in latin and lettering.FAMILY not in latin


# --------------------------------------------------------------------------- the font


def test_the_font_has_what_it_should():
    """GB 2312's first level, Latin, and all Chinese in the package; under its own name, with its terms beside it."""
    with TTFont(lettering.FILE) as font:
        covered, name = set(font.getBestCmap()), font["name"]
        outline = font["glyf"][font.getBestCmap()[ord("猫")]]
    rows = (bytes([row + 160, cell + 160]) for row in range(16, 56) for cell in range(1, 95))
    first = {raw.decode("gb2312", "ignore") for raw in rows} - {""}
    assert len(first) == 3755 and {ord(c) for c in first} <= covered
    assert set(range(0x20, 0x7F)) <= covered and {ord(c) for c in "，。：；？！“”（）《》、…—"} <= covered
    assert name.getDebugName(1) == lettering.FAMILY and "Source" not in str(name.getDebugName(6))
    assert "Adobe" in name.getDebugName(0) and "Open Font License" in name.getDebugName(13)
    assert outline.numberOfContours > 3
    assert lettering.FILE.stat().st_size < 2.5e6
    terms = lettering.FILE.with_name("OFL.txt").read_text("utf-8")
    assert "Adobe" in terms.splitlines()[0] and "SIL OPEN FONT LICENSE Version 1.1" in terms


def test_a_quick_import():
    """Neither matplotlib nor fontTools is imported before a figure is made."""
    code = "import sys, cnnbook.lettering, cnnbook.viz.style; print({'matplotlib', 'fontTools'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
    )


@pytest.mark.checkout
def test_chapters_and_pages_have_the_font():
    """A new term of a chapter may need `python tools/build_font.py FONT` again."""
    page = TTFont(ROOT / "book/_static/vendor/cnnbook-hans/cnnbook-hans.woff2") if _brotli() else None
    with TTFont(lettering.FILE) as font:
        covered = set(font.getBestCmap())
    for folder, pattern in (("chapters", "*.md"), ("cnnbook", "**/*.py"), ("book", "*.md")):
        for path in (ROOT / folder).glob(pattern):
            han = {c for c in path.read_text("utf-8") if "\u3000" <= c <= "\uffef"}
            missing = {c for c in han if ord(c) not in covered}
            assert not missing, f"{path.name} has {missing}: run tools/build_font.py"
    if page is not None:
        assert set(page.getBestCmap()) == covered
    file = ROOT / "book/_static/vendor/cnnbook-hans/cnnbook-hans.woff2"
    assert file.read_bytes()[:4] == b"wOF2" and file.stat().st_size < 2.5e6
    style_sheet = (ROOT / "book/_static/style.css").read_text("utf-8")
    assert "vendor/cnnbook-hans/cnnbook-hans.woff2" in style_sheet
    for family in re.findall(r"--book-(?:serif|sans|mono):([^;]*);", style_sheet):
        assert f'"{lettering.FAMILY}"' in family


def _brotli():
    import importlib.util

    return importlib.util.find_spec("brotli") is not None
