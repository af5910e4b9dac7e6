"""Starts a training script in several processes on one machine: `cnnbook.distributed.launch`, and its command line."""

import argparse
import contextlib
import os
import queue
import runpy
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from cnnbook.arguments import whole_number
from cnnbook.course.processes import FAMILY, OWN_GROUP, end_tree, end_with_parent, new_family
from cnnbook.training.devices import saying_plainly

# The folder that holds this cnnbook.
HERE = str(Path(__file__).parents[2])
# Processes for each core, above which a number is a slip and would only fill the memory.
MOST_FOR_A_CORE = 8


def launch(script, *arguments, processes=2, restarts=0, environment=None, say=print):
    """Runs a Python script in several processes on this machine that `initialise` can join; returns the exit code.

    Each is told its place by torchrun's variables, over loopback and a free port, and trains with Keras on JAX unless
    KERAS_BACKEND says otherwise. What they print goes to `say`, line by line, after the process' number in brackets. When
    one fails, or this call is interrupted or killed, all are ended; restarts: how often all are then started again.
    The code is 0, or that of the process that failed first, 128 + n where signal n ended it. environment: more variables.
    ValueError without the script, for a negative number of restarts, and for more than eight processes a core.
    """
    processes = whole_number(processes, "processes", most=MOST_FOR_A_CORE * (os.cpu_count() or 1))
    restarts = whole_number(restarts, "restarts", least=0)
    if not Path(script).is_file():
        raise ValueError(f"there is no script {script}")
    for attempt in range(restarts + 1):
        code = _run_all([str(script), *map(str, arguments)], processes, environment or {}, say)
        if code == 0 or attempt == restarts:
            return code
        say(f"all are started again, {attempt + 1} of {restarts} times")


def _run_all(command, processes, environment, say):
    environment = _environment(processes, environment)
    lines, children = queue.SimpleQueue(), []
    try:
        for rank in range(processes):
            children.append(_Child(command, environment, rank, lines))
        code = _wait(children, lines, say)
    finally:
        for child in children:
            child.end()
        _pass_on(lines, say)
    return code if code >= 0 else 128 - code


def _environment(processes, more):
    """What all children share; the paths lead to this cnnbook, also when it is not installed or another one is near."""
    job = dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()), WORLD_SIZE=str(processes))
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), HERE]))
    shared = {"KERAS_BACKEND": "jax", **os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    return {**shared, **more, **job}


def _wait(children, lines, say):
    """The exit code of the first that fails, 0 when all have ended well; what they print is passed on meanwhile."""
    running = list(children)
    while running:
        _pass_on(lines, say, wait=0.1)
        for child in [child for child in running if child.process.poll() is not None]:
            running.remove(child)
            child.end()
            if code := child.process.returncode:
                _pass_on(lines, say)
                say(f"[{child.rank}] {_failure(code)}; {len(running)} others are ended")
                return code
    return 0


class _Child:
    """One process of the job; what it prints goes to the queue `lines`."""

    def __init__(self, command, environment, rank, lines):
        self.rank, self.family = rank, new_family()
        start = f"import sys; sys.path[0] = {HERE!r}; from cnnbook.course.launcher import run_script; run_script()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", start, *command], text=True, encoding="utf-8", errors="replace",
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank), FAMILY: self.family},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **OWN_GROUP,
        )  # fmt: skip
        self.reader = threading.Thread(target=self._read, args=(lines,), daemon=True)
        self.reader.start()

    def _read(self, lines):
        for line in self.process.stdout:
            lines.put(f"[{self.rank}] {line.rstrip()}")

    def end(self):
        """End it and what it has started, once, and read what it still had to say."""
        if self.process.stdin.closed:
            return
        end_tree(self.process, family=self.family)
        self.process.wait()
        self.reader.join(timeout=5)
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        if not self.reader.is_alive():
            self.process.stdout.close()


def _pass_on(lines, say, wait=None):
    with contextlib.suppress(queue.Empty):
        if wait:
            say(lines.get(timeout=wait))
        while True:
            say(lines.get_nowait())


def _failure(code):
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed with exit code {code}"


def free_port():
    """A port of this machine's loopback that nothing listens on now."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def run_script():
    """What runs in each process of `launch`: the script, until it or the launcher ends."""
    end_with_parent()
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    with saying_plainly():
        runpy.run_path(sys.argv[0], run_name="__main__")
    jax, processes = sys.modules.get("jax"), int(os.environ["WORLD_SIZE"])
    if processes > 1 and (jax is None or jax.process_count() == 1):
        sys.exit(
            f"{sys.argv[0]} ran by itself in every process: let it call cnnbook.distributed.initialise() first"
        )


def main(arguments=None):
    """`python -m cnnbook.distributed`; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m cnnbook.distributed", description=launch.__doc__.splitlines()[0]
    )
    parser.add_argument("--processes", type=int, default=2, help="how many (2)")
    parser.add_argument(
        "--restarts", type=int, default=0, help="how often all are started again after a failure (0)"
    )
    parser.add_argument("script")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the script's own")
    given = parser.parse_args(arguments)
    # An exception, so that all are ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return launch(given.script, *given.arguments, processes=given.processes, restarts=given.restarts)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
