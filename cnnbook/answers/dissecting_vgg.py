"""Answers to the exercises of chapter 04."""

from cnnbook.answers import Answer, says


def _grad_cam(cam):
    """Whether cam(model, image, layer_name, target) is Grad-CAM, by a net whose gradient can be written down by hand."""
    import keras
    import numpy as np
    from keras import layers, ops

    from cnnbook import numerics

    rng = np.random.default_rng(4)
    inputs = keras.Input((8, 10, 3))
    x = layers.Conv2D(4, 3, strides=2, activation="relu", name="edges")(inputs)
    x = layers.Conv2D(5, 2, activation="relu", name="parts")(x)
    hidden = layers.Dense(6, activation="relu")(layers.Flatten()(x))
    model = keras.Model(inputs, layers.Dense(3)(hidden))
    model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
    image = rng.normal(size=(8, 10, 3)).astype("float32")
    with numerics.exact():
        found = [np.asarray(cam(model, image, "parts", target)) for target in range(3)]
        tap = keras.Model(inputs, [model.get_layer("parts").output, hidden])
        maps, answers = (ops.convert_to_numpy(t)[0] for t in tap(image[None]))
    first, second = (layer.get_weights()[0] for layer in model.layers[-2:])
    for target, ours in enumerate(found):
        slope = (first * (answers > 0)) @ second[:, target]
        weighted = maps @ slope.reshape(maps.shape).mean((0, 1))
        _same_map(ours, weighted)


def _same_map(found, weighted):
    import numpy as np

    wanted = np.maximum(weighted, 0)
    assert found.shape == wanted.shape, f"The map has the shape {found.shape}; the layer's is {wanted.shape}."
    assert np.isfinite(found).all(), "The map has numbers that are not finite."
    assert found.min() >= 0, "The map has negative numbers."
    most = max(wanted.max(), 1e-3)
    if np.abs(found - wanted).max() <= 1e-3 * most:
        return
    factor = found.sum() / wanted.sum() if wanted.any() else 0
    if factor and np.abs(found - factor * wanted).max() <= 1e-3 * factor * most:
        raise AssertionError(f"All numbers are {factor:.3g} times what they should be.")
    raise AssertionError(f"The map differs by up to {np.abs(found - wanted).max():.2g}.")


def _deletion(curve):
    """Whether curve(answer, image, heat, steps) deletes the highest pixels first and puts the mean colour there."""
    import numpy as np

    rng = np.random.default_rng(5)
    image, weights = rng.normal(1, 1, (2, 6, 8, 3)).astype("float32")
    heat, mean = rng.permutation(48).reshape(6, 8) / 48, image.mean((0, 1))

    def answer(images):
        images = np.asarray(images)
        assert images.ndim == 4 and images.shape[1:] == image.shape, (
            f"`answer` was given the shape {images.shape}, not (m, 6, 8, 3)."
        )
        return (images * weights).sum((1, 2, 3))

    before = image.copy()
    found = np.asarray(curve(answer, image, heat, 8), "float64").ravel()
    assert np.array_equal(image, before), "Your function has changed the image that it was given."
    assert len(found) == 9, f"8 steps have 9 answers, the first of the whole image; yours are {len(found)}."
    for k, ours in enumerate(found):
        deleted = heat >= (48 - 6 * k) / 48
        wanted = answer(np.where(deleted[..., None], mean, image)[None])[0]
        assert abs(ours - wanted) < 1e-2, (
            f"With {6 * k} of 48 pixels deleted the answer is {wanted:.2f}; yours is {ours:.2f}."
        )


def _method(answer):
    """Whether the verdict fits the shares of trained and destroyed networks."""
    import numpy as np

    pointed, verdict = answer
    assert isinstance(pointed, dict) and set(pointed) == {"trained", "destroyed"}, (
        'Give {"trained": shares, "destroyed": shares}.'
    )
    shares = (np.ravel(pointed[state]).astype(float).tolist() for state in ("trained", "destroyed"))
    trained, destroyed = map(sorted, shares)
    assert min(len(trained), len(destroyed)) >= 3, "Three networks of each kind are wanted."
    assert all(0 <= share <= 1 for share in trained + destroyed), "A share lies between 0 and 1."
    ranges = (
        f"The trained ones go from {trained[0]:.2f} to {trained[-1]:.2f}, the destroyed ones from "
        f"{destroyed[0]:.2f} to {destroyed[-1]:.2f}."
    )
    says(verdict, trained[0] > destroyed[-1], ranges)


ANSWERS = {
    "units": Answer(
        (4, 32),
        why="Five pools halve 64 five times, to 2 x 2 units of 32 pixels: too coarse to point at a small item.",
        hints=(
            "Each of the five stages ends with a pool that halves both sides.",
            "The first number counts the units of the whole map, not of one side.",
        ),
    ),
    "shares": Answer(
        (6, -2),
        why="They add up to 4, the rise of the logit. The saliency of a linear network is the same for every image.",
        hints=(
            "The gradient of this network is the same all along the way.",
            "Multiply each pixel's gradient by the pixel, and keep the sign.",
        ),
        tolerance=1e-6,
    ),
    "grad_cam": Answer(
        _grad_cam,
        why="The gradient of a small network could be written down by hand, and your map is what it gives.",
        hints=(
            "A first model goes from the image to the layer, a second one from the layer's tensor to the logits.",
            "Average the gradient over both places of the map, sum over the channels, and cut at zero last.",
        ),
    ),
    "deletion": Answer(
        _deletion,
        why="A curve that falls fast belongs to a map that ranks high what the answer needs.",
        hints=(
            "Flatten the image to (pixels, channels), and sort the heat from high to low.",
            "Step k has all pixels of the steps before it deleted as well, and step 0 has none.",
        ),
    ),
    "method": Answer(
        _method,
        why="A method whose ranges touch may point at what is in the image, whoever is asked.",
        hints=(
            "Compare the worst of the trained networks with the best of the destroyed ones.",
            "If a destroyed network reaches what a trained one reaches, three networks decide nothing.",
        ),
    ),
}
