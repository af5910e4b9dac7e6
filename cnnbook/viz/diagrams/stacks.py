"""Layer stacks side by side, as papers draw them, read from the models: `stacks(AlexNet(), VGG16())`.

One column per network, one box per layer that changes numbers across pixels or classes. What belongs to the layer
before it has no box: activations, batch normalisation, dropout, padding, flattening.
"""

from dataclasses import dataclass

from keras import layers as L

from ... import graph
from ...parts.layers import LocallyConnected2D, LocalResponseNormalization
from .. import style

# kind -> (fill, what the legend says); Okabe & Ito's colours, and each box says in words what it is
# fmt: off
KINDS = {
    "input": ("#FFFFFF", "image"),
    "conv":  ("#0072B2", "convolution"),
    "pool":  ("#E69F00", "pooling"),
    "norm":  ("#CC79A7", "local response norm"),
    "dense": ("#56B4E9", "dense"),
    "merge": ("#F0E442", "merge"),
    "other": ("#DDDDDD", "other"),
}
# fmt: on
GLOBAL_POOLS = (L.GlobalAveragePooling2D, L.GlobalMaxPooling2D)
NO_BOX = (
    *(L.Activation, L.ReLU, L.LeakyReLU, L.PReLU, L.ELU, L.Softmax, L.BatchNormalization, L.Identity),
    *(L.Dropout, L.SpatialDropout2D, L.GaussianNoise, L.GaussianDropout, L.AlphaDropout),
    *(L.ZeroPadding2D, L.Cropping2D, L.Flatten, L.Reshape),
    *graph.PREPROCESSING,
)
_MERGES = (L.Add, L.Multiply, L.Average, L.Maximum, L.Concatenate, L.Subtract)


@dataclass(frozen=True)
class Box:
    """One layer of a stack. text: what the box says. size: its output's (height, width), None for a vector."""

    name: str
    kind: str
    text: str
    size: tuple | None


def boxes(model):
    """The boxes of a model, from its image to its classes, in graph order."""
    found = []
    for row in graph.trace(model):
        kind, text = _describe(row)
        if kind:
            size = row.output_shape[:2] if len(row.output_shape) == 3 else None
            found.append(Box(row.name, kind, text, size))
    return found


def _describe(row):
    """(kind, text) of a row of `graph.trace`; kind None for what has no box."""
    operation, shape = row.operation, row.output_shape
    if isinstance(operation, L.InputLayer):
        return "input", "image, " + " x ".join("?" if n is None else str(n) for n in shape)
    if isinstance(operation, NO_BOX) or "Pad" in row.kind:  # PadChannels: our own layer of shortcut A
        return None, ""
    if isinstance(operation, L.Dense):
        return "dense", f"dense, {shape[-1]}"
    if isinstance(operation, GLOBAL_POOLS):
        return "pool", "global average pool" if "Average" in row.kind else "global max pool"
    if isinstance(operation, (L.MaxPooling2D, L.AveragePooling2D)):
        how = "max" if isinstance(operation, L.MaxPooling2D) else "average"
        return "pool", f"{window_text(operation.pool_size)} {how} pool{_step(operation.strides)}"
    if isinstance(operation, L.Conv2DTranspose):
        return (
            "conv",
            f"{window_text(operation.kernel_size)} transposed, {shape[-1]}{_step(operation.strides)}",
        )
    if isinstance(operation, L.DepthwiseConv2D):
        return (
            "conv",
            f"{window_text(operation.kernel_size)} depthwise, {shape[-1]}{_step(operation.strides)}",
        )
    if isinstance(operation, (L.Conv2D, L.SeparableConv2D)):
        return "conv", f"{window_text(operation.kernel_size)} conv, {shape[-1]}{_step(operation.strides)}"
    if isinstance(operation, LocallyConnected2D):
        return "conv", f"{window_text(operation.kernel_size)} local, {shape[-1]}{_step(operation.strides)}"
    if isinstance(operation, LocalResponseNormalization):
        return "norm", "local response norm"
    if isinstance(operation, _MERGES):
        return "merge", row.kind.lower()
    return "other", row.kind


def window_text(kernel):
    height, width = kernel if isinstance(kernel, (tuple, list)) else (kernel, kernel)
    return f"{height}x{width}"


def _step(strides):
    step = max(strides) if isinstance(strides, (tuple, list)) else strides
    return f", /{step}" if step > 1 else ""


