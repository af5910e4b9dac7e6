"""The reader's own images: a folder of classes, or a CSV file of paths and labels, read whatever it holds.

Every file is read once. What cannot be used is left out and named in `skipped` with the reason; the same picture twice
counts once, so no copy of a training image is in the test.
"""

import csv
import dataclasses
import hashlib
import io
import os
import re
import sys
import unicodedata
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .. import tables
from ..arguments import whole_number
from ..tables import printable
from .images import PARTS, Images, balanced_order, height_width, turns
from .pictures import CONVERT, OTHERS, SUFFIXES, Unusable, content, decoded, sized, whole

# Names of a CSV's columns, and what may stand between them.
PATHS, LABELS = ("file", "filename", "path", "image", "id", "image_id"), ("label", "class", "category")
DELIMITERS = ",;\t"
# Sub-folders of these names, whatever their case, are parts of a set and no classes.
PART_NAMES = {
    "train": {"train", "training", "训练"},
    "validation": {"val", "valid", "validation", "dev", "验证"},
    "test": {"test", "testing", "eval", "evaluation", "测试"},
}
OUTSIDE = "outside of the folder: outside=True lets it in"
NO_CLASS = "not in the sub-folder of a class"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Folder(Images):
    """`Images` of a folder, with the files behind them.

    files: {part: paths below the folder, one for each image}. skipped: {path: why it was left out}. notes: what else one
    should know, a sentence each: how parts were read, classes whose names look alike, files from outside.
    """

    files: dict | None = None
    skipped: dict | None = None
    notes: tuple = ()

    def __repr__(self):
        return f"{super().__repr__()}\n{self.counts()}\n{self.report()}"

    def report(self):
        """What was left out, a line for each reason with the files' names; one line where nothing was; then the notes."""
        reasons = {}
        for path, reason in self.skipped.items():
            reasons.setdefault(reason, []).append(_printable(path))
        lines = [
            f"  {len(p)} x {r}: {', '.join(p[:5])}{', ...' if len(p) > 5 else ''}" for r, p in reasons.items()
        ]
        said = [f"{len(self.skipped)} files left out:", *lines] if lines else ["no file left out"]
        return "\n".join([*said, *(f"note: {note}" for note in self.notes)])

    def counts(self):
        """How many images of each class every part has, as a table."""
        sizes = {part: np.bincount(self.part(part)[1], minlength=len(self.classes)) for part in self.sizes}
        rows = [[name, *(str(n[k]) for n in sizes.values())] for k, name in enumerate(self.classes)]
        total = ["all", *(str(n.sum()) for n in sizes.values())]
        return tables.text(f"images of {self.name}", ["class", *sizes], [*rows, total])


@dataclasses.dataclass
class _Found:
    """What a folder or a table holds: [(path below root, class, part or None)], {path: why not}, and remarks."""

    root: Path
    entries: list = dataclasses.field(default_factory=list)
    skipped: dict = dataclasses.field(default_factory=dict)
    notes: list = dataclasses.field(default_factory=list)


