"""ResNet-20, VGG-16, ResNeXt-29 and U-Net: cnnbook beside stock Keras and native PyTorch, in one run.

    make bench                    (or: python benchmarks/run.py [--rounds 10] [--nets ResNet-20,VGG-16] [--sweep 0])
    python benchmarks/report.py   writes the tables and the plot from what was kept

Each side lives in a process of its own with one thread per core, a new one for every net; the sides take turns, step by
step, while the others wait, so that all of them meet the same machine. A ratio is cnnbook's time divided by the other
side's in the same round, so above 1 means that cnnbook is slower. "Keras, oneDNN" is stock Keras with
TF_ENABLE_ONEDNN_OPTS=1, which `import cnnbook` sets; where TensorFlow uses oneDNN by itself the two are alike. Random
images, since speed does not depend on what they show; slow nets get a part of the batch (SHARE).

Then come, with --sweep above 0: how a ResNet's step grows with depth, width, image and batch; where a step's time goes on
one thread, by oneDNN's own log of what it ran; what a grouped convolution costs, stock and cut, beside a dense one; and
what of a compiled step's speed on one batch is left in `training.fit`, which also shuffles, augments and sends images.
`--fit-only` measures just that, prints it and keeps nothing.

The peak is that of large products of matrices, the best of both libraries. A net's operations are two for each
multiply-add that cnnbook.graph counts, and three times as many in training. bfloat16 has rows of its own where the
processor multiplies it (--precision). A GPU is used where the backend and PyTorch see one: KERAS_BACKEND=jax, which needs
no TensorFlow, compiles by XLA, and PyTorch by torch.compile there, channels last. PyTorch is asked for here alone:
pip install -e '.[cpu,bench]', or '.[jax,bench]'.
"""

import argparse
import contextlib
import ctypes
import datetime
import importlib.util
import json
import multiprocessing
import os
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

from cnnbook import files, machine

HERE = Path(__file__).resolve().parent
BACKEND = os.environ.get("KERAS_BACKEND") or "tensorflow"
CORES = machine.cores()
THREADS = int(
    os.environ.get("CNNBOOK_BENCH_THREADS", CORES)
)  # a way to tell the sides, which are other processes
NETS = {
    "ResNet-20": 269_722,
    "U-Net": 482_754,
    "VGG-16": 33_638_218,
    "ResNeXt-29": 5_646_666,
}  # their parameters, on both sides
SHARE = {"VGG-16": 2, "U-Net": 4, "ResNeXt-29": 8}  # which part of the batch a slow net gets
UNET = dict(padding="same", widths=(16, 32, 64, 128), batch_norm=True, dropout=0, input_shape=(64, 64, 3))
RESNEXT = dict(cardinality=8, width=16)
PRECISIONS = ("float32", "bfloat16")
KINDS = ("training", "inference")
GROUPED = ((64, 4), (64, 16), (128, 8))  # channels and groups of a convolution
PROFILED = ("ResNet-20", "U-Net")
FITTED = dict(batch=128, image=28, epochs=5)  # ResNet-20 by training.fit
# How a ResNet's cost grows with one of these while the others stay at the first line's values.
BASE = dict(depth=20, width=16, image=32, batch=32)
SWEEP = dict(depth=(8, 14, 20, 32, 44), width=(8, 16, 32, 64), image=(16, 32, 48, 64), batch=(1, 4, 16, 64))
PACKAGES = ("cnnbook", "keras", "tensorflow", "tensorflow-cpu", "jax", "torch", "numpy")


# --------------------------------------------------------------------------- the sides


class Side:
    """What a side does when it is asked. `build` gives the net's facts; `steps` are then {kind: function}."""

    def __init__(self):
        self.switches = contextlib.ExitStack()

    def drop(self):
        self.switches.close()
        self.steps = self.net = None


