"""`cnnbook doctor` and `cnnbook models`: what is on this machine, and what is in the book."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import json
import os
import platform
import shutil
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from cnnbook.course.project import UserError
from cnnbook.machine import backend, cores

# Package -> what it is for, and the extra of pyproject.toml that brings it.
OPTIONAL = {
    "tensorflow": ("the default backend", "cpu"),
    "jax": ("the other backend", "jax"),
    "tensorflow-datasets": ("larger data sets", "cpu"),
    "matplotlib": ("figures", "lab"),
    "papermill": ("cnnbook run", "lab"),
    "jupyterlab": ("reading and changing the notebooks", "lab"),
    "jupytext": ("cnnbook sync", "lab"),
    "nbval": ("pytest --nbval notebooks", "test"),
    "sphinx": ("the book", "book"),
}
NAMED = {"tensorflow": ("tensorflow", "tensorflow-cpu", "tensorflow-macos")}


def doctor() -> int:
    """Print what is here; the status is 1 when nothing can be trained."""
    problems = []
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _head("Versions")
    _row("python", f"{platform.python_version()}  {platform.platform()}")
    for name in ("cnnbook", "keras", "numpy", *OPTIONAL):
        found = _version(name)
        use, extra = OPTIONAL.get(name, ("", ""))
        _row(name, found or f"not installed: {use}, by python -m pip install -e '.[{extra}]'")
    _head("Backend")
    problems += _backend()
    _head("Machine")
    _row("cores", f"{cores()} usable of {os.cpu_count()}")
    limits = [
        f"{k}={os.environ[k]}" for k in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS") if k in os.environ
    ]
    _row("threads", ", ".join(limits) or "all (no limit in the environment)")
    with contextlib.suppress(ImportError):
        import psutil

        memory = psutil.virtual_memory()
        _row("memory", f"{memory.available / 2**30:.1f} GiB free of {memory.total / 2**30:.1f}")
        if memory.available < 1.5 * 2**30:
            problems.append("less than 1.5 GiB of memory is free: run one notebook at a time (--jobs 1)")
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    _row("disk", f"{free:.1f} GiB free here")
    if free < 1:
        problems.append("less than 1 GiB of disk is free here")
    _head("Data")
    problems += _data()
    if problems:
        _head("To do")
        for problem in problems:
            print(f"  - {problem}")
    else:
        print("\nAll that the notebooks need is here.")
    return 1 if problems and not _can_train() else 0


def _head(text):
    print(f"\n{text}")


def _row(name, text):
    print(f"  {name:<20} {text}", flush=True)


def _version(name):
    for candidate in NAMED.get(name, (name,)):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(candidate)
    return None


def _can_train():
    return (
        find_spec("keras") is not None and find_spec({"torch": "torch"}.get(backend(), backend())) is not None
    )


def _backend():
    name = backend()
    if find_spec("keras") is None:
        return ["Keras is not installed: python -m pip install -e '.[cpu]'"]
    if find_spec(name) is None:
        others = [b for b in ("tensorflow", "jax") if find_spec(b)]
        _row("keras", f"backend {name}, which is not installed")
        if others:
            return [f"the backend {name} is not installed, but {others[0]} is: set KERAS_BACKEND={others[0]}"]
        extra = "jax" if name == "jax" else "cpu"
        return [
            f"no backend is installed: python -m pip install -e '.[{extra}]' (on Colab it is there already)"
        ]
    started = time.monotonic()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            import keras
    except Exception as error:
        return [f"Keras cannot be imported with the backend {name}: {type(error).__name__}: {error}"]
    _row(
        "keras",
        f"{keras.__version__} on {keras.backend.backend()}, imported in {time.monotonic() - started:.1f} s",
    )
    _row("image format", keras.config.image_data_format())
    for kind, text in _devices(name):
        _row(kind, text)
    if keras.config.image_data_format() != "channels_last":
        return [
            "keras.json asks for channels_first, which halves the speed on a CPU: set it to channels_last"
        ]
    return []


def _devices(name):
    if name == "tensorflow":
        import tensorflow

        for device in tensorflow.config.list_physical_devices():
            details = (
                tensorflow.config.experimental.get_device_details(device)
                if device.device_type == "GPU"
                else {}
            )
            yield device.device_type.lower(), details.get("device_name", device.name)
    elif name == "jax":
        import jax

        for device in jax.devices():
            yield device.platform, str(device)


def _data():
    try:
        rows = list(importlib.import_module("cnnbook.data").where())
    except Exception as error:  # the doctor must come to its end on a broken installation
        _row("data", "cannot be listed")
        return [f"cnnbook.data cannot be asked what is here: {type(error).__name__}: {error}"]
    for name, here, how in rows:
        _row(name, f"{'here' if here else 'not here'}: {how}")
    return []


COLUMNS = ("builder", "input", "params", "macs", "receptive_field", "stride", "source", "note")


def models(only: str | None = None, as_json: bool = False) -> int:
    """Print the table of builders; `only` is a part of a name, or several with commas between."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if find_spec(backend()) is None:
        raise UserError(
            f"counting needs Keras' backend {backend()}, which is not installed: "
            "python -m pip install -e '.[cpu]', or set KERAS_BACKEND to one that is"
        )
    source = importlib.import_module("cnnbook.models")
    if only is None:
        rows = source.table(tell=_counting())
    else:  # only what is shown is built and counted
        words = [w.strip() for w in only.split(",") if w.strip()]
        rows = list(
            {row["builder"]: row for word in words for row in source.table(word, _counting())}.values()
        )
        if not rows:
            known = ", ".join(dict.fromkeys(str(row["builder"]) for row in source.figures()))
            raise UserError(f"there is no network with {only!r} in its name; there is: {known}")
    if as_json:
        json.dump(rows, sys.stdout, indent=1, ensure_ascii=False, default=str)
        print()
        return 0
    shown = [c for c in COLUMNS if any(r.get(c) not in (None, "") for r in rows)]
    texts = [[_cell(r.get(c), c) for c in shown] for r in rows]
    heads = [c.replace("_", " ") for c in shown]
    widths = [max(len(t[i]) for t in [heads, *texts]) for i in range(len(shown))]
    right = [c in ("params", "macs", "receptive_field", "stride") for c in shown]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in [heads, ["-" * w for w in widths], *texts]:
        parts = [t.rjust(w) if r else t.ljust(w) for t, w, r in zip(line, widths, right, strict=True)]
        print("  ".join(parts).rstrip()[:room])
    return 0


def _counting(every=5.0):
    """Says on standard error which network is counted: in place in a terminal, else a line every few seconds."""
    said, live = time.monotonic(), sys.stderr.isatty()

    def tell(i, n, call):
        nonlocal said
        if live:
            print(
                f"\r\033[Kcounting {i} of {n}: {call}",
                end="\r\033[K" if i == n else "",
                file=sys.stderr,
                flush=True,
            )
        elif time.monotonic() - said > every:
            said = time.monotonic()
            print(f"counting {i} of {n}: {call}", file=sys.stderr, flush=True)

    return tell


def _cell(value, column):
    if value is None:
        return ""
    if isinstance(value, (tuple, list)):
        square = column != "input" and len(set(value)) == 1
        return str(value[0]) if square else " x ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
