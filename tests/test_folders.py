"""The reader's own images: trees and tables of files, whatever lies in them."""

import os
import stat
import subprocess
import sys

import numpy as np
import pytest

from cnnbook import data, tables
from cnnbook.data import folders, images
from cnnbook.viz.picture import Picture

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


# --------------------------------------------------------------------------- which image is in which part


@pytest.mark.parametrize(
    "counts, tested",
    [
        ((90, 20), [18, 4]),
        ((100, 12), [20, 2]),
        ((700, 12), [140, 2]),
        ((90, 10), [18, 2]),
        ((20, 1, 1), [4, 0, 0]),
    ]
    + [((2, 2), [1, 1]), ((1, 1, 1, 1, 1), [0] * 5), ((9, 4, 2), [1, 1, 1])],
)
def test_the_default_test_is_a_fifth_of_each_class_and_never_all(counts, tested):
    labels = np.repeat(range(len(counts)), counts)
    split = folders._parts("x", labels, None, None, 0, 0)
    assert np.bincount(labels[split["test"]], minlength=len(counts)).tolist() == tested
    assert sorted(split["train"] + split["test"]) == list(range(len(labels)))


def test_a_rare_class_keeps_an_image_to_train_on():
    labels = np.repeat([0, 1], [30, 6])
    split = folders._parts("x", labels, None, 14, 6, 0)
    assert [np.bincount(labels[split[part]]).tolist() for part in images.PARTS] == [[15, 1], [6], [9, 5]]
    assert folders._parts("x", labels, 0, 36, 0, 0)["train"] == []


@pytest.mark.parametrize("ask", [(None, None, 0), (None, 17, 4), (20, 9, 5), (0, 60, 0)])
def test_equal_classes_are_split_by_one_balanced_order(ask):
    """To the image: stored outputs show such splits."""
    labels = np.random.default_rng(1).permutation(np.repeat(range(4), 15))
    train, test, validation = ask
    split = folders._parts("x", labels, train, test, validation, 3)
    order, rng = images.balanced_order(labels, 3), np.random.default_rng([3, 1])
    ends = np.cumsum([12 if test is None else test, validation])
    expected = dict(zip(("test", "validation", "train"), np.split(order, ends), strict=True))
    if train is not None:
        expected["train"] = expected["train"][:train]
    expected = {part: rng.permutation(index).tolist() for part, index in expected.items()}
    assert split == expected


@pytest.fixture
def downloaded(tmp_path):
    """As most sets come: parts outside, classes inside; a copy across the parts, and a test without classes."""
    root = tmp_path / "flowers"
    for k, (part, n) in enumerate((("Train", 4), ("val", 2))):
        for c, name in enumerate(("daisy", "rose")):
            for i in range(n):
                save(root / part / name / f"{i}.png", 100 * k + 50 * c + 5 * i)
    save(root / "Train" / "rose" / "copy.png", 150)  # of val/rose/0.png
    save(root / "val" / "tulip" / "0.png", 9)
    save(root / "test" / "1.png", 3)
    return root


def test_folders_named_like_parts_are_the_parts(downloaded):
    ours = data.folder(downloaded)
    assert ours.classes == ("daisy", "rose") and ours.sizes == {"train": 8, "test": 4}
    for part, name in (("train", "Train"), ("test", "val")):
        x, y = ours.part(part)
        assert [file.split("/")[:2] for file in ours.files[part]] == [[name, ours.classes[k]] for k in y]
        assert all((x[i] == data.pixels(downloaded / file)).all() for i, file in enumerate(ours.files[part]))
    assert ours.skipped == {
        "Train/rose/copy.png": "the same picture as val/rose/0.png",
        "val/tulip/0.png": "of a class that the training part does not have",
        "test/1.png": "not in the sub-folder of a class",
    }
    assert ours.report().endswith("note: the sub-folders are the parts of the set: Train (train), val (test)")
    few = data.folder(downloaded, train=4, test=2, validation=2)
    assert few.sizes == {"train": 4, "validation": 2, "test": 2}
    assert np.bincount(few.y_train).tolist() == [2, 2] and few.files["validation"][0].startswith("Train/")
    with pytest.raises(ValueError, match="test=5 images were asked for, its test part has 4"):
        data.folder(downloaded, test=5)

    save(downloaded / "test" / "rose" / "2.png", 33)
    three = data.folder(downloaded)
    assert three.sizes == {"train": 8, "validation": 4, "test": 1} and three.files["test"] == (
        "test/rose/2.png",
    )
    (downloaded / "val").rename(downloaded / "validation_set")
    assert data.folder(downloaded, validation=2).sizes == {"train": 8, "validation": 2, "test": 1}


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("Training_Set", "train"),
        ("训练数据集", "train"),
        ("val-images", "validation"),
        ("测试", "test"),
        ("tests", None),
    ]
    + [("data", None), ("trains", None), ("invalid", None)],
)
def test_names_of_parts(name, part):
    assert folders._part_of(name) == part


