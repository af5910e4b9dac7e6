"""Processes that leave nothing behind: each child leads a group, watches a pipe to its parent, and is ended with its tree.

The parent keeps the child's standard input open. When the parent is gone, however it went, that pipe ends, and the child
ends what it has started and itself.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
import uuid
from collections.abc import Callable

# Arguments of Popen: Ctrl-C in the terminal reaches the parent alone, which then ends its children.
OWN_GROUP = {
    "start_new_session": os.name == "posix",
    "creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
}


# In the environment of all that one parent starts, and so of all that this starts in turn: a process whose own parent has
# died is still known by it.
FAMILY = "CNNBOOK_FAMILY"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def serve(execute: Callable[[dict, Callable], dict]) -> int:
    """In a child: does the job that stands as a line of JSON on standard input; returns the exit status.

    Lines of JSON go back on standard output: those of `tell(**message)`, and last {"result": what `execute(job, tell)`
    returns}, of a job that failed its error. What else is printed belongs into the log, which is standard error.
    """
    # What is started here inherits descriptor 1, and libraries print there.
    wire = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    # Unbuffered: what follows the job's line is left in the pipe.
    with open(0, "rb", buffering=0, closefd=False) as pipe:
        job = json.loads(pipe.readline())
    end_with_parent()

    def tell(**message):
        wire.write(json.dumps(message) + "\n")

    try:
        tell(result=execute(job, tell))
        return 0
    except BaseException as error:  # the parent must hear of whatever went wrong here
        result = {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            # Not the job's fault.
            result["unwritable"] = [error.errno, error.strerror, error.filename or job["partial"]]
        tell(result=result)
        traceback.print_exc()
        return 1


def used(children: bool = False) -> dict:
    """CPU seconds and the most memory in MB that this process took, or its children that ended. Windows does not say."""
    try:
        import resource
    except ImportError:
        return {}
    took = resource.getrusage(resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF)
    bytes_each = 1 if sys.platform == "darwin" else 1024
    return {
        "cpu": round(took.ru_utime + took.ru_stime, 1),
        "memory": round(took.ru_maxrss * bytes_each / 1e6),
    }


def end_with_parent() -> None:
    """In a child started with OWN_GROUP and a pipe as standard input: from now on it does not outlive its parent."""
    threading.Thread(target=_wait_for_the_end_of_the_parent, daemon=True).start()


def _wait_for_the_end_of_the_parent():
    while os.read(0, 1):
        pass
    for process in [*_descendants(os.getpid()), *_family(os.environ.get(FAMILY))]:
        _kill(process)
    if os.name == "posix":
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def new_family() -> str:
    """A value for the variable FAMILY."""
    return uuid.uuid4().hex


def end_tree(child: subprocess.Popen, grandchildren=(), family: str | None = None) -> None:
    """End a child that was started with OWN_GROUP, its group and all that descends from it.

    grandchildren: (process id, time of creation) of those that may have outlived the child, see `children`.
    family: the value of FAMILY in its environment.
    """
    doomed = _descendants(child.pid) if child.poll() is None else []
    for pid, created in grandchildren:
        doomed += _descendants(pid, created)
    for process in doomed:
        _kill(process)
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    end_family(family)


def end_family(family: str | None) -> None:
    """End all processes but this one that bear this value of FAMILY: what a kernel has left that was killed, for one."""
    for process in _family(family):
        _kill(process)


def _family(family):
    """The processes but this one in whose environment FAMILY has this value; nothing without psutil."""
    try:
        import psutil
    except ImportError:
        return []
    found = []
    for process in psutil.process_iter() if family else ():
        # Other people's are not to be read.
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(FAMILY) == family:
                found.append(process)
    return found


def children() -> list[tuple[int, float]]:
    """This process' children by process id and time of creation, so that a reused id is not mistaken for one."""
    import psutil

    return [(p.pid, p.create_time()) for p in psutil.Process().children()]


def _descendants(pid, created=None):
    """All that descends from a process, and itself where `created` says which one it is. Without psutil: nothing."""
    try:
        import psutil
    except ImportError:
        return []
    try:
        process = psutil.Process(pid)
        if created is None:
            return process.children(recursive=True)
        return [*process.children(recursive=True), process] if process.create_time() == created else []
    except psutil.NoSuchProcess:
        return []


def _kill(process):
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
        # A kernel leads a group of its own, in which its helpers are.
        if os.name == "posix" and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
