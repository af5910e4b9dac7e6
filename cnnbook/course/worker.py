"""One notebook in a process of its own: what `cnnbook run` starts, never a person.

See `processes.serve`: when the runner is gone, however it went, this process ends its kernel and itself.
"""

from __future__ import annotations

import ast
import re
import sys
import traceback
from pathlib import Path

from cnnbook.course.notebook import read_notebook
from cnnbook.course.processes import children, serve, used
from cnnbook.course.project import KERNEL_ARGUMENTS, KERNELSPEC, UserError, quick_nbformat

# How long a kernel may take to start: the first one, and the one that is started in its place.
START_SECONDS = (60, 120)
# Evaluated in the kernel: the modules of cnnbook that it has imported.
IMPORTED = "' '.join(m for m in __import__('sys').modules if m.partition('.')[0] == 'cnnbook')"


def main() -> int:
    """Execute the notebook of the task on standard input; the result is the last line on standard output."""
    quick_nbformat()
    return serve(execute)


def execute(task, tell) -> dict:
    """Run one notebook by papermill; returns its status, for a failure the cell and the error, else what it imported.

    tell: called with the keywords `place`, in words, and `kernels` before each code cell.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.engines import papermill_engines

    place = {"index": None}
    papermill_engines.register("cnnbook", _engine(place, tell))
    partial = Path(task["partial"])
    result = {"status": "failed"}
    try:
        notebook = read_notebook(Path(task["source"]))
        notebook.metadata.setdefault("kernelspec", KERNELSPEC)
        papermill.execute_notebook(
            notebook,
            # papermill puts parameters where a path has braces.
            str(partial).replace("{", "{{").replace("}", "}}"),
            parameters=task["parameters"],
            engine_name="cnnbook",
            kernel_name=KERNELSPEC["name"],
            progress_bar=False,
            cwd=str(Path(task["source"]).parent),
        )
        result = {"status": "passed", "imported": place.get("imported")}
    except papermill.exceptions.PapermillExecutionError as error:
        result["error"] = place.get("error", f"{error.ename}: {error.evalue}")
    except DeadKernelError:
        result["error"] = "the kernel died (killed, or out of memory)"
    except (CellTimeoutError, UserError, KernelDoesNotStart) as error:
        result["error"] = str(error)
    if result["status"] == "failed":
        result["cell"] = _cell_in_words(partial, place["index"])
    result.update(used(children=True))  # the kernel, which has ended
    if task.get("page", True) and partial.exists():
        _render(partial)
    return result


class KernelDoesNotStart(Exception):
    """The kernel died or was silent before its first cell, each time it was started."""


def _engine(place, tell):
    """papermill's engine, which keeps the `index` of the running cell and the first `error` in `place`."""
    from papermill.engines import NBClientEngine

    class Engine(NBClientEngine):
        @classmethod
        def execute_notebook(cls, nb, *arguments, output_path, **options):
            # A path may be in an encoding that the notebook cannot hold, and is nobody else's business.
            nb.metadata.papermill.update(
                input_path=Path(output_path).name, output_path=Path(output_path).name
            )
            return super().execute_notebook(nb, *arguments, output_path=output_path, **options)

        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, **options):
            start, fail = nb_man.cell_start, nb_man.cell_exception
            code = [i for i, cell in enumerate(nb_man.nb.cells) if cell.cell_type == "code"]

            def cell_start(cell, index, **more):
                if cell.cell_type == "code" and cell.source.strip():
                    place["index"] = index
                    place_in_words = f"code cell {code.index(index) + 1} of {len(code)}{_named(cell)}"
                    tell(place=place_in_words, kernels=children())
                return start(cell, index, **more)

            def cell_exception(cell, cell_index=None, exception=None, **more):
                place["error"] = f"{exception.ename}: {exception.evalue}"
                return fail(cell, cell_index=cell_index, exception=exception, **more)

            nb_man.cell_start, nb_man.cell_exception = cell_start, cell_exception
            _execute_cells(nb_man, kernel_name, place)

    return Engine


def _execute_cells(nb_man, kernel_name, place):
    """Start the kernel and execute the cells.

    A kernel that dies or is silent before its first cell is started once more: kernels that start at the same time may
    have been given the same port.
    """
    from papermill.log import logger

    for last, seconds in enumerate(START_SECONDS, 1 - len(START_SECONDS)):
        client = _client(place)(
            nb_man,
            kernel_name=kernel_name,
            startup_timeout=seconds,
            timeout=None,
            extra_arguments=list(KERNEL_ARGUMENTS),
            log=logger,
        )
        try:
            client.execute()
            return
        except (RuntimeError, TimeoutError) as error:
            if place["index"] is not None:
                raise
            if last == 0:
                raise KernelDoesNotStart(
                    f"the kernel did not start, {len(START_SECONDS)} times: {error}"
                ) from None
            print(f"The kernel did not start: {error}. It is started again.", file=sys.stderr, flush=True)


def _client(place):
    """papermill's client, which puts what the kernel has imported of cnnbook into `place` once all cells have passed."""
    from papermill.clientwrap import PapermillNotebookClient

    class Client(PapermillNotebookClient):
        def papermill_execute_cells(self):
            super().papermill_execute_cells()
            if "error" in place:
                return
            asked = self.kc.execute("", silent=True, user_expressions={"imported": IMPORTED})
            answer = self.wait_for_reply(asked)["content"].get("user_expressions", {}).get("imported", {})
            if answer.get("status") == "ok":
                place["imported"] = ast.literal_eval(answer["data"]["text/plain"]).split()

    return Client


def _named(cell):
    """ " [train]" of a cell with that tag, else nothing."""
    tags = [t for t in cell.metadata.get("tags", []) if t != "papermill-error-cell-tag"]
    return f" [{', '.join(tags)}]" if tags else ""


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
    return f"cell {index + 1} of {len(originals)}{_named(originals[index])}"


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


# Without what may stand in a script that a browser would not see as one; and so in a time that grows with the page.
_SCRIPT = re.compile(r"<script\b[^<>]*>", re.I)
_END = re.compile(r"</script\s*>", re.I)
_FOREIGN = re.compile(r'\ssrc="https?://|\stype="(?:text/x-mathjax-config|module)"', re.I)


def _offline(page):
    """nbconvert's page without the scripts that it fetches from elsewhere; maths is set by the book's own copy."""
    kept, done = [], 0
    for tag in _SCRIPT.finditer(page):
        if tag.start() < done or not _FOREIGN.search(tag[0]):
            continue
        kept.append(page[done : tag.start()])
        end = _END.search(page, tag.end())
        done = end.end() if end else len(page)
    return "".join([*kept, page[done:]]).replace("</head>", f"{_MATHS}</head>", 1)


if __name__ == "__main__":
    sys.exit(main())
