"""The tables and plots of what run.py has kept: `python benchmarks/report.py` writes them into README.md and the book.

The newest record of every device and backend counts. README.md shows the main one, that of TensorFlow on a processor
where there is one; book/speed.md shows all. What stands between `<!-- measured -->` and `<!-- /measured -->` in these files
is written here, and a test compares it with the records.
"""

import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))
from cnnbook.training import fast  # noqa: E402

RESULTS = HERE / "results"
IMAGES = ROOT / "book" / "images"
BLOCK = re.compile(r"(?<=<!-- measured -->\n).*?(?=<!-- /measured -->)", re.S)
OTHERS = {"stock Keras": "/ stock Keras", "Keras, oneDNN": "/ Keras with oneDNN", "PyTorch": "/ PyTorch"}
AXES = {
    "depth": "layers",
    "width": "channels of the first stage",
    "image": "pixels a side",
    "batch": "images a batch",
}


def kept(folder=RESULTS):
    """{device and backend: its newest record}; a file's name is DATE-DEVICE-BACKEND.json."""
    paths = {path.stem[11:]: path for path in sorted(Path(folder).glob("*.json"))}
    return {name: json.loads(path.read_text("utf-8")) for name, path in paths.items()}


def main_record(records):
    """(name, record) that README shows."""

    def order(item):
        machine = item[1]["machine"]
        return item[1]["backend"] != "tensorflow", machine["gpu"] or "", threads(machine) < machine["cores"]

    return min(records.items(), key=order)


def threads(machine):
    return machine.get("threads", machine["cores"])


# --------------------------------------------------------------------------- words and tables


def about(record):
    """When, on what and with what it was measured, in a paragraph."""
    machine, versions = record["machine"], record["versions"]
    packages = dict(keras="Keras", tensorflow="TensorFlow", jax="JAX", torch="PyTorch")
    packages = {k: v for k, v in packages.items() if k not in ("tensorflow", "jax") or k == record["backend"]}
    versions = versions | {"tensorflow": versions.get("tensorflow", versions.get("tensorflow-cpu"))}
    used = ", ".join(f"{name} {versions[key]}" for key, name in packages.items() if versions.get(key))
    few = "" if threads(machine) == machine["cores"] else f", {threads(machine)} in use"
    chip = f"{machine['processor']} ({instructions(machine['flags'])})"
    place = machine["gpu"] or f"{machine['cores']} cores of an {chip}{few}"
    rounds = {}
    for row in record["rows"]:
        rounds.setdefault(row["rounds"], {})[row["net"]] = None
    usual = max(rounds, key=lambda n: len(rounds[n]))
    fewer = "".join(f"; {n} for {' and '.join(nets)}" for n, nets in rounds.items() if n != usual)
    text = f"Measured on {record['date']} on {place}, {used}; medians over {usual} rounds{fewer}."
    if record.get("peak"):
        rates = " and ".join(f"{v / 1e9:,.0f} GFLOP/s in {p}" for p, v in record["peak"].items())
        text += f" The peak, that of a large product of matrices, was {rates}."
    if (record.get("load_before") or 0) > 0.5:
        text += f" Other work ran beside it: {record['load_before']} processes in the minute before."
    return text


def instructions(flags):
    """What of a processor's instructions decides its speed here."""
    have = [
        name for flag, name in (("avx2", "AVX2"), ("avx512f", "AVX-512"), ("asimd", "NEON")) if flag in flags
    ]
    bfloat16 = fast.BFLOAT16_FLAGS & set(flags)
    lacks = ["no AVX-512"] if "avx2" in flags and "avx512f" not in flags else []
    return ", ".join([*have, *lacks, "bfloat16" if bfloat16 else "no bfloat16"])


