"""Answers to the exercises of chapter 03: fields, VGG without dense layers, VGG from a list, one kernel for two."""

from cnnbook.answers import Answer, compared_by_ranges, outputs_of_both


def right_net(vgg):
    """`vgg(x, stages)` gives the maps of VGG's convolutions, for stages of (convolutions, channels)."""
    import keras

    from cnnbook import graph, models

    stages = [(1, 4), (1, 6), (3, 8), (3, 10), (2, 10)]
    image = keras.Input((32, 32, 3))
    yours = keras.Model(image, vgg(image, list(stages)))
    column = tuple((3,) * convs for convs, _ in stages)
    widths = tuple(channels for _, channels in stages)
    ours = models.vgg.VGG(column, widths=widths, input_shape=(32, 32, 3), include_top=False)
    convs = [row for row in graph.trace(yours) if row.kind == "Conv2D"]
    assert len(convs) == 10, f"stages of 1, 1, 3, 3 and 2 convolutions have 10 in all, yours has {len(convs)}"
    shape = tuple(yours.output.shape)
    assert shape == (None, 1, 1, 10), (
        f"five halvings of 32 pixels leave one place with 10 channels, yours ends at {shape[1:]}"
    )
    sizes = [w.shape for w in yours.get_weights()]
    wanted = [w.shape for w in ours.get_weights()]
    assert sizes == wanted, f"the first weights are of the shapes {sizes[:4]}, the stages say {wanted[:4]}"
    outputs_of_both(ours, yours, (32, 32, 3), deviation=0.2)


def right_one_kernel(one_kernel):
    """`one_kernel(first, second)` is the 5x5 kernel that does what two 3x3 do one after the other, with nothing between."""
    import keras
    import numpy as np

    from cnnbook import numerics

    rng = np.random.default_rng(5)
    first = rng.normal(size=(3, 3, 2, 4)).astype("float32")
    second = rng.normal(size=(3, 3, 4, 5)).astype("float32")
    maps = rng.normal(size=(2, 8, 9, 2)).astype("float32")
    found = np.asarray(one_kernel(first.copy(), second.copy()))
    assert found.shape == (5, 5, 2, 5), (
        f"it reads 2 channels, makes 5, and has a window of 5 x 5; yours has the shape {found.shape}"
    )

    def convolved(images, *kernels):
        for kernel in kernels:
            images = keras.ops.conv(images, kernel.astype("float32"), padding="valid")
        return keras.ops.convert_to_numpy(images)

    with numerics.exact():
        wanted, yours = convolved(maps, first, second), convolved(maps, found)
        turned = convolved(maps, found[::-1, ::-1])
    scale = abs(wanted).max()
    assert abs(turned - wanted).max() > 1e-4 * scale, "it is upside down: Keras' convolution turns no kernel"
    apart = float(abs(yours - wanted).max() / scale)
    assert apart < 1e-4, f"the outputs differ by {apart:.2g} of the largest"


ANSWERS = {
    "layers": Answer(
        7,
        why="Every layer adds 2 to the side, beginning with 1: 1 + 2 n = 15.",
        hints=(
            "One layer sees 3 pixels a side, two layers see 2 more. Go on.",
            "Write the side as a formula of the number n of layers, and solve for n.",
        ),
    ),
    "pooled": Answer(
        15_227_688,
        why="14,714,688 in the convolutions, then 512 x 1000 weights and 1000 biases: a ninth of the whole VGG-16.",
        hints=(
            "A mean over places has no weights. How many numbers does it hand to the dense layer?",
            "graph.totals of graph.blueprint(VGG16, include_top=False), plus one dense layer with its biases.",
        ),
    ),
    "net": Answer(
        right_net,
        why="Two nested loops: the outer over stages, the inner over convolutions, and a pool at the end of each stage.",
        hints=(
            "Count the pools: one for each stage, not one for each convolution.",
            "Every convolution pads with zeros to keep the side, and a ReLU follows each.",
        ),
    ),
    "one_kernel": Answer(
        right_one_kernel,
        why="A place (i, j) of the second kernel shifts the whole first one by (i, j): sum over all places.",
        hints=(
            "One pixel of the second kernel's window sees a 3x3 window of the image: where does it begin?",
            "result[i:i+3, j:j+3] += first @ second[i, j] for all nine (i, j): @ sums over the channels between.",
        ),
    ),
    "pairs": compared_by_ranges(of="nets"),
}
