"""One net on several devices, processes or machines: each takes its part of every batch (data parallelism).

Keras does the work: `keras.distribution` on the JAX backend, over the devices of one process or of many, and
`tf.distribute.MirroredStrategy` on the TensorFlow backend, over the devices of one machine. This file joins
processes, shares batches, and refuses what would run without an error and share nothing. See `cnnbook.distributed`.
Keras is imported by the functions, not by the file: the launcher of processes reads it without Keras.
"""

import contextlib
import importlib
import ipaddress
import json
import os
import socket
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..keras_internals import collectives_on_loopback, let_processes_feed_themselves, strategy_at_build

__all__ = [
    "Share",
    "from_first",
    "initialise",
    "predict",
    "rank",
    "saying_plainly",
    "share",
    "shared",
]

# torchrun's names
VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK")
# The attribute of a model that holds the compiled function of `predict`, as Keras keeps its own in `predict_function`.
PREDICT_FUNCTION = "shared_predict_function"


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
        _join(job, heartbeat)
    elif int(os.environ.get("SLURM_NTASKS", 1)) > 1 and "SLURM_PROCID" in os.environ:
        jax.distributed.initialize(cluster_detection_method="slurm", heartbeat_timeout_seconds=heartbeat)
    if jax.process_count() > 1:
        keras.utils.set_random_seed(int(_broadcast(np.uint32(np.random.default_rng().integers(2**32)))))
    # Every process feeds its own part of a batch: training.Batches cuts it.
    distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
    let_processes_feed_themselves(distribution)
    keras.distribution.set_distribution(distribution)
    return distribution


def _join(job, heartbeat):
    """Joins a job that `_torchrun` has read. Where all its processes are on this machine, none listens on a network."""
    import jax

    address, processes, rank = job
    local, alone = os.environ.get("LOCAL_RANK"), _is_loopback(address)
    with collectives_on_loopback() if alone else contextlib.nullcontext(True) as held:
        if not held:
            _warn_of_networks()
        # By default the first process listens on every network.
        jax.distributed.initialize(
            address, processes, rank, local_device_ids=None if local is None else [int(local)],
            cluster_detection_method="deactivate", coordinator_bind_address=address if alone else None,
            heartbeat_timeout_seconds=heartbeat,
        )  # fmt: skip
        # Asking for devices makes what the processes talk by.
        jax.process_count()


def _is_loopback(address):
    """Whether a "host:port" is on this machine's loopback, which no network reaches."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _warn_of_networks():
    """This JAX has its processes talk at the address of the machine's own name: a warning where that is on a network."""
    try:
        own = socket.gethostbyname(socket.gethostname())
    except OSError:
        return
    if not ipaddress.ip_address(own).is_loopback:
        warnings.warn(
            f"the processes of this job talk over {own}, unencrypted and to whoever asks, since this JAX cannot be held to "
            "the loopback: train so on a network that you trust, or take JAX 0.8 to 0.10",
            stacklevel=3,
        )


def _torchrun(environment):
    """("host:port", processes, rank) from torchrun's variables; None where there are none, or only one process."""
    present = [name for name in VARIABLES if environment.get(name)]
    if not {"WORLD_SIZE", "RANK"} & set(present):
        return None  # an address alone is what clusters set for every job
    if len(present) < len(VARIABLES):
        missing = ", ".join(name for name in VARIABLES if name not in present)
        raise ValueError(
            f"{', '.join(present)} set, {missing} missing: set all four as torchrun does, or none for one process"
        )
    host, *numbers = (environment[name] for name in VARIABLES)
    if not all(number.isdecimal() for number in numbers):
        raise ValueError(f"MASTER_PORT, WORLD_SIZE and RANK are integers, got {', '.join(numbers)}")
    port, processes, rank = map(int, numbers)
    if not 0 <= rank < processes:
        raise ValueError(f"RANK is 0 to WORLD_SIZE - 1 = {processes - 1}, got {rank}")
    if environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        port += 1  # torchrun itself listens on the one that it names
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return (f"{host}:{port}", processes, rank) if processes > 1 else None


def _only_jax(backend):
    alternative = (
        ", or use tf.distribute.MirroredStrategy for the devices of one machine"
        if backend == "tensorflow"
        else ""
    )
    return (
        f"keras.distribution shares work on the JAX backend only, on {backend} Keras would train without sharing anything "
        f"and not say so: start Python with KERAS_BACKEND=jax in the environment{alternative}"
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
        each = images // self.processes
        return slice(self.rank * each, (self.rank + 1) * each)

    def held_out(self, array):
        """The rows of an array of held-out images or labels that this process measures."""
        return array[self.rank :: self.processes]

    def batch(self, images):
        """The number of images nearest below that the devices share evenly, as this process feeds them."""
        return max(images // self.devices, 1) * self.devices // self.processes

    def check(self, counts):
        """ValueError unless every one of counts, {what is counted: number of images}, is a multiple of the devices."""
        for what, count in counts.items():
            if count % self.devices:
                raise ValueError(
                    f"{self.devices} devices share every batch evenly: {what} must be a multiple of "
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
    if tf.distribute.has_strategy() and strategy_at_build(model) is not around:
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
    every process, all of which must call this, gets all predictions, structured as the net's outputs."""
    import jax
    import keras
    from jax.sharding import NamedSharding, PartitionSpec

    distribution = keras.distribution.distribution()
    mesh, axis = distribution.device_mesh.backend_mesh, distribution.batch_dim_name
    split, everywhere = NamedSharding(mesh, PartitionSpec(axis)), NamedSharding(mesh, PartitionSpec())

    def forward(trained, other, images):
        return model.stateless_call(trained, other, images, training=False)[0]

    if getattr(model, PREDICT_FUNCTION, None) is None:  # compiled once, not at every call
        setattr(model, PREDICT_FUNCTION, jax.jit(forward, out_shardings=everywhere))
    function = getattr(model, PREDICT_FUNCTION)
    state = [[v.value for v in vs] for vs in (model.trainable_variables, model.non_trainable_variables)]
    size = max(batch_size // mesh.size, 1) * mesh.size
    predictions = []
    for start in range(0, len(x), size):
        batch = np.asarray(x[start : start + size], "float32")
        full = np.concatenate([batch, np.repeat(batch[:1], -len(batch) % mesh.size, 0)])  # to share evenly
        images = jax.make_array_from_callback(full.shape, split, lambda index, full=full: full[index])
        outputs, n = function(*state, images), len(batch)
        predictions.append(jax.tree.map(lambda o, n=n: np.asarray(o)[:n], outputs))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *predictions)


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
