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

from cnnbook.training.devices import saying_plainly


def launch(script, *arguments, processes=2, restarts=0, environment=None, say=print):
    """Runs a Python script in several processes on this machine that `initialise` can join; returns the exit code.

    Each is told its place by torchrun's variables, over loopback and a free port, and trains with Keras on JAX unless
    KERAS_BACKEND says otherwise. What they print goes to `say`, line by line, after the process' number in brackets. When
    one fails, or this call is interrupted or killed, all are ended; restarts: how often all are then started again.
    The code is 0, or that of the process that failed first, 128 + n where signal n ended it. environment: more variables.
    """
    if processes < 1:
        raise ValueError(f"processes is at least 1, got {processes}")
    if not Path(script).is_file():
        raise ValueError(f"there is no script {script}")
    for attempt in range(restarts + 1):
        code = _run_all([str(script), *map(str, arguments)], processes, environment or {}, say)
        if code == 0 or attempt == restarts:
            return code
        say(f"all are started again, {attempt + 1} of {restarts} times")


def _run_all(command, processes, environment, say):
    lines, children, readers = queue.SimpleQueue(), [], []
    job = dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()), WORLD_SIZE=str(processes))
    own = str(Path(__file__).parents[2])  # this cnnbook, also when it is not installed or another one is near
    child = f"import sys; sys.path[0] = {own!r}; from cnnbook.course.launcher import run_script; run_script()"
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), own]))
    around = {
        "KERAS_BACKEND": "jax",
        **os.environ,
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
        **environment,
    }
    try:
        for rank in range(processes):
            place = dict(RANK=str(rank), LOCAL_RANK=str(rank))
            process = subprocess.Popen(
                [sys.executable, "-c", child, *command], env={**around, **job, **place}, text=True, encoding="utf-8",
                errors="replace", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
            children.append(process)
            readers.append(threading.Thread(target=_read, args=(rank, process.stdout, lines), daemon=True))
            readers[-1].start()
        running, code = dict(enumerate(children)), 0
        while running and not code:
            _pass_on(lines, say, wait=0.1)
            for rank, process in list(running.items()):
                if process.poll() is not None:
                    del running[rank]
                    _end(process)
                    code = code or process.returncode
                    if process.returncode:
                        readers[rank].join(timeout=5)
                        _pass_on(lines, say)
                        say(f"[{rank}] {_how(process.returncode)}; {len(running)} others are ended")
    finally:
        for process in children:
            if process.returncode is None:
                _end(process)
                process.wait()
        for reader in readers:
            reader.join(timeout=5)
        _pass_on(lines, say)
        for process in children:
            process.stdin.close()
            process.stdout.close()
    return code if code >= 0 else 128 - code


def _read(rank, stream, lines):
    for line in stream:
        lines.put(f"[{rank}] {line.rstrip()}")


def _pass_on(lines, say, wait=None):
    with contextlib.suppress(queue.Empty):
        if wait:
            say(lines.get(timeout=wait))
        while True:
            say(lines.get_nowait())


def _how(code):
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed with exit code {code}"


def _end(process):
    """Ends a child and what it has started: it leads a group of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL) if os.name == "posix" else process.kill()


def free_port():
    """A port of this machine's loopback that nothing listens on now."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


def run_script():
    """What runs in each process of `launch`: the script, until it or the launcher ends."""
    threading.Thread(target=_end_with_the_launcher, daemon=True).start()
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    with saying_plainly():
        runpy.run_path(sys.argv[0], run_name="__main__")
    jax, processes = sys.modules.get("jax"), int(os.environ["WORLD_SIZE"])
    if processes > 1 and (jax is None or jax.process_count() == 1):
        sys.exit(
            f"{sys.argv[0]} ran by itself in every process: let it call cnnbook.distributed.initialise() first"
        )


def _end_with_the_launcher():
    while os.read(0, 1):  # the pipe ends when the launcher is gone, however it went
        pass
    if os.name == "posix":
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


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
    asked = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that all are ended
    try:
        return launch(asked.script, *asked.arguments, processes=asked.processes, restarts=asked.restarts)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
