"""Images as people have them, for nets as people build them: what fits, what a net scales itself, whose names are drawn."""

import keras
import ml_dtypes
import numpy as np
import pytest
from helpers import nets
from keras import layers as L

from cnnbook import viz, weights
from cnnbook.parts import layers as ours
from cnnbook.viz import reading
from cnnbook.viz.inside import ascent

read = keras.ops.convert_to_numpy
SIDE = 8
RGB = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), "uint8")


def net_behind(*first, channels=3, side=SIDE):
    """A net of one convolution behind operations or layers at its entrance."""
    x = inputs = keras.Input((side, side, channels), name="photo")
    for operation in first:
        x = operation(x)
    x = L.Conv2D(4, 3, activation="relu", name="conv")(x)
    x = L.Dense(3, activation="softmax", name="predictions")(L.GlobalAveragePooling2D(name="pool")(x))
    return nets.seeded(keras.Model(inputs, x, name="behind"), scale=0.1)


def normalization(mean, deviation, **options):
    return L.Normalization(mean=[mean] * 3, variance=[deviation**2] * 3, **options)


def of_applications(name):
    return getattr(keras.applications, name).preprocess_input


SCALE = {
    "rescaling": [L.Rescaling(1 / 127.5, -1, name="scale")],
    "normalization": [normalization(117, 58)],
    "both": [L.Rescaling(1 / 255), normalization(0.45, 0.22)],
    "our own": [weights.Preprocess("torch")],
    "our own, caffe": [weights.Preprocess("caffe")],
    "operations, tf": [of_applications("mobilenet_v2")],
    "operations, torch": [of_applications("densenet")],
    "operations, caffe": [of_applications("resnet50")],
    "lambda": [L.Lambda(lambda x: (x - 128) / 64)],
    "resizing": [L.Resizing(6, 6), L.Rescaling(1 / 255)],
    "centre crop": [L.CenterCrop(6, 6), L.Rescaling(1 / 255)],
    "padding": [L.ZeroPadding2D(1), L.Rescaling(1 / 255)],
    "identity": [L.Identity(), L.Dropout(0.5), L.Rescaling(1 / 255)],
    "nested": [keras.Sequential([keras.Input((SIDE, SIDE, 3)), L.Rescaling(1 / 255)])],
}


@pytest.mark.parametrize("kind", SCALE)
def test_a_net_that_scales_its_pixels_is_known_by_what_it_does(kind):
    model = net_behind(*SCALE[kind])
    question = viz.saliency(model, RGB).question
    assert question.probability == pytest.approx(float(read(model(RGB[None]))[0].max()), rel=1e-4)
    with pytest.raises(ValueError, match="begins with .*: it takes values from 0 to 255, these go from"):
        viz.feature_maps(model, RGB.astype("float32") / 255, "conv")
    assert ascent._values(reading.Net(model), None) == (0, 255)


