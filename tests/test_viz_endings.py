"""Which class is explained, and by which number, for nets that end in other ways than a layer with softmax."""

import keras
import numpy as np
import pytest
from helpers import nets
from keras import layers as L

from cnnbook import graph, viz
from cnnbook.parts import layers as ours

pytestmark = [pytest.mark.jax, pytest.mark.torch]

read = keras.ops.convert_to_numpy
SHAPE = (8, 10, 3)


def ends_in(*last, units=3, activation=None, sharp=40.0):
    """A net of one convolution, a global average pool and a dense layer with operations behind it. sharp: how far its
    logits lie from each other."""
    inputs = keras.Input(SHAPE, name="image")
    x = L.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    x = L.Dense(units, activation=activation, name="dense")(L.GlobalAveragePooling2D(name="pool")(x))
    for operation in last:
        x = operation(x)
    model = nets.seeded(keras.Model(inputs, x, name="ends"))
    layer = model.get_layer("dense")
    layer.set_weights([layer.get_weights()[0] * sharp, layer.get_weights()[1]])
    return model


@pytest.fixture(scope="module")
def photo():
    return nets.image(SHAPE)


def numbers_of(model, image, target=None, **options):
    """(class, logit, p, Grad-CAM, saliency)."""
    cam, slope = (f(model, image, target=target, **options) for f in (viz.grad_cam, viz.saliency))
    q = cam.question
    return q.target, q.score, q.probability, cam.array, slope.array


@pytest.fixture(scope="module")
def reference(photo):
    return numbers_of(ends_in(activation="softmax"), photo)


SOFTMAX = {
    "a layer": [L.Softmax()],
    "an activation": [L.Activation("softmax")],
    "an operation": [lambda x: keras.ops.softmax(x, axis=-1)],
    "names behind it": [L.Activation("softmax"), ours.Labels(("a", "b", "c"))],
    "identity": [L.Softmax(), L.Identity(), L.Dropout(0.5)],
    "a cast": [L.Softmax(), lambda x: keras.ops.cast(x, "float32"), L.Activation("linear", dtype="float32")],
    "another shape": [L.Softmax(), L.Reshape((1, 1, 3)), L.Flatten()],
    "nothing": [],
    "log softmax": [lambda x: keras.ops.log_softmax(x, axis=-1)],
    "nested": [keras.Sequential([keras.Input((3,)), L.Identity(), L.Softmax()])],
}


@pytest.mark.parametrize("kind", SOFTMAX)
def test_the_logit_is_explained_whatever_lies_behind_it(kind, photo, reference):
    """In a net that is sure of itself, where the gradient of the probability is 0."""
    found = numbers_of(ends_in(*SOFTMAX[kind]), photo)
    assert found[0] == reference[0]
    assert found[2] == pytest.approx(reference[2], rel=1e-5) and reference[2] > 0.99
    if kind != "log softmax":  # which has another gradient: that of the logit less the mean one
        for a, b in zip(found[3:], reference[3:], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        assert found[1] == pytest.approx(reference[1], rel=1e-5)
    assert found[4].max() > 0


def test_a_softmax_that_is_called_twice_is_left_out_at_the_end_only(photo):
    softmax, inputs = L.Softmax(), keras.Input(SHAPE)
    x = L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(inputs))
    scores = L.Dense(4)(L.Multiply()([x, softmax(x)]))
    model = nets.seeded(keras.Model(inputs, softmax(scores)))
    q = viz.saliency(model, photo).question
    assert q.score == pytest.approx(float(read(keras.Model(inputs, scores)(photo[None]))[0].max()), rel=1e-5)
    assert q.probability == pytest.approx(float(read(model(photo[None]))[0].max()), rel=1e-5)


def test_a_net_of_the_transfer_room_is_explained_as_its_backbone_is(photo):
    x = inputs = keras.Input(SHAPE, name="image")
    own = ends_in(activation="softmax")
    model = keras.Model(inputs, ours.Labels(("cat", "dog", "bird"), name="labels")(own(x)))
    for method in (viz.grad_cam, viz.saliency, viz.cam):
        found, expected = (method(m, photo) for m in (model, own))
        np.testing.assert_allclose(found.array, expected.array, rtol=1e-5, atol=1e-7)
        assert found.question.label == ("cat", "dog", "bird")[expected.question.target]
    p = float(read(model(photo[None]))[0].max())
    assert viz.deletion(model, photo, viz.grad_cam(model, photo), steps=2).array[0] == pytest.approx(
        p, rel=1e-5
    )


# --------------------------------------------------------------------------- one unit


