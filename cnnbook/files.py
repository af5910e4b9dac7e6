"""Files written whole, and a lock on what only one process may change at a time."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


@contextlib.contextmanager
def replaced(path: str | os.PathLike):
    """A binary file to write into; at the end of the block it takes the place of `path`, which is made with its folder.

    Whoever reads, whenever, finds the old file or the new one: it is written beside under a name of its own, brought to
    the disk and renamed. After an error, or a kill, the old file is as it was. The rights are those of the user's umask. An
    OSError names a file, also where the system does not: a full disk is only met with the file open.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes a file for its owner alone.
        os.chmod(beside, 0o666 & ~_umask())
        os.replace(beside, path)
    except BaseException as error:
        Path(beside).unlink(missing_ok=True)
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


def lock(path: str | os.PathLike, timeout: float = -1):
    """A lock on the file `path`, as a context manager: one process at a time holds it, and it goes when that one ends.

    timeout: seconds to wait, -1 for ever, 0 not at all. Raises filelock.Timeout when they are over.
    """
    from filelock import FileLock

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path, timeout=timeout)


def _umask() -> int:
    """The user's umask; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
