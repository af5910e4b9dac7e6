"""Every question to a net of keras.applications, flat and nested in a transfer model: equal numbers, and the right ones."""

import keras
import numpy as np
import pytest
from helpers import nets
from keras import layers as L

from cnnbook import graph, viz
from cnnbook.viz.reading import Net

read = keras.ops.convert_to_numpy
SIDE, MAP = 64, "conv_pw_11_relu"
# Keras' random image layers ask for TensorFlow on every backend.
TENSORFLOW = keras.backend.backend() == "tensorflow"


@pytest.fixture(scope="module")
def pair():
    """(flat, nested): MobileNet with a new head, one graph; and as a model inside a model, behind a layer that does nothing
    at rest. Layers and weights are shared."""
    backbone = nets.seeded(
        keras.applications.MobileNet(
            alpha=0.25, include_top=False, weights=None, input_shape=(SIDE, SIDE, 3), name="backbone"
        ),
        scale=0.7,
    )
    rng = np.random.default_rng(0)
    for layer in backbone.layers:  # so that signals neither die out nor hit the limit of ReLU6
        if isinstance(layer, L.DepthwiseConv2D):
            layer.set_weights([rng.normal(0, 0.5, layer.get_weights()[0].shape)])
    pool, head = L.GlobalAveragePooling2D(name="pool"), L.Dense(5, activation="softmax", name="head")
    flat = keras.Model(backbone.input, head(pool(backbone.output)), name="flat")
    inputs = keras.Input((SIDE, SIDE, 3), name="photo")
    rests = L.RandomFlip() if TENSORFLOW else L.GaussianNoise(0.1)
    nested = keras.Model(inputs, head(pool(backbone(rests(inputs)))), name="nested")
    head.set_weights([rng.normal(0, 0.1, (256, 5)), np.zeros(5)])
    return flat, nested


@pytest.fixture(scope="module")
def images():
    return nets.image((6, SIDE, SIDE, 3), 3)


def at_rest(model):
    """The net without its flip, which a training step would draw anew: the backbone stays a model inside the model."""
    if model.name == "flat":
        return model
    inputs = keras.Input((SIDE, SIDE, 3))
    x = model.get_layer("pool")(model.get_layer("backbone")(inputs))
    return keras.Model(inputs, model.get_layer("head")(x))


def film_of(model, images):
    film = viz.Film(images[0], ["conv1", MAP], filters="conv1")
    film.set_model(model)
    film.set_params({"epochs": 1})
    film.on_train_begin()
    film.on_epoch_end(0, {"loss": 1.0})
    return film.maps[MAP]


LABELS = np.array([0, 1, 2, 3, 4, 0])
QUESTIONS = {
    "feature_maps": lambda m, x: viz.feature_maps(m, x[0], MAP),
    "filters": lambda m, x: viz.filters(m, "conv1"),
    "convolve": lambda m, x: viz.convolve(m, x[0], "conv_pw_11", 3),
    "grad_cam": lambda m, x: viz.grad_cam(m, x[0]),
    "grad_cam_plus_plus": lambda m, x: viz.grad_cam_plus_plus(m, x[0], MAP),
    "cam": lambda m, x: viz.cam(m, x[0]),
    "score_cam": lambda m, x: viz.score_cam(m, x[0], most=6),
    "saliency": lambda m, x: viz.saliency(m, x[0]),
    "smooth_grad": lambda m, x: viz.smooth_grad(m, x[0], samples=3),
    "integrated_gradients": lambda m, x: viz.integrated_gradients(m, x[0], steps=4),
    "guided_backprop": lambda m, x: viz.guided_backprop(m, x[0]),
    "deconvnet": lambda m, x: viz.deconvnet(m, x[0]),
    "occlusion": lambda m, x: viz.occlusion(m, x[0], size=32),
    "randomisation": lambda m, x: viz.randomisation(m, x[0], "saliency", steps=2),
    "deletion": lambda m, x: viz.deletion(m, x[0], viz.saliency(m, x[0]), steps=4),
    "insertion": lambda m, x: viz.insertion(m, x[0], viz.saliency(m, x[0]), steps=4),
    "receptive_field": lambda m, x: viz.receptive_field(m, x[0], "conv_pw_3_relu", (5, 6)),
    "maximise": lambda m, x: viz.maximise(m, "conv_pw_3:2", steps=3),
    "nearest": lambda m, x: viz.nearest(m, x, 2, MAP, k=4),
    "embed": lambda m, x: viz.embed(m, x, "pool", labels=LABELS),
    "landscape": lambda m, x: viz.landscape(m, x, LABELS, points=3),
    "gradient_flow": lambda m, x: viz.gradient_flow(at_rest(m), x, LABELS),
    "film": film_of,
    "browse": lambda m, x: viz.browse(m, x[0], ["conv1", MAP]).array[MAP],
    "field_explorer": lambda m, x: viz.field_explorer(m, x[0], [MAP]),
}


