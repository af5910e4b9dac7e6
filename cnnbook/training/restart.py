"""The whole state of a training run in one file, after every epoch: a run that was cut short goes on from there."""

import hashlib
import json
import time
from pathlib import Path

import keras
import numpy as np

from .. import files
from . import devices, programs

__all__ = ["State"]

# The most bytes that what a file says of its run may unfold to: ten thousand epochs take less.
LARGEST = 2**25
# Bytes that are hashed at once.
PIECE = 2**24
NO_NET = [None, None]  # in files of an earlier version
DATA = "x", "y", "pixel_weights", "validation's x", "validation's y"


class State(keras.callbacks.Callback):
    """Weights, moving statistics, seeds, the optimiser's variables and the curves so far, in the file `path` (.npz).

    It is replaced after every epoch and always holds a whole one. Of several processes only the first reads and writes it.
    What other callbacks hold is not in it, but that one of them has ended the run is, and the weights that they left.
    settings: those of the run, as its `History` records them. x, y, pixel_weights, validation, clean_training_accuracy: as
    `fit` has them. A file belongs to these numbers, to the net's layers and to what is measured after every epoch.
    """

    def __init__(
        self, path, model, optimizer, settings, x, y, pixel_weights, validation, clean_training_accuracy
    ):
        super().__init__()
        self.path, self.writes = Path(path), devices.rank() == 0
        # As JSON gives it back, so that tuples and lists compare equal.
        self.run = json.loads(json.dumps(dict(settings, backend=keras.backend.backend()), default=str))
        data = dict(zip(DATA, (x, y, pixel_weights, *(validation or (None, None))), strict=True))
        self.data = {name: _digest(array) for name, array in data.items()} if self.writes else {}
        # Another Keras may say the same of a layer in other words.
        self.net = [keras.__version__, programs.digest_of(model)]
        self.measured = {
            "clean_training_accuracy": clean_training_accuracy,
            "validation": validation is not None,
        }
        self.variables = [*model.variables, *optimizer.variables]
        self.curves, self.seconds, self.epochs, self.stopped = {}, 0.0, 0, False

    def resume(self):
        """Sets the variables to those of the file, if it exists; returns the number of epochs that need no training: those
        done, or all of them where a callback had ended the run.

        ValueError where the file is damaged or of another run, or cannot be written.
        """
        about, arrays = self._read() if self.writes else (None, None)
        about, arrays = devices.from_first(about, arrays, self.variables)
        if about is None:
            return 0
        for variable, array in zip(self.variables, arrays, strict=True):
            variable.assign(array)
        self.curves, self.seconds, self.epochs = about["curves"], about["seconds"], about["epochs"]
        self.stopped = about.get("stopped", False)
        return self.run["epochs"] if self.stopped else self.epochs

    def finish(self, stopped):
        """Behind training: keeps what callbacks left of the net, and whether they ended it; returns the curves."""
        self.stopped |= stopped
        if self.writes and self.trained:
            self._write()
        return self.curves

    def _read(self):
        if not self.path.is_file():
            files.ready(self.path)
            return None, None
        try:
            headers = files.headers(self.path)
            _check_size(headers["about"])
            with np.load(self.path, allow_pickle=False) as file:
                about = _checked(json.loads(str(file["about"])))
        except Exception as error:
            raise self._damaged(error) from None
        self._check_run(about)
        if about["epochs"] < self.run["epochs"] and not about.get("stopped"):
            files.ready(self.path)
        shapes = {f"v{i}": tuple(v.shape) for i, v in enumerate(self.variables)}
        if {name: shape for name, (shape, _) in headers.items() if name != "about"} != shapes:
            raise self._another("weights of other shapes")
        try:
            for name in shapes:
                _check_size(headers[name])
            with np.load(self.path, allow_pickle=False) as file:
                return about, [file[name] for name in shapes]
        except Exception as error:
            raise self._damaged(error) from None

    def _check_run(self, about):
        """ValueError where the file is of another run than this one."""
        different = {k: (about["run"].get(k), v) for k, v in self.run.items() if about["run"].get(k) != v}
        named = [f"{k} {there!r} there, {here!r} here" for k, (there, here) in different.items()]
        for name, curve in (("clean_training_accuracy", "train_accuracy"), ("validation", "val_loss")):
            there, here = curve in about["curves"], self.measured[name]
            if there != here:
                named.append(f"{name} there, none here" if there else f"{name} here, none there")
        # Files of an earlier version say nothing of the data.
        kept = about.get("data", self.data)
        named += [f"{name} holds other numbers" for name in DATA
                  if None not in (kept.get(name), self.data[name]) and kept[name] != self.data[name]]  # fmt: skip
        version, net = about.get("net", NO_NET)
        if version == self.net[0] and None not in (net, self.net[1]) and net != self.net[1]:
            named.append("the net has other layers, or the same with other settings")
        if len(named) == 1 and "epochs" in different:
            self._check_epochs(about)
        elif named:
            raise self._another("; ".join(named))

    def _check_epochs(self, about):
        """ValueError where this run, which differs from the file's in the number of epochs alone, cannot go on from it."""
        there, here, done = about["run"]["epochs"], self.run["epochs"], about["epochs"]
        if self.run["schedule"] != "constant":
            raise ValueError(
                f"{self.path} holds this run with epochs={there}, over which its learning rate falls as a "
                f"{self.run['schedule']}: with epochs={here} it is another run from the first step on. Give another file "
                f"for that one, or epochs={there} to go on with the kept one; at a constant rate it could be prolonged"
            )
        if done > here:
            raise ValueError(
                f"{self.path} holds this run, {done} epochs of it done, more than epochs={here}: give epochs={there}, or "
                "another file"
            )

    def _another(self, named):
        return ValueError(f"{self.path} holds another run ({named[:300]}): delete it or give another file")

    def _damaged(self, error):
        reason = f"{type(error).__name__}: {error}"[:150]
        return ValueError(
            f"{self.path} is not the state of a training run ({reason}): delete it or give another file"
        )

    def on_train_begin(self, logs=None):
        self.begin, self.trained = time.monotonic() - self.seconds, False

    def on_epoch_end(self, epoch, logs=None):
        for key, value in (logs or {}).items():
            self.curves.setdefault(key, []).append(float(value))
        self.seconds, self.epochs, self.trained = time.monotonic() - self.begin, epoch + 1, True
        if self.writes:
            self._write()

    def _write(self):
        about = {
            name: getattr(self, name)
            for name in ("run", "net", "data", "epochs", "curves", "seconds", "stopped")
        }
        arrays = {f"v{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(self.variables)}
        with files.replaced(self.path) as file:
            np.savez(file, about=json.dumps(about), **arrays)


def _check_size(header):
    """ValueError for an array of text that is too long, or of numbers that are none."""
    shape, dtype = header
    if dtype.itemsize > (LARGEST if shape == () and dtype.kind == "U" else 16):
        raise ValueError(f"an entry of {dtype.itemsize:,} bytes")


def _checked(about):
    """What a file says of its run; an exception of some type where that is not what `State` writes."""
    kinds = dict(run=dict, epochs=int, curves=dict, seconds=int | float)
    wrong = [name for name, kind in kinds.items() if not isinstance(about[name], kind)]
    numbers = [value for curve in about["curves"].values() for value in curve]
    wrong += ["curves"] if not all(isinstance(n, int | float) for n in numbers) else []
    wrong += ["epochs"] if about["epochs"] < 1 else []
    wrong += ["data"] if not isinstance(about.get("data", {}), dict) else []
    wrong += ["net"] if len(about.get("net", NO_NET)) != len(NO_NET) else []
    if wrong:
        raise ValueError(f"its {', '.join(wrong)} are not what they should be")
    return about


def _digest(array):
    """A text that only this array has: of its values, shape and type. None for None."""
    if array is None:
        return None
    array = np.asarray(array)
    digest = hashlib.sha256(f"{array.shape} {array.dtype}".encode())
    rows = max(1, PIECE // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        digest.update(array[start : start + rows].tobytes())
    return digest.hexdigest()
