"""The paths of a residual network: the chain of its blocks, and the same unravelled (Veit et al. 2016, Fig. 1)."""

from itertools import product

from .. import style
from ..picture import Picture, bare

WIDTH, HEIGHT = 0.52, 0.5  # of a block's box, in units of a column and of a row
APART = 1.3  # of two blocks in the chain
GONE = "0.72"
SUBSCRIPTS = "₀₁₂₃₄"


class Unravelled(Picture):
    """`.paths`: for every path the blocks that it goes through, (2, 3), the longest first. `.left`: those that are left
    where a block is missing."""

    def __init__(self, blocks, missing):
        self.blocks, self.missing = blocks, missing
        ways = product((True, False), repeat=blocks)
        paths = [tuple(b for b, through in enumerate(way, 1) if through) for way in ways]
        self.paths = sorted(paths, key=len, reverse=True)
        self.left = [path for path in self.paths if missing not in path]
        self.alt = (
            f"Left, a chain of {blocks} residual blocks, each with an arrow around it to its sum. Right, the same as "
            f"{len(paths)} separate paths from input to output, from one through all {blocks} blocks to one through none"
        )
        if missing:
            self.alt += f"; block {missing} is missing, and {len(self.left)} paths are left"

    def _figure(self):
        figure, axes = style.figure(
            11,
            0.45 * len(self.paths) + 0.6,
            columns=2,
            width_ratios=(APART * self.blocks + 2, self.blocks + 2),
        )
        self._chain(axes[0])
        self._ways(axes[1])
        return figure

    def _box(self, axes, column, row, block):
        gone = block == self.missing
        color = GONE if gone else style.PALETTE[0]
        corner = column - WIDTH / 2, row - HEIGHT / 2
        box = _rectangle(corner, WIDTH, HEIGHT, edgecolor=color, linestyle="--" if gone else "-")
        axes.add_patch(box)
        axes.text(column, row, f"F{SUBSCRIPTS[block]}", ha="center", va="center", color=color, size=11)

    def _chain(self, axes):
        middle, top = (len(self.paths) - 1) / 2, len(self.paths) / 5 + 0.6
        line = dict(color="0.2", linewidth=1.2, zorder=0)
        axes.plot((0.3, APART * self.blocks + 0.95), (middle, middle), **line)
        for block in range(1, self.blocks + 1):
            at = APART * block
            if block == self.missing:
                axes.plot((at - 0.48, at + 0.5), (middle, middle), color="white", linewidth=3, zorder=0)
            self._box(axes, at, middle, block)
            around = [(at - 0.5, middle), (at - 0.5, middle + top), (at + 0.55, middle + top)]
            axes.plot(*zip(*around, (at + 0.55, middle), strict=True), **line)
            axes.text(
                at + 0.55, middle, "+", ha="center", va="center", size=10,
                bbox=dict(boxstyle="circle,pad=0.12", facecolor="white", edgecolor="0.2"),
            )  # fmt: skip
        axes.text(0.25, middle, "input", ha="right", va="center")
        axes.text(APART * self.blocks + 1, middle, "output", ha="left", va="center")
        self._frame(axes, "the network", APART * self.blocks + 1.7)

    def _ways(self, axes):
        middle = (len(self.paths) - 1) / 2
        for row, path in enumerate(reversed(self.paths)):
            color = GONE if self.missing in path else "0.2"
            look = dict(color=color, linewidth=1.2, zorder=0, linestyle="--" if color == GONE else "-")
            ends = [(0, middle), (0.45, row), (self.blocks + 0.45, row), (self.blocks + 0.95, middle)]
            axes.plot(*zip(*ends, strict=True), **look)
            for block in path:
                self._box(axes, block, row, block)
        axes.text(-0.05, middle, "input", ha="right", va="center")
        axes.text(
            self.blocks + 0.95, middle, "+", ha="center", va="center", size=11,
            bbox=dict(boxstyle="circle,pad=0.15", facecolor="white", edgecolor="0.2"),
        )  # fmt: skip
        axes.text(self.blocks + 1.12, middle, "output", ha="left", va="center")
        count = f"{len(self.paths)} paths"
        if self.missing:
            count = f"{len(self.left)} of {count} without block {self.missing}"
        self._frame(axes, count, self.blocks + 1.7)

    def _frame(self, axes, title, right):
        bare(axes, title)
        axes.set(xlim=(-0.6, right), ylim=(-0.6, len(self.paths) - 0.4))


def _rectangle(corner, width, height, **look):
    from matplotlib.patches import FancyBboxPatch

    return FancyBboxPatch(corner, width, height, boxstyle="round,pad=0.02", facecolor="white", **look)


def unravelled(blocks=3, missing=None):
    """A residual network of 1 to 4 blocks as a chain, and beside it all its paths, the longest first.

    missing: the number of a block that is taken out, from 1 on; its paths are grey. ValueError for what is not there.
    """
    if blocks not in range(1, 5):
        raise ValueError(f"blocks is 1 to 4, so that all paths find room, got {blocks!r}")
    if missing is not None and missing not in range(1, blocks + 1):
        raise ValueError(f"missing is the number of a block, 1 to {blocks}, or None, got {missing!r}")
    return Unravelled(blocks, missing)
