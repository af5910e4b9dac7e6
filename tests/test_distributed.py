"""Several devices and processes give the numbers of one; a run that was killed goes on; nothing is left running."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import types
import warnings
from pathlib import Path

import keras
import numpy as np
import psutil
import pytest
from helpers.sharing import distance, images, measured, net, run

from cnnbook import distributed, training
from cnnbook.training import devices

pytestmark = pytest.mark.jax

if sys.platform == "win32":
    pytest.skip("processes are killed by POSIX signals here", allow_module_level=True)

ROOT = Path(__file__).parents[1]
BACKEND = keras.backend.backend()
on_jax = pytest.mark.skipif(
    BACKEND != "jax", reason="keras.distribution works on JAX only; `make test-jax` runs this"
)
on_tensorflow = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="tf.distribute is TensorFlow's; `make test` runs this"
)
QUICK = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "JAX_PLATFORMS": "cpu"}  # most time goes to compiling
NOISE = 2e-6  # float32: the sums of a batch are added in another order


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Compiles quickly here, too."""
    if BACKEND != "jax":
        yield
        return
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def script(tmp_path):
    """Writes a script that can import what the tests share."""

    def write(text):
        path = tmp_path / "script.py"
        path.write_text(f"import sys\nsys.path.insert(0, {str(ROOT / 'tests')!r})\n{text}", "utf-8")
        return path

    return write


@pytest.fixture(scope="module")
def one():
    """The run of one device of one process, never interrupted."""
    return run(net(), **measured())


