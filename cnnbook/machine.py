"""What is here: versions, Keras' backend, processor and cores. Nothing heavy is imported to know it."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import re
from pathlib import Path

PACKAGES = ("keras", "tensorflow", "tensorflow-cpu", "jax", "numpy", "matplotlib", "pandas")


def versions(packages=PACKAGES) -> dict[str, str]:
    """The versions that results depend on: Python's and those of the packages that are installed."""
    installed = {"python": platform.python_version()}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed


def backend() -> str:
    """Keras' backend, decided as Keras does: the environment, then its settings file, then TensorFlow."""
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"]
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        return json.loads((home / "keras.json").read_text("utf-8")).get("backend", "tensorflow")
    except (OSError, ValueError):
        return "tensorflow"


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor's name."""
    names = re.findall(r"^model name\s*:\s*(.*)$", _cpuinfo(), re.M)
    return names[0].strip() if names else platform.processor() or platform.machine()


def processor_flags() -> set[str]:
    """What Linux says that the processor can do (`avx2`, `asimd`, ...); an empty set elsewhere."""
    return set(" ".join(re.findall(r"^(?:flags|Features)\s*:(.*)$", _cpuinfo(), re.M)).split())


def facts() -> dict:
    """How a stored result was produced: date, processor, cores, versions. No names of machines or people."""
    import keras

    return dict(
        date=datetime.date.today().isoformat(),
        processor=processor(),
        cores=os.cpu_count(),
        python=platform.python_version(),
        keras=keras.__version__,
        backend=keras.backend.backend(),
    )


def _cpuinfo():
    try:
        return Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return ""
