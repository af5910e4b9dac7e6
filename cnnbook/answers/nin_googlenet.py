"""Answers to the exercises of chapter 05: a module by hand, naive modules in a row, a whole NiN, a class activation map."""

from cnnbook.answers import Answer


def right_nin(build):
    """`build()` is NiN as taught with grey images of 224 x 224: (96, 11x11/4), (256, 5x5), (384, 3x3), (classes, 3x3)."""
    import keras

    net = build()
    assert isinstance(net, keras.Model), f"my_nin() gives a {type(net).__name__}, a keras.Model is wanted"
    assert net.input_shape[1:] == (224, 224, 1), f"it reads images of shape {net.input_shape[1:]}"
    assert net.output_shape == (None, 10), (
        f"its output has the shape {net.output_shape}, (None, 10) is wanted"
    )
    dense = [layer.name for layer in net.layers if isinstance(layer, keras.layers.Dense)]
    assert not dense, f"it has dense layers: {', '.join(dense)}"
    convs = [layer for layer in net.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convs) == 12, f"four blocks of three convolutions are 12, it has {len(convs)}"
    sides = [layer.output.shape[1] for layer in convs]
    assert sides == [54] * 3 + [26] * 3 + [12] * 3 + [5] * 3, (
        f"the convolutions give maps of the sides {sides}"
    )
    assert net.count_params() == 1_992_166, f"it has {net.count_params():,} parameters, not 1,992,166"


def right_cam(function):
    """`function(model, image)` gives the map of the class that the net says, before any stretching."""
    import keras
    import numpy as np
    from keras import layers as L

    rng = np.random.default_rng(5)
    image = rng.normal(size=(12, 16, 3)).astype("float32")
    x = inputs = keras.Input((12, 16, 3))
    x = L.Conv2D(7, 3, 2, padding="same", activation="relu", name="maps")(x)
    x = L.GlobalAveragePooling2D(name="avg_pool")(x)
    net = keras.Model(inputs, L.Dense(4, activation="softmax", name="predictions")(x))
    net.set_weights([rng.normal(size=w.shape).astype("float32") for w in net.get_weights()])
    maps = keras.ops.convert_to_numpy(keras.Model(inputs, net.get_layer("maps").output)(image[None]))[0]
    kernel, bias = (keras.ops.convert_to_numpy(v) for v in net.get_layer("predictions").weights)
    said = int((maps.mean((0, 1)) @ kernel + bias).argmax())
    found = np.asarray(function(net, image))
    assert found.shape == (6, 8), f"the map in front of the mean is 6 x 8, yours has the shape {found.shape}"
    right = maps @ kernel[:, said]
    apart = float(np.abs(found - right).max())
    assert apart < 1e-3, f"your map differs from the weighted sum of the maps by up to {apart:.2g}"


def right_retrained(found):
    """{branch: accuracy without it} of the reader's own runs."""
    assert isinstance(found, dict), "a dictionary is wanted: {branch: accuracy without it}"
    wanted = {"1x1", "3x3", "5x5", "pool"}
    assert set(found) == wanted, (
        f"the keys are the four branches, {', '.join(sorted(wanted))}; got {list(found)}"
    )
    outside = [branch for branch, value in found.items() if not 0 < float(value) < 1]
    assert not outside, f"an accuracy lies between 0 and 1: look at {', '.join(outside)}"


ANSWERS = {
    "half": Answer(
        535_040,
        why="135,168 + 42,240 + 230,400 + 8,448 + 51,200 + 67,584: a good third less, from reductions alone.",
        hints=(
            "Six convolutions, each C_in x C_out x k x k; 4e reads the 528 channels of 4d.",
            "Two layers read 528 channels and give half as many as before; the two behind them read that half.",
        ),
    ),
    "naive": Answer(
        864,
        why="Each module passes on all it reads and adds 64 + 128 + 32 = 224: 192 + 3 x 224.",
        hints=(
            "What does the pool branch of a naive module give?",
            "Write the channels behind the first module as 192 plus something; the same is added each time.",
        ),
    ),
    "net": Answer(
        right_nin,
        why="No dense layer, ten maps of 5 x 5 at the end, and their means are the ten scores.",
        hints=(
            "A block is one convolution and two of 1x1 with as many kernels, each with a ReLU: write a function.",
            "Block 1 has stride 4 and padding valid, the others same; pools 3x3/2, valid, behind the first three.",
        ),
    ),
    "map": Answer(
        right_cam,
        why="The dense layer's weights of one class, applied at each place instead of to the means.",
        hints=(
            "You need the maps in front of the mean: keras.Model(model.input, layer.output).",
            "The layer before the last two gives the maps; the last layer's kernel has a column for each class.",
        ),
    ),
    "retrained": Answer(
        right_retrained,
        why="Whether your order is that of the silenced branches is the point: see the solution's sentences.",
        hints=(
            "slim.kernels gives a dictionary; the first number of its accuracy is that over all scenes.",
            "One call for each branch, with without= its name; collect the first number of each.",
        ),
    ),
}