OTHERS = {
    "nothing": ([], "does not scale its input"),
    "augmentation": ([L.GaussianNoise(0.1)], "does not scale its input"),
    "nothing but padding": ([L.ZeroPadding2D(1)], "does not scale its input"),
    "cut off": ([lambda x: keras.ops.clip(x, 0, 1)], "does not scale its input"),
    "from 0 to 16": ([L.Rescaling(1 / 16)], "does not scale its input"),
    "more": ([L.Rescaling(2.0)], "does not scale its input"),
    "from 0 to 1": ([normalization(0.5, 0.3, name="norm")], "begins with norm: it takes values from 0 to 1"),
    "to pixels": ([L.Rescaling(255.0, name="up")], "begins with up: it takes values from 0 to 1"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_net_that_does_not_scale_pixels_refuses_them(kind):
    first, message = OTHERS[kind]
    model = net_behind(*first)
    with pytest.raises(ValueError, match=message):
        viz.saliency(model, RGB)
    assert viz.saliency(model, (RGB / 255).astype("float32")).array.shape == (SIDE, SIDE)
    assert ascent._values(reading.Net(model), None) == ((0, 1) if "0 to 1" in message else (-2, 2))


def test_maximise_searches_where_the_net_takes_its_values():
    found = viz.maximise(net_behind(weights.Preprocess("tf")), "conv:1", steps=1)
    assert found.span == (0, 255) and 100 < found.array.mean() < 155


def test_each_image_by_itself_takes_any_values():
    own = L.Lambda(
        lambda x: (x - keras.ops.mean(x, (1, 2, 3), True)) / keras.ops.std(x, (1, 2, 3), keepdims=True)
    )
    model = net_behind(own)
    small, large = (viz.saliency(model, x).question.probability for x in (RGB, (RGB / 255).astype("float32")))
    assert small == pytest.approx(large, rel=1e-3)


def test_scaling_twice_is_refused():
    model, preprocess = net_behind(L.Rescaling(1 / 255, name="scale")), of_applications("mobilenet_v2")
    with pytest.raises(ValueError, match="begins with scale, which scales pixels .*: leave preprocess out"):
        viz.grad_cam(model, RGB, preprocess=preprocess)
    # a preprocess that hands pixels on, as that of EfficientNet
    assert viz.grad_cam(model, RGB, preprocess=of_applications("efficientnet")).array.shape == (SIDE, SIDE)


@pytest.mark.parametrize("call", ["grad_cam", "integrated_gradients", "embed", "film"])
def test_preprocess_does_not_write_into_what_is_given(call):
    """Keras' own functions scale float images in place."""
    preprocess, model = of_applications("resnet50"), net_behind()
    x = np.stack([RGB, RGB[::-1], RGB[:, ::-1]]).astype("float32")
    given = x.copy()
    options = dict(preprocess=preprocess)
    if call == "grad_cam":
        found = viz.grad_cam(model, x[0], **options)
        np.testing.assert_allclose(found.shown, RGB / 255)
        np.testing.assert_array_equal(found.question.x[0], preprocess(given.copy())[0])
    if call == "integrated_gradients":
        viz.integrated_gradients(model, x[0], baseline=x[1], steps=1, **options)
    if call == "embed":
        viz.embed(model, x, "pool", [0, 1, 1], **options)
        viz.nearest(model, x, x[0], "pool", k=1, **options)
    if call == "film":
        film = viz.Film(x[0], "conv", **options)
        film.set_model(model)
        film.set_params({"epochs": 1})
        film.on_train_begin()
        film.on_epoch_end(0, {"loss": 1.0})
        np.testing.assert_allclose(film.pixels, RGB / 255)
    np.testing.assert_array_equal(x, given)


def test_an_image_of_another_shape_is_told_what_to_do():
    colour, grey = net_behind(), net_behind(channels=1)
    x = (RGB / 255).astype("float32")
    cases = [
        (colour, np.concatenate([x, x[..., :1]], -1), r"image\[..., :3\]"),
        (colour, x[..., 0], r"np.repeat\(image, 3, -1\)"),
        (colour, np.moveaxis(x, -1, 0), r"np.moveaxis\(image, -3, -1\)"),
        (grey, x, r"image.mean\(-1, keepdims=True\)"),
        (colour, x[:6], r"data.resize\(images, size\)"),
        (colour, np.zeros((SIDE, SIDE, 5), "float32"), "reads 3 channels, the image has 5"),
    ]
    for model, image, remedy in cases:
        shape = (*image.shape, 1)[:3].__repr__().replace("(", r"\(").replace(")", r"\)")
        with pytest.raises(ValueError, match=f"takes images of shape .*, got {shape}; .*{remedy}"):
            viz.grad_cam(model, image)
    np.testing.assert_allclose(
        viz.grad_cam(grey, x.mean(-1)).array, viz.grad_cam(grey, x.mean(-1, keepdims=True)).array
    )


def test_short_floats_are_numbers_and_files_are_none():
    model, x = net_behind(), (RGB / 255).astype(ml_dtypes.bfloat16)
    expected = viz.saliency(model, x.astype("float32")).array
    np.testing.assert_array_equal(viz.saliency(model, x).array, expected)
    with pytest.raises(ValueError, match=r"array of numbers, got <U7; data.pixels\(file\)"):
        viz.saliency(model, "cat.jpg")
    for call in (viz.embed, lambda *a: viz.nearest(*a[:2], 0, "pool", k=1)):
        with pytest.raises(ValueError, match="one array of numbers, all of one size"):
            call(model, [RGB, RGB[:4], RGB], "pool", [0, 1, 1])
    broken = (RGB / 255).astype("float32")
    broken[0, 0, :2] = np.nan
    with pytest.raises(ValueError, match="these have 2 that are not"):
        viz.saliency(model, broken)


@pytest.mark.parametrize("call", [
    lambda model, x: viz.saliency(model, x),
    lambda model, x: viz.feature_maps(model, x, 0),
    lambda model, x: viz.maximise(model, "conv:1"),
    lambda model, x: viz.filters(model, "conv"),
])  # fmt: skip
def test_a_net_without_a_shape_says_so(call):
    model = keras.Sequential([L.Conv2D(2, 3, name="conv"), L.GlobalAveragePooling2D()])
    with pytest.raises(ValueError, match="has not been built; give it a keras.Input"):
        call(model, RGB / 255)


# --------------------------------------------------------------------------- names


@pytest.fixture(scope="module")
def named():
    """A net that carries the names of its classes, as those of `transfer.extend` do."""
    plain = net_behind()
    names = ours.Labels(("cat", "dog", "bird"), name="labels")
    return keras.Model(plain.input, names(plain.output), name="named")


def test_a_net_that_carries_names_is_drawn_with_them(named):
    x = (RGB / 255).astype("float32")
    nested = keras.Sequential([keras.Input((SIDE, SIDE, 3)), named])
    for model in (named, nested):
        assert viz.saliency(model, x, target=1).question.label == "dog"
        assert viz.saliency(model, x, target="bird").question.target == 2
        assert viz.saliency(model, x, target=1, names=list("abc")).question.label == "b"
    three = np.stack([x, x[::-1], x[:, ::-1]])
    legend = viz.embed(named, three, "pool", [2, 0, 2]).figure().axes[0].get_legend().get_texts()
    assert [text.get_text() for text in legend] == ["cat", "bird"]
    assert viz.nearest(named, three, 0, "pool", k=2, labels=[1, 1, 1]).captions == ["dog"] * 3
    # labels of another kind than the net's classes
    assert viz.nearest(named, three, 0, "pool", k=2, labels=[7, 7, 7]).captions == ["class 7"] * 3


def test_there_is_a_name_for_each_class(named):
    x = (RGB / 255).astype("float32")
    for names in ("ab", "abcd"):
        with pytest.raises(ValueError, match=f"names has {len(names)} names, named has 3 classes"):
            viz.grad_cam(named, x, names=list(names))
    with pytest.raises(ValueError, match="list of the classes' names in their order, got dict"):
        viz.grad_cam(named, x, names={"cat": 0, "dog": 1, "bird": 2})
    with pytest.raises(
        ValueError, match="the name 'cat' stands for the classes 0 and 2: give the class's number"
    ):
        viz.grad_cam(named, x, names=["cat", "dog", "cat"], target="cat")
    three = np.stack([x] * 3)
    with pytest.raises(ValueError, match="names has 2 names, the labels go up to 2"):
        viz.embed(named, three, "pool", [0, 1, 2], names=["a", "b"])
    with pytest.raises(ValueError, match="one label for each image .*got 2 for 3"):
        viz.nearest(named, three, 0, "pool", k=1, labels=[0, 1])
    with pytest.raises(ValueError, match="labels are whole numbers from 0 on"):
        viz.embed(named, three, "pool", [0.5, 1, 2])


# --------------------------------------------------------------------------- whole numbers

COUNTS = {
    "channels": lambda m, x, n: viz.feature_maps(m, x[0], "conv", channels=n(2)).channels == [2],
    "most of maps": lambda m, x, n: len(viz.feature_maps(m, x[0], "conv", most=n(2)).drawn) == 2,
    "rows": lambda m, x, n: len(viz.convolve(m, x[0], "conv", n(1), rows=n(2)).drawn) == 2,
    "outputs": lambda m, x, n: viz.filters(m, "conv", outputs=[n(2)], inputs=[n(0)]).outputs == [2],
    "channel": lambda m, x, n: viz.receptive_field(m, x[0], "conv", (n(1), n(2)), channel=n(3)).unit == (1, 2),
    "steps": lambda m, x, n: len(viz.maximise(m, "conv:1", steps=n(2), jitter=n(1)).history) == 2,
    "size": lambda m, x, n: viz.maximise(m, "conv:1", size=n(SIDE), steps=1).array.shape[1] == SIDE,
    "k": lambda m, x, n: len(viz.nearest(m, x, n(0), "pool", k=n(2)).array) == 2,
    "film": lambda m, x, n: viz.Film(x[0], "conv", channels=n(2), frames=n(2)).most == 2,
    "most of a browser": lambda m, x, n: viz.browse(m, x[0], ["conv"], most=n(2)).most == 2,
    "patches": lambda m, x, n: viz.occlusion(m, x[0], size=n(4), step=n(4)).values.shape == (2, 2),
    "maps tried": lambda m, x, n: viz.score_cam(m, x[0], most=n(2)).layer == "conv",
    "samples": lambda m, x, n: viz.smooth_grad(m, x[0], samples=n(2)).array.shape == (SIDE, SIDE),
    "parts of a line": lambda m, x, n: viz.integrated_gradients(m, x[0], steps=n(2)).array.shape == (SIDE, SIDE),
    "shuffles": lambda m, x, n: len(viz.randomisation(m, x[0], "saliency", steps=n(1)).array) == 2,
    "shares": lambda m, x, n: len(viz.deletion(m, x[0], viz.saliency(m, x[0]), steps=n(2)).array) == 3,
    "points": lambda m, x, n: len(viz.landscape(m, x, [0, 1, 2], points=n(3)).array) == 3,
    "target": lambda m, x, n: viz.saliency(m, x[0], target=n(2)).question.target == 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def counted():
    return net_behind(), nets.image((3, SIDE, SIDE, 3))


@pytest.mark.parametrize("what", COUNTS)
def test_whole_numbers_of_numpy_count_and_others_do_not(counted, what):
    model, x = counted
    assert COUNTS[what](model, x, np.int64)
    for wrong in (lambda n: n + 0.5, lambda n: True):
        with pytest.raises(ValueError):
            COUNTS[what](model, x, wrong)


def test_a_number_for_each_image_is_no_map_and_no_obstacle():
    """A net that subtracts the brightness of the whole image answers as before where all of it is brighter."""
    image = keras.Input((SIDE, SIDE, 3))
    brightness = keras.ops.mean(image, axis=(1, 2, 3))
    x = L.Conv2D(3, 3, name="conv")(image - keras.ops.reshape(brightness, (-1, 1, 1, 1)))
    model = nets.seeded(
        keras.Model(image, L.Dense(2, name="scores")(L.GlobalAveragePooling2D()(x))), scale=0.1
    )
    first, brighter = (viz.saliency(model, RGB.astype("float32") / 2 + more) for more in (0, 50))
    assert first.array.max() > 0
    np.testing.assert_allclose(first.array, brighter.array, rtol=1e-4, atol=1e-6)
