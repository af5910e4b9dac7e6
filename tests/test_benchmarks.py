"""The benchmark runs, keeps what it should, and what is printed of it is what was kept."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from cnnbook import graph, models

pytestmark = [pytest.mark.jax, pytest.mark.checkout]

ROOT = Path(__file__).parents[1]
BACKEND = keras.backend.backend()
# Two processes and the peak: on JAX with `make test-jax`, where the suite is shorter, on TensorFlow with `make test-all`.
ON_THIS_BACKEND = pytest.param(BACKEND, marks=[pytest.mark.every_variant] * (BACKEND == "tensorflow"))


@pytest.fixture(scope="module")
def report():
    spec = importlib.util.spec_from_file_location("report", ROOT / "benchmarks/report.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(side, step, seconds, ratio, **more):
    cost = dict(operations=int(1e9), first_step=2.0, building=0.5, memory_mb=1234)
    what = dict(net="ResNet-20", side=side, step=step, precision="float32", batch=64, rounds=3)
    return what | cost | dict(ratio=ratio, images_per_second=64 / seconds) | more


def record(date="2026-11-22", **more):
    rows = [
        row("cnnbook", "training", 0.5, [1, 1, 1], input_images_per_second=12800),
        row("cnnbook", "inference", 0.1, [1, 1, 1]),
        row("PyTorch", "training", 0.4, [1.1, 1.25, 1.3]),
        row("PyTorch", "inference", 0.2, [0.4, 0.5, 0.6], memory_mb=None),
    ]
    growth = [
        dict(axis=axis, value=value, side="cnnbook", step="training", seconds=value**2 / 1000, macs=value**3)
        for axis in ("depth", "width", "image", "batch")
        for value in (10, 20)
    ]
    machine = dict(device="a chip", processor="a chip", flags=["avx2", "fma"], cores=2, gpu=None)
    base = dict(depth=20, width=16, image=32, batch=32)
    return dict(date=date, backend="tensorflow", machine=machine, versions={"keras": "3"}, rows=rows, growth=growth,
                profile=[dict(net="ResNet-20", side="PyTorch", step="training", batch=64, milliseconds=200,
                              onednn={"convolution": 150.4, "reorder": 1})],
                grouped=[dict(channels=64, groups=4, stock=0.9, cut=0.03, dense=0.06)],
                fitting=[dict(net="ResNet-20", batch=128, image=28, images=6400, epochs=5, bare=8000, fit=7600,
                              first=12.34, second=4.21)],
                peak={"float32": 2.56e11}, parameters=dict(base=base), load_before=0.1) | more  # fmt: skip


def test_what_is_printed_is_what_the_newest_records_say(report):
    """Else run `python benchmarks/report.py`."""
    records = report.kept()
    for path, text in (
        (ROOT / "README.md", report.readme(records)),
        (ROOT / "book/speed.md", report.page(records)),
    ):
        assert report.BLOCK.search(path.read_text("utf-8"))[0] == text, path.name
    for name, one in records.items():
        assert not one.get("growth") or (ROOT / "book/images" / report.picture(name)).exists()


def test_what_the_page_says_of_pytorch_is_in_the_records(report):
    """ "Where the time goes" in book/speed.md: training alike, inference behind on two threads and not on one."""

    def ratios(name, step):
        rows = report.kept()[name]["rows"]
        return [row["ratio"][1] for row in rows if (row["side"], row["step"]) == ("PyTorch", step)]

    two, one = "amd-epyc-tensorflow", "amd-epyc-1-threads-tensorflow"
    assert all(0.9 < ratio < 1.1 for ratio in ratios(two, "training")) and len(ratios(two, "training")) == 4
    assert all(ratio > 1.05 for ratio in ratios(two, "inference"))
    assert all(ratio < 1.02 for ratio in ratios(one, "inference") + ratios(one, "training"))


def test_tables_are_computed_from_the_record(report):
    lines = report.table(record()).splitlines()
    assert lines[0] == "| network | step | batch | images / s | of the peak | / PyTorch |"
    assert lines[2] == "| ResNet-20 | training | 64 | 128 | 50% | 1.25 (1.10 to 1.30) |"
    assert lines[3] == "| ResNet-20 | inference | 64 | 640 | 250% | 0.50 (0.40 to 0.60) |"
    detail = report.others(record()).splitlines()
    assert detail[3] == "| ResNet-20 | PyTorch | 160 | 320 | 62%, 125% | 0.5 | 2.0 | 2.0 | 1,234 |"
    assert report.inputs(record()).splitlines()[2] == "| ResNet-20 | 12,800 | 100 |"
    assert report.growth(record()).splitlines()[2] == "| depth | 10 to 20 layers | 8.0 | 4.0 |"
    assert report.ahead(record()) == "cnnbook took less time than PyTorch in 1 of 2 rows."
    spent = "| ResNet-20 | training, batch 64 | PyTorch | 200 | 150 | 50 |"
    assert report.profile(record()).splitlines()[2] == spent
    assert report.grouped(record()).splitlines()[2] == "| 64 | 4 | 15 | 0.5 | 30 |"
    fit = "| ResNet-20, 28 x 28 | 128 | 8,000 | 7,600 | 95% | 12.3 | 4.2 |"
    assert report.fitting(record()).splitlines()[2] == fit and report.fitting(record(fitting=[])) == ""
    assert "2 cores of an a chip (AVX2, no AVX-512, no bfloat16)" in report.about(record())
    assert "256 GFLOP/s in float32." in report.about(record())
    assert "Other work ran beside it: 2.0" in report.about(record(load_before=2.0))


def test_the_newest_record_of_every_device_counts_and_readme_shows_the_processor(report, tmp_path):
    device = record(backend="jax", machine=dict(device="H", processor="p", flags=[], cores=8, gpu="H"))
    chip = dict(device="a chip", processor="a chip", flags=[], cores=2, threads=1, gpu=None)
    for name, one in {
        "2026-11-22-a-chip-1-threads-tensorflow": record(machine=chip),
        "2026-11-22-a-chip-tensorflow": record(),
        "2026-12-01-a-chip-tensorflow": record("2026-12-01"),
        "2027-01-01-h-jax": device,
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(one))
    (tmp_path / "book").mkdir()
    for name in ("README.md", "book/speed.md"):
        (tmp_path / name).write_text("before\n<!-- measured -->\nold\n<!-- /measured -->\nafter\n")
    report.write(tmp_path, tmp_path)
    readme, page = ((tmp_path / name).read_text() for name in ("README.md", "book/speed.md"))
    assert "2026-12-01" in readme and "2026-11-22" not in readme and "old" not in readme
    assert "### a chip, 1 of 2 cores, tensorflow" in page
    assert page.index("### a chip, tensorflow") < page.index("### H, jax") < page.index("after")
    assert (tmp_path / "book/images/speed-a-chip-tensorflow.svg").read_text().count("<path") > 20


@pytest.mark.parametrize("backend", [ON_THIS_BACKEND])
def test_a_small_run_keeps_what_it_measured(report, tmp_path, backend):
    """Ours alone: neither PyTorch nor the other backend is asked for."""
    command = [sys.executable, ROOT / "benchmarks/run.py", "--nets", "ResNet-20", "--sides", "cnnbook"]
    small = ["--rounds", "2", "--batch", "2", "--sweep", "0", "--precision", "float32", "--out", tmp_path]
    done = subprocess.run(
        [*command, *small], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = tmp_path.glob("*.json")
    kept = json.loads(path.read_text())
    assert kept["backend"] == backend and path.name.startswith(kept["date"])
    training, inference = kept["rows"]
    assert (training["step"], inference["step"], training["batch"]) == ("training", "inference", 2)
    macs = graph.totals(models.ResNetCIFAR(20))["macs"]
    assert training["operations"] == 3 * inference["operations"] == 6 * macs
    assert training["first_step"] > 0 and training["images_per_second"] > 0
    assert training["ratio"] == [1, 1, 1] and training["memory_mb"] > 100 and kept["peak"]["float32"] > 1e9
    assert training["input_images_per_second"] > 0
    assert report.table(kept) in done.stdout


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--nets", "ResNet-21"], "--nets takes ResNet-20, U-Net, VGG-16, ResNeXt-29; got ResNet-21"),
        (["--sides", "PyTorch"], "--sides must hold cnnbook"),
        (["--precision", "float16"], "--precision takes auto, float32, bfloat16; got float16"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks/run.py", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 2 and message in done.stderr
