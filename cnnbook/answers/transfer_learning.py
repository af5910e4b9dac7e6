"""Answers to the exercises of chapter 15."""

from cnnbook.answers import Answer, compared_by_ranges


def right_freezing(function):
    import keras

    from cnnbook import models

    net = models.ResNetCIFAR(8, include_top=False)  # the layers of scenes7
    # Back to an earlier stage: what was frozen before has to learn again.
    for stage in ("conv2", "conv3", "conv1"):
        function(net, stage)
        for layer in net.layers:
            norm = isinstance(layer, keras.layers.BatchNormalization)
            learns = layer.name.split("_")[0] > stage and not norm
            if not layer.weights or layer.trainable == learns:
                continue
            assert not norm, f"{stage}: the batch norm {layer.name} is not frozen"
            does, wanted = ("is frozen", "to learn") if learns else ("learns", "to be frozen")
            raise AssertionError(f"{stage}: {layer.name} {does} and is {wanted}")
        kernels = {"conv1": 6, "conv2": 4, "conv3": 2}[stage]
        found = len(net.trainable_weights)
        assert found == kernels, (
            f"{stage}: {kernels} kernels are to learn, and the net as a whole lists {found}; it has a flag of its own"
        )


def right_step(function):
    import numpy as np

    weights = [np.array([1.0, 2.0]), np.array([[4.0]]), np.array([0.5])]
    gradients = [np.array([10.0, -10.0]), np.array([[1.0]]), np.array([2.0])]
    names = ["conv1_conv", "conv4_block1_1_conv", "head_predictions"]
    kept = [w.copy() for w in weights]
    new = function(weights, gradients, names, 0.1, {"conv1": 0.1, "conv4": 0.5})
    assert len(new) == 3, f"three arrays of weights were given, {len(new)} came back"
    assert all(map(np.array_equal, weights, kept)), "your function changes the arrays that it is given"
    # By hand: 1 - 0.1 * 0.1 * 10 and 2 + 0.1; 4 - 0.5 * 0.1; 0.5 - 0.1 * 2.
    for name, got, right in zip(names, new, ([0.9, 2.1], [[3.95]], [0.3]), strict=True):
        got = np.asarray(got, "float64")
        assert got.shape == np.shape(right), f"{name}: the shape is {got.shape}"
        assert np.allclose(got, right), f"{name}: the new weights are {got.ravel().round(3).tolist()}"
    still = function(weights, gradients, names, 0.1, {"conv1": 0.0})
    assert np.array_equal(still[0], weights[0]), "a factor of 0 is a frozen stage, and conv1 moved"
    assert np.allclose(still[1], [[3.9]]), "conv4 has no factor there, so it learns at the full rate"


ANSWERS = {
    "head": Answer(
        3250,
        why="A weight for each pair of channel and class, and a bias for each class.",
        hints=(
            "Only the dense layer learns; what does it read, and how many outputs has it?",
            "It reads the mean of each channel of the last map, whose shape stands above; count the biases too.",
        ),
    ),
    "rate_of_zero": Answer(
        480,
        why="The means and variances of seven batch norms with 240 channels together follow the batches at any rate.",
        hints=(
            "Which numbers does a net change without a gradient?",
            "Two for each channel of each batch norm; add up the channels, which are 16, 32 and 64 by stage.",
        ),
    ),
    "freeze_until": Answer(
        right_freezing,
        why="A stage is told by its layers' names, and a batch norm stays frozen even where its neighbours learn.",
        hints=(
            "Go through net.layers, and decide for each layer from its name and its class.",
            "Set the flag of every layer, to True as well as to False, since the net may have been frozen before.",
        ),
    ),
    "slow_step": Answer(
        right_step,
        why="Each stage takes the step of gradient descent, made shorter by its own factor.",
        hints=(
            "The stage is what stands before the first underscore of a name.",
            "factors.get(stage, 1) gives the factor; the step is factor times rate times gradient, taken off.",
        ),
    ),
    "verdict": compared_by_ranges(
        of="plans", values="accuracies", between="accuracies are in per cent, between 0 and 100"
    ),
}
