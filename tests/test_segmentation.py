"""Scores and losses against numbers worked out by hand, tiles against the whole image, training with masks."""

import keras
import numpy as np
import pytest

from cnnbook import data, models, segmentation, training, weights
from cnnbook.training import gradients

pytestmark = [pytest.mark.jax, pytest.mark.torch]

read = keras.ops.convert_to_numpy
# JAX compiles every new shape: there one of several cases that differ in shape alone.
JAX_COMPILES = [pytest.mark.every_variant] * (keras.backend.backend() == "jax")

TRUTH = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 2, 2, 2]])
GUESS = np.array([[0, 0, 0, 1], [0, 0, 1, 1], [0, 2, 1, 2]])


# --------------------------------------------------------------------------- scores


def test_scores_by_hand():
    table = segmentation.confusion(TRUTH, GUESS, 4)
    assert table.tolist() == [[5, 0, 0, 0], [1, 3, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(segmentation.iou(TRUTH, GUESS, 4), [5 / 6, 3 / 5, 2 / 3, np.nan])
    assert segmentation.mean_iou(TRUTH, GUESS, 4) == pytest.approx((5 / 6 + 3 / 5 + 2 / 3) / 3)
    np.testing.assert_allclose(segmentation.dice(TRUTH, GUESS, 4), [10 / 11, 6 / 8, 4 / 5, np.nan])
    assert segmentation.pixel_accuracy(TRUTH, GUESS) == pytest.approx(10 / 12)
    perfect = segmentation.iou(TRUTH, TRUTH, 3)
    swapped = segmentation.mean_iou(TRUTH[None], 2 - TRUTH[None], 3)  # 0 and 2 swapped, 1 kept
    assert (perfect == 1).all() and swapped == pytest.approx(1 / 3)


def test_scores_are_those_of_keras():
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 5, (2, 3, 8, 8))
    metric = keras.metrics.MeanIoU(5)
    metric.update_state(truth, guess)
    assert segmentation.mean_iou(truth, guess, 5) == pytest.approx(float(metric.result()), rel=1e-6)


def test_boundary_score_by_hand():
    square = np.zeros((12, 12), int)
    square[3:9, 3:9] = 1
    moved = np.roll(square, 2, 1)

    def score(*pair, **options):
        return segmentation.boundary_f(*pair, 2, **options)[1]

    assert score(square, square, tolerance=0) == 1 and score(square, moved, tolerance=2) == 1
    # Two pixels apart, none allowed: of 20 outline pixels each, the rows above and below share 4 + 4.
    assert score(square, moved, tolerance=0) == pytest.approx(8 / 20)
    hole = square.copy()
    hole[5, 5] = 0  # its 4 neighbours become outline; 2 of them lie beside the true one
    for tolerance, precision in ((0, 20 / 24), (1, 22 / 24)):
        assert score(square, hole, tolerance=tolerance) == pytest.approx(2 * precision / (precision + 1))
    assert score(square, np.zeros_like(square)) == 0
    assert np.isnan(segmentation.boundary_f(square, square, 3)[2])
    both = segmentation.boundary_f(np.stack([square, square]), np.stack([square, square * 0]), 2)
    assert both[1] == 0.5


def test_an_image_s_edge_is_no_boundary():
    half = np.zeros((6, 6), int)
    half[:, :3] = 1
    assert segmentation.outline(half == 1).sum() == 6 and segmentation.boundary_f(half, half, 2).tolist() == [
        1,
        1,
    ]


def test_an_outline_by_hand_and_what_lies_within_a_distance():
    mask = np.array([[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1]], bool)
    assert segmentation.outline(mask).astype(int).tolist() == [[0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    dot = np.zeros((7, 7), bool)
    dot[3, 3] = True
    rows, columns = np.mgrid[-3:4, -3:4]
    for distance in range(4):
        near = segmentation._within(dot, distance)
        assert (near == (np.hypot(rows, columns) <= distance)).all()


SCORES = {
    "confusion": lambda *pair: segmentation.confusion(*pair, 2),
    "iou": lambda *pair: segmentation.iou(*pair, 2),
    "mean_iou": lambda *pair: segmentation.mean_iou(*pair, 2),
    "dice": lambda *pair: segmentation.dice(*pair, 2),
    "pixel_accuracy": segmentation.pixel_accuracy,
    "boundary_f": lambda *pair: segmentation.boundary_f(*pair, 2),
}


@pytest.mark.parametrize("score", SCORES)
def test_scores_take_labels_and_no_probabilities(score):
    """Probabilities would be cut to 0; whole numbers as floats, and bool, are labels."""
    truth = np.array([[0, 1, 1], [0, 0, 1]])
    expected = SCORES[score](truth, truth)
    for same in (truth.astype("float32"), truth == 1):
        np.testing.assert_array_equal(SCORES[score](truth, same), expected)
    with pytest.raises(ValueError, match="predicted labels are whole numbers, got 0.1"):
        SCORES[score](truth, np.where(truth, 0.9, 0.1))
    with pytest.raises(ValueError, match="true labels are whole numbers, got 0.49"):
        SCORES[score](0.49 * truth, truth)


def test_labels_and_centre():
    assert segmentation.labels(np.array([[[0.1], [-0.2]]]), from_logits=True).tolist() == [[1, 0]]
    assert segmentation.labels(np.array([[[0.2, 0.5, 0.3]]])).tolist() == [[1]]
    assert segmentation.labels(np.array([[[0.5], [0.49]]])).tolist() == [[1, 0]]
    masks = np.arange(25).reshape(1, 5, 5)
    assert segmentation.centre(masks, 1, 3).tolist() == [[[11, 12, 13]]]
    with pytest.raises(ValueError, match="no part of 6 x 5"):
        segmentation.centre(masks, 6, 5)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: segmentation.iou([0, 1], [0], 2), "as many true as predicted"),
        (lambda: segmentation.iou([0, 3], [0, 1], 2), "true labels are 0 to 1, got 0 to 3"),
        (lambda: segmentation.dice([0, 1], [0, -1], 2), "predicted labels are 0 to 1"),
        (lambda: segmentation.pixel_accuracy(np.zeros((2, 2)), np.zeros((2, 3))), "differ in shape"),
        (lambda: segmentation.boundary_f(np.zeros((2, 2), int), np.zeros((2, 3), int), 2), "differ in shape"),
        (lambda: segmentation.iou(np.zeros((1, 2, 3)), np.zeros((1, 3, 2)), 2), "differ in shape"),
        (lambda: segmentation.labels(np.array([[[0.2], [-1.5]]])), "from -1.5 to 0.2: .*from_logits=True"),
    ],
)
def test_scores_refuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --------------------------------------------------------------------------- losses

