"""Make a virtual environment that has what is asked for; a second call that finds it whole does nothing.

    python tools/environment.py .venv cpu,dev

What was installed is written to a stamp inside the environment, last: an environment without its stamp was
interrupted and is made anew. Only the standard library is used here, since this runs before anything is
installed. Where packages come from is left to pip's own settings.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST, NEWEST = (
    (3, 11),
    (3, 13),
)  # TensorFlow has no wheels outside (pyproject.toml: requires-python; a test compares)

LOG = "cnnbook-setup.log"


def project() -> dict:
    """The table `project` of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def wanted(extras: str, python: str = sys.version, constraints: Path = ROOT / "constraints.txt") -> dict:
    """What the stamp of a whole environment says."""
    table, constraints = project(), constraints.read_text("utf-8")
    asked = [
        extras,
        table["dependencies"],
        table["optional-dependencies"],
        table.get("scripts"),
        constraints,
    ]
    return {
        "extras": extras,
        "python": python,
        "root": str(ROOT),  # a moved folder breaks the scripts and the editable install
        "digest": hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest(),
    }


def python_of(folder: Path) -> Path:
    """The environment's Python."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def whole(folder: Path, want: dict) -> bool:
    """Whether the environment is there, finished and made for what is wanted."""
    return python_of(folder).exists() and _stamp(folder) == want


def _stamp(folder):
    try:
        return json.loads((folder / "cnnbook-stamp.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None


def main(arguments) -> int:
    """Make or complete the environment; returns the exit status."""
    folder, extras = Path(arguments[0]), arguments[1]
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        return _another_python(arguments)
    return provide(folder, wanted(extras), ["-e", f".[{extras}]", "-c", "constraints.txt"])


def provide(folder: Path, want: dict, install: list[str]) -> int:
    """Make or complete the environment by `pip install` with these arguments; returns the exit status."""
    if whole(folder, want):
        return 0
    with _alone(folder):
        if whole(folder, want):  # made while this call waited
            return 0
        return _make(folder, want, install)


def _another_python(arguments):
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0:
            return subprocess.call([found, __file__, *arguments])
    print(
        f"Python {sys.version.split()[0]} ({sys.executable}) cannot be used: Python 3.11 to 3.13 is needed.\n"
        "Install one of them and name it: make run PYTHON=/path/to/python3.12",
        file=sys.stderr,
    )
    return 2


def _make(folder, want, install):
    print(f"Setting up {folder} with [{want['extras']}]: once, a few minutes and about 2 GB.", flush=True)
    started = time.monotonic()
    old, stamp = _stamp(folder), folder / "cnnbook-stamp.json"
    stamp.unlink(missing_ok=True)
    if (
        old is None
        or old["python"] != want["python"]
        or old["root"] != want["root"]
        or not python_of(folder).exists()
    ):
        if not _venv(folder):
            return 1
        old = None
    code = _pip(folder, ["install", "--progress-bar", "off", *install], started)
    if code:
        # pip leaves an environment as it was when it gives up by itself, so what was whole still is.
        if old is not None:
            stamp.write_text(json.dumps(old), "utf-8")
        print(f"Setting up {folder} failed; the whole log: {folder / LOG}", file=sys.stderr)
        return 1
    beside = stamp.with_suffix(".new")
    beside.write_text(json.dumps(want), "utf-8")
    os.replace(beside, stamp)
    print(f"{folder} is ready ({time.monotonic() - started:.0f} s).", flush=True)
    return 0


def _venv(folder):
    command = [sys.executable, "-m", "venv", "--clear", str(folder)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode == 0:
        return True
    # Debian's Python comes without ensurepip: with a pip of its own it can still give the environment one.
    bare = subprocess.run([*command, "--without-pip"], capture_output=True).returncode
    lend = [sys.executable, "-m", "pip", "--python", str(python_of(folder)), "install", "-q", "pip"]
    if bare == 0 and subprocess.run(lend, capture_output=True).returncode == 0:
        return True
    print(done.stdout + done.stderr, file=sys.stderr)
    print(
        f"{sys.executable} could not make an environment. On Debian and Ubuntu the package "
        "python3-venv is missing; or name another Python: make run PYTHON=/path/to/python3.12",
        file=sys.stderr,
    )
    return False


def _pip(folder, arguments, started):
    """Run pip with a line that says how far it is (in a log: now and then), all its output in a file."""
    live, last, seen = sys.stdout.isatty(), 0.0, 0
    with open(folder / LOG, "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [str(python_of(folder)), "-m", "pip", *arguments],
            cwd=ROOT,
            close_fds=os.name == "nt",  # it holds the lock too, see `_alone`
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env={
                **os.environ,
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                "PYTHONUNBUFFERED": "1",
                "PYTHONUTF8": "1",
            },
        )
        tail = []
        try:
            for line in process.stdout:
                log.write(line)
                tail = [*tail[-20:], line]
                word = line.split()[:2]
                seen += word[:1] == ["Collecting"]
                if word[:1] == ["Collecting"] or word == ["Installing", "collected"]:
                    now = time.monotonic()
                    text = f"  {now - started:4.0f} s  {seen} packages  {' '.join(line.split()[:2])}"
                    if word[0] == "Installing":
                        text = f"  {now - started:4.0f} s  installing {seen} packages"
                    if live:
                        print(f"\r\x1b[K{text[:78]}", end="", flush=True)
                    elif now - last >= 10 or word[0] == "Installing":
                        print(text, flush=True)
                        last = now
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            if live:
                print("\r\x1b[K", end="")
    if code:
        print("".join(tail), file=sys.stderr)
    return code


@contextlib.contextmanager
def _alone(folder):
    """Two calls at once take turns. The lock goes when its last holder ends, however that ends, and pip is one:
    a pip that outlives this process keeps the next call waiting, and does not write into its environment."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    (ROOT / "build").mkdir(exist_ok=True)
    with open(ROOT / "build" / f"{folder.name}.lock", "w") as lock:
        os.set_inheritable(lock.fileno(), True)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Another process is setting up {folder}; waiting for it.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("\ninterrupted; the next call makes the environment anew", file=sys.stderr)
        sys.exit(130)
