"""The bare `pytest --nbval notebooks` means something: nbval's defaults live here, not in a command.

Not in `addopts`, since plain `pytest` must also work where nbval is not installed, and since the path of the
sanitize file would then depend on the folder that pytest is started from.
"""

import json
import os
import re
import time
import warnings
from pathlib import Path
from queue import Empty

import pytest

ROOT = Path(__file__).parent
NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?(?![\w.])")
NBVAL_CELL_TIMEOUT = 2000  # nbval's own default: replaced by ours, while a value that was asked for is kept

CLAIM = "cnnbook_claim"  # the key of a claim's facts in the metadata of its output, see cnnbook/claims.py

collect_ignore_glob = ["*.ipynb_checkpoints*", "build/*", "book/_build/*"]


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    option = config.option
    if not (getattr(option, "nbval", False) or getattr(option, "nbval_lax", False)):
        return
    if option.nbval_sanitize_with is None and option.sanitize_with is None:
        option.nbval_sanitize_with = str(ROOT / "notebooks" / "sanitize.cfg")
    if option.nbval_kernel_name is None:
        option.nbval_current_env = True  # this Python, whatever kernels the user's home holds
    if option.nbval_cell_timeout == NBVAL_CELL_TIMEOUT:
        option.nbval_cell_timeout = 600.0
    if getattr(option, "dist", "no") == "load":
        option.dist = "loadfile"  # `-n 2`: the cells of one notebook belong to one kernel, so to one worker
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as `import cnnbook` does
    os.environ.setdefault("TQDM_DISABLE", "1")  # bars of progress hold seconds
    os.environ.pop("MPLBACKEND", None)
    from cnnbook.course.home import substitutes

    os.environ.update(substitutes())
    _compare_numbers_within_a_tolerance()
    _notice_dead_kernels()
    _start_kernels_again()
    config.pluginmanager.register(Claims(), "cnnbook-claims")


class Claims:
    """Counts the claims that the notebooks make and tells those that were missed: a miss fails no test.

    They are also left in build/missed.json (another path: CNNBOOK_MISSED), for `cnnbook shake --confirm`. A process of
    xdist sends what its cells claimed with their reports.
    """

    def __init__(self):
        self.said = {}  # (notebook, sentence) -> (held, what the claim's line says)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item, call):
        outcome = yield
        if call.when == "call":
            for output in getattr(item, "test_outputs", None) or []:
                facts = output.get("metadata", {}).get(CLAIM)
                if facts:
                    said = [item.path.stem, facts["sentence"], facts["held"], output["data"]["text/plain"]]
                    outcome.get_result().user_properties.append((CLAIM, said))

    def pytest_runtest_logreport(self, report):
        for name, said in report.user_properties:
            if name == CLAIM:
                notebook, sentence, held, line = said
                self.said[notebook, sentence] = held, line

    def pytest_terminal_summary(self, terminalreporter):
        if not self.said:
            return
        missed = [(notebook, line) for (notebook, _), (held, line) in sorted(self.said.items()) if not held]
        terminalreporter.section("measured claims")
        names = ", ".join(sorted({notebook for notebook, _ in missed}))
        terminalreporter.line(f"{len(self.said)} claims, {len(missed)} missed{': ' if missed else ''}{names}")
        for notebook, line in missed:
            terminalreporter.line(f"  {notebook}: {line}")

    def pytest_sessionfinish(self, session):
        if hasattr(session.config, "workerinput") or session.config.option.collectonly:
            return
        missed = {}
        for (notebook, sentence), (held, _) in sorted(self.said.items()):
            missed.setdefault(notebook, []).extend([] if held else [sentence])
        path = Path(os.environ.get("CNNBOOK_MISSED") or ROOT / "build" / "missed.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({name: said for name, said in missed.items() if said}, ensure_ascii=False, indent=1)
        path.write_text(text + "\n", "utf-8")


class Approximate(str):
    """Equal to a text that differs only in numbers, by at most `tolerance`, relative or absolute."""

    tolerance = 0.0

    def __eq__(self, other):
        if str.__eq__(self, other):
            return True
        if not isinstance(other, str) or NUMBER.sub("#", self) != NUMBER.sub("#", other):
            return False
        ours, theirs = ([float(x) for x in NUMBER.findall(text)] for text in (self, other))
        return all(abs(a - b) <= self.tolerance * max(1.0, abs(a)) for a, b in zip(ours, theirs, strict=True))

    def __ne__(self, other):
        return not self == other

    __hash__ = str.__hash__


def _compare_numbers_within_a_tolerance():
    """The tag `nbval-approx=0.05`: the numbers in a cell's outputs may differ by that much."""
    from nbval.plugin import IPyNbCell

    if getattr(IPyNbCell.sanitize, "approximates", False):
        return
    exact = IPyNbCell.sanitize

    def sanitize(self, text):
        text = exact(self, text)
        tag = next((t for t in self.cell.metadata.get("tags", []) if t.startswith("nbval-approx")), None)
        if tag and isinstance(text, str):
            text = Approximate(text)
            text.tolerance = float(tag.partition("=")[2] or 0.02)
        return text

    sanitize.approximates = True
    IPyNbCell.sanitize = sanitize


def _notice_dead_kernels():
    """nbval waits for the whole cell time-out when the kernel has died; this looks every two seconds."""
    from nbval.kernel import RunningKernel

    if getattr(RunningKernel.get_message, "notices", False):
        return
    patient = RunningKernel.get_message

    def get_message(self, stream, timeout=None):
        end = time.monotonic() + (float("inf") if timeout is None else timeout)
        while True:
            try:
                return patient(self, stream, timeout=max(0.0, min(2.0, end - time.monotonic())))
            except Empty:
                if not self.is_alive():
                    raise RuntimeError("the kernel died (out of memory?)") from None
                if time.monotonic() >= end:
                    raise

    get_message.notices = True
    RunningKernel.get_message = get_message


def _start_kernels_again():
    """A kernel that dies or is silent while it starts is started once more: it may have been given another one's port."""
    from nbval.kernel import RunningKernel

    start = RunningKernel.__init__
    if getattr(start, "starts_again", False):
        return

    def __init__(self, *arguments, **options):
        try:
            start(self, *arguments, **options)
        except RuntimeError as error:
            if hasattr(self, "km"):
                self.kc.stop_channels()
                self.km.shutdown_kernel(now=True)
            warnings.warn(f"the kernel did not start: {error}. It is started again.", stacklevel=2)
            start(self, *arguments, **options)

    __init__.starts_again = True
    RunningKernel.__init__ = __init__
