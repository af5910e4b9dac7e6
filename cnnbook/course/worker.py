"""One notebook in a process of its own: what `cnnbook run` starts, never a person.

The runner writes the task as one line of JSON to standard input and keeps that pipe open: when the runner is
gone, however it went, the pipe ends, and this process ends its kernel and itself. Progress goes back as JSON
lines.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from pathlib import Path

from cnnbook.course.processes import children, end_with_parent
from cnnbook.course.project import quick_nbformat


def main() -> int:
    """Execute the notebook of the task on standard input; the result is the last line on standard output."""
    # The kernel inherits descriptor 1: what libraries print there belongs in the log, not between our lines.
    wire = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    quick_nbformat()
    # Unbuffered: what follows the task's line is left in the pipe.
    with open(0, "rb", buffering=0, closefd=False) as pipe:
        task = json.loads(pipe.readline())
    end_with_parent()

    def tell(**message):
        wire.write(json.dumps(message) + "\n")

    try:
        tell(result=execute(task, tell))
        return 0
    except BaseException as error:  # the runner must hear of whatever went wrong here
        traceback.print_exc()
        tell(result={"status": "failed", "error": f"{type(error).__name__}: {error}"})
        return 1


def execute(task, tell) -> dict:
    """Run one notebook by papermill; returns its status, and for a failure the cell and the error.

    tell: called with the keywords `cell`, `of`, `tags` and `kernels` before each code cell.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.engines import papermill_engines

    place = {"index": None}
    papermill_engines.register("cnnbook", _engine(place, tell))
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
    if task["page"]:
        _render(partial)
    return result


def _engine(place, tell):
    """papermill's engine, which keeps the `index` of the running cell and the first `error` in `place`."""
    from papermill.engines import NBClientEngine

    class Engine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, **options):
            start, fail = nb_man.cell_start, nb_man.cell_exception
            code = [i for i, cell in enumerate(nb_man.nb.cells) if cell.cell_type == "code"]

            def cell_start(cell, index, **more):
                if cell.cell_type == "code" and cell.source.strip():
                    place["index"] = index
                    number = code.index(index) + 1
                    tell(cell=number, of=len(code), tags=_shown_tags(cell), kernels=children())
                return start(cell, index, **more)

            def cell_exception(cell, cell_index=None, exception=None, **more):
                place["error"] = f"{exception.ename}: {exception.evalue}"
                return fail(cell, cell_index=cell_index, exception=exception, **more)

            nb_man.cell_start, nb_man.cell_exception = cell_start, cell_exception
            return super().execute_managed_notebook(nb_man, kernel_name, **options)

    return Engine


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
    originals = [
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
    cell = originals[index]
    named = f" [{', '.join(_shown_tags(cell))}]" if _shown_tags(cell) else ""
    return f"cell {index + 1} of {len(originals)}{named}"


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


if __name__ == "__main__":
    sys.exit(main())