LABELS = np.array([[[0, 1]], [[1, 1]]])
P = np.array([[[[0.8, 0.2], [0.4, 0.6]]], [[[0.5, 0.5], [0.1, 0.9]]]], "float32")
LN = -np.log([0.8, 0.6, 0.5, 0.9])


def test_weighted_cross_entropy_by_hand():
    assert float(segmentation.weighted_cross_entropy(LABELS, P)) == pytest.approx(LN.mean(), abs=1e-5)
    w = np.array([[[1, 2]], [[0, 10]]], "float32")
    expected = (LN * [1, 2, 0, 10]).mean()
    assert float(segmentation.weighted_cross_entropy(LABELS, P, w)) == pytest.approx(expected, abs=1e-5)
    one_channel = segmentation.weighted_cross_entropy(LABELS[..., None], P[..., 1:], w)
    assert float(one_channel) == pytest.approx(expected, abs=1e-5)
    logits = segmentation.weighted_cross_entropy(LABELS, np.log(P), w, from_logits=True)
    assert float(logits) == pytest.approx(expected, abs=1e-5)


def test_dice_loss_by_hand():
    first = [(2 * 0.8 + 1) / (1.2 + 1 + 1), (2 * 0.6 + 1) / (0.8 + 1 + 1)]
    second = [1 / (0.6 + 0 + 1), (2 * 1.4 + 1) / (1.4 + 2 + 1)]
    found = read(segmentation.dice_loss(LABELS, P))
    np.testing.assert_allclose(found, [1 - np.mean(first), 1 - np.mean(second)], rtol=1e-5)
    certain = np.eye(2, dtype="float32")[LABELS]
    np.testing.assert_allclose(read(segmentation.dice_loss(LABELS, certain)), 0, atol=1e-6)


