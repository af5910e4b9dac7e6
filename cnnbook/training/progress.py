"""Lines for whoever waits: after every epoch, and wherever ten seconds pass without one."""

import contextlib
import threading
import time

import keras

__all__ = ["Progress", "waiting"]

# Seconds without a line, while something compiles or an epoch is long.
PATIENCE = 10.0


class Progress(keras.callbacks.Callback):
    """Prints one line every few seconds at most, and one for the last epoch: readable in a notebook and in a log.

    every: seconds between lines. name: a function of a curve's name that says how it is printed. on: False for no lines.
    """

    def __init__(self, label, every=5.0, name=str, on=True):
        super().__init__()
        self.label, self.every, self.name, self.on = label, every, name, on
        self.begin = self.last_printed = time.monotonic()
        self.epoch = 0

    def on_train_begin(self, logs=None):
        self.begin = self.last_printed = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        now, epochs, self.epoch = time.monotonic(), self.params["epochs"], epoch + 1
        if now - self.last_printed >= self.every or epoch + 1 == epochs:
            self.say(f"epoch {epoch + 1}/{epochs}", logs)

    def say(self, text, numbers=None):
        """Prints a line: the label, the text, {name: number}, and the seconds since the run began."""
        self.last_printed = time.monotonic()
        if not self.on:
            return
        words = [f"{self.name(key)} {value:.3f}" for key, value in (numbers or {}).items()]
        print(
            f"{self.label}: {'  '.join([text, *words])}  {self.last_printed - self.begin:.0f} s", flush=True
        )

    def watching(self, what=None):
        """While the block runs, says so where it lasts longer than PATIENCE without a line: compiling, or a long epoch.

        what: what lasts, by default the epoch that is under way.
        """
        return waiting(lambda: self.say(f"in {what or f'epoch {self.epoch + 1}'}"), lambda: self.last_printed)


@contextlib.contextmanager
def waiting(say, last=None):
    """While the block runs, calls `say()`, which prints a line, whenever PATIENCE has passed since the one before.

    last: a function that gives the time.monotonic() of the last line, where others print some as well. From a thread of its
    own, since nothing else runs while a function is compiled.
    """
    spoken, over = [time.monotonic()], threading.Event()

    def watch():
        while not over.wait(PATIENCE / 20):
            if time.monotonic() - max(spoken[0], last() if last else 0) >= PATIENCE:
                spoken[0] = time.monotonic()
                say()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