def one_unit(*last, activation=None, bias=0.0):
    """A net whose logit is ten times the mean of the first channel, and a bias."""
    inputs = keras.Input(SHAPE, name="image")
    first = L.Conv2D(1, 1, use_bias=False, name="first")
    x = L.Dense(1, activation=activation, name="dense")(L.GlobalAveragePooling2D(name="pool")(first(inputs)))
    for operation in last:
        x = operation(x)
    model = keras.Model(inputs, x, name="one")
    first.set_weights([np.reshape([1.0, 0, 0], (1, 1, 3, 1))])
    model.get_layer("dense").set_weights([np.full((1, 1), 10.0), np.full(1, bias)])
    return model


NAMES = ("cat", "dog")


@pytest.mark.parametrize("last", ["in the layer", "behind it", "logit"])
def test_one_unit_tells_two_classes(last):
    model = {
        "in the layer": lambda: one_unit(activation="sigmoid"),
        "behind it": lambda: one_unit(L.Activation("sigmoid"), L.Identity()),
        "logit": one_unit,
    }[last]()
    bright = np.ones(SHAPE, "float32")
    for image, label, score in ((bright, "dog", 10), (-bright, "cat", 10)):
        q = viz.grad_cam(model, image, names=NAMES).question
        assert (q.label, q.score) == (label, pytest.approx(score)) and q.probability > 0.9999
    # the same pixels speak for one class and against the other
    cat, dog = (viz.integrated_gradients(model, bright, target=t, names=NAMES) for t in NAMES)
    np.testing.assert_allclose(cat.array, -dog.array)
    assert dog.array.sum() == pytest.approx(10, rel=1e-4)
    assert viz.cam(model, bright, target=0).values.mean() == pytest.approx(-10)
    q = viz.saliency(model, bright, target=0).question
    assert (q.label, q.score, q.probability) == (
        "class 0",
        pytest.approx(-10),
        pytest.approx(4.54e-5, rel=1e-2),
    )
    curve = viz.deletion(model, bright, viz.occlusion(model, bright, size=4, target=0), steps=2)
    assert curve.array[0] == pytest.approx(4.54e-5, rel=1e-2)
    with pytest.raises(
        ValueError, match=r"names has 1 names, one has 2 classes \(one unit tells two classes, 0 and 1\)"
    ):
        viz.grad_cam(model, bright, names=["dog"])
    with pytest.raises(ValueError, match="class from 0 to 1, or a name: cat, dog; got 'bird'"):
        viz.grad_cam(model, bright, names=NAMES, target="bird")


def test_one_channel_for_every_pixel():
    inputs = keras.Input((8, 8, 1), name="image")
    x = L.Conv2D(2, 1, name="body")(inputs)
    model = keras.Model(inputs, L.Conv2D(1, 1, activation="sigmoid", name="mask")(x), name="cells")
    model.set_weights([np.ones((1, 1, 1, 2)), np.zeros(2), np.full((1, 1, 2, 1), 2.0), np.zeros(1)])
    image = np.full((8, 8, 1), -1, "float32")
    image[2:5, 3:6] = 1  # logits 4 there, -4 elsewhere
    options = dict(names=["background", "cell"])
    assert viz.saliency(model, image, **options).question.label == "background, 55 pixels"
    cell = viz.saliency(model, image, target="cell", **options)
    assert cell.question.label == "cell, 9 pixels" and cell.question.score == pytest.approx(4)
    assert cell.question.probability == pytest.approx(1 / (1 + np.exp(-4)), rel=1e-5)
    np.testing.assert_array_equal(cell.array > 0, image[..., 0] > 0)
    with pytest.raises(ValueError, match="no pixel is predicted as cell, but background"):
        viz.saliency(model, np.full((8, 8, 1), -1, "float32"), target="cell", **options)


def test_a_unit_without_squashing_may_be_a_regression():
    """Nothing says that it is a logit, so no probability is made of it; names, a class or an ending say so."""
    model, bright = one_unit(bias=48.6), np.ones(SHAPE, "float32")
    found = viz.grad_cam(model, bright)
    q = found.question
    assert (q.measure, q.target, q.probability, q.label) == ("output", None, None, "the net's output")
    assert q.score == pytest.approx(58.6) and q.caption == "58.60"
    assert "if it is a logit, names= of two classes" in found.alt
    curve = viz.deletion(model, np.clip(bright - 0.01, 0, 1), found, steps=1)
    assert curve.array[0] == pytest.approx(58.5) and curve.figure().axes[0].get_ylim()[1] > 50
    said = viz.grad_cam(model, bright, output=graph.ending(model, kind="logit")).question
    assert said.measure == "logit" and said.target == 1


