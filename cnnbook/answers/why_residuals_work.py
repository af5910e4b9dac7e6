"""Answers to the exercises of chapter 10."""

from cnnbook.answers import Answer, compared_by_ranges, outputs_of_both


def right_unit(unit):
    import keras

    from cnnbook import graph
    from cnnbook.models import resnet_v2

    def net_of(make):
        image = keras.Input((10, 10, 16))
        return keras.Model(image, make(image))

    ours = net_of(lambda x: resnet_v2.unit(x, resnet_v2.basic_residual, 16, 1, "conv2_block2"))
    yours = net_of(lambda x: unit(x, 16))
    shape = tuple(yours.output.shape)
    assert shape == (None, 10, 10, 16), f"from (None, 10, 10, 16) came {shape}: the shape is to stay"
    kinds = [row.kind for row in graph.trace(yours)]
    assert kinds.count("Conv2D") == 2, f"{kinds.count('Conv2D')} convolutions, not 2"
    assert kinds.count("BatchNormalization") == 2, f"{kinds.count('BatchNormalization')} batch norms, not 2"
    assert kinds[-1] == "Add", f"the last operation is {kinds[-1]}: nothing follows the sum"
    convolutions = [row for row in graph.trace(yours) if row.kind == "Conv2D"]
    assert all(row.params for row in convolutions), (
        "one layer is called twice: each convolution has its own kernel"
    )
    weights = sorted(row.params for row in convolutions)
    assert weights != [9 * 16 * 16 + 16] * 2, "the convolutions have a bias"
    assert weights == [9 * 16 * 16] * 2, (
        f"the convolutions have {weights} weights: two 3x3 kernels from 16 to 16 channels, without a bias, have 2304 each"
    )
    shapes = [[w.shape for w in net.get_weights()] for net in (ours, yours)]
    assert shapes[0] == shapes[1], (
        f"your layers in order are {', '.join(kinds[1:])}: their weights do not fit, or a batch norm lacks scale or shift"
    )
    outputs_of_both(ours, yours, (10, 10, 16), deviation=0.1)


def right_without(function):
    import numpy as np

    from cnnbook import numerics
    from cnnbook.models import ResNetCIFAR

    net = ResNetCIFAR(14, widths=(4, 8, 16), input_shape=(14, 14, 1))
    rng = np.random.default_rng(10)
    net.set_weights([rng.uniform(0.5, 1.5, w.shape) if w.ndim == 1 else rng.normal(0, 0.2, w.shape)
                     for w in net.get_weights()])  # fmt: skip
    images = rng.normal(size=(4, 14, 14, 1)).astype("float32")
    before = net.get_weights()
    for block in ("conv2_block1", "conv3_block2"):
        shorter = function(net, block)
        assert shorter is not net, "A new model is wanted: the net is to stay as it is."
        kept = all(map(np.array_equal, before, net.get_weights()))
        assert kept, "The net's own weights were changed."
        norm = net.get_layer(f"{block}_2_bn")
        weights = norm.get_weights()
        with numerics.exact():
            whole = net.predict(images, verbose=0)
            found = np.asarray(shorter.predict(images, verbose=0))
            # scale and shift 0: the block adds nothing
            norm.set_weights([0 * weights[0], 0 * weights[1], *weights[2:]])
            wanted = net.predict(images, verbose=0)
            norm.set_weights(weights)
        assert found.shape == wanted.shape, f"The new model gives {found.shape}, the net {wanted.shape}."
        same = np.abs(found - whole).max() < 1e-5
        assert not same, f"Without {block} the outputs are those of the whole net."
        apart = float(np.abs(found - wanted).max())
        assert apart < 1e-4, f"Without {block} the outputs are {apart:.2g} away from those that are wanted."
        net.get_layer("predictions").set_weights([0 * w for w in net.get_layer("predictions").get_weights()])
        moved = np.abs(np.asarray(shorter.predict(images, verbose=0)) - found).max() > 1e-5
        net.set_weights(before)
        assert moved, (
            "The new model does not share its weights with the net: it stays as it was when they change."
        )


def right_carried(function):
    import numpy as np

    for blocks, factor in ((3, 1.0), (9, 0.5), (27, 0.3)):
        found = np.asarray(function(blocks, factor), "float64")
        assert found.shape == (blocks + 1,), (
            f"With {blocks} blocks a path has one of {blocks + 1} lengths, yours has the shape {found.shape}."
        )
        assert abs(found.sum() - 1) < 1e-6, f"The shares add up to {found.sum():.3g}."
        # each block multiplies the generating polynomial by (1 + factor z)
        wanted = np.ones(1)
        for _ in range(blocks):
            wanted = np.convolve(wanted, [1, factor])
        wanted /= wanted.sum()
        apart = float(np.abs(found - wanted).max())
        assert apart < 1e-6, f"With {blocks} blocks and a factor of {factor} a share is {apart:.2g} away."


ANSWERS = {
    "paths": Answer(
        (220, 0.125),
        why="Choose 3 of 12 blocks to go through; and every block that is taken out halves what is left.",
        hints=(
            "For the first, choose the blocks that a path goes through; their order is fixed.",
            "For the second, ask of each missing block which part of the paths went around it.",
        ),
    ),
    "unit": Answer(
        right_unit,
        why="The order is batch norm, ReLU, convolution, twice over, and the sum stands alone at the end.",
        hints=(
            "Read the printed source from the top: what comes before the first convolution?",
            "Two times batch norm, ReLU and a 3x3 convolution without a bias, then one sum and nothing behind it.",
        ),
    ),
    "without": Answer(
        right_without,
        why="The part behind the block now reads what the block read: that is all it takes to remove it.",
        hints=(
            "Make two models: one that ends where the block begins, and one that begins where the block ends.",
            'The sum `{block}_add` has two inputs, the shortcut first; the block\'s end is the output of `{block}_out`.',
        ),
    ),
    "carried": Answer(
        right_carried,
        why="The more a block shrinks the signal, the shorter the paths that carry it: counting alone hides this.",
        hints=(
            "A path through k blocks carries the factor to the power k; how many such paths are there?",
            "Multiply the number of paths of each length by what one carries, then divide by the sum.",
        ),
    ),
    "verdict": compared_by_ranges(
        of="nets",
        values="cosines",
        lowest=-1,
        highest=1,
        between="a cosine lies between -1 and 1",
    ),
}  # fmt: skip
