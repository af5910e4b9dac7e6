"""The reader's own images: a folder of classes, or a CSV file of paths and labels, read whatever it holds.

Every file is read once. What cannot be used is left out and named in `skipped` with the reason; the same picture twice
counts once, so no copy of a training image is in the test.
"""

import csv
import dataclasses
import hashlib
import io
import os
import stat
import sys
import warnings
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .. import tables
from .images import PARTS, Images, balanced_order, height_width, number, resize

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
# Names of a CSV's columns.
PATHS, LABELS = ("file", "filename", "path", "image"), ("label", "class", "category")
# Pixels: one such image takes 300 MB.
LARGEST = 100_000_000


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Folder(Images):
    """`Images` of a folder, with the files behind them.

    files: {part: paths below the folder, one for each image}. skipped: {path: why it was left out}.
    """

    files: dict | None = None
    skipped: dict | None = None

    def __repr__(self):
        return f"{super().__repr__()}\n{self.counts()}\n{self.report()}"

    def report(self):
        """What was left out, a line for each reason with the files' names; one line where nothing was."""
        reasons = {}
        for path, reason in self.skipped.items():
            reasons.setdefault(reason, []).append(_printable(path))
        lines = [
            f"  {len(p)} x {r}: {', '.join(p[:5])}{', ...' if len(p) > 5 else ''}" for r, p in reasons.items()
        ]
        return "\n".join([f"{len(self.skipped)} files left out:", *lines]) if lines else "no file left out"

    def counts(self):
        """How many images of each class every part has, as a table."""
        sizes = {part: np.bincount(self.part(part)[1], minlength=len(self.classes)) for part in self.sizes}
        rows = [[name, *(str(n[k]) for n in sizes.values())] for k, name in enumerate(self.classes)]
        total = ["all", *(str(n.sum()) for n in sizes.values())]
        return tables.text(f"images of {self.name}", ["class", *sizes], [*rows, total])