def test_focal_loss_by_hand():
    expected = LN * np.array([0.2, 0.4, 0.5, 0.1]) ** 2
    np.testing.assert_allclose(read(segmentation.focal_loss(LABELS, P)).ravel(), expected, atol=1e-5)
    plain = read(segmentation.focal_loss(LABELS, P, gamma=0.0))
    np.testing.assert_allclose(plain.ravel(), LN, atol=1e-5)


@pytest.mark.parametrize("loss", ["weighted_cross_entropy", "dice_loss", "focal_loss"])
def test_losses_refuse_logits_that_are_taken_for_probabilities(loss):
    """Where the values can be looked at; inside of a compiled function `fit` sees to it."""
    for logits in (np.log(P), keras.ops.convert_to_tensor(np.log(P))):
        with pytest.raises(ValueError, match="from 0 to 1, .* from -2.3.*from_logits=True"):
            getattr(segmentation, loss)(LABELS, logits)


@pytest.mark.parametrize("loss", ["weighted_cross_entropy", "dice_loss", "focal_loss"])
@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_are_finite_even_where_the_net_is_certain(loss, channels):
    logits = np.random.default_rng(0).normal(0, 40, (2, 4, 5, channels)).astype("float32")
    truth = np.random.default_rng(1).integers(0, max(channels, 2), (2, 4, 5))

    def objective(x):
        return keras.ops.mean(getattr(segmentation, loss)(truth, x, from_logits=True))

    value, found = gradients.of_input(objective, logits)
    assert np.isfinite(value) and np.isfinite(found).all() and np.abs(found).max() > 0


# --------------------------------------------------------------------------- tiles


def randomised(net, seed=0):
    rng = np.random.default_rng(seed)
    net.set_weights([rng.normal(0, 0.4, w.shape) for w in net.get_weights()])
    return net


@pytest.mark.parametrize(
    "tile", [pytest.param(44, marks=JAX_COMPILES), pytest.param(52, marks=JAX_COMPILES), (44, 60)]
)
def test_tiles_of_a_valid_net_equal_the_whole_image(tile):
    """Tiles start at multiples of the stride, 4, so that pools see the same windows; 40 pixels are lost at the edge."""
    free = randomised(models.UNet(widths=(2, 3, 4), dropout=0, input_shape=(None, None, 1)))
    image = np.random.default_rng(1).normal(size=(100, 116, 1)).astype("float32")
    whole = read(free(image[None], training=False))[0]
    assert whole.shape == (60, 76, 2)
    tiled = segmentation.predict_tiled(free, image, tile=tile)
    assert tiled.shape == (100, 116, 2)
    np.testing.assert_allclose(tiled[20:-20, 20:-20], whole, atol=1e-5)
    mirrored = np.pad(
        image, ((20, 20), (20, 20), (0, 0)), mode="reflect"
    )  # what the paper does at the image's edge
    np.testing.assert_allclose(tiled, read(free(mirrored[None], training=False))[0], atol=1e-5)


def test_tiles_of_the_net_s_own_size_and_any_image():
    net = randomised(models.UNet(widths=(2, 3), dropout=0, input_shape=(28, 36, 1)))
    image = np.random.default_rng(1).normal(size=(31, 47, 1)).astype("float32")
    one, many = (segmentation.predict_tiled(net, image, batch_size=b) for b in (1, 7))
    assert one.shape == (31, 47, 2)
    np.testing.assert_allclose(one, many, atol=1e-6)


def test_tiles_of_a_same_net_agree_inside_when_the_overlap_covers_the_field():
    net = randomised(models.UNet(padding="same", widths=(2, 3), dropout=0, input_shape=(None, None, 1)))
    image = np.random.default_rng(1).normal(size=(64, 64, 1)).astype("float32")
    whole = read(net(image[None], training=False))[0]
    tiled = segmentation.predict_tiled(net, image, tile=48, overlap=12)
    np.testing.assert_allclose(tiled[12:-12, 12:-12], whole[12:-12, 12:-12], atol=1e-5)
    seams = segmentation.predict_tiled(net, image, tile=48, overlap=0)
    assert np.abs(seams - whole)[12:-12, 12:-12].max() > 1e-3  # what the overlap is for


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(image=np.zeros((9, 9))), "one image"),
        (dict(tile=None), "give tile="),
        (dict(tile=16, overlap=8), "larger tiles or a smaller overlap"),
    ],
)
def test_tiles_refuse(change, message):
    net = models.UNet(padding="same", widths=(2, 3), input_shape=(None, None, 1))
    given = {"image": np.zeros((32, 32, 1), "float32"), "tile": 16, **change}
    with pytest.raises(ValueError, match=message):
        segmentation.predict_tiled(net, given.pop("image"), **given)
    deep = models.UNetPlusPlus(deep_supervision=True, widths=(2, 2, 2), input_shape=(16, 16, 1))
    with pytest.raises(ValueError, match="2 outputs"):
        segmentation.predict_tiled(deep, np.zeros((32, 32, 1), "float32"))