class Stacks:
    """Stacks that show themselves. rows: {model name: [Box, ...]}; figure(): matplotlib; alt: the picture in words."""

    def __init__(self, models):
        self.rows = {}
        for model in models:
            title, n = model.name, 2
            while title in self.rows:  # two forms of one network keep both columns
                title, n = f"{model.name} ({n})", n + 1
            self.rows[title] = boxes(model)

    def count(self, name, *kinds):
        """How many boxes of these kinds a stack has: count("vgg19", "conv") is 16."""
        return sum(box.kind in kinds for box in self.rows[name])

    @property
    def alt(self):
        parts = [
            f"{name}, {self.count(name, 'conv')} convolutions, {self.count(name, 'pool')} pools and "
            f"{self.count(name, 'dense')} dense layers"
            for name in self.rows
        ]
        return "Layer stacks side by side, one box per layer: " + "; ".join(parts) + "."

    def figure(self):
        """The stacks as a matplotlib figure on a white card: output sizes stand left of the boxes where they change."""
        import matplotlib.pyplot as plt
        from matplotlib.patches import FancyBboxPatch

        deepest = max(map(len, self.rows.values()))
        wide, high, pitch = 2.05, 0.24, 2.75  # inches: a box, a row of boxes, a column
        figure, ax = style.figure(pitch * len(self.rows) + 0.15, 0.3 * deepest + 1.35)
        for column, (name, stack) in enumerate(self.rows.items()):
            left, before = column * pitch + 0.62, None
            depth = self.count(name, "conv", "dense")
            ax.text(left + wide / 2, 0.62, name, ha="center", weight="bold", size=12)
            ax.text(left + wide / 2, 0.36, f"{depth} weight layers", ha="center", size=9, color="#444444")
            bottom = -0.3 * (len(stack) - 1)
            ax.plot([left + wide / 2] * 2, [0, bottom], color="#888888", linewidth=1.2, zorder=1)
            for i, box in enumerate(stack):
                y, fill = -0.3 * i, KINDS[box.kind][0]
                shape = FancyBboxPatch(
                    (left, y - high / 2), wide, high, boxstyle="round,pad=0,rounding_size=0.05",
                    facecolor=fill, edgecolor="#333333", linewidth=0.7, zorder=2,
                )  # fmt: skip
                ax.add_patch(shape)
                ink = "white" if box.kind == "conv" else "black"
                ax.text(left + wide / 2, y, box.text, ha="center", va="center", size=9, color=ink, zorder=3)
                if box.size is not None and box.size != before:
                    text = "x".join("?" if n is None else str(n) for n in box.size)
                    ax.text(left - 0.06, y, text, ha="right", va="center", size=8, color="#444444")
                    before = box.size
        kinds = [k for k in KINDS if any(box.kind == k for stack in self.rows.values() for box in stack)]
        marks = [
            plt.Rectangle((0, 0), 1, 1, facecolor=KINDS[k][0], edgecolor="#333333", linewidth=0.7)
            for k in kinds
        ]
        low = -0.3 * (deepest - 1) - high
        across = 2 * len(self.rows) - (len(self.rows) > 2)  # entries that fit below the columns
        lines = -(-len(kinds) // across)
        ax.legend(
            marks, [KINDS[k][1] for k in kinds], loc="upper center", ncol=across, handlelength=1.2,
            columnspacing=1.4, bbox_to_anchor=((pitch * len(self.rows)) / 2, low), bbox_transform=ax.transData,
            borderaxespad=0,
        )  # fmt: skip
        ax.set(xlim=(0, pitch * len(self.rows)), ylim=(low - 0.1 - 0.25 * lines, 0.85))
        ax.set_aspect("equal")
        ax.axis("off")
        return figure

    def _repr_png_(self):
        return style.png(self.figure())

    def __repr__(self):
        lines = []
        for name, stack in self.rows.items():
            lines.append(f"{name}: {self.count(name, 'conv', 'dense')} weight layers")
            lines += [f"  {box.text}" for box in stack]
        return "\n".join(lines)


def stacks(*models):
    """Networks side by side, one column each, one box per layer, read from the models themselves.

    `models` are classifiers such as VGG16(), or blueprints of them (`graph.blueprint(VGG16)` needs no memory).
    The result shows itself in a notebook; `.rows` holds the boxes, `.figure()` the picture, `.alt` its words.
    """
    if not models:
        raise ValueError("stacks(...) needs at least one model")
    return Stacks(models)
