"""Answers to the exercises of chapter 11."""

from cnnbook.answers import Answer, compared_by_ranges, outputs_of_both


def right_dense_block(block):
    import keras
    import numpy as np

    from cnnbook import graph
    from cnnbook.models import densenet

    def net_of(make):
        image = keras.Input((8, 8, 6))
        return keras.Model(image, make(image))

    def package(x):
        for b in range(1, 4):
            x = densenet.dense_layer(x, 4, f"conv2_block{b}", bottleneck=False)
        return x

    ours, yours = net_of(package), net_of(lambda x: block(x, 3, 4))
    shape = tuple(yours.output.shape)
    assert shape == (None, 8, 8, 18), (
        f"from 6 channels, 3 layers and a growth of 4 came {shape}, not 18 channels"
    )
    kernels = [tuple(row.operation.kernel.shape) for row in graph.trace(yours) if row.kind == "Conv2D"]
    wanted = [(3, 3, 6, 4), (3, 3, 10, 4), (3, 3, 14, 4)]
    assert kernels == wanted, f"your convolutions have kernels of shape {kernels}"
    kinds = [row.kind for row in graph.trace(yours)]
    assert kinds.count("BatchNormalization") == 3, f"{kinds.count('BatchNormalization')} batch norms, not 3"
    assert graph.totals(yours)["params"] == graph.totals(ours)["params"], "the convolutions have a bias"
    image, _, b = outputs_of_both(ours, yours, (8, 8, 6), deviation=0.3)
    assert np.array_equal(b[..., :6], image), (
        "the first channels that leave the block are those that entered it"
    )


def right_grouped(function):
    import keras
    import numpy as np

    from cnnbook import numerics

    rng = np.random.default_rng(0)
    for channels, filters, groups in ((6, 6, 1), (6, 9, 3), (8, 8, 4)):
        layer = keras.layers.Conv2D(filters, 3, padding="same", groups=groups, use_bias=False)
        x = rng.normal(size=(2, 7, 7, channels)).astype("float32")
        layer.build(x.shape)
        kernel = rng.normal(size=layer.kernel.shape).astype("float32")
        layer.kernel.assign(kernel)
        with numerics.exact():
            wanted = keras.ops.convert_to_numpy(layer(x))
            found = keras.ops.convert_to_numpy(function(x, kernel, groups))
        assert found.shape == wanted.shape, f"{groups} groups: the shape is {found.shape}, not {wanted.shape}"
        apart = float(np.abs(found - wanted).max())
        assert apart < 1e-4, f"{groups} groups: the largest difference to Conv2D is {apart:.2g}"


ANSWERS = {
    "channels": Answer(
        {"channels": 148, "joins": 45},
        why="Each layer adds 12 channels to 40, and layer after layer reads 1, 2, ... 9 sources.",
        hints=(
            "Draw the block: what enters, and what each of the nine layers adds.",
            "The joins are 1 + 2 + ... + 9; the channels are those that entered and nine times the growth.",
        ),
    ),
    "grouped_weights": Answer(
        10_368,
        why="Each of 96 outputs reads 12 channels at 9 places: an eighth of the 82,944 weights of the full one.",
        hints=(
            "How many channels does one output channel read?",
            "A group has an eighth of the channels, in and out; add up the groups.",
        ),
    ),
    "dense_block": Answer(
        right_dense_block,
        why="Every layer reads all that was joined so far, and what enters leaves unchanged in front.",
        hints=(
            "A layer is batch norm, ReLU, then a 3x3 convolution; keep what it read beside what it gives.",
            "Join x and y by Concatenate, x first, and let the next layer read that.",
        ),
    ),
    "grouped": Answer(
        right_grouped,
        why="A grouped convolution is nothing but small convolutions side by side, each on its own slice.",
        hints=(
            "Split x along its channels, and the kernel along its last axis: its filters.",
            "The kernel has shape (3, 3, channels / groups, filters): only the filters have to be split.",
        ),
    ),
    "verdict": compared_by_ranges(of="numbers of paths"),
}