@pytest.mark.parametrize("nested", [False, True])
def test_a_valid_net_of_any_size_names_the_sides_that_it_takes(nested):
    """Multiples of 4 from 44 on: the two pools divide by 4, and 40 pixels are lost."""
    net = models.UNet(widths=(2, 2, 2), input_shape=(None, None, 1), name="unet")
    if nested:
        net = keras.Sequential([keras.Input((None, None, 1)), net], name="unet")
    x = np.zeros((1, 90, 92, 1), "float32")
    message = "^unet takes no images of 90 x 92 pixels: .* the nearest sides that it takes are 88 and 92"
    for call in (
        lambda: segmentation.predict_tiled(net, np.zeros((100, 100, 1)), tile=(90, 92)),
        lambda: training.outputs(net, x),
        lambda: training.fit(net, x, np.zeros((1, 90, 92), int), epochs=1, verbose=False),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    fits = np.zeros((1, 92, 92, 1), "float32")
    held = x, np.zeros((1, 90, 92), int)
    with pytest.raises(ValueError, match=message):
        training.fit(net, fits, np.zeros((1, 92, 92), int), validation=held, epochs=1, verbose=False)
    with pytest.raises(
        ValueError, match="no images of 30 x 30 pixels: .*; the nearest side that it takes is 44"
    ):
        training.outputs(net, np.zeros((1, 30, 30, 1)))
    assert segmentation.output_size(net, 92, 44) == (52, 4)


@pytest.mark.parametrize(
    "change", [dict(tile=0), dict(tile=(16, 16, 16)), dict(tile=16.5), dict(batch_size=0), dict(overlap=1.5)]
)
def test_sizes_of_tiles_are_whole_numbers(change):
    net = models.UNet(padding="same", widths=(2, 3), input_shape=(None, None, 1))
    image = np.random.default_rng(0).normal(size=(32, 32, 1)).astype("float32")
    name = next(iter(change))
    with pytest.raises(ValueError, match=f"{name} is a whole number of at least [01]"):
        segmentation.predict_tiled(net, image, **{"tile": 16} | change)
    if name == "tile":
        tiled = segmentation.predict_tiled(net, image, tile=np.array([16, 24]), overlap=np.int64(2))
        np.testing.assert_array_equal(tiled, segmentation.predict_tiled(net, image, tile=(16, 24), overlap=2))


# --------------------------------------------------------------------------- training with masks


def test_image_mask_and_weights_move_together():
    """The mask is the image's own content, so it can be read off the image after any move; so can the weight."""
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 4, (50, 9, 7)).astype("uint8")
    images = masks[..., None] * np.array([1.0, 10.0])
    x, y, w = training.augment_together([images, masks, masks / 2], np.random.default_rng(1), shift=3)
    assert (x[..., 0] == y).all() and (w == y / 2).all() and set(np.unique(y)) <= {0, 1, 2, 3}
    assert y.dtype == np.uint8 and (y != masks).any(axis=(1, 2)).mean() > 0.9
    same = training.augment_together([images, masks], np.random.default_rng(1), shift=3)
    assert (same[1] == y).all()
    alone = training.augment(
        images, np.random.default_rng(1), shift=3
    )  # zeros come in, not the mirrored image
    inner = np.s_[:, 3:-3, 3:-3]
    assert (alone[inner] == x[inner]).all()