def folder(path, *, size=None, train=None, test=None, validation=0, seed=0, outside=False):
    """Your own images in three seeded parts, RGB, as `Folder`.

    path: a folder with one sub-folder per class, whose images may lie at any depth; or a CSV file with a header, a column
    file, filename, path, image, id or image_id (relative to the CSV file) and a column label, class or category.
    test: how many images are kept for the test; by default a fifth of each class, at least one and never all. train: how
    many to train on, all the rest by default. validation: how many besides. Numbers that you give are class-balanced, and
    each class keeps an image to train on as long as others can be taken.
    A folder whose sub-folders are train, val and test, with the classes in each, has these parts: test and validation are
    all that lies in theirs, unless you ask for fewer. Without a test, val is the test.
    size: side in pixels or (height, width); each image is cut to that shape around its centre, then resized; without
    `size` all images must have one size. outside: whether files count that lie outside of the folder, to which links and
    paths in a CSV file may lead. Raises FileNotFoundError where there is nothing, and ValueError where fewer than two
    classes have a usable image. Files that cannot be used are left out and reported, see `Folder.report`. All images are
    held in memory.
    """
    path = Path(path).expanduser()
    path = path if path.name not in ("", "..") else path.resolve()
    if path.is_dir():
        found = _with_parts(path, _Tree(path, outside).walk())
    elif path.suffix.lower() == ".csv" and path.is_file():
        found = _table(path, outside)
    else:
        raise FileNotFoundError(f"{printable(path)} is not a folder, nor a CSV file")
    kept, pile = _read(path, found, None if size is None else height_width(size))
    classes = tuple(sorted({label for _, label, _, _ in kept}))
    if len(classes) < 2:
        raise ValueError(_too_few(path, classes, found.skipped))
    if len(pile.shapes) > 1:
        shapes = sorted(pile.shapes)
        raise ValueError(
            f"{printable(path)}: the images have {len(shapes)} sizes, from {shapes[0][:2]} to {shapes[-1][:2]}: give size=, "
            "for example size=224"
        )
    number = {name: k for k, name in enumerate(classes)}
    labels = np.array([number[label] for _, label, _, _ in kept], "int64")
    parts = [part for _, _, part, _ in kept]
    ask = dict(train=train, test=test, validation=validation, seed=seed)
    chosen = _parts(path, labels, **ask) if None in parts else _given_parts(path, labels, parts, **ask)
    arrays = pile.arrays({part: [kept[i][3] for i in index] for part, index in chosen.items()})
    fields = {f"x_{part}": array for part, array in arrays.items()}
    fields |= {f"y_{part}": labels[index] for part, index in chosen.items()}
    files = {part: tuple(kept[i][0] for i in index) for part, index in chosen.items()}
    return _folder(path, classes, found, files, fields)


def _folder(path, classes, found, files, fields):
    kind, notes = "folder" if path.is_dir() else "table", (*found.notes, *_alike(classes))
    said = [f"{len(found.skipped)} files left out"] if found.skipped else []
    said += [f"{len(notes)} note{'s' if len(notes) > 1 else ''}"] if notes else []
    left = f"; {' and '.join(said)}, see .report()" if said else ""
    return Folder(
        name=path.stem if kind == "table" else path.name, classes=classes,
        source=f"the {kind} {_printable(path.name)}{left}", skipped=found.skipped, notes=notes, files=files, **fields,
    )  # fmt: skip


def _too_few(path, classes, skipped):
    what = f"one class with images, {classes[0]!r}" if classes else "no usable image"
    why = f" {_first(skipped)}." if skipped else ""
    if path.is_dir():
        advice = f"Put the images of each class in a sub-folder named after it ({printable(path.name)}/cat/1.jpg, ...)"
    else:
        advice = (
            f"Each line names an image, by its path from the folder of {printable(path.name)}, and its class"
        )
    read = f"{', '.join(sorted(SUFFIXES))} are read"
    return f"{printable(path)} has {what}; at least two classes are needed.{why} {advice}; {read}"


def _alike(classes):
    """A note on classes whose names a reader cannot or would not tell apart."""
    groups = {}
    for name in classes:
        groups.setdefault(" ".join(unicodedata.normalize("NFC", name).casefold().split()), []).append(name)
    same = [", ".join(map(ascii, names)) for names in groups.values() if len(names) > 1]
    if same:
        yield (
            f"classes whose names differ in case, spaces or Unicode's form alone, each a class of its own: "
            f"{'; '.join(same)}"
        )


# --------------------------------------------------------------------------- which image is in which part


