"""One live line per task: in a terminal those that run are redrawn, in a log they have a heartbeat."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
import unicodedata

WAITING, RUNNING = "waiting", "running"
HEARTBEAT = (5, 20, 40, 60)  # seconds after which a log hears that a task still runs, then once a minute


class Board:
    """The state of several named tasks; use as a context manager around the work."""

    def __init__(self, names, stream=None, live=None):
        self.stream = stream or sys.stdout
        self.names = list(names)
        self.width = max(map(_columns, self.names), default=0)
        self.state = dict.fromkeys(self.names, (WAITING, "", None, None))  # state, note, started, took
        self.beats = dict.fromkeys(self.names, 0)
        self.live = self.stream.isatty() and os.environ.get("TERM") != "dumb" if live is None else live
        self.drawn = 0
        self.lock = threading.RLock()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self):
        if self.live and os.name == "nt":
            os.system("")  # switches ANSI sequences on in Windows' console
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        with self.lock:
            self._draw()

    def set(self, name, state, note=""):
        """A task changes its state ("running" starts its clock); `note` is shown behind it."""
        with self.lock:
            old, _, started, took = self.state[name]
            if state == RUNNING and old != RUNNING:
                started, took = time.monotonic(), None
            elif state != RUNNING and started is not None and took is None:
                took = time.monotonic() - started
            self.state[name] = (state, note, started, took)
            if self.live:
                self._draw([name] if state not in (RUNNING, WAITING) else [])
            elif state != old:
                self._print(self._line(name))

    def note(self, name, note):
        """What a running task does now."""
        with self.lock:
            state, _, started, took = self.state[name]
            self.state[name] = (state, note, started, took)

    def _tick(self):
        while not self.stop.wait(0.5):
            with self.lock:
                if self.live:
                    self._draw()
                    continue
                for name, (state, _, started, _) in self.state.items():
                    if state == RUNNING and time.monotonic() - started >= _beat(self.beats[name]):
                        self.beats[name] += 1
                        self._print(self._line(name))

    def _line(self, name):
        state, note, started, took = self.state[name]
        seconds = took if took is not None else None if started is None else time.monotonic() - started
        clock = "" if seconds is None else f"{seconds:5.0f} s"
        return f"  {name}{' ' * (self.width - _columns(name))}  {state:<8} {clock:>7}  {note}".rstrip()

    def _print(self, text):
        print(text, file=self.stream, flush=True)

    def _draw(self, ended=()):
        """Lines of tasks that ended stay; below them only what runs is redrawn, so that any number fits."""
        if not self.live:
            return
        columns = shutil.get_terminal_size().columns - 1
        running = [name for name, (state, *_) in self.state.items() if state == RUNNING]
        waiting = sum(state == WAITING for state, *_ in self.state.values())
        lines = [self._line(name) for name in (*ended, *running)]
        lines += [f"  {waiting} waiting"] if waiting else []
        up = f"\x1b[{self.drawn}A" if self.drawn else ""
        self.stream.write(up + "".join(f"\r\x1b[K{_cut(line, columns)}\n" for line in lines) + "\x1b[J")
        self.stream.flush()
        self.drawn = len(lines) - len(ended)


def _beat(count):
    return HEARTBEAT[count] if count < len(HEARTBEAT) else HEARTBEAT[-1] + 60 * (count - len(HEARTBEAT) + 1)


def _columns(text):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text, columns):
    while _columns(text) > columns:
        text = text[:-1]
    return text