def test_folders_named_like_parts_that_are_none_are_refused(tmp_path):
    for part in ("train", "test"):
        for i in range(3):
            save(tmp_path / part / f"{i}.png", 10 * i + 100 * (part == "test"))
    with pytest.raises(
        ValueError, match=r"\(test, train\) are named like the parts of a set.*give the folder that"
    ):
        data.folder(tmp_path)
    save(tmp_path / "bee" / "0.png", 200)
    assert "named like the parts of a set: test, train" in data.folder(tmp_path).report()


def test_classes_that_look_alike_and_folders_that_come_again_are_said(tmp_path):
    names = ("Cat", "cat", "Z\u00fcrich", "Zu\u0308rich", "dog")
    for k, name in enumerate(names):
        for i, year in enumerate(("2019", "2020")):
            save(tmp_path / name / year / "0.png", 10 * k + 50 * i)
    said = data.folder(tmp_path, test=0).report().splitlines()
    assert said == [
        "no file left out",
        "note: every class holds the same sub-folders, which were read together: 2019, 2020",
        "note: classes whose names differ in case, spaces or Unicode's form alone, each a class of its own: "
        "'Cat', 'cat'; 'Zu\\u0308rich', 'Z\\xfcrich'",
    ]
    assert "2 notes, see .report()" in data.folder(tmp_path, test=0).source


# --------------------------------------------------------------------------- tables, links, names


def table(root, text, name="labels.csv"):
    (root / name).write_text(text, "utf-8")
    return data.folder(root / name, test=0)


def test_a_row_that_comes_again_counts_once(own):
    files = [f"bee/{i}.png,bee\nant 蚂蚁/{i}.png,ant\n" for i in range(4)]
    ours = table(own, "file,label\n" + "".join(files) + "".join(files[:3]) + "./bee/3.png,bee\n")
    assert ours.sizes == {"train": 8} and len(ours.skipped) == 7
    assert ours.skipped["bee/0.png (line 10)"] == ours.skipped["./bee/3.png (line 16)"] == "listed before"
    ours = table(own, "file,label\n" + "".join(files) + "bee/1.png,ant\nbee/1.png,bee\n")
    assert ours.sizes == {"train": 7}
    assert ours.skipped["bee/1.png"] == "listed with several labels (bee, ant): not used"


def test_tables_as_other_programs_write_them(own):
    """Backslashes of Windows, names without a suffix, semicolons of Excel, tabs."""
    for separator in ";\t":
        rows = [f"{c}\\{i}{separator}{c[:3]}" for c in ("bee", "ant 蚂蚁") for i in range(5)]
        ours = table(own, "\n".join([separator.join(("id", "class")), *rows, f"bee/9.PNG{separator}bee"]))
        assert ours.sizes == {"train": 10} and ours.classes == ("ant", "bee")
        assert set(ours.files["train"]) == {f"{c}/{i}.png" for c in ("bee", "ant 蚂蚁") for i in range(5)}
        assert ours.skipped == {"bee/9.PNG": "cannot be opened (No such file or directory)"}
    save(own / "bee" / "0.gif", 1)
    ours = table(own, "id,class\nbee/0,bee\nbee/1,bee\nant 蚂蚁/1,ant\nnul\0.png,bee\n")
    assert ours.skipped == {
        "bee/0": "several files of this name: 0.gif, 0.png", "nul\0.png": "no file can have this name"
    }  # fmt: skip
    assert "nul\\x00.png" in ours.report()


