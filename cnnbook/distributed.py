"""One net on several devices, processes or machines: each takes its part of every batch (data parallelism).

Keras does the work: `keras.distribution` on the JAX backend, over the devices of one process or of many, and
`tf.distribute.MirroredStrategy` on the TensorFlow backend, over the devices of one machine. This file starts processes,
joins them, and refuses what would run without an error and share nothing. A script that trains on all there is:

    from cnnbook import distributed, models, training

    distributed.initialise()  # before any net is built
    training.seed(0)
    training.fit(models.ResNetCIFAR(20), x, y, checkpoint="run.npz")

    python -m cnnbook.distributed --processes 2 train.py      on one machine
    torchrun, srun                                            on several: `initialise` reads their variables
"""

import argparse
import contextlib
import importlib
import json
import os
import queue
import runpy
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK")  # torchrun's names


# ----------------------------------------------------------------------- joining


def initialise(*, heartbeat=10):
    """Joins this process to the others of its job and spreads every net that is built afterwards over all their devices.

    The job is read from the environment: torchrun's MASTER_ADDR, MASTER_PORT, WORLD_SIZE and RANK, with LOCAL_RANK for
    the one GPU to take where it is set, else SLURM's own variables, else this process is alone with its devices.
    heartbeat: seconds of silence after which a process counts as lost, and the others end. All processes get one seed;
    `training.seed` afterwards must be called by all alike. Returns the `keras.distribution.DataParallel`. Raises
    ValueError on another backend than JAX, or where some of the variables are missing.
    """
    import keras

    if keras.backend.backend() != "jax":
        raise ValueError(_only_jax(keras.backend.backend()))
    import jax

    if job := _torchrun(os.environ):
        address, processes, rank = job
        local = os.environ.get("LOCAL_RANK")
        # By default the first process listens on every network; where all are on this machine, loopback is enough.
        bind = address if address.startswith(("127.", "localhost")) else None
        jax.distributed.initialize(
            address, processes, rank, local_device_ids=None if local is None else [int(local)],
            cluster_detection_method="deactivate", coordinator_bind_address=bind, heartbeat_timeout_seconds=heartbeat,
        )  # fmt: skip
    elif int(os.environ.get("SLURM_NTASKS", 1)) > 1 and "SLURM_PROCID" in os.environ:
        jax.distributed.initialize(cluster_detection_method="slurm", heartbeat_timeout_seconds=heartbeat)
    if jax.process_count() > 1:
        keras.utils.set_random_seed(int(_broadcast(np.uint32(np.random.default_rng().integers(2**32)))))
    # Every process feeds its own part of a batch: training.Batches cuts it.
    distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
    keras.distribution.set_distribution(distribution)
    return distribution


def _torchrun(environment):
    """("host:port", processes, rank) from torchrun's variables; None where there are none, or only one process."""
    given = [name for name in VARIABLES if environment.get(name)]
    if not {"WORLD_SIZE", "RANK"} & set(given):
        return None  # an address alone is what clusters set for every job
    if len(given) < len(VARIABLES):
        missing = ", ".join(name for name in VARIABLES if name not in given)
        raise ValueError(
            f"{', '.join(given)} set, {missing} missing: set all four as torchrun does, or none for one process"
        )
    host, *numbers = (environment[name] for name in VARIABLES)
    if not all(number.isdecimal() for number in numbers):
        raise ValueError(f"MASTER_PORT, WORLD_SIZE and RANK are whole numbers, got {', '.join(numbers)}")
    port, processes, rank = map(int, numbers)
    if not 0 <= rank < processes:
        raise ValueError(f"RANK is 0 to WORLD_SIZE - 1 = {processes - 1}, got {rank}")
    if environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        port += 1  # torchrun itself listens on the one that it names
    return (f"{host}:{port}", processes, rank) if processes > 1 else None


def _only_jax(backend):
    here = (
        ", or use tf.distribute.MirroredStrategy for the devices of one machine"
        if backend == "tensorflow"
        else ""
    )
    return (
        f"keras.distribution shares work on the JAX backend only, on {backend} Keras would train without sharing anything "
        f"and not say so: start Python with KERAS_BACKEND=jax in the environment{here}"
    )


# ----------------------------------------------------------------------- sharing a batch