class Keras(Side):
    def __init__(self):
        super().__init__()
        import keras

        self.keras = keras

    def drop(self):
        super().drop()
        self.keras.backend.clear_session()

    def build(self, net, batch, precision, depth=20, width=16, image=32):
        import numpy as np

        begin = time.perf_counter()
        self.net = model = self.model(net, precision, depth, width, image)
        seconds = time.perf_counter() - begin
        rng = np.random.default_rng(0)
        x = rng.normal(size=(batch, *model.input_shape[1:])).astype("float32")
        y = rng.integers(0, model.output_shape[-1], (batch, *model.output_shape[1:-1])).astype("int32")
        if BACKEND == "jax":  # on the device, as PyTorch's are
            x, y = self.keras.ops.convert_to_tensor(x), self.keras.ops.convert_to_tensor(y)
        optimizer = self.keras.optimizers.SGD(0.01, momentum=0.9)
        model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=BACKEND == "jax")
        optimizer.build(model.trainable_variables)
        self.steps = {
            "training": lambda: model.train_on_batch(x, y),
            "inference": lambda: model.predict_on_batch(x),
        }
        return dict(
            building=seconds, parameters=sum(w.size for w in map(np.asarray, model.trainable_variables))
        )

    def product(self, n, precision):
        """The product of two (n, n) matrices, as a function that waits for its end."""
        a = self.keras.random.normal((n, n), dtype=precision)
        ops = self.keras.ops
        return lambda: float(ops.cast(ops.matmul(a, a)[0, 0], "float32"))

    def device(self):
        """The GPU's name, None without one."""
        if BACKEND == "jax":
            import jax

            return jax.devices()[0].device_kind if jax.default_backend() != "cpu" else None
        import tensorflow as tf

        found = tf.config.list_physical_devices("GPU")
        return tf.config.experimental.get_device_details(found[0]).get("device_name") if found else None

    def memory(self):
        if BACKEND == "jax" and self.device():
            import jax

            return jax.local_devices()[0].memory_stats()["peak_bytes_in_use"] / 1e6
        return resident()


