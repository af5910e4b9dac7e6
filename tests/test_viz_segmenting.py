"""Pictures of segmentations: what is drawn is what was computed."""

import keras
import numpy as np
import pytest
from keras import layers as L

from cnnbook import models, viz
from cnnbook.viz.inside import segmenting

pytestmark = pytest.mark.jax

CLASSES = ("background", "shoe", "bag")
TRUTH = np.array([[0, 0, 1, 1], [0, 2, 2, 1]])
GUESS = np.array([[0, 1, 1, 0], [0, 2, 1, 1]])


def shown(picture):
    """The figure's axes and the texts of its legend; every picture must also show itself."""
    assert picture._repr_png_().startswith(b"\x89PNG")
    assert repr(picture) == f"{type(picture).__name__}: {picture.alt}"
    figure = picture.figure()
    texts = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return figure.axes, texts


def test_overlay_tints_its_classes_and_names_those_that_are_there():
    image = np.full((9, 9), 128, "uint8")
    mask = np.zeros((9, 9), int)
    mask[2:7, 2:7] = 2
    overlay = viz.overlay(image, mask, CLASSES, opacity=0.5)
    colors = segmenting._class_rgb(CLASSES)
    np.testing.assert_allclose(overlay.array[0, 0], 128 / 255)
    np.testing.assert_allclose(overlay.array[2, 2], colors[1])  # its outline
    np.testing.assert_allclose(overlay.array[4, 4], 0.5 * colors[1] + 0.5 * 128 / 255)
    axes, texts = shown(overlay)
    assert texts == ["bag"] and len(axes) == 1 and "bag 31%" in overlay.alt
    assert shown(viz.overlay(image, mask, CLASSES, background=None))[1] == ["background", "bag"]


def test_every_class_of_the_scenes_has_its_own_colour():
    from cnnbook.data.drawn import scenes

    colors = segmenting._class_rgb(scenes.CLASSES["segment"])
    used = {tuple(colors[segmenting._index(k, 0)]) for k in range(1, 11)}
    assert len(used) == 10


def test_errors_by_kind():
    errors = viz.errors(TRUTH, GUESS)
    assert errors.array.tolist() == [[0, 2, 0, 1], [0, 0, 3, 0]] and errors.array.dtype == np.int8
    assert errors.shares == {0: 5 / 8, 1: 1 / 8, 2: 1 / 8, 3: 1 / 8}
    axes, texts = shown(errors)
    assert [text.split(",")[0] for text in texts] == [
        "missed: background was predicted", "invented: background is true", "confused: another class is true",
    ]  # fmt: skip
    assert axes[0].get_title() == "62.5% of the pixels right" and "12.5% missed" in errors.alt
    painted = errors.painted()
    assert tuple(painted[0, 0]) == pytest.approx((0.89, 0.89, 0.89))  # right: the picture, pale
    assert viz.errors(TRUTH, TRUTH).array.max() == 0 and shown(viz.errors(TRUTH, TRUTH))[1] == []


def answering(mask, channels=3):
    """A net that answers the same mask for every image: bias alone decides."""
    inputs = keras.Input((*mask.shape, 1))
    zero = keras.layers.Conv2D(channels, 1, kernel_initializer="zeros", use_bias=False, name="zero")(inputs)
    one_hot = np.eye(channels, dtype="float32")[mask]
    return keras.Model(inputs, keras.layers.Softmax(name="p")(zero + 5 * one_hot), name="answering")


def test_segmented_shows_truth_prediction_and_errors():
    net, image = answering(GUESS), np.random.default_rng(0).normal(size=(2, 4, 1)).astype("float32")
    found = viz.segmented(net, image, CLASSES, truth=TRUTH)
    assert (found.array == GUESS).all() and found.probability.min() > 0.9
    assert (found.errors.array == viz.errors(TRUTH, GUESS).array).all()
    axes, texts = shown(found)
    titles = [ax.get_title() for ax in axes]
    assert titles == ["image", "truth", "predicted", "errors, 37.5% of pixels"]
    assert texts[:2] == ["shoe", "bag"] and len(texts) == 5
    assert len(shown(viz.segmented(net, image, CLASSES))[0]) == 2


@pytest.mark.parametrize("units, end", [(1, "sigmoid"), (1, None), (3, "softmax"), (3, None)])
def test_segmented_reads_logits_as_it_reads_probabilities(units, end):
    image = np.random.default_rng(0).normal(size=(2, 4, 1)).astype("float32")
    inputs = keras.Input((2, 4, 1))
    layer = keras.layers.Conv2D(units, 1, bias_initializer=keras.initializers.Constant(0.3), name="classes")
    nets = [
        keras.Model(inputs, keras.layers.Activation(a)(layer(inputs)))
        for a in (end, ["softmax", "sigmoid"][units < 2])
    ]
    z = image @ keras.ops.convert_to_numpy(layer.kernel)[0, 0] + 0.3
    p = 1 / (1 + np.exp(-z)) if units == 1 else np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    found = viz.segmented(nets[0], image, CLASSES)
    assert (found.array == ((p[..., 0] >= 0.5) if units == 1 else p.argmax(-1))).all()
    p = np.concatenate([1 - p, p], -1) if units == 1 else p
    np.testing.assert_allclose(found.probability, p.max(-1), rtol=1e-5)


