"""What is said of other people's files, and the notices of what is passed on."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).parents[1]
VENDOR = ROOT / "book" / "_static" / "vendor"


def test_users_are_told_what_is_safe():
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    for word in ("trusted=True", "safe_mode=False", ".pth", "Notebooks", "thumbnails", "cnnbook.distributed"):
        assert word in text
    readme = (ROOT / "README.md").read_text("utf-8")
    assert "SECURITY.md" in readme and "trusted machine and network only" in readme
    chapter = (ROOT / "chapters" / "16-your-own-images.md").read_text("utf-8")
    assert "**Files from others (他人的文件).**" in chapter and ", trusted=True)" in chapter


@pytest.mark.parametrize("folder", sorted(p.name for p in VENDOR.iterdir()))
def test_what_is_passed_on_has_its_terms(folder):
    """Whole: the owner's own line, and of a font the name that is reserved."""
    terms = (VENDOR / folder / "LICENSE").read_text("utf-8")
    if folder == "mathjax":
        notice = (VENDOR / folder / "NOTICE").read_text("utf-8")
        assert "Apache License" in terms and "speech-rule-engine" in notice and "mhchemparser" in notice
        script = (VENDOR / folder / "tex-svg.js").read_text("utf-8")
        # What the notice says of them: their names are there, their code is not.
        assert "wicked-good-xpath" in script and 'VERSION="4.0.6"' in script
        assert "unclosed xml attribute" not in script and "ORDERED_NODE_SNAPSHOT_TYPE" not in script
    else:
        first = terms.splitlines()[0]
        assert re.search(r"20\d\d Adobe.*Reserved Font Name .Source.", first), first
        assert "SIL OPEN FONT LICENSE" in terms


def test_data_name_their_terms():
    assert "CC BY 4.0" in (ROOT / "cnnbook/data/digits.py").read_text("utf-8")
    assert "MIT License" in (ROOT / "cnnbook/data/files/fashion_mnist.txt").read_text("utf-8")