def test_tables_that_cannot_be_read(own):
    with pytest.raises(
        ValueError, match=r"labels.csv, line \d+: field larger.*Is a quotation mark left open"
    ):
        table(own, 'file,label\nbee/0.png,"bee\n' + "bee/1.png,bee\n" * 10_000)
    with pytest.raises(
        ValueError, match=r"Each line names an image, by its path from the folder of labels.csv"
    ) as told:
        table(own, "file,label\nbee/none.png,bee\n")
    assert "sub-folder" not in str(told.value)


def test_folder_links_do_not_take_a_class_away(own):
    (own / "a bee").symlink_to(own / "bee", target_is_directory=True)
    (own / "bee" / "up").symlink_to(own.parent, target_is_directory=True)
    (own / ".store").mkdir()
    save(own / ".store" / "wasp" / "1.png", 42)
    (own / "wasp").symlink_to(own / ".store" / "wasp", target_is_directory=True)
    ours = data.folder(own)
    assert ours.classes == ("ant 蚂蚁", "bee", "wasp") and ours.files["train"].count("wasp/1.png") == 1
    assert ours.skipped == {
        "a bee": "a link to a folder that was read before", "bee/up": "a link to a folder around this one"
    }  # fmt: skip


def test_what_lies_outside_is_left_out_unless_it_is_asked_for(own, tmp_path):
    private = tmp_path / "private"
    for i in range(2):
        save(private / f"{i}.png", 60 + i)
    (own / "bee" / "me.png").symlink_to(private / "0.png")
    (own / "owner").symlink_to(private, target_is_directory=True)
    ours = data.folder(own)
    reason = "outside of the folder: outside=True lets it in"
    assert ours.skipped == {"bee/me.png": reason, "owner": reason} and ours.sizes == {"train": 16, "test": 4}
    ours = data.load(own, outside=True, verbose=False)
    assert ours.classes == ("ant 蚂蚁", "bee", "owner") and sum(ours.sizes.values()) == 21
    assert ours.notes == ("3 files lie outside of the folder: bee/me.png, owner/0.png, owner/1.png",)

    text = f"file,label\nbee/0.png,bee\nant 蚂蚁/0.png,ant\n../private/0.png,bee\n{private}/1.png,ant\nbee/me.png,ant\n"
    ours = table(own, text)
    assert ours.sizes == {"train": 2} and [*ours.skipped.values()] == [reason] * 3
    allowed = data.folder(own / "labels.csv", test=0, outside=True)
    assert allowed.sizes == {"train": 3}
    assert allowed.notes == (f"1 file lies outside of the folder: {private}/1.png",)


def test_names_are_shown_and_do_nothing(tmp_path):
    """Control characters of a folder's and a file's name are escaped, dollars are no mathematics."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed").use("agg")
    name = "\x1b]0;title\x07 new\nline \u202ecba"
    shown = r"\x1b]0;title\x07 new\nline \u202ecba"
    for k, odd in enumerate((name, r"$\frac{1}{0$")):
        save(tmp_path / "own" / odd / "0.png", 70 + k, (4, 4))
        (tmp_path / "own" / odd / f"{name}.png").touch()
    ours = data.folder(tmp_path / "own", test=0)
    for text in (repr(ours), ours.counts(), ours.report()):
        assert shown in text and not set(text) & {"\x1b", "\x07", "\u202e"}
    assert len(ours.counts().splitlines()) == 3 + 2 + 2
    assert {axis.get_title() for axis in ours.show(1, 2).axes} == {shown, r"$\frac{1}{0$"}
    picture = Picture()
    picture.alt = f"Kernels of {name}"
    assert repr(picture) == f"Picture: Kernels of {shown}"
    with pytest.raises(ValueError) as told:
        data.folder(tmp_path / "own" / name)
    assert f"{shown} has no usable image" in str(told.value) and "\x1b" not in str(told.value)
    page = tables.html(name, [name], [[name], ["<b>"]])
    assert page.count(shown) == 3 and "&lt;b&gt;" in page and not set(page) & {"\x1b", "\n"}
