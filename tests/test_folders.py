"""The reader's own images: trees and tables of files, whatever lies in them."""

import os
import stat
import subprocess
import sys

import numpy as np
import pytest

from cnnbook import data
from cnnbook.data import folders, images

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


def save(path, value=0, size=(20, 40), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 99, (*size, 3)).astype("uint8") + np.uint8(value)
    Image.fromarray(pixels).convert(mode).save(path, **options)


@pytest.fixture
def own(tmp_path):
    for k, name in enumerate(("bee", "ant 蚂蚁")):
        for i in range(10):
            save(tmp_path / "own" / name / f"{i}.png", 5 * i + 100 * k)
    (tmp_path / "own" / ".cache").mkdir()
    return tmp_path / "own"


def test_own_folder(own, capsys):
    ours = data.load(str(own), size=8, validation=4)
    assert capsys.readouterr().out == "own: 12 training, 4 validation and 4 test images, the folder own\n"
    assert ours.classes == ("ant 蚂蚁", "bee") and ours.x_train.shape == (12, 8, 8, 3)
    for part in images.PARTS:
        x, y = ours.part(part)
        assert np.bincount(y).tolist() == [len(y) // 2] * 2
        assert ((x.mean((1, 2, 3)) >= 130) == (y == 0)).all()
        assert [name.split("/")[0] for name in ours.files[part]] == [ours.classes[k] for k in y]
    assert len({x.tobytes() for x in np.concatenate([ours.x_train, ours.x_validation, ours.x_test])}) == 20
    assert (data.folder(own, size=8, validation=4).x_train == ours.x_train).all()
    assert data.folder(own, train=4, test=0).x_train.shape == (4, 20, 40, 3)
    assert ours.report() == "no file left out"
    assert ours.counts().splitlines()[-1].split() == ["all", "12", "4", "4"]


def test_a_table_of_paths_and_labels(own):
    rows = [f"{file.relative_to(own).as_posix()},{file.parent.name}" for file in sorted(own.rglob("*.png"))]
    table = own / "labels.csv"
    table.write_text("Image, Label ,note\n" + "\n".join(rows) + "\nbee/none.png,bee\n,bee\n", "utf-8-sig")
    ours = data.load(str(table), verbose=False)
    assert ours.sizes == {"train": 16, "test": 4} and ours.classes == ("ant 蚂蚁", "bee")
    assert ours.skipped == {
        "bee/none.png": "cannot be opened (No such file or directory)",
        f"line {len(rows) + 3}": "a path or a label is missing",
    }
    table.write_text("name,label\n")
    with pytest.raises(ValueError, match="one of file, filename, path, image, id.*it has name, label"):
        data.folder(table)


def test_wrong_folders(own):
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        data.load(str(own / "nowhere"))
    with pytest.raises(
        ValueError, match=r"no usable image.*0\.png \(not in the sub-folder of a class\) and 9 more"
    ):
        data.load(own / "bee")
    with pytest.raises(ValueError, match="30 . 0 . 4 images were asked for, the folder has 20"):
        data.load(own, train=30)
    save(own / "bee" / "x.png", size=(5, 5))
    with pytest.raises(ValueError, match="2 sizes.*give size="):
        data.load(own)
    for file in (own / "bee").iterdir():
        file.unlink()
    with pytest.raises(
        ValueError, match=r"one class with images, 'ant 蚂蚁'.*bee \(a class without images\)"
    ):
        data.load(own)


def test_a_hostile_folder_is_read_file_by_file(own, monkeypatch):
    bee, red = own / "bee", Image.new("RGB", (40, 20), (200, 10, 10))
    red.save(bee / "cut.jpg")
    (bee / "cut.jpg").write_bytes((bee / "cut.jpg").read_bytes()[:300])
    (bee / "text.png").write_text("no image")
    (bee / "empty.gif").touch()
    (bee / "notes.txt").write_text("notes")
    (bee / "loop.png").symlink_to(bee / "loop.png")
    (bee / "again").symlink_to(own, target_is_directory=True)
    os.mkfifo(bee / "pipe.jpg")
    Image.new("1", (20_000, 6_000)).save(bee / "huge.png")
    Image.fromarray(np.full((20, 40), 0.5, "float32")).save(bee / "float.tif")
    (own / "none").mkdir()
    os.makedirs(os.fsencode(bee) + b"/deep/\xff\xfe")
    save(bee / "locked.png", 77)
    monkeypatch.setattr(
        folders,
        "content",
        lambda file, real=folders.content: denied(file) if file.name == "locked.png" else real(file),
    )
    read = data.folder(own, size=8)
    assert read.sizes == {"train": 16, "test": 4}
    reasons = {name: reason.split(" (")[0] for name, reason in read.skipped.items()}
    assert reasons == {
        "bee/cut.jpg": "damaged", "bee/text.png": "not an image", "bee/empty.gif": "an empty file",
        "bee/notes.txt": "not an image by its name", "bee/loop.png": "cannot be opened",
        "bee/again": "a link to a folder that was read before", "bee/pipe.jpg": "not a regular file",
        "none": "a class without images",
        "bee/huge.png": "more than 100 million pixels", "bee/locked.png": "cannot be opened",
        "bee/float.tif": "floating-point pixels: their range is not known, save it with 8 or 16 bits",
    }  # fmt: skip
    said = read.report()
    assert said.startswith("11 files left out:") and "1 x an empty file: bee/empty.gif" in said
    assert "11 files left out, see .report()" in read.source


def denied(file):
    raise PermissionError(13, "Permission denied", str(file))


def test_every_kind_of_pixel_becomes_rgb(tmp_path):
    """16 bits by their upper eight, transparency on white, the camera's turn, palettes and CMYK by their colours."""
    grey = np.arange(0, 65536, 256, dtype="uint16").reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "16.png")
    assert (data.pixels(tmp_path / "16.png") == (grey >> 8)[..., None]).all()
    Image.fromarray(grey).save(tmp_path / "16.tif")
    assert (data.pixels(tmp_path / "16.tif") == (grey >> 8)[..., None]).all()

    glass = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    glass.paste((0, 0, 255, 255), (0, 0, 2, 4))
    glass.save(tmp_path / "alpha.png")
    glass.convert("P").save(tmp_path / "palette.gif", transparency=glass.convert("P").getpixel((3, 0)))
    for name in ("alpha.png", "palette.gif"):
        assert data.pixels(tmp_path / name)[0].tolist() == [[0, 0, 255]] * 2 + [[255, 255, 255]] * 2, name

    Image.new("CMYK", (16, 16), (255, 0, 0, 0)).save(tmp_path / "cmyk.jpg")
    red, green, blue = data.pixels(tmp_path / "cmyk.jpg")[8, 8].astype(int)
    assert red < 40 and green > 100 and blue > 150  # cyan

    turned = Image.new("RGB", (40, 20), "white")
    turned.paste((0, 0, 0), (0, 0, 20, 20))  # black on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera's top is on the right: turn by 90 degrees
    turned.save(tmp_path / "turned.png", exif=exif)
    upright = data.pixels(tmp_path / "turned.png")
    assert upright.shape == (40, 20, 3) and upright[:20].max() == 0 and upright[20:].min() == 255
    with pytest.raises(ValueError, match="none.png: an empty file"):
        (tmp_path / "none.png").touch()
        data.pixels(tmp_path / "none.png")


