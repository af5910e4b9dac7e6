"""How the course's figures look: one palette, one font size, room for labels."""

import numpy as np

from .. import lettering

# Okabe & Ito's palette: told apart with every form of colour vision, and in grey by order of lightness
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
SETTINGS = {
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "figure.facecolor": "white",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "image.cmap": "viridis",
    "image.interpolation": "nearest",
}


def figure(width=7, height=4, rows=1, columns=1, **options):
    """A figure of that size in inches in the course's style, and its axes, as matplotlib's `subplots` returns them.

    Chinese texts are drawn on every machine: what the fonts of rcParams lack comes from one in the package.
    """
    import matplotlib.pyplot as plt

    # Not plt.rc_context: it would also take back the switch to interactive figures that the first figure of a notebook
    # makes, and the notebook would show no further figure.
    before = {key: plt.rcParams[key] for key in SETTINGS}
    plt.rcParams.update(SETTINGS)
    try:
        options = {"FigureClass": lettering.figure_class(), "layout": "constrained", **options}
        return plt.subplots(rows, columns, figsize=(width, height), **options)
    finally:
        plt.rcParams.update(before)


def colors(n):
    """n colours of the palette; more than it has come from viridis."""
    if n <= len(PALETTE) - 1:
        return list(PALETTE[:n])
    import matplotlib.pyplot as plt

    return [tuple(c) for c in plt.get_cmap("viridis")(np.linspace(0.05, 0.9, n))]