def blobs(n, side=12, seed=0):
    """A bright square on noise; its mask."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, side, side), "uint8")
    for mask, (top, left) in zip(masks, rng.integers(0, side - 5, (n, 2)), strict=True):
        mask[top : top + 5, left : left + 5] = 1
    return (masks + rng.normal(0, 0.3, masks.shape))[..., None].astype("float32"), masks


def small_unet(**options):
    given = dict(padding="same", widths=(4, 8), dropout=0, batch_norm=True, input_shape=(12, 12, 1))
    return models.UNet(**{**given, **options})


def test_fit_learns_masks_and_records():
    x, y = blobs(96)
    runs = []
    for _ in range(2):
        training.seed(1)
        net = small_unet()
        history = training.fit(net, x, y, epochs=8, batch_size=8, validation=blobs(24, seed=5), seed=1, shift=2,
                               verbose=False)  # fmt: skip
        runs.append(history)
    assert runs[0].curves["loss"] == pytest.approx(runs[1].curves["loss"], rel=1e-3)
    assert runs[0].final("val_mean_iou") > 0.85 and runs[0].final("val_accuracy") > 0.93
    truth, guess = training.predicted(net, *blobs(24, seed=5))
    assert segmentation.mean_iou(truth, guess, 2) == pytest.approx(runs[1].final("val_mean_iou"), abs=1e-4)
    assert training.accuracy(net, *blobs(24, seed=5)) == pytest.approx(
        runs[1].final("val_accuracy"), abs=1e-4
    )
    assert (
        "loss" not in runs[0].settings and "pixel_weights" not in runs[0].settings
    )  # older records still fit


@pytest.mark.parametrize("form", ["valid", "one class", "deep", "weights", "dice"])
def test_fit_takes_every_form_of_dense_net(form):
    x, y = blobs(16, side=20 if form == "valid" else 12)
    w = np.ones(y.shape, "float32")
    options = dict(epochs=1, batch_size=8, learning_rate=0.01, validation=(x, y), verbose=False)
    net, settings = small_unet(), {}
    if form == "valid":
        net = small_unet(padding="valid", input_shape=(20, 20, 1))
        assert net.output_shape == (None, 4, 4, 2)
    elif form == "one class":
        net = small_unet(classes=1, classifier_activation="sigmoid")
    elif form == "deep":
        net = models.UNetPlusPlus(deep_supervision=True, widths=(2, 2, 2), input_shape=(12, 12, 1), classes=2)
    elif form == "weights":
        options["pixel_weights"], settings = w, {"pixel_weights": True}
    elif form == "dice":
        options["loss"], settings = segmentation.dice_loss, {"loss": "dice_loss"}
    history = training.fit(net, x, y, **options)
    assert {"loss", "val_loss", "mean_iou", "accuracy", "val_mean_iou"} <= set(history.curves)
    assert np.isfinite(history.final("loss"))
    assert settings.items() <= history.settings.items()
    truth, guess = training.predicted(net, x, y)
    assert history.final("val_accuracy") == pytest.approx(segmentation.pixel_accuracy(truth, guess), abs=1e-5)
    assert truth.shape == guess.shape == (16, *net.outputs[0].shape[1:3])


def test_pixel_weights_weigh_the_loss_as_the_formula_says():
    x, y = blobs(8)
    w = data.border_weights(y[0])[None].repeat(8, 0) * 3
    net = small_unet(batch_norm=False)
    expected = float(segmentation.weighted_cross_entropy(y, net(x, training=False), w))
    history = training.fit(
        net, x, y, pixel_weights=w, epochs=1, batch_size=8, shift=0, mirror=False, verbose=False
    )
    assert history.curves["loss"][0] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    "masks, message",
    [
        (np.zeros((16, 11, 12), int), r"images \(16, 12, 12, 1\) need masks \(16, 12, 12\)"),
        (np.zeros(16, int), "a class for every pixel"),
        (np.full((16, 12, 12), 2), "labels are 0 to 1"),
    ],
)
def test_fit_refuses_masks_that_do_not_fit(masks, message):
    with pytest.raises(ValueError, match=message):
        training.fit(small_unet(), blobs(16)[0], masks, epochs=1, verbose=False)


def test_a_port_between_sizes():
    """A net trained on small images runs on large ones: the same layers, other sizes."""
    small, large = (models.UNet(widths=(2, 3), dropout=0, input_shape=(s, s, 1)) for s in (20, 36))
    weights.port(small, large)
    assert all((a == b).all() for a, b in zip(small.get_weights(), large.get_weights(), strict=True))