class Ours(Keras):
    """The course's builders, computed as training.fit does."""

    def __init__(self):
        import cnnbook  # noqa: F401  before Keras: TensorFlow reads once whether oneDNN is wanted

        super().__init__()

    def model(self, net, precision, depth, width, image):
        from cnnbook import models
        from cnnbook.training import fast

        build = {
            "ResNet": lambda: models.ResNetCIFAR(
                depth, widths=(width, 2 * width, 4 * width), input_shape=(image, image, 3)
            ),
            "VGG-16": lambda: models.VGG16(input_shape=(32, 32, 3), classes=10),
            "ResNeXt-29": lambda: models.ResNeXtCIFAR(29, **RESNEXT),
            "U-Net": lambda: models.UNet(**UNET),
        }
        model = build[net]()
        lower = None if precision == "float32" else "mixed_bfloat16"
        self.switches.enter_context(fast.computing(model, precision=lower))
        return model

    def build(self, *arguments, **options):
        from cnnbook import graph
        from cnnbook.training import fast

        facts = super().build(*arguments, **options)
        return facts | dict(macs=graph.totals(self.net)["macs"], bfloat16=fast.multiplies_bfloat16())

    def batches(self, batch):
        """Seconds for a batch of augmented images, and masks where the net wants them: the input of training.fit."""
        import numpy as np

        from cnnbook import training

        rng = np.random.default_rng(0)
        x = rng.normal(size=(8 * batch, *self.net.input_shape[1:])).astype("float32")
        y = rng.integers(0, 2, (8 * batch, *self.net.output_shape[1:-1]))
        made = training.Batches(x, y, batch_size=batch)
        begin = time.perf_counter()
        for i in range(len(made)):
            made[i]
        return (time.perf_counter() - begin) / len(made)

    def grouped(self, channels, groups, rounds, batch=32, image=16):
        """{how: median seconds} of a training step of two 3x3 convolutions: grouped as stock Keras computes them, grouped
        and cut into one for each group, and dense ones of as many channels."""
        import numpy as np

        from cnnbook.training import fast

        L, rng = self.keras.layers, np.random.default_rng(0)
        x = rng.normal(size=(batch, image, image, channels)).astype("float32")
        steps, seconds = {}, {}
        with contextlib.ExitStack() as switches:
            for how in ("stock", "cut", "dense"):
                options = dict(padding="same", groups=1 if how == "dense" else groups)
                layers = [L.Conv2D(channels, 3, **options) for _ in range(2)]
                model = self.keras.Sequential([self.keras.Input(x.shape[1:]), *layers])
                model.compile(self.keras.optimizers.SGD(0.01), "mse", jit_compile=BACKEND == "jax")
                switches.enter_context(fast.computing(model, on=how == "cut"))
                steps[how], seconds[how] = model, []
                model.train_on_batch(x, x)
            for _ in range(rounds):
                for how, model in steps.items():
                    begin = time.perf_counter()
                    model.train_on_batch(x, x)
                    seconds[how].append(time.perf_counter() - begin)
        return {how: statistics.median(times) for how, times in seconds.items()}

    def fitting(self, batch, image, epochs, seconds=3.0):
        """Images per second of training.fit on a ResNet-20, and of its compiled step on one batch that lies on the device.

        An epoch lasts about that many seconds. The first fit compiles, the second, of another net, does not.
        """
        import numpy as np

        from cnnbook import models, training

        def net():
            return models.ResNetCIFAR(20, input_shape=(image, image, 1))

        step = self.bare_step(net(), batch)
        before = step()
        steps = round(min(max(seconds / before, 16), 400))
        rng = np.random.default_rng(0)
        x = rng.normal(size=(steps * batch, image, image, 1)).astype("float32")
        protocol = training.Protocol(epochs=epochs, batch_size=batch)
        took = []
        for _ in range(2):
            begin = time.perf_counter()
            training.fit(net(), x, rng.integers(0, 10, len(x)), protocol, verbose=False)
            took.append(time.perf_counter() - begin)
        bare = (before + step()) / 2  # the machine may have become quicker or slower
        return dict(net="ResNet-20", batch=batch, image=image, images=len(x), epochs=epochs,
                    bare=round(batch / bare, 1), fit=round(epochs * len(x) / took[1], 1),
                    first=round(took[0], 2), second=round(took[1], 2))  # fmt: skip

    def bare_step(self, model, batch, steps=8):
        """A function that trains on one batch and gives the seconds of a step."""
        import numpy as np

        from cnnbook import training
        from cnnbook.training import fast, programs

        rng, ops = np.random.default_rng(0), self.keras.ops
        x = rng.normal(size=(batch, *model.input_shape[1:])).astype("float32")
        data = ops.convert_to_tensor(x), ops.convert_to_tensor(rng.integers(0, 10, batch).astype("int32"))
        schedule = training.Schedule(0.01, 1000)
        optimizer = training.MomentumSGD(schedule, momentum=0.9, weight_decay=1e-4)
        model.compile(
            optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=BACKEND == "jax"
        )
        self.switches.enter_context(fast.computing(model))
        model.train_on_batch(*data)
        if BACKEND != "jax":
            run = lambda: model.train_on_batch(*data)  # noqa: E731
        else:
            import jax

            compiled = programs.compiled(
                programs.train_step, model, loss=model.loss, optimizer=optimizer, donate=0
            )
            variables = (
                model.trainable_variables,
                model.non_trainable_variables,
                optimizer.variables,
                model.metrics_variables,
            )
            state = tuple(
                [jax.numpy.array(v.value) for v in part] for part in variables
            )  # copies, since they are written over

            def run():
                nonlocal state
                logs, state = compiled(state, data, schedule.numbers)
                return logs

        def seconds():
            np.asarray(self.keras.tree.flatten(run())[0])
            begin = time.perf_counter()
            for _ in range(steps):
                logs = run()
            np.asarray(self.keras.tree.flatten(logs)[0])  # waits for the last one
            return (time.perf_counter() - begin) / steps

        return seconds


