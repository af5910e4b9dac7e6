"""The whole state of a training run in one file, after every epoch: a run that was cut short goes on from there."""

import json
import time
import zipfile
from pathlib import Path

import keras
import numpy as np

from .. import files
from . import devices

__all__ = ["State"]


class State(keras.callbacks.Callback):
    """Weights, moving statistics, seeds, the optimiser's variables and the curves so far, in the file `path` (.npz).

    It is replaced after every epoch and always holds a whole one. Of several processes only the first reads and writes it.
    What other callbacks hold is not in it. settings: those of the run, as its `History` records them.
    """

    def __init__(self, path, model, optimizer, settings):
        super().__init__()
        self.path = Path(path)
        # As JSON gives it back, so that tuples and lists compare equal.
        self.run = json.loads(json.dumps(dict(settings, backend=keras.backend.backend()), default=str))
        self.variables = [*model.variables, *optimizer.variables]
        self.curves, self.seconds, self.writes = {}, 0.0, devices.rank() == 0

    def resume(self):
        """Sets the variables to those of the file, if it exists; returns the number of epochs done.

        ValueError where the file is damaged or of another run.
        """
        about, arrays = self._read() if self.writes else (None, None)
        about, arrays = devices.from_first(about, arrays, self.variables)
        if about is None:
            return 0
        for variable, array in zip(self.variables, arrays, strict=True):
            variable.assign(array)
        self.curves, self.seconds = about["curves"], about["seconds"]
        return about["epochs"]

    def _read(self):
        if not self.path.exists():
            return None, None
        try:
            with np.load(self.path, allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                arrays = [file[f"v{i}"] for i in range(len(file.files) - 1)]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{self.path} is not the state of a training run ({error}): delete it or give another file"
            ) from None
        different = {k: (about["run"].get(k), v) for k, v in self.run.items() if about["run"].get(k) != v}
        if different or [a.shape for a in arrays] != [tuple(v.shape) for v in self.variables]:
            named = "; ".join(f"{k} {there!r} there, {here!r} here" for k, (there, here) in different.items())
            raise ValueError(
                f"{self.path} holds another run ({named or 'weights of other shapes'}): delete it or give another file"
            )
        return about, arrays

    def on_train_begin(self, logs=None):
        self.begin = time.monotonic() - self.seconds

    def on_epoch_end(self, epoch, logs=None):
        for key, value in (logs or {}).items():
            self.curves.setdefault(key, []).append(float(value))
        self.seconds = time.monotonic() - self.begin
        if self.writes:
            self._write(dict(run=self.run, epochs=epoch + 1, curves=self.curves, seconds=self.seconds))

    def _write(self, about):
        arrays = {f"v{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(self.variables)}
        with files.replaced(self.path) as file:
            np.savez(file, about=json.dumps(about), **arrays)
