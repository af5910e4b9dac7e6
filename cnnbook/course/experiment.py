"""One run of an experiment in a process of its own: what `cnnbook reproduce` starts, never a person.

See `processes.serve`: when the command is gone, however it went, this process ends itself.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from pathlib import Path

from cnnbook import files
from cnnbook.course.processes import serve, used

# Seconds between two lines that are passed on.
EVERY = 0.5


def main() -> int:
    """Do the run of the job on standard input; what it measured is left in the file `partial`, whole."""
    return serve(execute)


def execute(job, tell) -> dict:
    """Run a variant with a seed at the kept size; returns status and what it took.

    tell: called with `place`, the last line that the experiment has printed.
    """
    from cnnbook.experiments.common.evidence import facts_here
    from cnnbook.experiments.common.room import Room

    variant, seed = job["variant"], job["seed"]
    with contextlib.redirect_stdout(_Lines(tell)):
        experiment = Room(job["room"]).load(job["experiment"])
        # Of the code that runs, whatever is edited while it does.
        key = experiment.run_key(variant, seed)
        run = experiment.run(variant, seed, experiment.kept_size)
    record = {"facts": facts_here(), **run.to_dict(), "key": key}
    files.write(Path(job["partial"]), json.dumps(record, indent=1))
    return {"status": "passed", **used()}


class _Lines(io.TextIOBase):
    """Standard output whose lines go to the log, and the last one to whoever waits."""

    encoding = "utf-8"

    def __init__(self, tell):
        self.tell, self.begun, self.last = tell, "", 0.0

    def writable(self):
        return True

    def write(self, text):
        sys.stderr.write(text)
        *ended, self.begun = (self.begun + text).replace("\r", "\n").split("\n")
        line = next((line.strip() for line in reversed(ended) if line.strip()), "")
        if line and time.monotonic() >= self.last + EVERY:
            self.last = time.monotonic()
            self.tell(place=line)
        return len(text)

    def flush(self):
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
