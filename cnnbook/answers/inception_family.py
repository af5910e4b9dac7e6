"""Answers to the exercises of chapter 07."""

from cnnbook.answers import Answer, compared_by_ranges


def _give(net, drawn, reductions):
    """Gives a block's convolutions their kernels by shape, the two reductions their own, and no biases."""
    import numpy as np

    from cnnbook import graph

    reads = {row.name: row.inputs for row in graph.trace(net)}
    convolutions = [row for row in graph.trace(net) if row.kind == "Conv2D"]
    (end,) = [row.name for row in convolutions if row.operation.kernel.shape[1] == 7]
    for row in convolutions:
        kernel = tuple(row.operation.kernel.shape)
        value = drawn[kernel]
        if kernel == (1, 1, 24, 8):
            value = reductions[0] if row.name in _behind(end, reads) else reductions[1]
        row.operation.kernel.assign(value)
        if row.operation.bias is not None:
            row.operation.bias.assign(np.zeros(row.operation.bias.shape))


def _behind(name, reads):
    """The layer and all that it stands on. reads: {layer: the layers that it reads}."""
    return {name, *(other for earlier in reads.get(name, ()) for other in _behind(earlier, reads))}


def right_block(block):
    """`block(x, n, scale)`: Inception-ResNet's block of the middle grid with `n` channels in each of its ways."""
    import keras
    import numpy as np

    from cnnbook import graph, numerics
    from cnnbook.models import inception_resnet

    def net_of(make):
        image = keras.Input((9, 9, 24))
        return keras.Model(image, make(image))

    ours = net_of(lambda x: inception_resnet.block17(x, 8, 8, 8, 8, "block17_1"))
    yours = net_of(lambda x: block(x, 8, 0.1))
    shape = tuple(yours.output.shape)
    assert shape == (None, 9, 9, 24), f"from (None, 9, 9, 24) came {shape}: the shape is to stay"
    rows = [row for row in graph.trace(yours) if row.kind == "Conv2D"]
    kernels = sorted(tuple(row.operation.kernel.shape) for row in rows)
    wanted = [(1, 1, 16, 24), (1, 1, 24, 8), (1, 1, 24, 8), (1, 7, 8, 8), (7, 1, 8, 8)]
    assert kernels == wanted, f"your convolutions have kernels of shape {kernels}"
    reads = {row.name: row.inputs for row in graph.trace(yours)}
    (tall,) = [row.name for row in rows if row.operation.kernel.shape[0] == 7]
    (wide,) = [row.name for row in rows if row.operation.kernel.shape[1] == 7]
    assert wide in _behind(tall, reads), "the 7x1 has to read what the 1x7 gives"
    # Each kernel has a shape of its own but the two reductions, which are told apart by where they lead.
    rng = np.random.default_rng(0)
    drawn = {
        kernel: rng.normal(0, 0.3, kernel).astype("float32") for kernel in dict.fromkeys(map(tuple, wanted))
    }
    first, second = (rng.normal(0, 0.3, (1, 1, 24, 8)).astype("float32") for _ in range(2))
    for net in (ours, yours):
        _give(net, drawn, (first, second))
    image = rng.normal(size=(2, 9, 9, 24)).astype("float32")
    with numerics.exact():
        a, b = (net.predict(image, verbose=0) for net in (ours, yours))
    # The order of the ways in the concatenation is free: the same sum with the last kernel's rows swapped.
    for row in (row for row in graph.trace(yours) if row.kind == "Conv2D"):
        if tuple(row.operation.kernel.shape) == (1, 1, 16, 24):
            row.operation.kernel.assign(np.roll(drawn[(1, 1, 16, 24)], 8, axis=2))
    with numerics.exact():
        swapped = yours.predict(image, verbose=0)
    apart = min(float(np.abs(a - c).max() / np.abs(a).max()) for c in (b, swapped))
    # Batch norm's epsilon is free: 1e-3, Keras' default, against 1e-5 moves the outputs by less than this.
    assert apart < 0.01, f"with the same weights the outputs differ by {apart:.2g} of the largest"


def right_split(function):
    """`function(kernel)` gives the column and the row whose product is nearest to a square kernel."""
    import numpy as np

    rng = np.random.default_rng(3)
    for kernel in (rng.normal(size=(7, 7)), np.outer([1, 2, 1], [-1, 0, 1]).astype(float)):
        column, row = (np.asarray(part, float) for part in function(kernel.copy()))
        side = len(kernel)
        assert column.shape == (side, 1) and row.shape == (1, side), (
            f"a column of shape ({side}, 1) and a row of shape (1, {side}) are wanted, got {column.shape}, {row.shape}"
        )
        left = float(((kernel - column @ row) ** 2).sum())
        least = float((np.linalg.svd(kernel, compute_uv=False)[1:] ** 2).sum())
        assert left < least + 1e-6, f"your product leaves squares of {left:.3f}, the best one {least:.3f}"


ANSWERS = {
    "eleven": Answer(
        22 / 121,
        why="A row and a column of eleven weights each, instead of a square of 121.",
        hints=(
            "Count the weights between one channel and one channel.",
            "How many numbers has the row, how many the column, how many the square?",
        ),
        tolerance=0.001,
    ),
    "middle_grid": Answer(
        82_862_080,
        why="Seven weights for each pair of channels, at each of 289 places: 7 x 289 x 128 x (128 + 192).",
        hints=(
            "A factor of 1x7 has seven weights for each pair of an input and an output channel.",
            "Add the two layers, each as weights times places; their outputs have different widths.",
        ),
    ),
    "block": Answer(
        right_block,
        why="The reduction, the row, the column, the linear 1x1, the scale and the sum stand where the paper has them.",
        hints=(
            "Two ways start at x; batch norm and ReLU follow each of their convolutions.",
            "The 1x1 behind the concatenation has a bias, no batch norm and no ReLU; one ReLU follows the sum.",
        ),
    ),
    "split": Answer(
        right_split,
        why="The first singular pair gives the nearest product of a column and a row, in squares.",
        hints=(
            "np.linalg.svd gives a kernel as a sum of such products, the largest first.",
            "Keep the first column of u, the first row of v and the first strength, and mind the shapes.",
        ),
    ),
    "verdict": compared_by_ranges(
        of="nets",
        values="losses",
        highest=10,
        between="the loss of ten classes begins near 2.3, or a little higher, and falls",
    ),
}
