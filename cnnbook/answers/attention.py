"""Answers to the exercises of chapter 12."""

from cnnbook.answers import Answer


def right_shares(answer):
    shares = [float(share) for share in answer]
    assert len(shares) == 2, f"two shares are wanted, got {len(shares)}"
    # 1 / (1 + exp(0.4 - 1.5)); a softmax sees differences only.
    for share, when in zip(shares, ("as they are", "grown by 10"), strict=True):
        assert abs(share - 0.7503) < 0.006, f"the share with the numbers {when} is not {share:.3g}"


def right_own_gate(layer_class):
    import keras
    import numpy as np

    from cnnbook import numerics

    layer = layer_class()
    rng = np.random.default_rng(0)
    x = rng.normal(1, 2, (3, 4, 5, 6)).astype("float32")
    layer(x)
    shapes = [tuple(w.shape) for w in layer.weights]
    assert sum(int(np.prod(shape)) for shape in shapes) == 12, (
        f"for 6 channels two numbers each are wanted, 12 in all; your weights have shapes {shapes}"
    )
    values = [keras.ops.convert_to_numpy(w).ravel() for w in layer.weights]
    mean = x.mean((1, 2), keepdims=True)

    def compared(slope, offset, what):
        with numerics.exact():
            y = keras.ops.convert_to_numpy(layer(x))
        assert y.shape == x.shape, f"from {x.shape} came {y.shape}: the shape is to stay"
        apart = np.abs(y - x / (1 + np.exp(-(slope * mean + offset)))).max()
        assert apart < 1e-4, f"{what} the output differs by up to {apart:.2g}"

    assert sorted(np.concatenate(values)) == [0.0] * 6 + [1.0] * 6, "a begins as 1 and b as 0"
    compared(1, 0, "as it begins")
    # Which of the weights is the slope is told by where it begins; both may also stand in one array.
    slope, offset = rng.normal(size=6), rng.normal(size=6)
    if len(values) == 2:
        first_is_slope = values[0][0] == 1
        for w, new in zip(layer.weights, (slope, offset) if first_is_slope else (offset, slope), strict=True):
            w.assign(new.reshape(w.shape))
        compared(slope, offset, "with other weights")


def right_select(function):
    import numpy as np

    rng = np.random.default_rng(0)
    for branches in (2, 3):
        maps, numbers = rng.normal(size=(branches, 4, 5, 6)), rng.normal(size=(branches, 6))
        powers = np.exp(numbers)
        wanted = sum(m * p for m, p in zip(maps, powers / powers.sum(0), strict=True))
        found = np.asarray(function(maps, numbers))
        assert found.shape == wanted.shape, f"{branches} maps of (4, 5, 6) gave a shape of {found.shape}"
        assert np.abs(found - wanted).max() < 1e-6, f"with {branches} branches the selected map differs"
    large = np.asarray(function(maps, 1000 + numbers))
    assert np.isfinite(large).all(), "numbers around 1000 gave nan or infinity"
    assert np.abs(large - wanted).max() < 1e-6, "numbers that all grow by 1000 must give the same map"


def right_single_gates(answer):
    accuracies, verdict = answer
    assert set(accuracies) == {"mean", "single"}, 'the keys wanted are "mean" and "single"'
    mean, single = float(accuracies["mean"]), [float(value) for value in accuracies["single"]]
    assert len(single) == 5, f"five single images are wanted, got {len(single)}"
    assert all(0 <= value <= 1 for value in [mean, *single]), "accuracies lie between 0 and 1"
    said = str(verdict).strip().casefold()
    assert said in ("yes", "no"), f'the verdict is "yes" or "no", got {verdict!r}'
    assert (said == "yes") == (mean > max(single)), (
        f"the mean has {mean:.3f}, the best of the five {max(single):.3f}"
    )


ANSWERS = {
    "se_parameters": Answer(
        51_880,
        why="Two kernels of 640 x 40 and biases of 40 and 640.",
        hints=(
            "Two dense layers: count the kernel and the bias of each.",
            "The hidden layer has 640 / 16 units; the second layer has as many outputs as there are channels.",
        ),
    ),
    "shares": Answer(
        right_shares,
        why="The share depends on q - p alone, so what both gain changes nothing.",
        hints=(
            "Write the softmax of two numbers and divide by the larger exponential.",
            "It is a sigmoid of the difference of the two numbers.",
        ),
    ),
    "own_gate": Answer(
        right_own_gate,
        why="Two numbers a channel, against C / 8 for each in SE; but no channel can open another one.",
        hints=(
            "build(shape) makes the two weights with self.add_weight, each of shape (shape[-1],).",
            "call takes the mean over axes 1 and 2 with keepdims=True, so that the gate fits the map.",
        ),
    ),
    "select": Answer(
        right_select,
        why="Subtracting the largest number of each channel leaves the softmax as it is and keeps exp small.",
        hints=(
            "Softmax along the first axis of numbers, then one weighted sum of the maps along theirs.",
            "numbers[:, None, None, :] lines the numbers up with the maps; subtract the largest before exp.",
        ),
    ),
    "single_gates": Answer(
        right_single_gates,
        why="One image's gates suit that image; the mean suits none exactly and harms few. More images would say more.",
        hints=(
            'Compare accuracies["mean"] with the largest of the five.',
            "A tie is no lead: the mean has to be larger than each of them.",
        ),
    ),
}