class Stock(Keras):
    """VGG-16 from keras.applications; ResNet-20 as the Keras documentation writes it: biases, "same" padding; ResNeXt-29
    and U-Net are our graphs, which hold stock layers only, computed by stock Keras."""

    def model(self, net, precision, depth, width, image):
        from keras import layers as L

        from cnnbook import models

        keras = self.keras
        keras.config.set_dtype_policy("float32" if precision == "float32" else "mixed_bfloat16")

        def conv(x, filters, stride=1, relu=True, kernel=3):
            x = L.Conv2D(filters, kernel, stride, padding="same", kernel_initializer="he_normal")(x)
            x = L.BatchNormalization()(x)
            return L.Activation("relu")(x) if relu else x

        def resnet():
            inputs = keras.Input((image, image, 3))
            x = conv(inputs, width)
            for stage in range(3):
                filters = width * 2**stage
                for block in range((depth - 2) // 6):
                    stride = 2 if stage and not block else 1
                    y = conv(conv(x, filters, stride), filters, relu=False)
                    x = L.Conv2D(filters, 1, stride)(x) if stride > 1 else x
                    x = L.Activation("relu")(L.add([x, y]))
            out = L.Dense(10, activation="softmax", dtype="float32")
            return keras.Model(inputs, out(L.GlobalAveragePooling2D()(x)))

        vgg = {"weights": None, "input_shape": (32, 32, 3), "classes": 10}
        build = {
            "ResNet": resnet,
            "VGG-16": lambda: keras.applications.VGG16(**vgg),
            "ResNeXt-29": lambda: models.ResNeXtCIFAR(29, **RESNEXT),
            "U-Net": lambda: models.UNet(**UNET),
        }
        return build[net]()


class PyTorch(Side):
    def __init__(self):
        super().__init__()
        import torch

        sys.path.insert(0, str(HERE))
        torch.set_num_threads(THREADS)
        torch.manual_seed(0)
        self.torch, self.place = torch, "cuda" if torch.cuda.is_available() else "cpu"

    def build(self, net, batch, precision, depth=20, width=16, image=32):
        import torch_nets
        from torch import nn

        torch, place = self.torch, self.place
        begin = time.perf_counter()
        options = dict(depth=depth, width=width) if net == "ResNet" else {}
        model = torch_nets.NETS[net](**options).to(place, memory_format=torch.channels_last)
        seconds = time.perf_counter() - begin
        parameters = sum(p.numel() for p in model.parameters())
        image = 64 if net == "U-Net" else image
        x = torch.randn(batch, 3, image, image, device=place).to(memory_format=torch.channels_last)
        y = torch.randint(0, 2, (batch, image, image)) if net == "U-Net" else torch.randint(0, 10, (batch,))
        y = y.to(place)
        optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
        self.net, run = model, torch.compile(model) if place == "cuda" else model
        lower = dict(dtype=torch.bfloat16, enabled=precision == "bfloat16")

        def train():
            model.train()
            optimizer.zero_grad()
            with torch.autocast(place, **lower):
                loss = nn.functional.cross_entropy(run(x).float(), y)
            loss.backward()
            optimizer.step()
            loss.item()

        def infer():
            model.eval()
            with torch.inference_mode(), torch.autocast(place, **lower):
                torch.softmax(run(x).float(), 1).cpu().numpy()

        self.steps = {"training": train, "inference": infer}
        return dict(building=seconds, parameters=parameters)

    def product(self, n, precision):
        a = self.torch.randn(n, n, device=self.place).to(getattr(self.torch, precision))
        return lambda: (a @ a)[0, 0].item()

    def device(self):
        return self.torch.cuda.get_device_name() if self.place == "cuda" else None

    def memory(self):
        return self.torch.cuda.max_memory_allocated() / 1e6 if self.place == "cuda" else resident()


def resident():
    """The most memory that this process held, in MB; None on Windows."""
    if importlib.util.find_spec("resource") is None:
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


SIDES = {"cnnbook": Ours, "stock Keras": Stock, "Keras, oneDNN": Stock, "PyTorch": PyTorch}


def serve(name, pipe, log=None):
    """A process that does what it is asked, one thing after the other: (what, arguments) in, an answer out.

    log: a file in which oneDNN writes what it does and how long that takes.
    """
    threads = str(THREADS)
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", OMP_NUM_THREADS=threads, TF_NUM_INTRAOP_THREADS=threads)
    os.environ.update(XLA_PYTHON_CLIENT_PREALLOCATE="false", TF_FORCE_GPU_ALLOW_GROWTH="true")
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"  # first steps compile, on every side
    if name == "Keras, oneDNN":
        os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    elif name == "stock Keras":
        os.environ.pop("TF_ENABLE_ONEDNN_OPTS", None)
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = flags.replace("--xla_backend_optimization_level=2", "")
        import keras  # noqa: F401  with what `import cnnbook` has set taken back
    if log:
        os.environ.update(ONEDNN_VERBOSE="1", TF_NUM_INTEROP_THREADS="1")
        os.dup2(os.open(log, os.O_WRONLY), 1)
    if os.environ.get("CNNBOOK_BENCH_QUIET", "1") == "1":
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    side = SIDES[name]()

    def steps(kind, repeats):
        begin = time.perf_counter()
        for _ in range(repeats):
            side.steps[kind]()
        return (time.perf_counter() - begin) / repeats

    def peak(precision):
        """Operations per second in the best of a few products of matrices, which grow until one takes 0.1 s."""
        best, n, took = 0, 256, 0
        while took < 0.1 and n <= 16384:
            product = side.product(n, precision)
            product()
            begin = time.perf_counter()
            for _ in range(3):
                product()
            took = (time.perf_counter() - begin) / 3
            best, n = max(best, 2 * n**3 / took), 2 * n
        return best

    def logged(kind, repeats):
        """Milliseconds of a step, and of oneDNN's operations in it: (all, {kind of operation: ms})."""
        ctypes.CDLL(None).fflush(None)  # what the first steps wrote
        start = os.path.getsize(log)
        seconds = steps(kind, repeats)
        ctypes.CDLL(None).fflush(None)
        with open(log, encoding="utf-8", errors="replace") as file:
            file.seek(start)
            found = {}
            for line in file:
                fields = line.strip().split(",")
                if fields[0] == "onednn_verbose" and "exec" in fields:
                    what = fields[fields.index("exec") + 2]
                    found[what] = found.get(what, 0) + float(fields[-1]) / repeats
        return 1000 * seconds, found

    answers = {"steps": steps, "peak": peak, "logged": logged}
    for what, arguments, options in iter(pipe.recv, None):
        pipe.send((answers.get(what) or getattr(side, what))(*arguments, **options))
    side.switches.close()


class Asked:
    """A side's process, seen from here."""

    def __init__(self, name, log=None):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(name, theirs, log), daemon=True)
        self.process.start()
        theirs.close()  # so that a side that dies is an error here, not a wait

    def __getattr__(self, what):
        def ask(*arguments, **options):
            self.pipe.send((what, arguments, options))
            return self.pipe.recv()

        return ask

    def end(self):
        self.pipe.send(None)
        self.process.join()


