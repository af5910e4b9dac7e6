"""Answers to the exercises of chapter 09."""

from cnnbook.answers import Answer, compared_by_ranges, outputs_of_both


def right_bottleneck(block):
    import keras

    from cnnbook import graph
    from cnnbook.models import resnet

    def net_of(make):
        image = keras.Input((14, 14, 256))
        return keras.Model(image, make(image))

    ours = net_of(lambda x: resnet.bottleneck(x, 64, 1, "B", "conv4_block2"))
    yours = net_of(lambda x: block(x, 64))
    shape = tuple(yours.output.shape)
    assert shape == (None, 14, 14, 256), f"from (None, 14, 14, 256) came {shape}: the shape is to stay"
    kernels = [tuple(row.operation.kernel.shape) for row in graph.trace(yours) if row.kind == "Conv2D"]
    wanted = [(1, 1, 256, 64), (3, 3, 64, 64), (1, 1, 64, 256)]
    assert kernels == wanted, f"your convolutions have kernels of shape {kernels}"
    kinds = [row.kind for row in graph.trace(yours)]
    assert kinds.count("BatchNormalization") == 3, f"{kinds.count('BatchNormalization')} batch norms, not 3"
    assert graph.totals(yours)["params"] == graph.totals(ours)["params"], "the convolutions have a bias"
    outputs_of_both(ours, yours, (14, 14, 256), deviation=0.1)


def right_best_of(function):
    values = [
        function(mean, spread, runs, seed=1)
        for mean, spread, runs in ((0.0, 1.0, 5), (6.61, 0.16, 5), (0.0, 1.0, 1))
    ]
    # Expected least of five standard normal numbers: -1.163 (tables of order statistics).
    for value, wanted, error, what in zip(
        values,
        (-1.163, 6.61 - 1.163 * 0.16, 0.0),
        (0.03, 0.01, 0.03),
        ("mean 0, spread 1, five runs", "mean 6.61, spread 0.16, five runs", "mean 0, spread 1, one run"),
        strict=True,
    ):
        assert abs(float(value) - wanted) < error, f"{what}: yours gives {float(value):.3f}"


ANSWERS = {
    "name": Answer(
        200,
        why="Three layers in each of 66 blocks, the stem and the dense layer.",
        hints=(
            "Count layers with weights on the main path.",
            "A bottleneck has three of them; stem and classifier are one each.",
        ),
    ),
    "larger_image": Answer(
        924_844_032,
        why="The map has four times as many places, so every convolution costs four times as much.",
        hints=(
            "The stride of conv4 is 16: how many places has its map now?",
            "Start from the cost at 224 pixels, which is the same in every stage, and scale it by the number of places.",
        ),
    ),
    "bottleneck": Answer(
        right_bottleneck,
        why="Same kernels, same numbers: the order is convolution, batch norm, ReLU, and the last ReLU follows the sum.",
        hints=(
            "Follow the drawing of the right block from top to bottom.",
            "The last convolution has no ReLU of its own; one ReLU stands behind the sum.",
        ),
    ),
    "best_of": Answer(
        right_best_of,
        why="The best of five lies about 1.16 spreads below the mean, so a printed best of that height is what luck gives.",
        hints=(
            "Draw an array of shape (many, runs) at once, then reduce it twice.",
            "First the lowest along the runs, then the mean of these; 100,000 repetitions are quick.",
        ),
    ),
    "verdict": compared_by_ranges(of="depths"),
}
