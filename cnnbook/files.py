"""Files written whole, looked at before they are read, and a lock on what only one process may change at a time."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

# What a file system without locks says.
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextlib.contextmanager
def replaced(path: str | os.PathLike):
    """A binary file to write into; at the end of the block it takes the place of `path`, which is made with its folder.

    Whoever reads, whenever, finds the old file or the new one: it is written beside under a name of its own, brought to
    the disk and renamed. After an error, or a kill, the old file is as it was. The rights are those of the user's umask. An
    OSError names a file, also where the system does not: a full disk is only met with the file open.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        # "x" follows no link, and the system itself takes the umask off the rights.
        with open(beside, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise


def write(path: str | os.PathLike, content: str | bytes) -> None:
    """Writes a file whole, see `replaced`; text as UTF-8, and what UTF-8 cannot hold of it as JSON escapes it."""
    with replaced(path) as file:
        file.write(content.encode(errors="backslashreplace") if isinstance(content, str) else content)


def free(path: str | os.PathLike) -> Path:
    """The path itself where nothing is there, else NAME-2, NAME-3 ... beside it."""
    path = Path(path)
    found, number = path, 1
    while os.path.lexists(found):
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found


def in_lines(facts: dict, runs: Iterable[dict]) -> str:
    """JSON with one line for each fact and each run, so that a new run is one new line of a diff.

    The facts stand in one object with `"runs": [...]`; all of it is what JSON can hold.
    """
    lines = [f"{json.dumps(key)}: {json.dumps(value)}," for key, value in facts.items()]
    records = ",\n  ".join(map(json.dumps, runs))
    return "\n ".join(["{", *lines, f'"runs": [\n  {records}\n ]']) + "\n}\n"


def obstacle(folder: str | os.PathLike) -> OSError | None:
    """What stands in the way of a file in this folder, which would be made where it is missing; None if nothing does."""
    folder = Path(folder)
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    try:
        # Tried, not asked for: the superuser may do what a read-only disk, a full one or /proc does not let happen.
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        error.filename = str(folder)
        return error
    return None


def ready(path: str | os.PathLike) -> None:
    """Raises ValueError, before anything long begins, where a file at `path` could not be written at its end."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give the path of a file")
    if error := obstacle(path.parent):
        raise ValueError(f"{path} cannot be written: {error}")


def headers(path: str | os.PathLike) -> dict:
    """{name: (shape, dtype)} of the arrays in an .npz file: what reading them would take, before anything of it is taken.

    Where the file is none: an exception of any type.
    """
    from numpy.lib import format

    found = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                # Of the later versions of the format a header alone may unfold to gigabytes; savez has no need of them.
                if format.read_magic(file) != (1, 0):
                    raise ValueError(f"{member.filename} is not an array as numpy.savez writes it")
                shape, _, dtype = format.read_array_header_1_0(file)
            found[member.filename.removesuffix(".npy")] = shape, dtype
    return found


@contextlib.contextmanager
def alone(path: str | os.PathLike):
    """While the block runs, nobody else is in such a block for the same file; on file systems that have locks."""
    path = Path(path)
    held = lock(path.with_name(f".{path.name}.lock"))
    try:
        held.acquire()
    except NotImplementedError:
        held = None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        held = None
    try:
        yield
    finally:
        if held:
            held.release()


def lock(path: str | os.PathLike, timeout: float = -1):
    """A lock on the file `path`, as a context manager: one process at a time holds it, and it goes when that one ends.

    timeout: seconds to wait, -1 for ever, 0 not at all. Raises filelock.Timeout when they are over.
    """
    from filelock import FileLock

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path, timeout=timeout)