def folder(path, *, size=None, train=None, test=None, validation=0, seed=0):
    """Your own images in three class-balanced seeded parts, RGB, as `Folder`.

    path: a folder with one sub-folder per class, whose images may lie at any depth; or a CSV file with a header, a column
    file, filename, path or image (relative to the CSV file) and a column label, class or category.
    test: how many images are kept for the test, a fifth of all by default; train: how many to train on, all the rest by
    default. size: side in pixels or (height, width); each image is cut to that shape around its centre, then resized;
    without `size` all images must have one size. Raises FileNotFoundError where there is nothing, and ValueError where
    fewer than two classes have a usable image. Files that cannot be used are left out and reported, see `Folder.report`.
    All images are held in memory.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        entries, skipped = _tree(path)
    elif path.suffix.lower() == ".csv" and path.is_file():
        entries, skipped = _table(path)
    else:
        raise FileNotFoundError(f"{path} is not a folder, nor a CSV file")
    shape = None if size is None else height_width(size)
    kept = _read(path, entries, skipped, shape)
    classes = tuple(sorted({label for _, label, _ in kept}))
    if len(classes) < 2:
        what = f"one class with images, {classes[0]!r}" if classes else "no usable image"
        why = f" {_first(skipped)}." if skipped else ""
        raise ValueError(
            f"{path} has {what}; at least two classes are needed.{why} Put the images of each class in a sub-folder named "
            f"after it ({path.name}/cat/1.jpg, ...); {', '.join(sorted(SUFFIXES))} are read"
        )
    shapes = sorted({pixels.shape for *_, pixels in kept})
    if len(shapes) > 1:
        raise ValueError(
            f"{path}: the images have {len(shapes)} sizes, from {shapes[0][:2]} to {shapes[-1][:2]}: give size=, "
            "for example size=224"
        )
    labels = np.array([classes.index(label) for _, label, _ in kept], "int64")
    chosen = _parts(path, labels, train, test, validation, seed)
    fields = {"files": {part: tuple(kept[i][0] for i in index) for part, index in chosen.items()}}
    for part, index in chosen.items():
        none = np.empty((0, *shapes[0]), "uint8")
        fields[f"x_{part}"] = np.stack([kept[i][2] for i in index]) if len(index) else none
        fields[f"y_{part}"] = labels[index]
    left = f"; {len(skipped)} files left out, see .report()" if skipped else ""
    kind = "folder" if path.is_dir() else "table"
    return Folder(
        name=path.stem if kind == "table" else path.name, classes=classes,
        source=f"the {kind} {path.name}{left}", skipped=skipped, **fields,
    )  # fmt: skip


def _parts(path, labels, train, test, validation, seed):
    """{part: indices}, each part as class-balanced as it can be."""
    n = len(labels)
    test = n // 5 if test is None else number("test", test)
    validation = number("validation", validation)
    train = max(0, n - test - validation) if train is None else number("train", train)
    if train + validation + test > n:
        raise ValueError(
            f"{path}: {train} + {validation} + {test} images were asked for, the folder has {n} in all"
        )
    order, rng = balanced_order(labels, seed), np.random.default_rng([seed, 1])
    split = np.split(order, np.cumsum([test, validation, train]))
    chosen = dict(zip(("test", "validation", "train"), split, strict=False))
    chosen = {part: rng.permutation(index) for part, index in chosen.items()}
    return {part: chosen[part].tolist() for part in PARTS}


# --------------------------------------------------------------------------- which files there are


def _tree(root):
    """[(path below root, class)] of a tree of classes, and {path: why} of what it holds besides."""
    entries, skipped, seen = [], {}, set()
    for directory in sorted(_listed(root, root, skipped)):
        if directory.name.startswith("."):
            continue
        if not _is_folder(directory):
            if directory.suffix.lower() in SUFFIXES:
                skipped[directory.name] = "not in the sub-folder of a class"
            continue
        before, label = len(entries), _clean(directory.name)
        pending = [directory]
        while pending:
            here = pending.pop()
            real = os.path.realpath(here)
            if real in seen:
                skipped[_below(here, root)] = "a link to a folder that was read before"
                continue
            seen.add(real)
            for entry in sorted(_listed(here, root, skipped)):
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    pending.append(entry)
                elif entry.suffix.lower() in SUFFIXES:
                    entries.append((_below(entry, root), label))
                else:
                    skipped[_below(entry, root)] = "not an image by its name"
        if len(entries) == before:
            skipped[directory.name] = "a class without images"
    return entries, skipped


def _listed(directory, root, skipped):
    try:
        return list(directory.iterdir())
    except OSError as error:
        skipped[_below(directory, root)] = f"cannot be opened ({error.strerror})"
        return []


def _is_folder(path):
    try:
        return path.is_dir()
    except OSError:  # a link to itself, before Python 3.13
        return False


def _below(path, root):
    return path.relative_to(root).as_posix() or "."


def _table(path):
    """[(path as the file gives it, class)] of a CSV file."""
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text: save it as CSV in UTF-8") from None
    rows = csv.DictReader(io.StringIO(text))
    names = {(name or "").strip().lower(): name for name in rows.fieldnames or ()}
    columns = [next((names[n] for n in wanted if n in names), None) for wanted in (PATHS, LABELS)]
    if None in columns:
        raise ValueError(
            f"{path}: the first line names the columns: one of {', '.join(PATHS)} and one of {', '.join(LABELS)}; "
            f"it has {', '.join(names) or 'nothing'}"
        )
    entries, skipped = [], {}
    for row in rows:
        file, label = ((row[c] or "").strip() for c in columns)
        if file and label:
            entries.append((file, label))
        else:
            skipped[f"line {rows.line_num}"] = "a path or a label is missing"
    return entries, skipped


# --------------------------------------------------------------------------- what is in them


def _read(path, entries, skipped, shape):
    """[(name, class, pixels)] of the files that can be used; the others go to `skipped`."""
    root, kept, first = path if path.is_dir() else path.parent, [], {}
    text = f"{path.name}, reading {len(entries):,} files"
    for name, label in tqdm(entries, desc=text, file=sys.stdout, mininterval=5, delay=5):
        try:
            pixels = _pixels(_content(root / name))
        except OSError as error:
            skipped[name] = f"cannot be opened ({error.strerror or error})"
            continue
        except _Unusable as error:
            skipped[name] = str(error)
            continue
        key = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()
        if key in first:
            copy, copy_label = first[key]
            if copy_label == label:
                skipped[name] = f"the same picture as {_printable(copy)}"
            else:
                # Nobody knows which label is right.
                skipped[name] = f"the same picture as {_printable(copy)}, of another class: neither is used"
                skipped[copy] = f"the same picture as {_printable(name)}, of another class: neither is used"
            continue
        first[key] = name, label
        kept.append((name, label, _sized(pixels, shape)))
    return [entry for entry in kept if entry[0] not in skipped]


def _content(file):
    # Reading a pipe would wait for ever.
    if not stat.S_ISREG(os.stat(file).st_mode):
        raise _Unusable("not a regular file")
    return file.read_bytes()


class _Unusable(Exception):
    """A file that is no image we can use, and why."""


def pixels(file, size=None):
    """The picture in a file as uint8 (height, width, 3): turned as its camera says, transparency on white, 16 bits by
    their upper eight, of a film the first frame. size: as in `folder`, which reads by this too. ValueError with the file's
    name where that cannot be."""
    try:
        return _sized(
            _pixels(_content(Path(file).expanduser())), None if size is None else height_width(size)
        )
    except _Unusable as error:
        raise ValueError(f"{file}: {error}") from None


def _sized(pixels, shape):
    """Cut around the centre to the proportions of `shape`, (height, width), and resized to it."""
    if shape is None:
        return pixels
    (h, w), (height, width) = pixels.shape[:2], shape
    new_h, new_w = max(1, min(h, round(w * height / width))), max(1, min(w, round(h * width / height)))
    top, left = (h - new_h) // 2, (w - new_w) // 2
    return resize(pixels[top : top + new_h, left : left + new_w], shape)


def _pixels(content):
    from PIL import Image, ImageOps

    if not content:
        raise _Unusable("an empty file")
    try:
        with warnings.catch_warnings():
            # Of large images and odd metadata: what matters is raised or checked.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                if image.width * image.height > LARGEST:
                    raise _Unusable(
                        f"more than {LARGEST // 10**6} million pixels ({image.width} x {image.height})"
                    )
                return _rgb(ImageOps.exif_transpose(image))
    except (_Unusable, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise _Unusable(f"more than {LARGEST // 10**6} million pixels") from None
    except Exception as error:
        # Pillow's decoders raise nearly anything on a broken file.
        known = isinstance(error, Image.UnidentifiedImageError)
        raise _Unusable("not an image" if known else f"damaged ({error})") from None


def _rgb(image):
    """uint8 (height, width, 3) of a Pillow image in any of its modes."""
    from PIL import Image

    if image.mode.startswith("I"):
        # Pillow would cut 16 bits at 255.
        values = np.asarray(image).astype("int64")
        if values.min() < 0 or values.max() > 65535:
            raise _Unusable("whole numbers beyond 16 bits: their range is not known")
        values = values if image.mode == "I" and values.max() < 256 else values >> 8
        return np.repeat(values.astype("uint8")[..., None], 3, axis=-1)
    if image.mode == "F":
        raise _Unusable("floating-point pixels: their range is not known, save it with 8 or 16 bits")
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"), "uint8").copy()


def _first(skipped):
    name, reason = next(iter(skipped.items()))
    return f"Left out: {_printable(name)} ({reason}){f' and {len(skipped) - 1} more' if len(skipped) > 1 else ''}"


def _clean(name):
    """A file's name as text: bytes that are none become a replacement sign."""
    return os.fsencode(name).decode("utf-8", "replace")


def _printable(name):
    """A name that the terminal can print."""
    encoding = sys.stdout.encoding or "utf-8"
    return _clean(name).encode(encoding, "replace").decode(encoding)
