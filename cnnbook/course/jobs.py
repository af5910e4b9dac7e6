"""The processes of a run: some tasks at a time, each in a process of its own, and none that outlives the run."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from cnnbook.course.board import RUNNING, WAITING, Board
from cnnbook.course.plan import FAILED, PASSED, STOPPED, Task
from cnnbook.course.processes import FAMILY, OWN_GROUP, end_tree, new_family
from cnnbook.course.project import UserError, kernel_environment, one_thread, unwritable
from cnnbook.course.records import Records
from cnnbook.course.said import missed


def work(tasks: list[Task], jobs: int, timeout: float | None, records: Records, board: Board) -> None:
    """Run the tasks, `jobs` at a time; each is kept as soon as it has ended. Ctrl-C, SIGTERM and SIGHUP end all."""
    waiting, running = list(tasks), []
    with _signals_interrupt():
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    running.append(Worker(waiting.pop(0), jobs > 1, timeout, records, board))
                for worker in [w for w in running if w.has_ended() or w.is_late()]:
                    worker.finish()
                    running.remove(worker)
                time.sleep(0.05)
        finally:
            # After an interruption nothing of ours stays behind.
            for worker in running:
                worker.end()


def work_through(tasks: list[Task], jobs: int, timeout: float | None, records: Records) -> bool:
    """Run the tasks with a live line each; returns whether that was interrupted. What has ended is kept."""
    if not tasks:
        return False
    with Board([task.name for task in tasks]) as board:
        try:
            work(tasks, jobs, timeout, records, board)
        except KeyboardInterrupt:
            for task in tasks:
                if task.status in (WAITING, RUNNING):
                    task.status = STOPPED
            print("interrupted; the next call goes on from here", flush=True)
            return True
        except OSError as error:
            raise UserError(f"{unwritable(error, records.folder)}; the next call goes on from here") from None
    return False


@contextlib.contextmanager
def _signals_interrupt():
    """A closed terminal or a polite kill ends the run as Ctrl-C does; not where it is ignored, as under nohup."""

    def interrupt(number, frame):
        raise KeyboardInterrupt

    saved = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                saved[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in saved.items():
            signal.signal(number, handler)


class Worker:
    """The process that does one task, seen from the runner; it is started here."""

    def __init__(self, task, shares_the_cores, timeout, records, board):
        self.task, self.records, self.board, self.timeout = task, records, board, timeout
        self.partial = records.scratch / task.file
        self.log = Path("logs") / f"{self.partial.stem}.log"
        self.result, self.kernels = None, []
        self.started = time.monotonic()
        task.status = RUNNING
        board.set(task.name, RUNNING, "starting")
        self.family = new_family()
        env = kernel_environment() | {FAMILY: self.family}
        with open(records.folder / self.log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", task.worker],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**(one_thread(env) if shares_the_cores else env), **task.environment},
                **OWN_GROUP,
            )
        # If it died at once, `finish` says so.
        with contextlib.suppress(OSError):
            self.process.stdin.write(json.dumps(task.job(self.partial)).encode() + b"\n")
            self.process.stdin.flush()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if "result" in message:
                self.result = message["result"]
                return
            self.kernels = message.get("kernels", [])
            self.task.cell = message["place"]
            self.board.note(self.task.name, self.task.cell)

    def has_ended(self) -> bool:
        """Whether the process is gone, by itself or killed."""
        return self.process.poll() is not None

    def is_late(self) -> bool:
        """Whether it has run for longer than it may."""
        return self.timeout is not None and time.monotonic() > self.started + self.timeout

    def finish(self) -> None:
        """End what is left of the process, and keep how the task went."""
        late = not self.has_ended()
        if not late:
            # The last line may still be on its way.
            self.reader.join(5)
        self.end()
        self.task.seconds = time.monotonic() - self.started
        self._tell_the_task(late)
        try:
            if (self.result or {}).get("unwritable"):
                raise OSError(*self.result["unwritable"])
            self.records.keep(self.task, self.partial)
        except OSError:
            # What is not kept has to be run again.
            self.task.status = RUNNING
            raise
        why = ": ".join(filter(None, [self.task.cell, (self.task.error or "").strip().partition(chr(10))[0]]))
        note = in_words(self.task.used, self.task.claims) if self.task.status == PASSED else why
        self.board.set(self.task.name, self.task.status, note)

    def end(self) -> None:
        """End the process, its kernel and what that has started."""
        end_tree(self.process, grandchildren=self.kernels, family=self.family)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def _tell_the_task(self, late):
        task, code = self.task, self.process.returncode
        if late:
            task.status, task.error = FAILED, f"not done within {self.timeout:.0f} s (--timeout)"
        elif self.result is None:
            ended = f"by signal {-code}" if code is not None and code < 0 else f"with status {code}"
            task.status, task.error = FAILED, f"its process ended {ended}; {self.log.as_posix()} may say why"
        else:
            task.status, task.error = self.result["status"], self.result.get("error")
            task.cell = self.result.get("cell", task.cell) if task.status == FAILED else None
            task.imported = self.result.get("imported")
            task.used = {key: self.result[key] for key in ("cpu", "memory") if key in self.result}


def in_words(used: dict, claims=()) -> str:
    """ "38 s of CPU, 1,240 MB, 1 claim missed", as far as it is known."""
    words = [f"{used['cpu']:.0f} s of CPU"] if "cpu" in used else []
    words += [f"{used['memory']:,} MB"] if "memory" in used else []
    count = len(missed(claims))
    return ", ".join(words + ([f"{count} claim{'s' if count > 1 else ''} missed"] if count else []))