def markdown(head, rows, left=2):
    """A Markdown table; all columns after the first `left` are numbers."""
    lines = [head, ["---" if i < left else "---:" for i in range(len(head))], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def table(record):
    """Images per second of cnnbook, its part of the peak, and its time divided by that of the others."""
    sides = [name for name in OTHERS if any(row["side"] == name for row in record["rows"])]
    peak = ["of the peak"] if record.get("peak") else []
    head = ["network", "step", "batch", "images / s", *peak, *(OTHERS[name] for name in sides)]
    found = {(r["net"], r["step"], r["precision"], r["side"]): r for r in record["rows"]}
    rows = []
    for (net, step, precision, side), row in found.items():
        if side != "cnnbook":
            continue
        cells = [found.get((net, step, precision, other)) for other in sides]
        step += "" if precision == "float32" else f", {precision}"
        parts = [part(row, record)] if peak else []
        rows.append([net, step, str(row["batch"]), rate(row), *parts, *map(ratio, cells)])
    return markdown(head, rows)


def rate(row):
    speed = row["images_per_second"]
    return f"{speed:,.0f}" if speed >= 10 else f"{speed:.1f}"


def ratio(row):
    if row is None:
        return ""
    low, middle, high = row["ratio"]
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def part(row, record):
    """The part of the peak that a net's own operations take."""
    peak = record.get("peak", {}).get(row["precision"])
    return f"{row['images_per_second'] * row['operations'] / peak:.0%}" if peak else ""


def others(record):
    """Every side's speed and what comes before the first image; empty where it was not measured."""
    head = ["network", "side", "training, images / s", "inference, images / s", "of the peak", "building, s",
            "first training step, s", "first inference, s", "memory, MB"]  # fmt: skip
    found = {(r["net"], r["precision"], r["side"], r["step"]): r for r in record["rows"]}
    rows = []
    for (net, precision, side, step), train in found.items():
        if step != "training" or "building" not in train:
            continue
        infer = found[net, precision, side, "inference"]
        name = net if precision == "float32" else f"{net}, {precision}"
        parts = f"{part(train, record)}, {part(infer, record)}"
        memory = f"{train['memory_mb']:,}" if train["memory_mb"] else ""
        times = [
            f"{seconds:.1f}" for seconds in (train["building"], train["first_step"], infer["first_step"])
        ]
        rows.append([name, side, rate(train), rate(infer), parts, *times, memory])
    return markdown(head, rows) if rows else ""


def inputs(record):
    """How much quicker the batches of images are made than learned from; empty where it was not measured."""
    rows = [r for r in record["rows"] if r.get("input_images_per_second") and r["precision"] == "float32"]
    if not rows:
        return ""
    head = ["network", "augmented images / s, one thread", "/ training's images / s"]
    cells = [[r["net"], f"{r['input_images_per_second']:,.0f}", times(r)] for r in rows]
    return markdown(head, cells, left=1)


def times(row):
    return f"{row['input_images_per_second'] / row['images_per_second']:.0f}"


def growth(record):
    """What an axis of the sweep multiplies, from its lowest to its highest value."""
    if not record.get("growth"):
        return ""
    found = {(r["axis"], r["side"], r["step"], r["value"]): r for r in record["growth"]}
    kinds = list(dict.fromkeys((r["side"], r["step"]) for r in record["growth"]))
    rows = []
    for axis, unit in AXES.items():
        values = [r["value"] for r in record["growth"] if r["axis"] == axis]
        low, high = min(values), max(values)
        first, last = ([found[axis, *kind, v] for kind in kinds] for v in (low, high))
        times = [f"{b['seconds'] / a['seconds']:.1f}" for a, b in zip(first, last, strict=True)]
        rows.append([axis, f"{low} to {high} {unit}", f"{last[0]['macs'] / first[0]['macs']:.1f}", *times])
    return markdown(["axis", "from, to", "multiply-adds", *(f"{side}, {step}" for side, step in kinds)], rows)


def ahead(record):
    """How often cnnbook took less time than PyTorch, as a sentence; empty where there is no PyTorch."""
    ratios = [row["ratio"][1] for row in record["rows"] if row["side"] == "PyTorch"]
    if not ratios:
        return ""
    quicker = sum(ratio < 1 for ratio in ratios)
    return f"cnnbook took less time than PyTorch in {quicker} of {len(ratios)} rows."


def profile(record):
    """Where the milliseconds of a step go, on one thread; empty where it was not measured."""
    if not record.get("profile"):
        return ""
    head = ["network", "step", "side", "step, ms", "oneDNN's convolutions, ms", "the rest, ms"]
    rows = []
    for row in record["profile"]:
        whole, convolutions = row["milliseconds"], row["onednn"].get("convolution", 0)
        times = [f"{ms:,.0f}" for ms in (whole, convolutions, whole - convolutions)]
        rows.append([row["net"], f"{row['step']}, batch {row['batch']}", row["side"], *times])
    return markdown(head, rows, left=3)


def grouped(record):
    """What a grouped convolution's training step costs beside a dense one's; empty where it was not measured."""
    if not record.get("grouped"):
        return ""
    head = ["channels", "groups", "stock Keras / dense", "cut / dense", "stock Keras / cut"]
    rows = []
    for row in record["grouped"]:
        parts = row["stock"] / row["dense"], row["cut"] / row["dense"], row["stock"] / row["cut"]
        rows.append(
            [
                str(row["channels"]),
                str(row["groups"]),
                *(f"{part:.2g}" if part < 10 else f"{part:.0f}" for part in parts),
            ]
        )
    return markdown(head, rows, left=0)


def fitting(record):
    """What of a compiled step's speed training.fit leaves; empty where it was not measured."""
    if not record.get("fitting"):
        return ""
    head = ["network", "batch", "compiled step, images / s", "training.fit, images / s", "fit / step",
            "a first fit, s", "a second one, s"]  # fmt: skip
    rows = []
    for row in record["fitting"]:
        speeds = [f"{row[name]:,.0f}" for name in ("bare", "fit")]
        seconds = [f"{row[name]:.1f}" for name in ("first", "second")]
        name = f"{row['net']}, {row['image']} x {row['image']}"
        rows.append([name, str(row["batch"]), *speeds, f"{row['fit'] / row['bare']:.0%}", *seconds])
    return markdown(head, rows, left=1)


# --------------------------------------------------------------------------- the plot


def plot(record, path):
    """How the time of a step grows with depth, width, image and batch, as an SVG."""
    import matplotlib

    matplotlib.use("Agg")
    from cnnbook.viz import style

    matplotlib.rcParams["svg.hashsalt"] = "cnnbook"  # the same file for the same numbers
    figure, panels = style.figure(8, 6, 2, 2)
    for panel, (axis, unit) in zip(panels.flat, AXES.items(), strict=True):
        points = [r for r in record["growth"] if r["axis"] == axis]
        sides = list(dict.fromkeys(r["side"] for r in points))
        for side, color in zip(sides, style.colors(len(sides)), strict=True):
            for step, line, mark in (("training", "-", "o"), ("inference", "--", "s")):
                own = [r for r in points if (r["side"], r["step"]) == (side, step)]
                x, y = [r["value"] for r in own], [1000 * r["seconds"] for r in own]
                panel.plot(x, y, line, marker=mark, markersize=4, color=color, label=f"{side}, {step}")
        own = [r for r in points if (r["side"], r["step"]) == ("cnnbook", "training")]
        scale = 1000 * own[-1]["seconds"] / own[-1]["macs"]
        panel.plot(
            [r["value"] for r in own],
            [scale * r["macs"] for r in own],
            ":",
            color="0.4",
            label="as multiply-adds",
        )
        panel.set(xscale="log", yscale="log", xlabel=unit, title=axis)
        panel.set_xticks([r["value"] for r in own], [str(r["value"]) for r in own])
        panel.minorticks_off()
    for panel in panels[:, 0]:
        panel.set_ylabel("ms a step")
    figure.legend(
        *panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


ALT = (
    "Four panels: milliseconds of a ResNet's step over its layers, channels, pixels a side and images a batch, both axes "
    "logarithmic; one line for each side in training and in inference, and one that grows as the multiply-adds."
)


# --------------------------------------------------------------------------- the files


def readme(records):
    _, record = main_record(records)
    return f"\n{about(record)}\n\n{table(record)}\n\n"


def page(records):
    """The measured part of book/speed.md."""
    parts = []
    for name, record in sorted(records.items(), key=lambda item: item[0] != main_record(records)[0]):
        machine = record["machine"]
        few = (
            ""
            if threads(machine) == machine["cores"]
            else f", {threads(machine)} of {machine['cores']} cores"
        )
        parts += [
            f"### {machine['device']}{few}, {record['backend']}",
            " ".join(filter(None, (about(record), ahead(record)))),
            table(record),
        ]
        if detail := others(record):
            parts += ["Every side by itself; of the peak: training, inference.", detail]
        if line := inputs(record):
            parts += [
                "Shifted and mirrored images, and masks for U-Net, are made this fast beside the training:",
                line,
            ]
        if spent := profile(record):
            parts += ["Where a step's time goes, on one thread, as oneDNN's own log says:", spent]
        if cut := grouped(record):
            parts += [
                "A training step of two grouped 3x3 convolutions, beside dense ones of as many channels:",
                cut,
            ]
        if fitted := fitting(record):
            parts += [
                "What `training.fit`, with order, augmentation and all, leaves of the speed of its compiled step on one "
                "batch that lies on the device; the second fit trains another net like the first:",
                fitted,
            ]
        if grown := growth(record):
            base = record["parameters"]["base"]
            text = ", ".join(f"{AXES[k]} {v}" for k, v in base.items())
            parts += [f"A ResNet's step when one axis grows and the others stay ({text}); factors:", grown]
            parts += [f"![{ALT}](images/{picture(name)})"]
    return "\n" + "\n\n".join(parts) + "\n\n"


def picture(name):
    return f"speed-{name}.svg"


def write(root=ROOT, folder=RESULTS):
    """Rewrites what is measured in README.md and book/speed.md, and the plots."""
    records = kept(folder)
    if not records:
        raise SystemExit(f"nothing is kept in {folder}: run benchmarks/run.py first")
    for name, text in (("README.md", readme(records)), ("book/speed.md", page(records))):
        path = Path(root) / name
        old = path.read_text("utf-8")
        if not BLOCK.search(old):
            raise ValueError(
                f"{path} has no <!-- measured --> and <!-- /measured -->, each in a line of its own"
            )
        path.write_text(BLOCK.sub(lambda _, text=text: text, old), "utf-8")
    for name, record in records.items():
        if record.get("growth"):
            plot(record, Path(root) / "book" / "images" / picture(name))


if __name__ == "__main__":
    write()