def _parts(path, labels, train, test, validation, seed):
    """{part: indices} of images that lie in no parts yet."""
    n, sizes = len(labels), np.bincount(labels)[labels]
    shuffled, turn = turns(labels, seed)
    # Never all of a class: of each, the last in order is the last to be taken away from training.
    last = (turn == sizes - 1) & (train != 0)
    balanced = np.where(last, n, turn)
    if test is None:
        # A fifth of each class is a fifth of all in the order of their shares; for equal classes that is `balanced`.
        order = np.where(last, n, np.where(turn == 0, 0, (turn + 0.5) / sizes))
        test = min(max(n // 5, int(((turn == 0) & ~last).sum())), int((~last).sum()))
    else:
        order, test = balanced, whole_number(test, "test", 0)
    validation = whole_number(validation, "validation", 0)
    train = max(0, n - test - validation) if train is None else whole_number(train, "train", 0)
    if train + validation + test > n:
        raise ValueError(
            f"{printable(path)}: {train} + {validation} + {test} images were asked for, the folder has {n} in all"
        )
    chosen, left = {}, shuffled
    for part, by, count in (
        ("test", order, test),
        ("validation", balanced, validation),
        ("train", turn, train),
    ):
        left = left[np.argsort(by[left], kind="stable")]
        chosen[part], left = left[:count], shuffled[np.isin(shuffled, left[count:])]
    return _in_seeded_order(chosen, seed)


def _given_parts(path, labels, parts, train, test, validation, seed):
    """{part: indices} of images that lie in parts."""
    parts = np.array(parts)
    there = {}
    for part in PARTS:
        index = np.flatnonzero(parts == part)
        there[part] = index[balanced_order(labels[index], seed)]
    validation = whole_number(validation, "validation", 0)
    if not len(there["validation"]):
        # Out of training, as everywhere.
        there["validation"], there["train"] = np.split(there["train"], [validation])
    asked = {"train": train, "validation": validation or None, "test": test}
    for part, count in asked.items():
        count = len(there[part]) if count is None else whole_number(count, part, 0)
        if count > len(there[part]):
            raise ValueError(
                f"{printable(path)}: {part}={count} images were asked for, its {part} part has {len(there[part])}"
            )
        there[part] = there[part][:count]
    return _in_seeded_order(there, seed)


def _in_seeded_order(chosen, seed):
    # Balanced, but not one of each class in turn.
    rng = np.random.default_rng([seed, 1])
    chosen = {part: rng.permutation(chosen[part]) for part in ("test", "validation", "train")}
    return {part: chosen[part].tolist() for part in PARTS}


# --------------------------------------------------------------------------- which files there are


class _Tree:
    """Walks a tree of classes: first the folders that lie in it, then those that links lead to."""

    def __init__(self, root, outside):
        self.found, self.outside = _Found(root), outside
        self.real = os.path.realpath(root)
        self.seen, self.links, self.away = {self.real}, [], []

    def walk(self):
        """A `_Found` of the tree; every path of a picture begins with the folder that names its class."""
        classes, skipped = [], self.found.skipped
        for entry in self._listed(self.found.root):
            if _is_folder(entry):
                classes.append((entry, _clean(entry.name)))
            elif entry.suffix.lower() in SUFFIXES | OTHERS:
                skipped[entry.name] = NO_CLASS
        for entry, label in classes:
            if entry.is_symlink():
                self.links.append((entry, label))
            else:
                self._folder(entry, label)
        while self.links:
            self._link(*self.links.pop(0))
        used = {label for _, label, _ in self.found.entries}
        for entry, label in classes:
            if label not in used:
                skipped.setdefault(entry.name, "a class without images")
        self.found.notes += [*_outside(self.away), *_same_below(self.found.entries)]
        return self.found

    def _folder(self, directory, label):
        pending = [directory]
        while pending:
            here = pending.pop()
            real = os.path.realpath(here)
            if real in self.seen:
                self.found.skipped[self._below(here)] = "a link to a folder that was read before"
                continue
            self.seen.add(real)
            away = not _within(real, self.real)
            for entry in self._listed(here):
                if not _is_folder(entry):
                    self._file(entry, label, away)
                elif entry.is_symlink():
                    self.links.append((entry, label))
                else:
                    pending.append(entry)

    def _link(self, link, label):
        real, name = os.path.realpath(link), self._below(link)
        if real in self.seen:
            self.found.skipped[name] = "a link to a folder that was read before"
        elif _within(self.real, real):
            self.found.skipped[name] = "a link to a folder around this one"
        elif not self.outside and not _within(real, self.real):
            self.found.skipped[name] = OUTSIDE
        else:
            self._folder(link, label)

    def _file(self, entry, label, away):
        name, suffix = self._below(entry), entry.suffix.lower()
        if suffix not in SUFFIXES:
            self.found.skipped[name] = CONVERT if suffix in OTHERS else "not an image by its name"
            return
        away = away or (entry.is_symlink() and not _within(os.path.realpath(entry), self.real))
        if away and not self.outside:
            self.found.skipped[name] = OUTSIDE
            return
        self.away += [name] if away else []
        self.found.entries.append((name, label, None))

    def _listed(self, directory):
        try:
            return sorted(entry for entry in directory.iterdir() if not entry.name.startswith("."))
        except OSError as error:
            self.found.skipped[self._below(directory)] = f"cannot be opened ({error.strerror})"
            return []

    def _below(self, path):
        return path.relative_to(self.found.root).as_posix() or "."


def _is_folder(path):
    try:
        return path.is_dir()
    except OSError:  # a link to itself, before Python 3.13
        return False


def _within(real, root):
    """Whether a real path is a real folder or lies below it."""
    return real == root or real.startswith(root.rstrip(os.sep) + os.sep)


def _outside(names):
    if names:
        lie = "1 file lies" if len(names) == 1 else f"{len(names)} files lie"
        yield f"{lie} outside of the folder: {', '.join(map(_printable, names[:5]))}" + (
            ", ..." if len(names) > 5 else ""
        )


def _same_below(entries):
    """A note where every class holds the same sub-folders, which may be the classes, or parts of a set."""
    below = {}
    for name, label, _ in entries:
        first, *others = name.split("/")[1:]
        below.setdefault(label, set()).update([first] if others else [])
    same = set.intersection(*below.values()) if below else set()
    if (
        len(below) > 1
        and len(same) > 1
        and all(names == same for names in below.values())
        and not _are_parts(below)
    ):
        yield (
            f"every class holds the same sub-folders, which were read together: {', '.join(map(_printable, sorted(same)))}"
        )


def _part_of(name):
    """The part that a sub-folder's name says, or None."""
    plain = re.sub(r"[\W_]+", "", name.casefold())
    plain = re.sub(r"(set|data|images|集|数据)+$", "", plain)
    return next((part for part, names in PART_NAMES.items() if plain in names), None)


def _are_parts(labels):
    return bool(labels) and all(map(_part_of, labels))


def _with_parts(path, found):
    """The same, with parts where the sub-folders are parts of a set and hold the classes."""
    names = {label for _, label, _ in found.entries}
    if not _are_parts(names):
        like = sorted(filter(_part_of, names))
        if len({_part_of(name) for name in like}) > 1:
            text = ", ".join(map(_printable, like))
            found.notes.append(f"read as classes, but named like the parts of a set: {text}")
        return found
    by_part = {_part_of(name): name for name in sorted(names)}
    below, entries = {}, []
    for name, label, _ in found.entries:
        _, *inner, _ = name.split("/")
        if inner:
            entries.append((name, _clean(inner[0]), label))
            below.setdefault(label, set()).add(_clean(inner[0]))
        else:
            found.skipped[name] = NO_CLASS
    training = below.get(by_part.get("train"), set())
    if len(training) < 2 or len(by_part) < len(names):
        raise ValueError(
            f"{printable(path)}: its sub-folders ({', '.join(map(_printable, sorted(names)))}) are named like the parts of "
            "a set, not like classes. They are read as its parts where there is one train, and one val or test besides, "
            "each with the same sub-folder for each class (train/cat/1.jpg, val/cat/2.jpg, ...); else give the folder that "
            "holds the classes"
        )
    parts = {name: part for part, name in by_part.items() if name in below}
    if len(parts) == 1:
        found.notes.append(f"the classes are those in {_printable(by_part['train'])}; there is no other part")
        parts = dict.fromkeys(parts)
    elif "test" not in parts.values():
        parts[by_part["validation"]] = "test"
    if len(parts) > 1:
        said = ", ".join(f"{_printable(name)} ({part})" for name, part in sorted(parts.items()))
        found.notes.append(f"the sub-folders are the parts of the set: {said}")
    found.entries = []
    # The test first: of two equal pictures the first is kept.
    for name, label, part in sorted(
        entries, key=lambda entry: ("test", "validation", "train", None).index(parts[entry[2]])
    ):
        if label in training:
            found.entries.append((name, label, parts[part]))
        else:
            found.skipped[name] = "of a class that the training part does not have"
    return found


# --------------------------------------------------------------------------- what a table says


def _table(path, outside):
    """A `_Found` of a CSV file."""
    rows, file_column, label_column = _columns(path)
    found, located, lines = _Found(path.parent), _Located(path.parent), {}
    root = os.path.realpath(path.parent)
    try:
        for row in rows:
            file, label = ((row[c] or "").strip() for c in (file_column, label_column))
            if not (file and label):
                found.skipped[f"line {rows.line_num}"] = "a path or a label is missing"
                continue
            try:
                name = located(file)
                real = os.path.realpath(found.root / name)
            except Unusable as error:
                found.skipped[file] = str(error)
                continue
            # A row that comes again, whatever way its path is written, is the same image.
            labels = lines.setdefault(real, {})
            if label in labels:
                found.skipped[f"{name} (line {rows.line_num})"] = "listed before"
            elif not _within(real, root) and not outside:
                found.skipped[name] = OUTSIDE
            else:
                labels[label] = name
    except csv.Error as error:
        raise ValueError(
            f"{printable(path)}, line {rows.line_num}: {error}. Is a quotation mark left open there, or is it no CSV file?"
        ) from None
    away = []
    for real, labels in lines.items():
        for label, name in labels.items():
            if len(labels) == 1:
                found.entries.append((name, label, None))
                away += [] if _within(real, root) else [name]
            else:
                several = ", ".join(map(_printable, labels))
                found.skipped[name] = f"listed with several labels ({several}): not used"
    found.notes += _outside(away)
    return found


def _columns(path):
    """(rows as dictionaries, the column of paths, the column of labels) of a CSV file, by its first line."""
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{printable(path)} is not UTF-8 text: save it as CSV in UTF-8") from None
    has = None
    for delimiter in DELIMITERS:
        rows = csv.DictReader(io.StringIO(text), delimiter=delimiter)
        try:
            names = {(name or "").strip().lower(): name for name in rows.fieldnames or ()}
        except csv.Error as error:
            raise ValueError(f"{printable(path)}, line 1: {error}. Is it a CSV file?") from None
        columns = [next((names[n] for n in wanted if n in names), None) for wanted in (PATHS, LABELS)]
        if None not in columns:
            return rows, *columns
        has = has or ", ".join(map(_printable, names)) or "nothing"
    raise ValueError(
        f"{printable(path)}: the first line names the columns: one of {', '.join(PATHS)} and one of "
        f"{', '.join(LABELS)}; it has {has}"
    )


class _Located:
    """The path of a file as it is on the disk, from what a table says: with backslashes, or without its suffix."""

    def __init__(self, root):
        self.root, self.listed = root, {}

    def __call__(self, file):
        if "\0" in file:
            raise Unusable("no file can have this name")
        for name in (file, file.replace("\\", "/")):
            if os.path.lexists(self.root / name):
                return name
        folder, _, stem = name.rpartition("/")
        if Path(stem).suffix.lower() in SUFFIXES | OTHERS:
            return file
        names = self._stems(folder).get(stem, [])
        if len(names) > 1:
            raise Unusable(f"several files of this name: {', '.join(map(_printable, sorted(names)))}")
        return "/".join([*([folder] if folder else []), *names]) if names else file

    def _stems(self, folder):
        """{name without its suffix: names} of the pictures in a folder, which is listed once."""
        if folder not in self.listed:
            stems = self.listed[folder] = {}
            try:
                for name in os.listdir(self.root / folder):
                    stem, suffix = os.path.splitext(name)
                    if suffix.lower() in SUFFIXES | OTHERS:
                        stems.setdefault(stem, []).append(name)
            except OSError:
                pass
        return self.listed[folder]


# --------------------------------------------------------------------------- what is in them


class _Pile:
    """At most n images of one shape, in one array that is put in order where it lies: they are never in memory twice."""

    def __init__(self, n):
        self.n, self.shapes, self.count, self.array = n, set(), 0, None

    def add(self, pixels):
        """Keeps the pixels (height, width, 3), unless there are other shapes already, and returns their place."""
        self.shapes.add(pixels.shape)
        if self.array is None:
            try:
                # Memory that is not written to is not taken.
                self.array = np.empty((self.n, *pixels.shape), "uint8")
            except MemoryError:
                size = self.n * pixels.nbytes / 2**30
                raise ValueError(
                    f"{self.n:,} images of {pixels.shape[0]} x {pixels.shape[1]} pixels take {size:.1f} GiB of memory, more "
                    "than there is: give a smaller size=, or fewer files"
                ) from None
        if len(self.shapes) == 1:
            self.array[self.count] = pixels
        self.count += 1
        return self.count - 1

    def arrays(self, places):
        """{part: uint8 (n, height, width, 3)} for {part: places}, views of one array; the pile is of no use afterwards."""
        order = np.concatenate([np.array(index, "int64") for index in places.values()])
        order = np.concatenate([order, np.setdiff1d(np.arange(self.count), order)])
        # Cycle by cycle: the image that belongs into a gap leaves the next one.
        moved = order == np.arange(self.count)
        for start in np.flatnonzero(~moved):
            gap = start
            first = None if moved[start] else self.array[start].copy()
            while not moved[gap]:
                moved[gap], fill = True, order[gap]
                self.array[gap] = first if fill == start else self.array[fill]
                gap = fill
        ends = np.cumsum([0, *map(len, places.values())])
        return {
            part: self.array[low:high] for part, low, high in zip(places, ends[:-1], ends[1:], strict=True)
        }


def _read(path, found, shape):
    """[(name, class, part, place in the pile)] of the files that can be used, and the `_Pile`; the others are skipped."""
    kept, first, pile, skipped, doubtful = [], {}, _Pile(len(found.entries)), found.skipped, set()
    text = f"{_printable(path.name)}, reading {len(found.entries):,} files"
    for name, label, part in tqdm(found.entries, desc=text, file=sys.stdout, mininterval=5, delay=5):
        try:
            with whole(file := found.root / name):
                pixels = decoded(content(file))
                key = hashlib.sha256(repr(pixels.shape).encode())
                key.update(pixels)
                key, pixels = key.digest(), pixels if key.digest() in first else sized(pixels, shape)
        except OSError as error:
            skipped[name] = f"cannot be opened ({error.strerror or error})"
            continue
        except Unusable as error:
            skipped[name] = str(error)
            continue
        if key not in first:
            first[key] = name, label
            kept.append((name, label, part, pile.add(pixels)))
            continue
        copy, copy_label = first[key]
        if copy_label == label:
            skipped[name] = f"the same picture as {_printable(copy)}"
        else:
            # Nobody knows which label is right.
            skipped[name] = f"the same picture as {_printable(copy)}, of another class: neither is used"
            skipped[copy] = f"the same picture as {_printable(name)}, of another class: neither is used"
            doubtful.add(copy)
    return [entry for entry in kept if entry[0] not in doubtful], pile


def _first(skipped):
    name, reason = next(iter(skipped.items()))
    return f"Left out: {_printable(name)} ({reason}){f' and {len(skipped) - 1} more' if len(skipped) > 1 else ''}"


def _clean(name):
    """A file's name as text: bytes that are none become their escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _printable(name):
    """A name that the terminal can print, and only prints."""
    encoding = sys.stdout.encoding or "utf-8"
    return printable(_clean(name)).encode(encoding, "replace").decode(encoding)