@dataclass(frozen=True)
class Share:
    """How batches are shared: over `devices` in all, held by `processes`, of which this is number `rank`."""

    devices: int = 1
    processes: int = 1
    rank: int = 0
    strategy: Any = field(default=None, repr=False)  # TensorFlow's, where there is one

    def scope(self):
        """The block in which optimisers and metrics are made."""
        return self.strategy.scope() if self.strategy else contextlib.nullcontext()

    def part(self, images):
        """The slice of a batch of that many images that this process feeds."""
        own = images // self.processes
        return slice(self.rank * own, (self.rank + 1) * own)

    def held_out(self, array):
        """The rows of an array of held-out images or labels that this process measures."""
        return array[self.rank :: self.processes]

    def batch(self, images):
        """The number of images nearest below that the devices share evenly, as this process feeds them."""
        return max(images // self.devices, 1) * self.devices // self.processes

    def check(self, **counts):
        """Raises ValueError where a number of images is no multiple of the devices."""
        for what, count in counts.items():
            if count % self.devices:
                raise ValueError(
                    f"{self.devices} devices share every batch evenly: {what.replace('_', ' ')} must be a multiple of "
                    f"{self.devices}, got {count}; leave out the last {count % self.devices}"
                )


def share(model):
    """The `Share` in which a net trains here. Raises ValueError where it looks shared and would not be."""
    import keras

    backend = keras.backend.backend()
    distribution = keras.distribution.distribution()
    if backend == "tensorflow" and distribution is None:
        return _mirrored(model)
    if backend != "jax":
        if distribution is not None:
            raise ValueError(_only_jax(backend))
        return Share()
    import jax

    processes, rank = jax.process_count(), jax.process_index()
    if distribution is None:
        if processes > 1:
            raise ValueError(
                f"this is one of {processes} processes, and each would train a net of its own: set the distribution "
                "before the net is built, as cnnbook.distributed.initialise does"
            )
        return Share()
    if not isinstance(distribution, keras.distribution.DataParallel):
        raise ValueError(f"fit shares batches by keras.distribution.DataParallel, got {distribution}")
    devices = set(distribution.device_mesh.backend_mesh.devices.flat)
    if any(v.value.sharding.device_set != devices for v in model.weights):
        raise ValueError(
            f"{model.name} was built before the distribution was set, so its weights are not on all {len(devices)} "
            "devices: call set_distribution first, then build it"
        )
    distribution.auto_shard_dataset = False  # Keras would refuse our batches, which are cut already
    return Share(len(devices), processes, rank)


def _mirrored(model):
    import tensorflow as tf

    strategy, around = model.distribute_strategy, tf.distribute.get_strategy()
    if tf.distribute.has_strategy() and getattr(model, "_distribute_strategy", None) is not around:
        raise ValueError(
            f"{model.name} was built outside of the {type(around).__name__}'s scope and would not be shared: build it inside"
        )
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        raise ValueError(
            "Keras 3 cannot fit under MultiWorkerMirroredStrategy (keras issue 20585): over several processes use "
            'KERAS_BACKEND="jax" and cnnbook.distributed.initialise'
        )
    devices = strategy.num_replicas_in_sync
    return Share(devices, strategy=strategy) if devices > 1 else Share()


def shared(model):
    """Whether a net's weights lie on several of JAX' devices, or on those of several processes."""
    import keras

    return keras.backend.backend() == "jax" and any(
        len(v.value.sharding.device_set) > 1 for v in model.weights
    )


def predict(model, x, batch_size=500):
    """`model.predict` for images x (n, h, w, c) and a net that is `shared`: each device computes its part of a batch, and
    every process, all of which must call this, gets all answers, as the net's outputs are structured."""
    import jax
    import keras
    from jax.sharding import NamedSharding, PartitionSpec

    distribution = keras.distribution.distribution()
    mesh, axis = distribution.device_mesh.backend_mesh, distribution.batch_dim_name
    cut, whole = NamedSharding(mesh, PartitionSpec(axis)), NamedSharding(mesh, PartitionSpec())

    def forward(trained, other, images):
        return model.stateless_call(trained, other, images, training=False)[0]

    if not hasattr(model, "_shared_answers"):  # compiled once, not at every call
        model._shared_answers = jax.jit(forward, out_shardings=whole)
    state = [[v.value for v in vs] for vs in (model.trainable_variables, model.non_trainable_variables)]
    size = max(batch_size // mesh.size, 1) * mesh.size
    found = []
    for start in range(0, len(x), size):
        batch = np.asarray(x[start : start + size], "float32")
        full = np.concatenate([batch, np.repeat(batch[:1], -len(batch) % mesh.size, 0)])  # to share evenly
        images = jax.make_array_from_callback(full.shape, cut, lambda index, full=full: full[index])
        out, n = model._shared_answers(*state, images), len(batch)
        found.append(jax.tree.map(lambda o, n=n: np.asarray(o)[:n], out))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


def rank():
    """The number of this process among those that JAX has joined; 0 where it is alone."""
    return _jax().process_index() if _jax() else 0


def from_first(about, arrays, like):
    """`about`, JSON or None, and arrays shaped `like` some variables, of the first process, in all processes."""
    if not _jax() or _jax().process_count() == 1:
        return about, arrays
    text = np.frombuffer(json.dumps(about).encode(), "uint8")
    length = int(_broadcast(np.int32(len(text))))
    text = _broadcast(np.resize(text, length))
    about = json.loads(bytes(text))
    if about is None:
        return None, None
    arrays = [np.zeros(v.shape, v.dtype) for v in like] if arrays is None else arrays
    return about, [_broadcast(np.asarray(a, v.dtype)) for a, v in zip(arrays, like, strict=True)]


def _broadcast(array):
    """What the first process holds, in all of them; shape and dtype must be alike."""
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.broadcast_one_to_all(array))


def _jax():
    """JAX, where Keras computes with it."""
    import keras

    return importlib.import_module("jax") if keras.backend.backend() == "jax" else None


# ----------------------------------------------------------------------- starting


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
    own = str(Path(__file__).parents[1])  # this cnnbook, also when it is not installed or another one is near
    child = f"import sys; sys.path[0] = {own!r}; from cnnbook.distributed import _child; _child()"
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


def _child():
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


@contextlib.contextmanager
def saying_plainly():
    """Where processes build nets with different first weights, JAX prints the weights; here a ValueError says what to do."""
    try:
        yield
    except AssertionError as error:
        if "not the same on each process" not in str(error):
            raise
        raise ValueError(
            "the processes built a net with different first weights: call keras.utils.set_random_seed with the same number "
            "in all of them, after cnnbook.distributed.initialise and before you build it"
        ) from None


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
