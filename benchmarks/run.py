"""ResNet-20, VGG-16, ResNeXt-29 and U-Net: cnnbook beside stock Keras and native PyTorch, on the CPU, in one run.

    make bench            (or: python benchmarks/run.py [--rounds 7] [--batch 64] [--nets ResNet-20,VGG-16])

Each side lives in a process of its own with one thread per core; the sides take turns, step by step, while the others
wait, so that all of them meet the same machine. Times are medians over rounds; a ratio is the median over rounds of
cnnbook's time divided by the other side's, so above 1 means that cnnbook is slower. "Keras, oneDNN" is stock Keras with
TF_ENABLE_ONEDNN_OPTS=1, which `import cnnbook` sets; where TensorFlow uses oneDNN by itself the two are alike. Random
images of 32 x 32 (U-Net: 64 x 64), since speed does not depend on what they show. U-Net has widths 16 to 128, ResNeXt-29
8 groups of 16 channels; both get a quarter of the batch, since stock Keras takes many seconds for a step of ResNeXt,
whose grouped convolutions train slowly. PyTorch is asked for here alone: pip install -e '.[bench]'.
"""

import argparse
import contextlib
import importlib.util
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from pathlib import Path

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
NETS = {
    "ResNet-20": 269_722,
    "VGG-16": 33_638_218,
    "U-Net": 482_754,
    "ResNeXt-29": 5_646_666,
}  # their parameters, on both sides
UNET = dict(padding="same", widths=(16, 32, 64, 128), batch_norm=True, dropout=0, input_shape=(64, 64, 3))
SWITCHES = contextlib.ExitStack()
SHARE = {"ResNeXt-29": 4, "U-Net": 4}  # which part of the batch a slow net gets


# --------------------------------------------------------------------------- the three sides


def keras_steps(net, batch):
    import keras
    import numpy as np

    rng = np.random.default_rng(0)
    side = net.input_shape[1]
    x = rng.normal(size=(batch, side, side, 3)).astype("float32")
    y = rng.integers(0, net.output_shape[-1], (batch, *net.output_shape[1:-1]))
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    net.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    return {"training": lambda: net.train_on_batch(x, y), "inference": lambda: net.predict_on_batch(x)}


def ours(net, batch):
    """The course's builders, computed as training.fit does."""
    from cnnbook import fast, graph, models

    build = {
        "ResNet-20": lambda: models.ResNetCIFAR(20),
        "VGG-16": lambda: models.VGG16(input_shape=(32, 32, 3), classes=10),
        "ResNeXt-29": lambda: models.ResNeXtCIFAR(29, cardinality=8, width=16),
        "U-Net": lambda: models.UNet(**UNET),
    }
    model = build[net]()
    assert graph.totals(model)["params"] == NETS[net]
    SWITCHES.enter_context(fast.computing(model))  # on until the process ends
    return keras_steps(model, batch)


def stock_keras(net, batch):
    """VGG-16 from keras.applications; ResNet-20 as the Keras documentation writes it: biases, "same" padding; ResNeXt-29
    and U-Net are our graphs, which hold stock layers only, computed by stock Keras."""
    import keras
    from keras import layers as L

    from cnnbook import models

    def conv(x, filters, stride=1, relu=True, kernel=3):
        x = L.Conv2D(filters, kernel, stride, padding="same", kernel_initializer="he_normal")(x)
        x = L.BatchNormalization()(x)
        return L.Activation("relu")(x) if relu else x

    def resnet20():
        inputs = keras.Input((32, 32, 3))
        x = conv(inputs, 16)
        for stage, filters in enumerate((16, 32, 64)):
            for block in range(3):
                stride = 2 if stage and not block else 1
                y = conv(conv(x, filters, stride), filters, relu=False)
                x = L.Conv2D(filters, 1, stride)(x) if stride > 1 else x
                x = L.Activation("relu")(L.add([x, y]))
        return keras.Model(inputs, L.Dense(10, activation="softmax")(L.GlobalAveragePooling2D()(x)))

    vgg = {"weights": None, "input_shape": (32, 32, 3), "classes": 10}
    build = {
        "ResNet-20": resnet20,
        "VGG-16": lambda: keras.applications.VGG16(**vgg),
        "ResNeXt-29": lambda: models.ResNeXtCIFAR(29, cardinality=8, width=16),
        "U-Net": lambda: models.UNet(**UNET),
    }
    return keras_steps(build[net](), batch)


