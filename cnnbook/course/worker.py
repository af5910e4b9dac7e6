"""One notebook in a process of its own: what `cnnbook run` starts, never a person.

The runner writes the task as one line of JSON to standard input and keeps that pipe open: when the runner is
gone, however it went, the pipe ends, and this process ends its kernel and itself. Progress goes back as JSON
lines.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import traceback
from pathlib import Path

from cnnbook.course.project import quick_nbformat


def main() -> int:
    """Execute the notebook of the task on standard input; the result is the last line on standard output."""
    # The kernel inherits descriptor 1: what libraries print there belongs in the log, not between our lines.
    wire = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    quick_nbformat()
    # Unbuffered: a thread that waits in a buffered read cannot be left behind at the end.
    pipe = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115
    task = json.loads(pipe.readline())
    threading.Thread(target=_end_with_the_runner, args=(pipe,), daemon=True).start()

    def tell(**message):
        wire.write(json.dumps(message) + "\n")

    try:
        tell(result=execute(task, tell))
        return 0
    except BaseException as error:  # the runner must hear of whatever went wrong here
        traceback.print_exc()
        tell(result={"status": "failed", "error": f"{type(error).__name__}: {error}"})
        return 1


def _end_with_the_runner(pipe):
    while pipe.read(1):
        pass
    end_tree(os.getpid(), self_too=False)
    os._exit(1)


def execute(task, tell) -> dict:
    """Run one notebook by papermill; returns its status, and for a failure the cell and the error."""
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.engines import NBClientEngine, papermill_engines

    place = {"index": None}

    class Engine(NBClientEngine):
        """papermill's engine, which tells where it is and keeps the first error."""

        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, **options):
            start, fail = nb_man.cell_start, nb_man.cell_exception
            code = [i for i, cell in enumerate(nb_man.nb.cells) if cell.cell_type == "code"]

            def cell_start(cell, index, **more):
                if cell.cell_type == "code" and cell.source.strip():
                    place["index"] = index
                    tell(cell=code.index(index) + 1, of=len(code), tags=_shown_tags(cell), kernels=_kernels())
                return start(cell, index, **more)

            def cell_exception(cell, cell_index=None, exception=None, **more):
                place["error"] = f"{exception.ename}: {exception.evalue}"
                return fail(cell, cell_index=cell_index, exception=exception, **more)

            nb_man.cell_start, nb_man.cell_exception = cell_start, cell_exception
            return super().execute_managed_notebook(nb_man, kernel_name, **options)

    papermill_engines.register("cnnbook", Engine)
    partial = Path(task["partial"])
    try:
        papermill.execute_notebook(
            task["source"],
            str(partial),
            parameters=task["parameters"],
            engine_name="cnnbook",
            kernel_name=task["kernel"],
            progress_bar=False,
            start_timeout=120,
            cwd=task["cwd"],
            extra_arguments=task["kernel_arguments"],
        )
        result = {"status": "passed"}
    except papermill.exceptions.PapermillExecutionError as error:
        result = {"status": "failed", "error": place.get("error", f"{error.ename}: {error.evalue}")}
    except DeadKernelError:
        result = {"status": "failed", "error": "the kernel died (killed, or out of memory)"}
    except CellTimeoutError as error:
        result = {"status": "failed", "error": str(error)}
    if result["status"] == "failed":
        result["cell"] = _cell_in_words(partial, place["index"])
    result.update(_used())
    _render(partial)
    return result


def _used():
    """What the kernel, which has ended, took: CPU seconds and the most memory in MB. Windows does not say."""
    try:
        import resource
    except ImportError:
        return {}
    kernel = resource.getrusage(resource.RUSAGE_CHILDREN)
    bytes_each = 1 if sys.platform == "darwin" else 1024
    return {
        "cpu": round(kernel.ru_utime + kernel.ru_stime, 1),
        "memory": round(kernel.ru_maxrss * bytes_each / 1e6),
    }


def _shown_tags(cell):
    return [t for t in cell.metadata.get("tags", []) if t != "papermill-error-cell-tag"]


def _cell_in_words(partial, index):
    """ "cell 12 of 40 [train]": counted as in the source, without the cells that papermill adds."""
    import nbformat

    try:
        cells = nbformat.read(partial, as_version=4).cells
    except (OSError, ValueError):
        return None if index is None else f"cell {index + 1}"
    # After an error papermill puts a marker on top and one above the failed cell.
    own = [
        c
        for c in cells
        if not {"papermill-error-cell-tag", "injected-parameters"} & set(c.metadata.get("tags", []))
    ]
    if index is None:
        return None
    injected = [i for i, c in enumerate(cells) if "injected-parameters" in c.metadata.get("tags", [])]
    markers = [i for i, c in enumerate(cells) if "papermill-error-cell-tag" in c.metadata.get("tags", [])]
    if injected:
        at = injected[0] - sum(m < injected[0] for m in markers)
        if index == at:
            return "the cell of the profile's parameters"
        index -= index > at
    cell = own[index]
    named = f" [{', '.join(_shown_tags(cell))}]" if _shown_tags(cell) else ""
    return f"cell {index + 1} of {len(own)}{named}"


def _render(partial):
    """The executed notebook as a page, beside it; a notebook without a page is still a result."""
    try:
        from nbconvert import HTMLExporter
    except ImportError:
        return
    try:
        page, _ = HTMLExporter().from_filename(str(partial))
        partial.with_suffix(".html").write_text(_offline(page), "utf-8")
    except Exception:
        traceback.print_exc()


_MATHS = """<script>window.MathJax = {tex: {inlineMath: [["$", "$"], ["\\\\(", "\\\\)"]]}};</script>
<script async src="../book/_static/vendor/mathjax/tex-svg.js"></script>"""  # of the book rendered beside


def _offline(page):
    """nbconvert's page without the scripts that it fetches from elsewhere; maths is set by the book's own copy."""
    page = re.sub(r'<script[^>]*\bsrc="https?://[^"]*"[^>]*>\s*</script>', "", page)
    page = re.sub(r'<script type="(text/x-mathjax-config|module)">.*?</script>', "", page, flags=re.S)
    return page.replace("</head>", f"{_MATHS}</head>", 1)


def _kernels():
    """The kernels' process ids with their birthdays, so that a reused id is not mistaken for one."""
    import psutil

    return [(p.pid, p.create_time()) for p in psutil.Process().children()]


def end_tree(pid, self_too=True, kernels=()):
    """End a process and all that descends from it, the groups of its kernels included."""
    import psutil

    doomed = []
    try:
        parent = psutil.Process(pid)
        doomed = [*parent.children(recursive=True), *([parent] if self_too else [])]
    except psutil.NoSuchProcess:
        pass
    for kernel, birthday in kernels:  # orphans, when the worker went before its kernel
        try:
            process = psutil.Process(kernel)
            if process.create_time() == birthday:
                doomed += [*process.children(recursive=True), process]
        except psutil.NoSuchProcess:
            pass
    for process in doomed:
        try:
            # A kernel leads a group of its own, in which its helpers are.
            if os.name == "posix" and process.pid != os.getpid() and os.getpgid(process.pid) == process.pid:
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
        except (psutil.NoSuchProcess, ProcessLookupError, PermissionError):
            pass


if __name__ == "__main__":
    sys.exit(main())
