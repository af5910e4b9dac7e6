"""What is on this machine: versions, Keras' backend, processor, cores, memory. Only `facts` and `report` import Keras."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import re
import shutil
import sys
from pathlib import Path

PACKAGES = ("keras", "tensorflow", "tensorflow-cpu", "jax", "torch", "numpy", "matplotlib", "pandas")
# What `report` lists: what trains and draws, then what runs the notebooks, tests them and renders the book.
REPORTED = (
    "cnnbook",
    *PACKAGES,
    "tensorflow-datasets",
    "papermill",
    "jupyterlab",
    "jupytext",
    "nbval",
    "sphinx",
)
GIB = 2**30


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
    settings = _keras_settings()
    chosen = settings.get("backend") if isinstance(settings, dict) else None
    return chosen if chosen and isinstance(chosen, str) else "tensorflow"


def settings_problem() -> str | None:
    """What in Keras' settings file keeps Keras from being imported, and what to do; None when nothing does."""
    settings = _keras_settings()
    where = "keras.json, in ~/.keras or where KERAS_HOME points,"
    remedy = "delete the file, and Keras writes it anew"
    if not isinstance(settings, dict):
        return f"{where} holds {json.dumps(settings)[:40]} in place of {{names: values}}: {remedy}"
    chosen = settings.get("backend", "tensorflow")
    if not (chosen and isinstance(chosen, str)) and not os.environ.get("KERAS_BACKEND"):
        return f'{where} names no backend ("backend": {json.dumps(chosen)[:40]}): {remedy}'
    return None


def _keras_settings():
    """What keras.json holds; an empty dictionary where it is missing or is not JSON, which Keras takes alike."""
    home = Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"))
    try:
        return json.loads((home / "keras.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def user_cache() -> Path:
    """The folder in which programs keep what they can make again, as this system has it; it need not exist."""
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"])
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")


def have_jax_compile_less() -> None:
    """Sets JAX's variables so that most of what it compiles is compiled once on this machine, and sooner.

    JAX compiles a program per operation and shape, Keras on JAX another one per net, and both again in every process. Here
    they are kept: in `user_cache()`/cnnbook, at most 256 MB, of which what was not used for longest goes first. And on a
    processor they are optimised at LLVM's level 2. At level 3, XLA's default, the draw of one small kernel's first weights
    takes one to two seconds to compile, at level 2 a fifth of a second; training steps of five nets took 0.96 to 1.04 of
    their time. What is set in the environment stays as it is; JAX_ENABLE_COMPILATION_CACHE=0 keeps nothing. JAX reads all
    this when it is imported.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _only_a_processor() and "xla_backend_optimization_level" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_optimization_level=2".strip()
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    # Programs are for the instructions of one processor, and a home may be shared by several machines.
    kind = hashlib.sha256(" ".join([processor(), *sorted(processor_flags())]).encode()).hexdigest()[:8]
    folder = user_cache() / "cnnbook" / f"jax-{kind}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    # A limit also makes JAX take turns by a lock: it writes its files in place.
    os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(256 * 2**20))
    # Programs of single operations are not worth a file.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")


def _only_a_processor():
    """Whether JAX will compute on the processor: no plugin for a GPU and no library for TPUs is installed, or used."""
    if os.environ.get("JAX_PLATFORMS"):
        return os.environ["JAX_PLATFORMS"] == "cpu"
    return not any(importlib.util.find_spec(name) for name in ("jax_plugins", "libtpu"))


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


def report() -> None:
    """Prints what a question about a wrong or slow result should come with: versions, backend, devices, cores, memory.

    A Keras that cannot be imported is a line, not an error. No names of machines or people.
    """
    for title, rows in (
        ("Versions", versions(REPORTED)),
        ("Backend", _backend_rows()),
        ("Machine", _machine_rows()),
    ):
        print_section(title, rows)


def print_section(title: str, rows: dict[str, str]) -> None:
    """Prints a title and below it a line per row, the names aligned."""
    print(f"\n{title}")
    for name, text in rows.items():
        print(f"  {name:<20} {text}", flush=True)


def memory() -> tuple[float, float] | None:
    """The memory in GiB that is available and that there is; None where psutil is not installed."""
    try:
        import psutil
    except ImportError:
        return None
    state = psutil.virtual_memory()
    return state.available / GIB, state.total / GIB


def free_disk() -> float | None:
    """The GiB free on the disk of the current folder; None where that folder has been deleted."""
    try:
        return shutil.disk_usage(Path.cwd()).free / GIB
    except OSError:
        return None


def _backend_rows():
    try:
        # TensorFlow speaks on stderr while it is imported.
        with contextlib.redirect_stderr(io.StringIO()):
            import keras

            rows = {"keras": f"{keras.__version__} on {keras.backend.backend()}"}
            rows["image format"] = keras.config.image_data_format()
            rows["devices"] = ", ".join(_devices(keras.backend.backend())) or "unknown"
    except Exception as error:
        return {"keras": f"cannot be used with the backend {backend()}: {type(error).__name__}: {error}"}
    return rows


def accelerators(name: str) -> list[str]:
    """The GPUs and TPUs that a backend, TensorFlow, JAX or PyTorch, computes on."""
    return [device for device in _devices(name) if not device.upper().startswith("CPU")]


def _devices(name):
    if name == "tensorflow":
        import tensorflow

        for device in tensorflow.config.list_physical_devices():
            details = (
                tensorflow.config.experimental.get_device_details(device)
                if device.device_type == "GPU"
                else {}
            )
            yield details.get("device_name", device.name.removeprefix("/physical_device:"))
    elif name == "jax":
        import jax

        yield from (
            f"{device.platform.upper()}:{device.id} ({device.device_kind})" for device in jax.devices()
        )
    elif name == "torch":
        yield from _devices_of_torch()


def _devices_of_torch():
    """Those that Keras on PyTorch may take: one processor, and a GPU of Apple's or all of CUDA's where there are any."""
    import torch

    yield "CPU:0"
    if torch.backends.mps.is_available():
        yield "MPS:0"
    yield from (torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))


def _machine_rows():
    limits = [
        f"{k}={os.environ[k]}" for k in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS") if k in os.environ
    ]
    rows = {
        "system": platform.platform(),
        "processor": processor(),
        "cores": f"{cores()} usable of {os.cpu_count()}",
        "threads": ", ".join(limits) or "all (no limit in the environment)",
    }
    if gib := memory():
        rows["memory"] = f"{gib[0]:.1f} GiB free of {gib[1]:.1f}"
    free = free_disk()
    return rows | {"disk": "unknown" if free is None else f"{free:.1f} GiB free here"}


def _cpuinfo():
    try:
        return Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return ""