def test_segmented_asks_where_a_net_does_not_show_how_it_ends():
    inputs = keras.Input((2, 4, 1))
    net = keras.Model(inputs, keras.layers.Lambda(lambda x: x, name="odd")(keras.layers.Conv2D(1, 1)(inputs)))
    image = np.ones((2, 4, 1), "float32")
    with pytest.raises(ValueError, match="odd .Lambda.* kind="):
        viz.segmented(net, image, CLASSES)
    score = float(keras.ops.convert_to_numpy(net.layers[1].kernel).ravel()[0])
    assert (viz.segmented(net, image, CLASSES, kind="logit").array == (score >= 0)).all()


def test_masks_to_be_drawn_are_labels():
    with pytest.raises(ValueError, match="labels are whole numbers, got 0.4"):
        viz.overlay(np.zeros((4, 4)), np.full((4, 4), 0.4), CLASSES)
    with pytest.raises(ValueError, match="true labels are whole numbers, got 0.4"):
        viz.errors(np.full((4, 4), 0.4), np.zeros((4, 4), int))


def test_segmented_of_a_valid_net_shows_the_middle():
    net = models.UNet(widths=(2, 3), input_shape=(20, 20, 1), classes=3)
    truth = np.zeros((20, 20), int)
    truth[8:12, 8:12] = 1
    found = viz.segmented(net, np.zeros((20, 20, 1), "float32"), CLASSES, truth=truth)
    assert found.array.shape == (4, 4) and (found.truth.mask == 1).all() and found.picture.shape == (4, 4, 3)


def test_skips_are_the_maps_that_are_joined():
    net = models.UNet(padding="same", widths=(3, 4, 5), dropout=0, input_shape=(16, 16, 1))
    image = np.random.default_rng(0).normal(size=(16, 16, 1)).astype("float32")
    skips = viz.skips(net, image, "up2_concat", channels=2)
    assert {name: a.shape for name, a in skips.parts.items()} == {
        "down2_dropout": (8, 8, 4),
        "up2_up": (8, 8, 4),
    }
    np.testing.assert_array_equal(skips.array, np.concatenate(list(skips.parts.values()), -1))
    axes, _ = shown(skips)
    assert len(axes) == 4 and "down2_dropout, 8 x 8 x 4; up2_up, 8 x 8 x 4" in skips.alt
    spread = skips.parts["up2_up"].std((0, 1))
    assert skips.strongest("up2_up").tolist() == np.argsort(-spread)[:2].tolist()
    assert viz.skips(net, image).name == "up1_concat"


def test_skips_of_nested_and_sequential_nets_and_of_bare_operations():
    x = keras.Input((8, 8, 1))
    fine = L.Conv2D(2, 3, padding="same", name="fine")(x)
    coarse = L.UpSampling2D(2, name="up")(L.MaxPooling2D(2)(fine))
    inner = keras.Model(x, L.ReLU(name="last")(keras.ops.concatenate([fine, coarse], -1)), name="inner")
    chain = keras.Sequential([keras.Input((8, 8, 1)), inner, L.Conv2D(1, 1, name="head")])
    y = keras.Input((8, 8, 1))
    nested = keras.Model(y, inner(y) + 1)  # a bias is no skip
    image = np.random.default_rng(0).normal(0, 1, (8, 8, 1)).astype("float32")
    expected = keras.Model(x, [fine, coarse])(image[None])
    for net in (inner, chain, nested):
        skips = viz.skips(net, image)
        assert list(skips.parts) == ["fine", "up"]
        for part, values in zip(skips.parts.values(), expected, strict=True):
            values = keras.ops.convert_to_numpy(values)
            np.testing.assert_allclose(part, values[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(skips.array, np.concatenate(list(skips.parts.values()), -1))


@pytest.mark.parametrize("side, channels", [(16, 2), (16, 5), (32, 1)])
def test_labels_of_skips_lie_inside_the_figure(side, channels):
    net = models.UNet(padding="same", widths=(6, 7), dropout=0, input_shape=(side, side, 1))
    figure = viz.skips(net, np.eye(side, dtype="float32")[..., None], channels=channels).figure()
    figure.draw_without_rendering()
    _, _, right, top = figure.bbox.extents
    labels = [text for axes in figure.axes for text in axes.texts]
    assert [text.get_text() for text in labels] == [
        f"{n}, {side} x {side} x 6" for n in ("down1_dropout", "up1_up")
    ]
    for box in (label.get_window_extent() for label in labels):
        assert box.y1 < top and box.x1 < right


def test_overlays_and_errors_stand_beside_each_other():
    image = np.zeros((2, 4), "uint8")
    axes, _ = shown(viz.beside(viz.overlay(image, TRUTH, CLASSES, title="truth"), viz.errors(TRUTH, GUESS)))
    assert [ax.get_title() for ax in axes] == ["truth", "62.5% of the pixels right"]


def test_skips_of_a_sequential_net_are_refused_in_words():
    net = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3)], name="chain")
    with pytest.raises(ValueError, match="chain has no layer that joins maps"):
        viz.skips(net, np.zeros((8, 8, 1), "float32"))