def numbers(result):
    found = getattr(result, "array", result)
    return [np.asarray(a, "float64") for a in (found if isinstance(found, list) else [found])]


@pytest.mark.parametrize("name", list(QUESTIONS))
def test_a_nested_backbone_answers_as_the_flat_net(pair, images, name):
    flat, nested = (numbers(QUESTIONS[name](model, images)) for model in pair)
    assert len(flat) == len(nested) and all(a.size and np.isfinite(a).all() for a in flat)
    for a, b in zip(flat, nested, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5 * max(np.abs(a).max(), 1e-3))
    assert any(np.ptp(a) > 0 for a in flat)  # a constant would be equal, too


@pytest.mark.skipif(not TENSORFLOW, reason="Keras' random image layers ask for TensorFlow, at rest, too")
def test_augmentation_in_a_net_is_at_rest(pair, images):
    """The flip of the nested net moves nothing that is asked, nor what graph.trace says of its layers."""
    row = Net(pair[1])["conv_pw_3_relu"]
    assert row.known and row.receptive_field == Net(pair[0])["conv_pw_3_relu"].receptive_field
    scaled = keras.Sequential(
        [keras.Input((SIDE, SIDE, 3)), L.RandomZoom(0.1), L.Rescaling(1 / 127.5, -1, name="to_one"), pair[0]]
    )
    with pytest.raises(ValueError, match="begins with to_one: it takes values from 0 to 255"):
        viz.saliency(scaled, np.full((SIDE, SIDE, 3), 0.5, "float32"))


def test_every_question_is_asked():
    own = {"film": "Film"}
    # heat maps drawn side by side, and a kernel that slides over an image, read no net either
    drawings = {
        "style",
        "stacks",
        "diagram",
        "beside",
        "overlay",
        "errors",
        "segmented",
        "skips",
        "heat_maps",
        "slide",
    }
    # of training runs, of a classifier's answers, of published figures: they read no net
    records = {"curves", "confusion", "hardest", "trade_off"}
    assert {own.get(name, name) for name in QUESTIONS} == set(viz.__all__) - drawings - records


def test_a_net_of_keras_applications_by_hand(pair, images):
    flat, nested = pair
    maps = read(keras.Model(flat.input, flat.get_layer(MAP).output)(images[:1]))[0]
    np.testing.assert_allclose(viz.feature_maps(nested, images[0], MAP).array, maps, rtol=1e-4, atol=1e-6)
    answers = read(flat(images))
    top = answers[0].argmax()
    last = read(keras.Model(flat.input, flat.get_layer("conv_pw_13_relu").output)(images[:1]))[0]
    # Zhou et al. 2016
    cam = np.maximum(last @ read(flat.get_layer("head").kernel)[:, top], 0) / last[..., 0].size
    for model in pair:
        np.testing.assert_allclose(viz.grad_cam(model, images[0]).values, cam, rtol=1e-3, atol=1e-7)
    for model in pair:
        found = viz.saliency(model, images[0])
        assert found.question.target == top
        assert found.question.probability == pytest.approx(answers[0].max(), rel=1e-4)
    # conv1 3 and stride 2, then depthwise 3x3 with strides 1 and 2
    assert viz.receptive_field(nested, images[0], "conv_pw_3_relu").row.receptive_field == (19, 19)
    boxes = [[box.text for box in viz.stacks(model).rows[model.name]] for model in pair]
    assert boxes[0] == boxes[1] and sum("depthwise" in text for text in boxes[0]) == 13
    rows = [[row["params"] for row in viz.diagram(model).rows] for model in pair]
    assert rows[0] == rows[1] and sum(rows[0]) == graph.totals(flat)["params"]