def pytorch(net, batch):
    import torch
    from torch import nn

    torch.set_num_threads(CORES)
    torch.manual_seed(0)

    def conv_bn(a, b, stride=1, kernel=3):
        return nn.Sequential(nn.Conv2d(a, b, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(b))

    class Block(nn.Module):
        def __init__(self, a, b, stride):
            super().__init__()
            self.body = nn.Sequential(conv_bn(a, b, stride), nn.ReLU(inplace=True), conv_bn(b, b))
            self.stride, self.extra = stride, b - a

        def forward(self, x):
            y = self.body(x)
            if self.extra or self.stride > 1:  # option A, as in the paper
                x = nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))
            return torch.relu(x + y)

    def resnet20():
        layers, a = [conv_bn(3, 16), nn.ReLU(inplace=True)], 16
        for stage, b in enumerate((16, 32, 64)):
            for block in range(3):
                layers.append(Block(a, b, 2 if stage and not block else 1))
                a = b
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))

    class Aggregated(nn.Module):
        def __init__(self, a, middle, b, stride):
            super().__init__()
            grouped = nn.Conv2d(middle, middle, 3, stride, 1, groups=8, bias=False)
            self.body = nn.Sequential(
                conv_bn(a, middle, kernel=1), nn.ReLU(inplace=True), grouped, nn.BatchNorm2d(middle),
                nn.ReLU(inplace=True), conv_bn(middle, b, kernel=1))  # fmt: skip
            self.shortcut = conv_bn(a, b, stride, 1) if a != b or stride > 1 else nn.Identity()

        def forward(self, x):
            return torch.relu(self.shortcut(x) + self.body(x))

    def resnext29():
        layers, a = [conv_bn(3, 64), nn.ReLU(inplace=True)], 64
        for stage, width in enumerate((64, 128, 256)):
            for block in range(3):
                middle, b = 8 * 16 * width // 64, 4 * width
                layers.append(Aggregated(a, middle, b, 2 if stage and not block else 1))
                a = b
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 10))

    def vgg16():
        layers, a = [], 3
        for n, b in zip((2, 2, 3, 3, 3), (64, 128, 256, 512, 512), strict=True):
            for _ in range(n):
                layers += [nn.Conv2d(a, b, 3, padding=1), nn.ReLU(inplace=True)]
                a = b
            layers.append(nn.MaxPool2d(2))
        head = [nn.Flatten(), nn.Linear(512, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()]
        return nn.Sequential(*layers, *head, nn.Dropout(), nn.Linear(4096, 10))

    class UNet(nn.Module):
        def __init__(self, widths=(16, 32, 64, 128)):
            super().__init__()

            def level(a, b):
                relu = nn.ReLU(inplace=True)
                return nn.Sequential(conv_bn(a, b), relu, conv_bn(b, b), relu)

            pairs = list(zip(widths, widths[1:], strict=False))
            self.down = nn.ModuleList([level(3, widths[0]), *(level(a, b) for a, b in pairs)])
            self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairs[::-1])
            self.merge = nn.ModuleList(level(2 * a, a) for a, _ in pairs[::-1])
            self.head = nn.Conv2d(widths[0], 2, 1)

        def forward(self, x):
            maps = [self.down[0](x)]
            for level in self.down[1:]:
                maps.append(level(nn.functional.max_pool2d(maps[-1], 2)))
            x = maps.pop()
            for up, merge in zip(self.up, self.merge, strict=True):
                x = merge(torch.cat([maps.pop(), up(x)], 1))
            return self.head(x)

    build = {"ResNet-20": resnet20, "VGG-16": vgg16, "ResNeXt-29": resnext29, "U-Net": UNet}
    model = build[net]().to(memory_format=torch.channels_last)
    assert sum(p.numel() for p in model.parameters()) == NETS[net]
    side = 64 if net == "U-Net" else 32
    x = torch.randn(batch, 3, side, side).to(memory_format=torch.channels_last)
    y = torch.randint(0, 2, (batch, side, side)) if net == "U-Net" else torch.randint(0, 10, (batch,))
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)

    def train():
        model.train()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    def infer():
        model.eval()
        with torch.inference_mode():
            torch.softmax(model(x), 1).numpy()

    return {"training": train, "inference": infer}


