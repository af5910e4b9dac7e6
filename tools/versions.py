"""Test the package as people get it: its wheel, among other versions than ours, away from the checkout.

    python tools/versions.py 2026.01     what a runtime of Colab has (tools/runtimes/2026.01.txt)
    python tools/versions.py newest      the newest of everything, pyproject's upper bounds left aside

Four steps: an environment of its own (.venv-colab, .venv-newest), made once; the wheel, built and put into it; the unit
tests; the notebooks that reach most of the package. Tests and notebooks run on copies in a temporary folder, so
nothing but the wheel can be imported. Tests with the mark `checkout` stay out: they read files that no wheel has.
"""

import argparse
import contextlib
import datetime
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import environment
from environment import ROOT

RUNTIMES = ROOT / "tools" / "runtimes"
EXTRAS = "cpu,lab,test,lite0"
# A first training, nets with batch norm, a packaged backbone with a folder of images, decoders and their pictures.
NOTEBOOKS = ("00-start", "03-vgg", "16-your-own-images", "18-fcn-deconvnet")
SELECTED = "not checkout and not every_variant"
ONE_THREAD = dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), "1")
# Several processes train on JAX alone; their time goes to compiling, not to what is compiled.
ON_JAX = ONE_THREAD | {"KERAS_BACKEND": "jax", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
# What would let something else than the wheel and its environment be imported, or another backend be taken.
MISLEADING = ("PYTHONPATH", "PYTHONHOME", "KERAS_BACKEND", "VIRTUAL_ENV")


def requirements(extras: str = EXTRAS, bounded: bool = True) -> list[str]:
    """What pyproject.toml asks for, without the package itself; bounded=False: its upper bounds left aside."""
    project = environment.project()
    optional = project["optional-dependencies"]
    asked = [*project["dependencies"], *(line for extra in extras.split(",") for line in optional[extra])]
    return asked if bounded else [re.sub(r",\s*<[\w.]+", "", line) for line in asked]


def python_of_runtime(name: str) -> tuple[int, int]:
    """The Python of a runtime of Colab, from the first line of its file."""
    major, minor = re.search(r"Python (\d+)\.(\d+)", (RUNTIMES / f"{name}.txt").read_text("utf-8")).groups()
    return int(major), int(minor)


def main(arguments) -> int:
    """Make the environment, build the wheel, run tests and notebooks; 0 when all of it passed."""
    chosen = _parser().parse_args(arguments)
    if chosen.what != "newest":
        wanted = python_of_runtime(chosen.what)
        if sys.version_info[:2] != wanted and (better := _usable(f"python{wanted[0]}.{wanted[1]}")):
            return subprocess.call([better, __file__, *arguments])
        if sys.version_info[:2] > wanted:
            print(_too_new(chosen.what, wanted), file=sys.stderr)
            return 2
        if sys.version_info[:2] != wanted:
            print(
                f"There is no Python {wanted[0]}.{wanted[1]} here, as in that runtime: taking {sys.version.split()[0]}"
            )
    folder = ROOT / (chosen.folder or (".venv-newest" if chosen.what == "newest" else ".venv-colab"))
    steps = Steps()
    with steps.step("environment"):
        steps.passed = _environment(folder, chosen.what) == 0
    if steps.failed:
        return steps.end()
    python = environment.python_of(folder)
    with steps.step("wheel"):
        steps.passed = _wheel(python, folder, strict=chosen.what != "newest")
    if steps.failed:
        return steps.end()
    _tests_and_notebooks(steps, python, chosen)
    return steps.end()


def _parser():
    runtimes = sorted(path.stem for path in RUNTIMES.glob("*.txt"))
    parser = argparse.ArgumentParser(
        description="Test the wheel among other versions, away from the checkout."
    )
    parser.add_argument("what", choices=[*runtimes, "newest"])
    parser.add_argument("--folder", help="the environment's folder (.venv-colab, .venv-newest)")
    parser.add_argument("--only", choices=["tests", "notebooks"], help="one of the two, not both")
    parser.add_argument("--notebooks", default=",".join(NOTEBOOKS), help="which, with commas between")
    parser.add_argument("--tests", default="tests", help="which tests, as for pytest: tests/test_fast.py")
    return parser


def _usable(name):
    found = shutil.which(name)
    return found if found and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0 else None


def _too_new(what, wanted):
    version = f"{wanted[0]}.{wanted[1]}"
    return (
        f"Colab's runtime {what} has Python {version}, and its TensorFlow has no wheels for this one, "
        f"{sys.version.split()[0]}.\nInstall Python {version} and name it: make test-colab PYTHON=/path/to/python{version}"
    )


class Steps:
    """The steps with their seconds, and whether one has failed."""

    def __init__(self):
        self.seconds = {}
        self.failed = []
        self.passed = False

    @contextlib.contextmanager
    def step(self, name):
        """Times a step; what runs inside sets `passed`."""
        print(f"\n=== {name} ({time.strftime('%H:%M:%S')})", flush=True)
        started, self.passed = time.monotonic(), False
        yield
        self.seconds[name] = time.monotonic() - started
        if not self.passed:
            self.failed.append(name)

    def end(self) -> int:
        """Print what took how long and what failed; the exit status."""
        print()
        for name, seconds in self.seconds.items():
            print(f"  {name:<12} {'FAILED' if name in self.failed else 'passed'}  {seconds:5.0f} s")
        return 1 if self.failed else 0


def _environment(folder, what):
    if what == "newest":
        # Another day, another newest: the stamp of yesterday is not whole, and pip brings what has come since.
        want = environment.wanted(EXTRAS) | {"day": datetime.date.today().isoformat()}
        install = ["--upgrade", "--upgrade-strategy", "eager", *requirements(bounded=False)]
    else:
        constraints = RUNTIMES / f"{what}.txt"
        want = environment.wanted(EXTRAS, constraints=constraints)
        install = ["-c", str(constraints), *requirements()]
    return environment.provide(folder, want, install)


def _wheel(python, folder, strict):
    """Build the wheel and put it, alone, into the environment. strict: what pip then finds in conflict is a failure."""
    wheels = ROOT / "build" / "wheel"
    shutil.rmtree(wheels, ignore_errors=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    if subprocess.call([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), str(ROOT)]):
        return False
    (wheel,) = wheels.glob("*.whl")
    if subprocess.call([*pip, "install", "--quiet", "--no-deps", "--force-reinstall", str(wheel)]):
        return False
    print(f"{wheel.name} ({wheel.stat().st_size / 2**20:.1f} MB) is in {folder.name}", flush=True)
    conflicts = subprocess.call([*pip, "check"])
    return not (strict and conflicts)


def _stays(folder, names):
    """Of these names in a folder of tests, those that are not copied: whole files with the mark `checkout`, and leavings.

    Deselecting is not enough for such a file: it may read the checkout as soon as it is imported.
    """
    marked = re.compile(r"^pytestmark = .*\bpytest\.mark\.checkout\b", re.M)
    tests = [name for name in names if re.fullmatch(r"test_\w+\.py", name)]
    return {"__pycache__", *(n for n in tests if marked.search(Path(folder, n).read_text("utf-8")))}


def _tests_and_notebooks(steps, python, chosen):
    away = Path(tempfile.mkdtemp(prefix="cnnbook-versions-"))
    names = chosen.notebooks.split(",")
    shutil.copy(ROOT / "pyproject.toml", away)  # pytest's settings
    shutil.copytree(ROOT / "tests", away / "tests", ignore=_stays)
    course = away / "course"
    (course / "notebooks").mkdir(parents=True)
    for name in names:
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", course / "notebooks")
    variables = {k: v for k, v in os.environ.items() if k not in MISLEADING}
    with steps.step("doctor"):
        steps.passed = _call(python, "-m", "cnnbook", "doctor", cwd=away, env=variables) == 0
    if chosen.only != "notebooks":
        with steps.step("tests"):
            pytest = ("-m", "pytest", chosen.tests, "-m", SELECTED, "-n", "2", "--dist", "loadfile")
            steps.passed = _call(python, *pytest, cwd=away, env=variables | ONE_THREAD) == 0
        with steps.step("on JAX"):
            pytest = ("-m", "pytest", "tests/test_distributed.py", "-m", SELECTED)
            steps.passed = _call(python, *pytest, cwd=away, env=variables | ON_JAX) == 0
    if chosen.only != "tests":
        with steps.step("notebooks"):
            run = ("-m", "cnnbook", "run", "--root", course, "--no-book")
            steps.passed = _call(python, *run, cwd=away, env=variables) == 0
    if steps.failed:
        print(f"\nwhat was run is kept: {away}")
    else:
        shutil.rmtree(away)


def _call(python, *arguments, **options):
    return subprocess.call([str(python), *map(str, arguments)], **options)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
