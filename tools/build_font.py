"""Builds the font of Chinese that figures and the book's pages fall back to: a part of Noto Sans CJK SC.

    python tools/build_font.py FONT     FONT: Debian's NotoSansCJK-Regular.ttc (apt-get download fonts-noto-cjk)

Writes cnnbook/lettering/cnnbook-hans.ttf for matplotlib and book/_static/vendor/cnnbook-hans/cnnbook-hans.woff2 for pages,
and prints their sizes. Needs fontTools, which matplotlib brings, and brotli. The same font gives the same bytes.

In it are the 3,755 characters of GB 2312's first level, which are 99.7 % of running text, Latin letters, punctuation,
and whatever else the chapters and the package use. Outlines are quadratic (TrueType), so that PDF files can hold them.
The OFL lets a part be passed on under its own terms and asks that it has a name of its own where one is reserved
("Source" is, of which Noto Sans CJK is made): so it is called cnnbook Hans.
"""

import sys
from pathlib import Path

from fontTools import subset
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.cu2quPen import Cu2QuPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont

ROOT = Path(__file__).resolve().parents[1]
NAME = "cnnbook Hans"
TTF = ROOT / "cnnbook/lettering/cnnbook-hans.ttf"
WOFF2 = ROOT / "book/_static/vendor/cnnbook-hans/cnnbook-hans.woff2"
WRITTEN = ("chapters/*.md", "book/*.md", "*.md", "cnnbook/**/*.py", "cnnbook/**/*.csv", "cnnbook/**/*.txt")
# The face of a collection that has the forms of mainland China.
FACE = "Noto Sans CJK SC"
# Units of an em, of 1000, by which a curve may lie off.
ERROR = 1.0


def level_one():
    """The 3,755 characters of GB 2312's rows 16 to 55."""
    cells = ((row, cell) for row in range(16, 56) for cell in range(1, 95) if (row, cell) < (55, 90))
    return {bytes([row + 160, cell + 160]).decode("gb2312") for row, cell in cells}


def characters():
    """All that the font shall have, where its source has it."""
    latin = {chr(code) for code in (*range(0x20, 0x7F), *range(0xA0, 0x180))}
    greek = {chr(code) for code in (*range(0x391, 0x3AA), *range(0x3B1, 0x3CA)) if code != 0x3A2}
    marks = {chr(code) for code in (*range(0x2010, 0x2040), *range(0x3000, 0x3020), *range(0xFF01, 0xFF5F))}
    used = {c for pattern in WRITTEN for path in ROOT.glob(pattern) for c in path.read_text("utf-8")}
    return level_one() | latin | greek | marks | used


def face(path):
    """The face of a collection that is called FACE."""
    for number in range(64):
        font = TTFont(path, fontNumber=number, lazy=True)
        if font["name"].getDebugName(1) == FACE:
            return font
    raise ValueError(f"{path} holds no {FACE}")


def part_of(font):
    """The subset, without what lays out text: figures and pages set names, not vertical lines."""
    options = subset.Options(
        hinting=False, layout_features=[], notdef_outline=True, recalc_timestamp=False, name_IDs=["*"]
    )
    options.drop_tables += ["BASE", "GDEF", "GPOS", "GSUB", "VORG", "vhea", "vmtx"]
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=[ord(c) for c in characters()])
    subsetter.subset(font)
    return font


def truetype(font):
    """A TrueType font of the same outlines, under our name."""
    glyphs, drawn = font.getGlyphOrder(), font.getGlyphSet()
    outlines = {}
    for name in glyphs:
        pen = TTGlyphPen(None)
        drawn[name].draw(Cu2QuPen(pen, ERROR, reverse_direction=True))
        outlines[name] = pen.glyph()
    old = font["name"]
    builder = FontBuilder(font["head"].unitsPerEm, isTTF=True)
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap(font.getBestCmap())
    builder.setupGlyf(outlines)
    builder.setupHorizontalMetrics({name: font["hmtx"][name] for name in glyphs})
    builder.setupHorizontalHeader(ascent=font["hhea"].ascent, descent=font["hhea"].descent)
    builder.setupNameTable(
        {
            "copyright": old.getDebugName(0), "familyName": NAME, "styleName": "Regular",
            "uniqueFontIdentifier": "cnnbook-hans-1", "fullName": NAME, "psName": "cnnbookHans-Regular",
            "version": f"Version 1.0; a part of {FACE}, {old.getDebugName(5)}",
            "licenseDescription": old.getDebugName(13), "licenseInfoURL": old.getDebugName(14),
        },
        mac=False,
    )  # fmt: skip
    builder.setupOS2(
        sTypoAscender=font["OS/2"].sTypoAscender, sTypoDescender=font["OS/2"].sTypoDescender,
        usWinAscent=font["OS/2"].usWinAscent, usWinDescent=font["OS/2"].usWinDescent, usWeightClass=400, fsType=0,
    )  # fmt: skip
    builder.setupPost(keepGlyphNames=False)
    made = builder.font
    made["head"].created, made["head"].modified = font["head"].created, font["head"].modified
    made.recalcTimestamp = False
    return made


def main(path):
    made = truetype(part_of(face(path)))
    for target, flavour in ((TTF, None), (WOFF2, "woff2")):
        target.parent.mkdir(parents=True, exist_ok=True)
        made.flavor = flavour
        made.save(target)
        print(
            f"{target.relative_to(ROOT)}: {target.stat().st_size:,} bytes, {len(made.getBestCmap()):,} characters"
        )


if __name__ == "__main__":
    main(sys.argv[1])