SIDES = {"cnnbook": ours, "stock Keras": stock_keras, "Keras, oneDNN": stock_keras, "PyTorch": pytorch}


# --------------------------------------------------------------------------- taking turns


def side(name, nets, batch, pipe):
    """A process that builds the nets and takes a timed step whenever it is asked to."""
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", OMP_NUM_THREADS=str(CORES), TF_NUM_INTRAOP_THREADS=str(CORES))
    if name == "Keras, oneDNN":
        os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    elif name == "stock Keras":
        os.environ.pop("TF_ENABLE_ONEDNN_OPTS", None)
        import keras  # noqa: F401  before cnnbook, which would set it
    if os.environ.get("CNNBOOK_BENCH_QUIET", "1") == "1":
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    steps = {}
    for net in nets:
        steps[net] = SIDES[name](net, batch // SHARE.get(net, 1))
        for step in steps[net].values():
            step(), step()  # compile and warm up
        pipe.send(net)
    pipe.send("ready")
    for net, kind, repeats in iter(pipe.recv, None):
        begin = time.perf_counter()
        for _ in range(repeats):
            steps[net][kind]()
        pipe.send((time.perf_counter() - begin) / repeats)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--nets", default=",".join(NETS), help="of %(default)s")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks.json"))
    given = parser.parse_args()
    nets = given.nets.split(",")
    if wrong := set(nets) - set(NETS):
        parser.error(f"--nets takes {', '.join(NETS)}; got {', '.join(sorted(wrong))}")
    missing = [m for m in ("keras", "tensorflow", "torch") if importlib.util.find_spec(m) is None]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}. Install the sides first: pip install -e '.[cpu,bench]'")

    context, pipes, processes = multiprocessing.get_context("spawn"), {}, []
    for name in SIDES:
        print(f"{name}: building, warming up", flush=True)
        pipes[name], theirs = context.Pipe()
        process = context.Process(target=side, args=(name, nets, given.batch, theirs), daemon=True)
        process.start()
        theirs.close()  # so that a side that dies is an error here, not a wait
        processes.append(process)
        while (done := pipes[name].recv()) != "ready":
            print(f"{name}: {done} is ready", flush=True)

    records = []
    for net in nets:
        for kind, repeats in (("training", 2), ("inference", 4)):
            times = {name: [] for name in SIDES}
            for i in range(given.rounds):
                for name in SIDES:
                    pipes[name].send((net, kind, repeats))
                    times[name].append(pipes[name].recv())
                print(f"{net}, {kind}: round {i + 1}/{given.rounds}", flush=True)
            for name in SIDES:
                ratios = [a / b for a, b in zip(times["cnnbook"], times[name], strict=True)]
                rate = given.batch // SHARE.get(net, 1) / statistics.median(times[name])
                records.append([net, kind, name, rate, min(ratios), statistics.median(ratios), max(ratios)])
    for name in SIDES:
        pipes[name].send(None)
    for process in processes:
        process.join()

    from cnnbook.training import facts

    print(f"\n{facts()['processor']}, {CORES} cores, Python {platform.python_version()}")
    print(f"batch {given.batch}, {given.rounds} rounds\n")
    print("| network | step | side | images / s | time of cnnbook / time of the side (lowest to highest) |")
    print("|---|---|---|---:|---|")
    for net, kind, name, rate, low, middle, high in records:
        ratio = "" if name == "cnnbook" else f"{middle:.2f} ({low:.2f} to {high:.2f})"
        print(f"| {net} | {kind} | {name} | {rate:,.0f} | {ratio} |")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