@contextlib.contextmanager
def started(names, logs=None):
    sides = {}
    try:
        for name in names:
            sides[name] = Asked(name, logs and logs[name])
            sides[name].device()  # has imported all it needs: the next one's start disturbs nobody
        yield sides
    finally:
        for side in sides.values():
            with contextlib.suppress(OSError):
                side.end()


# --------------------------------------------------------------------------- taking turns


def turns(sides, kind, rounds, repeats):
    """{side: seconds of a step, one for every round}."""
    seconds = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            seconds[name].append(side.steps(kind, repeats))
    return seconds


def measure(net, precision, names, batch, rounds, peaks):
    """The rows of one net, a row for every side and kind of step."""
    size = max(batch // SHARE.get(net, 1), 1)
    kind_of_net = "ResNet" if net == "ResNet-20" else net
    rows, facts, first, devices, slowest = [], {}, {}, {}, 0.0
    with started(names) as sides:
        for name, side in sides.items():
            say(f"{net}, {precision}, {name}: first steps")
            facts[name] = side.build(kind_of_net, size, precision)
            first[name] = {kind: side.steps(kind, 1) for kind in KINDS}
            slowest = max(slowest, side.steps("training", 1))
            side.steps("inference", 1)
            if name in ("cnnbook", "PyTorch"):
                peaks[precision] = max(peaks.get(precision, 0), side.peak(precision))
                devices[name] = side.device()
            if name != "stock Keras" and name != "Keras, oneDNN" and facts[name]["parameters"] != NETS[net]:
                raise ValueError(
                    f"{name}'s {net} has {facts[name]['parameters']} parameters, not {NETS[net]}"
                )
        if len({device is None for device in devices.values()}) > 1:
            raise ValueError(
                f"a GPU on one side only: {devices}; install both for it, or hide it (CUDA_VISIBLE_DEVICES='')"
            )
        batches = sides["cnnbook"].batches(size)
        for kind, repeats in zip(KINDS, (1 if slowest > 2 else 2, 4), strict=True):
            say(f"{net}, {precision}, {kind}: {rounds} rounds")
            seconds = turns(sides, kind, rounds, repeats)
            for name, times in seconds.items():
                ratios = [a / b for a, b in zip(seconds["cnnbook"], times, strict=True)]
                row = dict(
                    net=net, step=kind, side=name, precision=precision, batch=size, rounds=rounds,
                    images_per_second=round(size / statistics.median(times), 2),
                    ratio=[round(r, 4) for r in (min(ratios), statistics.median(ratios), max(ratios))],
                    first_step=round(first[name][kind], 2), building=round(facts[name]["building"], 2),
                    operations=2 * facts["cnnbook"]["macs"] * (3 if kind == "training" else 1),
                )  # fmt: skip
                if name == "cnnbook" and kind == "training":
                    row["input_images_per_second"] = round(size / batches, 1)
                rows.append(row)
        for row in rows:
            memory = sides[row["side"]].memory()
            row["memory_mb"] = memory and round(memory)
    return rows, devices["cnnbook"], facts["cnnbook"]["bfloat16"]


def sweep(names, rounds, base, points):
    """How the cost of a ResNet grows: a row for every side, point and kind of step."""
    rows = []
    with started([name for name in names if name in ("cnnbook", "PyTorch")]) as sides:
        for axis, values in points.items():
            for value in values:
                say(f"growth with {axis}: {value}")
                given = base | {axis: value}
                facts = {
                    name: side.build("ResNet", precision="float32", **given) for name, side in sides.items()
                }
                for kind in KINDS:
                    for side in sides.values():
                        side.steps(kind, 2)
                    for name, times in turns(sides, kind, rounds, 2).items():
                        seconds = statistics.median(times)
                        rows.append(dict(axis=axis, value=value, side=name, step=kind, seconds=round(seconds, 6),
                                         macs=facts["cnnbook"]["macs"] * given["batch"]))  # fmt: skip
                for side in sides.values():
                    side.drop()
    return rows


def profile(names, batch, rounds):
    """Where a step's time goes, on one thread: a row for every side and kind of step, in milliseconds."""
    rows, before = [], os.environ["CNNBOOK_BENCH_THREADS"]
    os.environ["CNNBOOK_BENCH_THREADS"] = "1"  # so that the parts add up to the whole
    for net in PROFILED:
        say(f"{net}, profile")
        with tempfile.TemporaryDirectory() as folder:
            logs = {name: str(Path(folder) / f"{i}.txt") for i, name in enumerate(names)}
            for log in logs.values():
                Path(log).touch()
            with started(names, logs) as sides:
                size = max(batch // SHARE.get(net, 1), 1)
                for name, side in sides.items():
                    side.build("ResNet" if net == "ResNet-20" else net, size, "float32")
                    for kind in KINDS:
                        side.steps(kind, 2)
                        whole, parts = side.logged(kind, rounds)
                        parts = {what: round(ms, 3) for what, ms in parts.items()}
                        rows.append(
                            dict(
                                net=net,
                                side=name,
                                step=kind,
                                batch=size,
                                milliseconds=round(whole, 3),
                                onednn=parts,
                            )
                        )
    os.environ["CNNBOOK_BENCH_THREADS"] = before
    return rows


def grouped(rounds):
    """What a grouped convolution's training step costs, stock and cut, beside a dense one."""
    rows = []
    with started(["cnnbook"]) as sides:
        for channels, groups in GROUPED:
            say(f"{channels} channels in {groups} groups")
            seconds = sides["cnnbook"].grouped(channels, groups, rounds)
            rows.append(dict(channels=channels, groups=groups) | {k: round(v, 6) for k, v in seconds.items()})
    return rows


def fitting():
    """What of a compiled step's speed is left in training.fit: a row."""
    say("ResNet-20, training.fit beside its compiled step")
    with started(["cnnbook"]) as sides:
        return [sides["cnnbook"].fitting(**FITTED)]


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


# --------------------------------------------------------------------------- what is kept


def hardware(device):
    """The processor, its instructions for vectors and matrices, its cores, and the GPU; no names of machines or people."""
    wanted = re.compile(r"avx(?!.*vnni_int)|amx|fma|asimd$|sve|bf16")
    name, flags = machine.processor(), sorted(filter(wanted.match, machine.processor_flags()))
    return dict(device=device or name, processor=name, flags=flags, cores=CORES, threads=THREADS, gpu=device)


def keep(record, folder):
    """Writes DATE-DEVICE-BACKEND.json whole; returns its path."""
    device = record["machine"]["device"] + ("" if THREADS == CORES else f" {THREADS} threads")
    device = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    path = Path(folder) / f"{record['date']}-{device}-{record['backend']}.json"
    files.write(path, json.dumps(record, indent=1) + "\n")
    return path


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--nets", default=",".join(NETS), help="of %(default)s")
    parser.add_argument(
        "--sides", default=",".join(SIDES).replace("Keras, oneDNN", "Keras+oneDNN"), help="of %(default)s"
    )
    parser.add_argument(
        "--precision",
        default="auto",
        help="float32, bfloat16, both by a comma, or auto: bfloat16 where it is quick",
    )
    parser.add_argument("--sweep", type=int, default=5, help="rounds for growth, profile, groups; 0: none")
    parser.add_argument("--fit-only", action="store_true", help="only training.fit beside the compiled step")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder for the results")
    parser.add_argument("--threads", type=int, default=CORES, help="of each side (%(default)s: one per core)")
    given = parser.parse_args(arguments)
    global THREADS
    THREADS = given.threads
    os.environ["CNNBOOK_BENCH_THREADS"] = str(THREADS)
    if given.fit_only:
        print(json.dumps(fitting()))
        return
    nets, precisions = given.nets.split(","), given.precision.split(",")
    names = [name.replace("+", ", ") for name in given.sides.split(",")]
    for option, asked, known in (
        ("nets", nets, NETS),
        ("sides", names, SIDES),
        ("precision", precisions, ("auto", *PRECISIONS)),
    ):
        if wrong := set(asked) - set(known):
            parser.error(f"--{option} takes {', '.join(known)}; got {', '.join(sorted(wrong))}")
    if "cnnbook" not in names:
        parser.error("--sides must hold cnnbook, with which the others are compared")
    if BACKEND != "tensorflow":
        names = [name for name in names if name != "Keras, oneDNN"]
    wanted = ["keras", BACKEND, *(["torch"] if "PyTorch" in names else [])]
    if missing := [m for m in wanted if importlib.util.find_spec(m) is None]:
        sys.exit(f"missing: {', '.join(missing)}. Install the sides first: pip install -e '.[cpu,bench]'")

    begin, load, rows, peaks = time.monotonic(), _load(), [], {}
    automatic = precisions == ["auto"]
    precisions = ["float32"] if automatic else precisions
    for net in nets:
        for precision in list(precisions):
            more, device, quick = measure(net, precision, names, given.batch, given.rounds, peaks)
            rows += more
            if automatic and quick and "bfloat16" not in precisions:
                precisions.append("bfloat16")
                rows += measure(net, "bfloat16", names, given.batch, given.rounds, peaks)[0]
    growth = sweep(names, given.sweep, BASE, SWEEP) if given.sweep else []
    logging = (
        [name for name in names if name != "stock Keras"] if BACKEND == "tensorflow" and not device else []
    )
    profiled = profile(logging, given.batch, given.sweep) if given.sweep and logging else []
    cut = grouped(given.sweep) if given.sweep else []
    fitted = fitting() if given.sweep else []
    record = dict(
        date=datetime.date.today().isoformat(), backend=BACKEND,
        machine=hardware(device), versions=machine.versions(PACKAGES),
        parameters=dict(rounds=given.rounds, batch=given.batch, sweep_rounds=given.sweep, base=BASE),
        load_before=load, minutes=round((time.monotonic() - begin) / 60, 1),
        peak={p: round(v) for p, v in peaks.items()}, rows=rows, growth=growth,
        profile=profiled, grouped=cut, fitting=fitted,
    )  # fmt: skip
    path = keep(record, given.out)
    sys.path.insert(0, str(HERE))
    import report

    print(
        f"\n{report.about(record)}\n\n{report.table(record)}\n\nkept: {path}; next: python benchmarks/report.py"
    )


def _load():
    """Processes that ran on average during the last minute, before this run; None where the system does not say."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


if __name__ == "__main__":
    main()
