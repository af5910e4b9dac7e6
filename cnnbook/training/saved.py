"""Opens saved models: importing this file registers every class of ours that a model may hold.

The optimiser is among them: a model that was trained holds its schedule.
"""

import json
import zipfile

import keras
from packaging.version import Version

from ..keras_internals import deep_graphs
from ..parts import layers as _layers  # noqa: F401
from ..weights import scaling as _scaling  # noqa: F401
from . import optimiser as _optimiser  # noqa: F401

__all__ = ["load"]


# Below it a file may run commands when it is opened, safe_mode or not: CVE-2025-1550 (fixed in 3.9), CVE-2025-8747 and -9906
# (3.11.0), CVE-2025-9905 (3.11.3), CVE-2026-1462 (3.13.2).
SAFE_SINCE = "3.13.2"


def load(path, *, trusted=False, **options):
    """Opens a model saved by `model.save(path)`, our own layers included; `options` as keras.models.load_model.

    A net that was trained with a loss that Keras does not know comes uncompiled: it predicts; compile it to train on.

    trusted: whether you know who made the file. Before Keras 3.13.2 a file can run commands when it is opened, so there
    only a trusted one is; a newer Keras refuses such files itself, trusted or not.
    ValueError for a file that an old Keras should trust and was not told to, and where a newer Keras than this one has saved
    it, in words that this one does not know.
    """
    if not trusted and Version(keras.__version__) < Version(SAFE_SINCE):
        raise ValueError(
            f"{path} is not opened: Keras {keras.__version__} here runs commands that a file may hold, which Keras "
            f'{SAFE_SINCE} and later refuse. pip install "keras>={SAFE_SINCE}", and start Python again; or, where you know '
            "who made the file, pass trusted=True"
        )
    with deep_graphs():
        try:
            return keras.models.load_model(path, **options)
        except (TypeError, ValueError) as error:
            # A loss of one's own, of cnnbook's too, is no part of what a net computes.
            if "compile" not in options and "Could not locate function" in str(error):
                return keras.models.load_model(path, compile=False, **options)
            theirs = _saved_by(path)
            if theirs is None or Version(theirs) <= Version(keras.__version__):
                raise
            raise ValueError(
                f"{path} was saved by Keras {theirs}, and Keras {keras.__version__} here cannot open it: older files open "
                f'in a newer Keras, not the reverse. Here: pip install "keras>={theirs}", and start Python again; or '
                "save it again where it was made, by a Keras as old as this one"
            ) from error


def _saved_by(path):
    """The version of Keras that wrote a file; None where the file does not say."""
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("metadata.json"))["keras_version"]
    except (OSError, zipfile.BadZipFile, KeyError, ValueError):
        return None