# --------------------------------------------------------------------------- what cannot be read


def test_an_ending_that_hides_what_it_gives_is_explained_as_it_is(photo):
    model = ends_in(L.Lambda(lambda x: keras.ops.softmax(3 * x), name="mine"), sharp=0.1)
    found = viz.saliency(model, photo)
    q = found.question
    out = read(model(photo[None]))[0]
    assert q.measure == "output" and q.probability is None and q.score == pytest.approx(out.max(), rel=1e-5)
    assert "of the net's output as it is, since mine" in found.alt and q.caption.startswith("output 0.")
    told = graph.ending(model, kind="softmax")
    q = viz.saliency(model, photo, output=told).question
    assert q.measure == "probability" and q.probability == pytest.approx(out.max(), rel=1e-5)
    assert q.caption == f"p = {out.max():.2f}"


def test_a_mean_of_softmaxes_has_probabilities_and_no_logits(photo):
    inputs = keras.Input(SHAPE)
    maps = L.Conv2D(2, 1, activation="softmax", name="maps")(inputs)
    model = nets.seeded(keras.Model(inputs, L.GlobalAveragePooling2D()(maps)))
    q = viz.saliency(model, photo).question
    out = read(model(photo[None]))[0]
    assert (q.measure, q.score) == ("probability", pytest.approx(out.max(), rel=1e-5))
    assert viz.cam(model, photo, target=1).values.mean() == pytest.approx(out[1], rel=1e-5)
    with pytest.raises(ValueError, match="has dense .Dense. behind its maps: viz.grad_cam takes any net"):
        viz.cam(ends_in(activation="tanh"), photo)  # no weighted sum


@pytest.mark.parametrize("last, message", [
    (lambda x: keras.ops.sum(x, -1), r"gives \(\) for an image"),
    (lambda x: keras.ops.argmax(x, -1, keepdims=True), "gives int32, no scores"),
    (lambda x: keras.ops.reshape(x, (-1, 3, 1)), r"gives \(3, 1\) for an image"),
])  # fmt: skip
def test_an_output_without_scores_is_refused(last, message, photo):
    with pytest.raises(ValueError, match=message):
        viz.grad_cam(ends_in(last), photo)


# --------------------------------------------------------------------------- several outputs


@pytest.fixture(scope="module")
def two_heads():
    inputs = keras.Input(SHAPE, name="image")
    body = L.Conv2D(4, 3, activation="relu", name="body")(inputs)
    colours = L.Conv2D(4, 3, activation="relu", name="colours")(body)
    shapes = L.Conv2D(4, 3, activation="relu", name="shapes")(body)
    pool = L.GlobalAveragePooling2D
    outputs = [
        L.Dense(3, activation="softmax", name="colour")(pool(name="p1")(colours)),
        L.Dense(2, activation="softmax", name="shape")(pool(name="p2")(shapes)),
    ]
    return nets.seeded(keras.Model(inputs, outputs, name="two_heads"))


def test_any_output_can_be_asked_about(two_heads, photo):
    second = keras.Model(two_heads.input, two_heads.outputs[1])
    expected = viz.grad_cam(second, photo)
    for output in (1, np.int64(1), "shape"):
        found = viz.grad_cam(two_heads, photo, output=output, names=["round", "square"])
        np.testing.assert_array_equal(found.array, expected.array)
        assert found.layer == "shapes" and found.question.label in ("round", "square")
    assert viz.grad_cam(two_heads, photo).layer == "colours"
    curve = viz.deletion(two_heads, photo, found, steps=2)
    np.testing.assert_allclose(curve.array, viz.deletion(second, photo, expected, steps=2).array, rtol=1e-5)
    shuffled = viz.randomisation(two_heads, photo, "saliency", steps=1, output=1)
    assert shuffled.maps[1].question.net.output == "shape"
    inputs = keras.Input(SHAPE)
    nested = keras.Model(inputs, dict(zip("ba", two_heads(inputs), strict=True)))
    np.testing.assert_allclose(viz.grad_cam(nested, photo, output="a").array, expected.array, rtol=1e-5)
    with pytest.raises(ValueError, match=r"two_heads has the outputs 0 to 1 \(colour, shape\); got output=2"):
        viz.saliency(two_heads, photo, output=2)


def test_parts_of_one_operation_are_outputs_of_their_own(photo):
    inputs = keras.Input(SHAPE)
    x = L.Dense(4, name="dense")(L.GlobalAveragePooling2D()(inputs))
    model = nets.seeded(keras.Model(inputs, keras.ops.split(x, 2, axis=-1)))
    expected = [read(out)[0] for out in model(photo[None])]
    for i in (0, 1):
        q = viz.saliency(model, photo, output=i, target=1).question
        assert q.score == pytest.approx(float(expected[i][1]), rel=1e-5)