def python(path, *arguments, **environment):
    """The JSON on the last line that a script prints."""
    found = subprocess.run(
        [sys.executable, path, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        text=True,
        capture_output=True,
    )
    assert found.returncode == 0, found.stderr[-3000:]
    return json.loads(found.stdout.splitlines()[-1])


def kept(path):
    with np.load(path) as file:
        return list(file.values())


def listens(port):
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", int(port))) == 0


# ----------------------------------------------------------------------- a share of a batch


def test_two_halves_of_a_batch_are_the_batch():
    """Same order, same draws, same labels, whoever feeds which part."""
    x, y = images(48)
    whole = training.Batches(x, y, batch_size=20, seed=3)
    halves = [
        training.Batches(x, y, batch_size=20, seed=3, part=distributed.Share(4, 2, r).part) for r in (0, 1)
    ]
    assert len(whole) == len(halves[0]) == 3
    for index in range(3):
        for kind in (0, 1):
            joined = np.concatenate([half[index][kind] for half in halves])
            np.testing.assert_array_equal(joined, whole[index][kind])


def test_what_devices_cannot_share_evenly_is_refused():
    share = distributed.Share(devices=8, processes=2, rank=1)
    assert (share.part(32), share.batch(500), share.batch(3)) == (slice(16, 32), 248, 4)
    np.testing.assert_array_equal(share.held_out(np.arange(6)), [1, 3, 5])
    share.check({"batch size": 128, "the number of images": 2000})
    with pytest.raises(
        ValueError,
        match="8 devices .* the number of images must be a multiple of 8, got 2001; leave out the last 1",
    ):
        share.check({"batch size": 128, "the number of images": 2001})


@pytest.mark.parametrize(
    "given, message",
    [
        (dict(RANK="0", WORLD_SIZE="2"), "MASTER_ADDR, MASTER_PORT missing"),
        (
            dict(MASTER_ADDR="a", MASTER_PORT="1", WORLD_SIZE="2", RANK="2"),
            "RANK is 0 to WORLD_SIZE - 1 = 1, got 2",
        ),
        (dict(MASTER_ADDR="a", MASTER_PORT="x", WORLD_SIZE="2", RANK="1"), "integers, got x, 2, 1"),
    ],
)
def test_half_a_job_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        devices._torchrun(given)


def test_a_job_is_read_from_torchruns_variables():
    job = dict(MASTER_ADDR="node7", MASTER_PORT="29500", WORLD_SIZE="4", RANK="3")
    assert devices._torchrun(job) == ("node7:29500", 4, 3)
    assert devices._torchrun(dict(job, TORCHELASTIC_USE_AGENT_STORE="True"))[0] == "node7:29501"
    assert devices._torchrun(dict(job, WORLD_SIZE="1", RANK="0")) is None
    assert devices._torchrun(dict(MASTER_ADDR="node7", MASTER_PORT="29500")) is None


@pytest.mark.parametrize(
    "host, alone",
    [("127.0.0.1", True), ("127.9.9.9", True), ("localhost", True), ("::1", True), ("[::1]", True),
     ("10.0.0.1", False), ("node7", False), ("localhost.example.org", False), ("127.example.org", False), ("::", False)],
)  # fmt: skip
def test_a_job_on_loopback_stays_there(host, alone, monkeypatch):
    """Where all processes are on this machine nothing listens on a network: neither the first process nor Gloo."""
    jax, told = pytest.importorskip("jax"), {}

    def joined(address, processes, rank, **options):
        told.update(options, address=address, loopback=inside)

    @contextlib.contextmanager
    def on_loopback():
        nonlocal inside
        inside = True
        yield True
        inside = False

    inside = False
    monkeypatch.setattr(devices, "collectives_on_loopback", on_loopback)
    monkeypatch.setattr(jax.distributed, "initialize", joined)
    monkeypatch.setattr(jax, "process_count", lambda: told.update(counted=inside) or 2)
    devices._join(
        (*devices._torchrun(dict(MASTER_ADDR=host, MASTER_PORT="5", WORLD_SIZE="2", RANK="1"))[:1], 2, 1), 10
    )
    address = "[::1]:5" if host in ("::1", "[::1]") else "[::]:5" if host == "::" else f"{host}:5"
    assert told["address"] == address and told["coordinator_bind_address"] == (address if alone else None)
    # JAX makes its collectives when it is first asked for devices.
    assert (told["loopback"], told["counted"]) == (alone, alone)


def test_a_jax_that_cannot_be_held_to_loopback_says_so(monkeypatch):
    """Then Gloo listens at the address of the machine's name, which is a warning where that is on a network."""
    for address, warned in (("192.0.2.2", True), ("127.0.1.1", False)):
        monkeypatch.setattr("socket.gethostbyname", lambda name, address=address: address)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            devices._warn_of_networks()
        assert len(said) == warned
        assert not warned or "192.0.2.2" in str(said[0].message)


@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_a_backend_that_would_share_nothing_is_refused(backend, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    monkeypatch.setattr(keras.distribution, "distribution", lambda: "a distribution that Keras would ignore")
    with pytest.raises(
        ValueError, match=f"on {backend} Keras would train without sharing .* KERAS_BACKEND=jax"
    ):
        distributed.share(types.SimpleNamespace(name="net", weights=[]))
    with pytest.raises(ValueError, match="KERAS_BACKEND=jax"):
        distributed.initialise()


# ----------------------------------------------------------------------- the state of a run


class Stop(keras.callbacks.Callback):
    """Ends the run hard after that epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


def test_an_interrupted_run_ends_where_it_would_have(one, tmp_path):
    file = tmp_path / "runs" / "run.npz"
    with pytest.raises(KeyboardInterrupt):
        run(net(), checkpoint=file, callbacks=[Stop(1)], **measured())
    (tmp_path / "runs" / ".run.npz.x").write_bytes(b"cut short")  # a later one, while it was written
    for _ in range(2):  # the second time there is nothing left to train
        again = run(net(), checkpoint=file, **measured())
        assert distance(again, one) == 0
    with pytest.raises(
        ValueError, match="run.npz holds another run .batch_size 16 there, 24 here.: delete it"
    ):
        run(net(), checkpoint=file, batch_size=24, **measured())
    file.write_bytes(b"no numbers")
    with pytest.raises(ValueError, match="run.npz is not the state of a training run"):
        run(net(), checkpoint=file)


# ----------------------------------------------------------------------- starting processes


def test_launch_tells_each_its_place_and_passes_on_what_it_prints(script):
    path = script("import os; print(os.environ['RANK'], os.environ['WORLD_SIZE'], *sys.argv[1:])")
    lines = []
    assert distributed.launch(path, "a", 2, processes=1, say=lines.append) == 0
    assert lines == ["[0] 0 1 a 2"]
    assert (
        distributed.launch(path, processes=2, say=lines.append) == 1
    )  # two nets that know nothing of each other
    assert {"[0] 0 2", "[1] 1 2"} & set(lines) and "call cnnbook.distributed.initialise() first" in "".join(
        lines
    )
    with pytest.raises(ValueError, match="there is no script nowhere.py"):
        distributed.launch("nowhere.py")
    for wrong, message in (
        (dict(restarts=-1), "restarts is a whole number of at least 0, got -1"),
        (dict(processes=0), "processes is a whole number from 1 to"),
        (dict(processes=10**6), f"processes is a whole number from 1 to {8 * os.cpu_count()}, got 1000000"),
        (dict(processes=1.5), "processes is a whole number"),
    ):
        with pytest.raises(ValueError, match=message):
            distributed.launch(path, say=lines.append, **wrong)


def test_when_one_fails_all_end_and_nothing_is_left(script, tmp_path):
    path = script(
        "import os, signal, socket, subprocess, time\n"
        "if os.environ['RANK'] == '0':\n"
        "    s = socket.create_server(('127.0.0.1', int(os.environ['MASTER_PORT'])))\n"
        "    helper = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "    open(sys.argv[1], 'w').write(f'{os.getpid()} {helper.pid} {os.environ[\"MASTER_PORT\"]}')\n"
        "    time.sleep(600)\n"
        "while not (os.path.exists(sys.argv[1]) and len(open(sys.argv[1]).read().split()) == 3): time.sleep(0.05)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    lines, begin = [], time.monotonic()
    code = distributed.launch(path, tmp_path / "ready", restarts=1, say=lines.append)
    assert code == 128 + signal.SIGKILL and time.monotonic() - begin < 60
    assert lines.count("[1] was ended by SIGKILL; 1 others are ended") == 2  # it was started again once
    first, helper, port = map(int, (tmp_path / "ready").read_text().split())
    assert not _alive(first) and not _alive(helper) and not listens(port)


def test_processes_end_with_a_launcher_that_is_killed(script, tmp_path):
    path = script(
        "import os, time; open(sys.argv[1] + os.environ['RANK'], 'w').write(str(os.getpid())); time.sleep(600)"
    )
    command = [sys.executable, "-m", "cnnbook.distributed", "--processes", "2", path, tmp_path / "pid"]
    launcher = subprocess.Popen(command, cwd=ROOT)
    files = [tmp_path / "pid0", tmp_path / "pid1"]
    _until(lambda: all(f.exists() and f.read_text() for f in files))
    launcher.kill()
    launcher.wait()
    _until(lambda: not any(_alive(int(f.read_text())) for f in files))


def _alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def _until(true, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


# ----------------------------------------------------------------------- the same numbers


@on_jax
def test_two_devices_of_one_process_give_the_numbers_of_one(one, script, tmp_path):
    found = python(
        script(
            "import json, keras\n"
            "from helpers.sharing import *\n"
            "early = net()\n"
            "keras.distribution.set_distribution(keras.distribution.DataParallel())\n"
            "errors = []\n"
            "for model, settings in ((early, {}), (net(), dict(batch_size=15))):\n"
            "    try: run(model, **settings)\n"
            "    except ValueError as error: errors.append(str(error))\n"
            "np.savez(sys.argv[1], *run(net(), **measured()))\n"
            "print(json.dumps([len(keras.distribution.list_devices()), errors]))"
        ),
        tmp_path / "two.npz",
        XLA_FLAGS="--xla_force_host_platform_device_count=2",
        **QUICK,
    )
    devices, (early, odd) = found
    assert devices == 2 and distance(kept(tmp_path / "two.npz"), one) < NOISE
    assert "was built before the distribution was set" in early
    assert "batch size must be a multiple of 2, got 15" in odd


PAIR = """
import os, signal
from pathlib import Path
import keras, numpy as np
from cnnbook import distributed
from helpers.sharing import *

distributed.initialise()
rank, folder = distributed.rank(), Path(sys.argv[1])

def keep(name, run):
    np.savez(folder / f"{name}{rank}.npz", *run)

class Die(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if rank == 1 and epoch == 1 and not (folder / "died").exists():
            (folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)

print("here", os.getpid(), os.environ["MASTER_PORT"])
if not (folder / "died").exists():
    try:
        with distributed.saying_plainly():
            net(seed=rank)
    except ValueError as error:
        print("refused:", error)
    keep("whole", run(net(), **measured()))
keep("again", run(net(), checkpoint=folder / "run.npz", callbacks=[Die()], **measured()))
"""


@on_jax
def test_two_processes_give_the_numbers_of_one_and_survive_a_kill(one, script, tmp_path):
    lines = []
    cache = dict(
        JAX_COMPILATION_CACHE_DIR=str(tmp_path / "cache"), JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0"
    )
    code = distributed.launch(
        script(PAIR), tmp_path, restarts=1, environment={**cache, **QUICK}, say=lines.append
    )
    assert code == 0, "\n".join(lines)

    whole, *others = (kept(tmp_path / f"{name}.npz") for name in ("whole0", "whole1", "again0", "again1"))
    assert distance(whole, one) < NOISE
    assert "[1] was ended by SIGKILL; 1 others are ended" in lines
    assert [distance(other, whole) for other in others] == [0, 0, 0]  # both hold one net, the killed run too
    places = [line.split()[2:] for line in lines if line.split()[1:2] == ["here"]]
    assert len(places) == 4
    refused = [line[4:] for line in lines if "] refused: " in line]
    assert len(refused) == 2 and refused[0] == refused[1]  # both stop, neither waits for the other
    assert "different first weights: call keras.utils.set_random_seed with the same number" in refused[0]
    assert not any(_alive(int(pid)) or listens(port) for pid, port in places)


@on_tensorflow
def test_two_logical_devices_give_the_numbers_of_one(script):
    found = python(
        script(
            "import json, keras, tensorflow as tf\n"
            "from helpers.sharing import *\n"
            "(cpu,) = tf.config.list_physical_devices('CPU')\n"
            "tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)\n"
            "pair = tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])\n"
            "def two(settings, **norm):\n"
            "    with pair.scope(): model = net(dropout=0, **norm)\n"
            "    return run(model, **settings)\n"
            "more = dict(validation=images(12, seed=1))\n"
            "one, parts = run(net(dropout=0), **more), two({})\n"
            "each = two(more, synchronized=True), two(dict(fast=False))\n"
            "print(json.dumps([distance(one, each[0]), distance(one[:7], parts[:7]), distance(parts, each[1])]))"
        ),
        CUDA_VISIBLE_DEVICES="",
    )
    synchronised, per_device, fused = found
    assert synchronised < NOISE
    assert per_device > 1e-3  # batch norm's statistics are each device's own
    assert fused < NOISE  # and so they are with the fused kernel


@on_tensorflow
def test_a_net_that_tensorflow_would_not_share_is_refused():
    import tensorflow as tf

    outside = net()
    with (
        tf.distribute.MirroredStrategy(["CPU:0"]).scope(),
        pytest.raises(ValueError, match="built outside of the Mirr"),
    ):
        run(outside)
    several = types.SimpleNamespace(
        distribute_strategy=object.__new__(tf.distribute.MultiWorkerMirroredStrategy)
    )
    with pytest.raises(ValueError, match="keras issue 20585.*KERAS_BACKEND=.?jax"):
        distributed.share(several)
    # Not made as usual: on TensorFlow older ones of Keras fail there already.
    keras.distribution.set_distribution(object.__new__(keras.distribution.DataParallel))
    try:
        with pytest.raises(
            ValueError, match="on tensorflow Keras would train without sharing .*MirroredStrategy"
        ):
            run(outside)
    finally:
        keras.distribution.set_distribution(None)
