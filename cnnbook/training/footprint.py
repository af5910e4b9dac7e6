"""How much memory a net's inference takes on this machine, each net in a process of its own.

A backend keeps what it once took, so within one process a small net after a large one seems to need nothing. Here one new
process imports Keras once and forks a child for each net, before anything has been computed; the child's peak is the net's.
"""

import json
import os
import subprocess
import sys

from ..arguments import plain, whole_number

__all__ = ["peaks"]

# What a process takes for any net, such as the compiler, is measured by this one and taken off.
_SMALLEST = "nothing"
# seconds
_LONGEST = 600


def peaks(calls, side, batch_size):
    """{builder: 10^6 bytes} that inference of a batch of images of side x side x 3 takes: weights, maps and scratch space.

    calls: {builder: its arguments}. What a net of a single pool takes is not counted. It is memory of the processor: None
    for each net where this cannot be measured, that is without `fork` (Windows) or within
    ten minutes.
    """
    side, batch_size = whole_number(side, "side"), whole_number(batch_size, "batch_size")
    if not hasattr(os, "fork"):
        return dict.fromkeys(calls)
    calls = {name: {k: plain(v) for k, v in given.items()} for name, given in calls.items()}
    asked = json.dumps([{_SMALLEST: {}} | calls, side, batch_size])
    command = [sys.executable, "-m", __name__, asked]
    environment = os.environ | {
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    try:
        said = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=_LONGEST
        ).stdout
    except subprocess.TimeoutExpired:
        return dict.fromkeys(calls)
    found = json.loads(said.splitlines()[-1]) if said.strip() else {}
    base = found.get(_SMALLEST)
    return {name: None if None in (base, found.get(name)) else found[name] - base for name in calls}


def _main(calls, side, batch_size):
    import keras  # noqa: F401

    import cnnbook.models  # noqa: F401

    print(json.dumps({name: _in_a_child(name, given, side, batch_size) for name, given in calls.items()}))


def _in_a_child(name, given, side, batch_size):
    """The rise of a child's memory, in 10^6 bytes; None where it failed."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(write, json.dumps(_rise(name, given, side, batch_size)).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        said = file.read()
    os.waitpid(child, 0)
    return json.loads(said) if said else None


def _rise(name, given, side, batch_size):
    import numpy as np

    before = _highest()
    net = _built(name, given, side)
    net.predict_on_batch(np.zeros((batch_size, side, side, 3), "float32"))
    return _highest() - before


def _built(name, given, side):
    import keras

    from cnnbook import models

    if name != _SMALLEST:
        return models.builder(name)(input_shape=(side, side, 3), **given)
    image = keras.Input((side, side, 3))
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))


def _highest():
    """The most memory that this process has held at once, in 10^6 bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # kilobytes on Linux, bytes on macOS
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


if __name__ == "__main__":
    _main(*json.loads(sys.argv[1]))