@pytest.mark.parametrize("method", ["grad_cam", "grad_cam_plus_plus", "score_cam"])
def test_a_layer_that_leads_elsewhere_is_refused(two_heads, photo, method):
    words = r"shapes of two_heads does not lead to the output 0 \(colour\); it leads to the output 1 \(shape\): output=1"
    with pytest.raises(ValueError, match=words):
        getattr(viz, method)(two_heads, photo, "shapes")


# --------------------------------------------------------------------------- nothing to see


def test_a_map_that_is_0_everywhere_says_why():
    bright = np.ones(SHAPE, "float32")
    against = viz.grad_cam(one_unit(), bright, target=0)
    assert not against.array.any() and "first shows speaks against class 0" in against.note
    assert "0 everywhere: all that" in against.alt
    assert [a.get_xlabel() for a in viz.beside(against).figure().axes][-1] == "0 everywhere"
    assert "speaks against" in against.figure().axes[1].get_title() and len(against.figure().axes) == 2
    inputs = keras.Input(SHAPE)
    stopped = keras.ops.stop_gradient(L.Conv2D(2, 1, name="conv")(inputs))
    model = nets.seeded(keras.Model(inputs, L.Dense(2, name="dense")(L.GlobalAveragePooling2D()(stopped))))
    found = viz.saliency(model, bright)
    assert not found.array.any() and "the logit does not change with any pixel" in found.alt
    assert "no map of conv raises or lowers the logit" in viz.grad_cam(model, bright, "conv").note
    dead = ends_in()
    dead.get_layer("conv").set_weights([np.zeros((3, 3, 3, 4)), np.full(4, -1.0)])
    assert "every unit of conv is 0 for this image" in viz.grad_cam(dead, bright).alt


@pytest.mark.parametrize("call", [
    lambda m, x: viz.grad_cam(m, x),
    lambda m, x: viz.feature_maps(m, x, "conv"),
    lambda m, x: viz.maximise(m, "conv:0", steps=1),
    lambda m, x: viz.receptive_field(m, x, "conv"),
    lambda m, x: viz.embed(m, [x, x, x], "pool", [0, 1, 0]),
])  # fmt: skip
def test_numbers_that_are_not_finite_are_refused(call, broken, photo):
    with pytest.raises(ValueError, match=r"not finite: .*kernel of conv \(Conv2D\)"):
        call(broken, photo)


@pytest.fixture(scope="module")
def broken():
    model = ends_in()
    kernel, bias = model.get_layer("conv").get_weights()
    kernel[0, 0, 0, 0] = np.nan
    model.get_layer("conv").set_weights([kernel, bias])
    return model


def test_what_overflows_is_named(broken, photo):
    with pytest.raises(ValueError, match="kernels of conv have 1 numbers that are not finite"):
        viz.filters(broken, "conv")
    large = ends_in(L.Rescaling(1e30, name="up"), L.Rescaling(1e30, name="further"))
    with pytest.raises(ValueError, match=r"its weights are finite, and it begins in further \(Rescaling\)"):
        viz.saliency(large, photo)


def test_a_receptive_field_that_is_not_known_says_where_it_ends(photo):
    inputs = keras.Input(SHAPE)
    x = L.Lambda(lambda x: x / 2, name="mine")(inputs)
    model = keras.Model(inputs, L.Conv2D(2, 3, name="conv")(x), name="net")
    with pytest.raises(
        ValueError, match=r"of conv is known: where the units of mine \(Lambda\) look, the graph of net"
    ):
        viz.receptive_field(model, photo, "conv")
    with pytest.raises(ValueError, match=r"of mine, conv: where the units of mine"):
        viz.field_explorer(model, photo)
    assert "what a unit sees is not known" in viz.browse(model, photo, "conv").figure().axes[1].get_title()
    model = keras.Model(inputs, L.GlobalAveragePooling2D()(model.output), name="net")
    for found in (viz.grad_cam(model, photo), viz.cam(model, photo)):
        assert found.note.startswith("stretched over the image: where the units of mine")


def test_training_that_diverges_is_filmed(broken, photo):
    film = viz.Film(photo, "conv", filters="conv")
    film.set_model(broken)
    film.set_params({"epochs": 1})
    film.on_train_begin()
    film.on_epoch_end(0, {"loss": np.nan})
    assert np.isnan(film.maps["conv"]).any() and film._repr_png_().startswith(b"\x89PNG")