def test_copies_never_lie_on_both_sides(own):
    """The same pixels in another file, format or folder count once; two labels for one picture count for nothing."""
    one = Image.open(own / "bee" / "0.png")
    one.save(own / "bee" / "copy.bmp")
    (own / "bee" / "more").mkdir()
    one.save(own / "bee" / "more" / "copy.png")
    Image.open(own / "bee" / "1.png").save(own / "ant 蚂蚁" / "really.png")
    ours = data.folder(own, test=10)
    every = np.concatenate([ours.x_train, ours.x_test])
    assert len(every) == 19 == len({x.tobytes() for x in every})
    assert ours.skipped["bee/copy.bmp"] == "the same picture as bee/0.png"
    assert ours.skipped["bee/more/copy.png"] == "the same picture as bee/0.png"
    for name in ("bee/1.png", "ant 蚂蚁/really.png"):
        assert "of another class: neither is used" in ours.skipped[name]
        assert name not in {*ours.files["train"], *ours.files["test"]}


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of this kind are POSIX'")
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything")
def test_a_class_without_permission(own):
    save(own / "wasp" / "1.png", 50)
    (own / "wasp").chmod(0)
    try:
        assert data.folder(own).skipped["wasp"].startswith("cannot be opened (Permission denied")
    finally:
        (own / "wasp").chmod(stat.S_IRWXU)


def test_names_that_are_no_text_are_printed(own):
    """A terminal in ASCII prints the report of names in Chinese and of names that are no text at all."""
    odd = os.fsencode(own / "bee") + b"/\xff\xe8.png"
    with open(odd, "wb"):
        pass
    (own / "ant 蚂蚁" / "蚂.png").touch()
    code = f"from cnnbook import data; print(data.folder({str(own)!r}).report())"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert said.returncode == 0, said.stderr
    assert b"2 x an empty file: ant ??/?.png, bee/" in said.stdout
