"""`diagnose`: the right finding for each fault, threads of other people rebuilt small, no false alarm on sound nets."""

import random

import keras
import numpy as np
import pytest
from keras import layers as L

import cnnbook
from cnnbook import data, diagnosis, models, training
from cnnbook.diagnosis import Diagnosis
from cnnbook.diagnosis.given import Given
from cnnbook.diagnosis.signals import look

jax = pytest.mark.jax  # those that compute, and one of each kind of the others
SIDE = 12


def bars(n=120, classes=3, seed=0):
    """Noise with a bright bar, whose place is the class."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = rng.normal(0, 1, (n, SIDE, SIDE, 1)).astype("float32")
    for k in range(classes):
        x[y == k, :, 4 * k : 4 * k + 4] += 2
    return x, y


def small(*, activation="softmax", units=3, inputs=(SIDE, SIDE, 1), scale=False, hidden="relu", seed=0):
    training.seed(seed)
    x = image = keras.Input(inputs)
    x = L.Rescaling(1 / 255)(x) if scale else x
    x = L.Conv2D(8, 3, activation=hidden, name="conv")(x)
    x = L.Flatten()(L.MaxPooling2D(2)(x))
    return keras.Model(image, L.Dense(units, activation=activation, name="predictions")(x), name="small")


def normed():
    """Batch norm on pixels far from 0, and dropout."""
    training.seed(0)
    image = keras.Input((SIDE, SIDE, 1))
    x = L.Conv2D(8, 3, use_bias=False)(L.Rescaling(1.0, offset=5.0)(image))
    x = L.Dropout(0.1)(L.Flatten()(L.ReLU()(L.BatchNormalization()(x))))
    net = keras.Model(image, L.Dense(3, activation="softmax")(x), name="normed")
    return compiled(net, optimizer=keras.optimizers.Adam(3e-3))


def compiled(net, loss="sparse_categorical_crossentropy", optimizer=None):
    net.compile(optimizer or keras.optimizers.SGD(0.05, momentum=0.9), loss)
    return net


def kinds(*three, train=False):
    return diagnosed(*three, train=train).kinds


def diagnosed(*three, **how):
    found = cnnbook.diagnose(*three, **how)
    assert not [why for why in found.not_looked.values() if "check failed" in why], found
    return found


def blobs(n=12, side=16, seed=0):
    """Squares on noise, and their masks."""
    rng = np.random.default_rng(seed)
    x, masks = rng.normal(0, 0.3, (n, side, side, 1)).astype("float32"), np.zeros((n, side, side), "uint8")
    for image, mask, (top, left) in zip(x, masks, rng.integers(0, side - 8, (n, 2)), strict=True):
        mask[top : top + 8, left : left + 8] = 1
        image[mask > 0] += 2
    return x, masks


def per_pixel(units=2, activation="softmax", padding="same"):
    training.seed(0)
    image = keras.Input((16, 16, 1))
    x = L.Conv2D(6, 3, padding=padding, activation="relu")(image)
    return keras.Model(image, L.Conv2D(units, 1, activation=activation, name="mask")(x), name="pixels")


# --------------------------------------------------------------------------- arguments, and what stays as it was


@jax
def test_the_net_stands_wherever_it_likes():
    net, (x, y) = small(), bars()
    for three in ((net, x, y), (x, net, y), (x, y, net)):
        found = diagnosed(*three, train=False)
        assert isinstance(found, Diagnosis) and found.kinds == []
        assert repr(found).startswith(
            "small on 120 images (12, 12, 1): nothing looks wrong\n\nin order:\n  images"
        )
    assert found.not_looked["a few images"] == "train=False"


@pytest.mark.parametrize("three", [(1, 2, 3), (small(), small(), bars()[0]), (bars()[0], bars()[1], "net")])
def test_what_it_does_not_take(three):
    with pytest.raises(ValueError, match="diagnose takes a keras.Model, images and labels, or images, masks"):
        cnnbook.diagnose(*three)


def test_a_net_that_was_never_called_is_refused():
    with pytest.raises(ValueError, match="open has no weights yet, since it has never been called"):
        cnnbook.diagnose(keras.Sequential([L.Flatten(), L.Dense(3)], name="open"), *bars())


def test_no_images_and_a_wrong_seed_are_refused():
    x, y = bars()
    with pytest.raises(ValueError, match="at least one each"):
        cnnbook.diagnose(small(), x[:0], y[:0])
    with pytest.raises(ValueError, match="seed is a whole number"):
        cnnbook.diagnose(small(), x, y, seed=-1)
    with pytest.raises(ValueError, match="labels holds numbers, got 'a'"):
        cnnbook.diagnose(small(), x, ["a"] * len(x))


@jax
def test_it_changes_nothing_and_says_the_same_again():
    x, y = bars()
    net = normed()
    net.fit(x, y, epochs=1, batch_size=40, verbose=0)
    optimizer = net.optimizer
    values = [*net.get_weights(), *(np.array(v) for v in optimizer.variables)]
    random.seed(7)
    state = random.getstate()
    first, second = (repr(diagnosed(net, x, y)) for _ in range(2))
    assert first == second and random.getstate() == state
    assert net.optimizer is optimizer and net.losses == []
    now = [*net.get_weights(), *(np.array(v) for v in optimizer.variables)]
    assert all(np.array_equal(a, b) for a, b in zip(values, now, strict=True))
    net.fit(x, y, verbose=0)  # it is still compiled


def test_it_shows_itself_and_escapes():
    x, y = bars()
    found = diagnosed(small(), np.clip(x * 40 + 60, 0, 255), y, train=False)
    said, page = repr(found), found._repr_html_()
    assert "1. pixels not scaled: images hold values from" in said and "\n   do: (images - mean)" in said
    assert max(map(len, said.splitlines())) <= 100
    assert "<li><b>pixels not scaled</b>" in page
    net = small()
    net.name = "<b>net</b>"
    assert "<b>net</b>" not in cnnbook.diagnose(net, x, y, train=False)._repr_html_()


@pytest.mark.parametrize("off, said", [("1", ""), ("0", "diagnose net: labels\n")])
def test_a_line_says_what_is_looked_at(off, said, capsys, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", off)
    speaker = diagnosis._Speaker("net")
    speaker.on("images")
    speaker.spoke -= 6  # seconds
    speaker.on("labels")
    assert capsys.readouterr().out == said


@jax
def test_a_few_images_are_of_all_classes():
    x, y = bars(classes=3)
    order = np.argsort(y, kind="stable")
    _, numbers = Given.of(small(), x[order], y[order], seed=0).few(6)
    assert sorted(numbers) == [0, 0, 1, 1, 2, 2]


# --------------------------------------------------------------------------- images and labels


def changed(x, y, what):
    x, y = x.copy(), y.copy()
    what(x, y)
    return x, y


def nan_in_one(x, y):
    x[3, 2, 2] = np.nan


def blank(x, y):
    x[::10] = 0


def equal(x, y):
    x[:] = x[0]


def twice(x, y):
    x[1], x[4] = x[0], x[5]


def one_class(x, y):
    y[:] = 2


def rare(x, y):
    y[:] = np.arange(len(y)) % 10 == 0


@pytest.mark.parametrize(
    "what, kind, said",
    [
        (nan_in_one, "images not finite", "1 of 120 images hold nan"),
        (blank, "constant images", "12 of 120 images have one value"),
        (equal, "images all equal", "all 120 images are the same"),
        (
            twice,
            "equal images, different labels",
            "2 of 120 images are equal to one with another label (0 and 1",
        ),
        (one_class, "one class only", "all 120 labels are 2"),
        (rare, "one class dominates", "90 % of the labels are one class"),
    ],
)
def test_images_and_labels(what, kind, said):
    found = diagnosed(small(), *changed(*bars(), what), train=False)
    assert found.kinds[0] == kind and said in found.findings[0].seen
    assert found.findings[0].cause and found.findings[0].cure


@pytest.mark.parametrize(
    "shaped, cause, cure",
    [
        (
            lambda x: np.moveaxis(np.repeat(x, 3, -1), -1, 1),
            "channels come first",
            "np.moveaxis(images, 1, -1)",
        ),
        (lambda x: x[..., 0], "without an axis of channels", "images[..., None]"),
        (lambda x: np.repeat(x, 4, -1), "opacity", "images[..., :3]"),
        (lambda x: x[:, :10], "another size", "data.resize(images, (12, 12))"),
    ],
)
def test_shapes_of_images(shaped, cause, cure):
    x, y = bars()
    found = diagnosed(small(), shaped(x), y)
    assert found.kinds == ["shape of images"]
    assert cause in found.findings[0].cause and cure in found.findings[0].cure
    assert found.not_looked["a few images"] == "the images have not the shape that the net reads"
    grey = cnnbook.diagnose(small(inputs=(SIDE, SIDE, 3)), x, y, train=False)
    assert grey.findings[0].cure == "np.repeat(images, 3, axis=-1)"


def test_pixels_that_are_scaled_never_or_twice():
    x, y = bars()
    bytes_ = np.clip(60 + 40 * x, 0, 255).astype("uint8")
    assert kinds(small(), bytes_, y)[0] == "pixels not scaled"
    assert kinds(small(scale=True), bytes_, y) == []
    assert kinds(small(scale=True), bytes_ / 255, y) == ["pixels scaled twice"]
    assert kinds(small(), bytes_ / 255, y) == []


@pytest.mark.parametrize(
    "relabelled, kind, cure",
    [
        (lambda y: y + 1, "labels outside the classes", "labels - 1"),
        (lambda y: y * 2, "labels outside the classes", "classes=5"),
        (lambda y: y - 1, "labels outside the classes", "return_inverse=True"),
        (lambda y: y[:-1], "another number of labels", "same index"),
        (lambda y: np.where(y == 0, np.nan, y), "labels not finite", "np.isfinite(labels)"),
    ],
)
def test_labels(relabelled, kind, cure):
    x, y = bars()
    found = diagnosed(small(), x, relabelled(y))
    assert found.kinds == [kind] and cure in found.findings[0].cure


def test_few_images():
    x, y = bars(9)
    assert kinds(small(), x, y) == ["few images"]


# --------------------------------------------------------------------------- end, loss, what is trained, rate

LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@jax
@pytest.mark.parametrize(
    "net, loss, one_hot, kind",
    [
        (dict(activation=None), "sparse_categorical_crossentropy", False, "logits taken for probabilities"),
        (dict(), LOGITS, False, "squashed twice"),
        (dict(), "categorical_crossentropy", False, "loss of another kind"),
        (dict(), "sparse_categorical_crossentropy", True, "loss of another kind"),
        (dict(), "binary_crossentropy", False, "loss of another kind"),
        (dict(), "mean_squared_error", False, "loss of another kind"),
        (dict(activation="relu"), LOGITS, False, "a ReLU at the end"),
        (dict(), "sparse_categorical_crossentropy", False, None),
        (dict(activation=None), LOGITS, False, None),
        (dict(), "categorical_crossentropy", True, None),
    ],
)
def test_end_and_loss(net, loss, one_hot, kind):
    x, y = bars()
    y = np.eye(3, dtype="float32")[y] if one_hot else y
    assert kinds(compiled(small(**net), loss), x, y) == ([kind] if kind else [])


def test_the_least_that_a_loss_of_twice_squashed_scores_has():
    """log(1 + (C - 1) / e), the loss of a softmax of 1 and zeros."""
    x, y = bars()
    found = diagnosed(compiled(small(), LOGITS), x, y, train=False).findings[0]
    least = float(LOGITS(np.array([0]), np.array([[1.0, 0, 0]])))
    assert f"cannot fall below {least:.2f} " in found.seen and f"{least:.2f}" == "0.55"


def test_a_softmax_over_one_unit():
    x, y = bars(classes=2)
    assert kinds(small(units=1), x, y) == ["softmax over one unit"]
    assert kinds(compiled(small(units=1, activation="sigmoid"), "binary_crossentropy"), x, y) == []


def test_what_is_trained():
    x, y = bars()
    net = small()
    net.trainable = False
    assert kinds(net, x, y, train=True) == ["nothing is trained"]
    net = models.ResNetCIFAR(8, widths=(4, 4, 4), input_shape=(SIDE, SIDE, 1), classes=3)
    for layer in net.layers:
        layer.trainable = not isinstance(layer, L.BatchNormalization)
    assert "batch norm frozen at its start" in kinds(net, x, y)
    net = small()
    net.get_layer("conv").kernel.assign(net.get_layer("conv").kernel * np.nan)
    assert kinds(net, x, y)[0] == "weights not finite"


@pytest.mark.parametrize(
    "optimizer, kind",
    [
        (lambda: keras.optimizers.SGD(0.0), "learning rate of zero"),
        (lambda: keras.optimizers.Adam(0.5), "large learning rate"),
        (lambda: keras.optimizers.SGD(1e-8), "small learning rate"),
        (
            lambda: keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.0, 99, 0.0, "c", 0.05, 9)),
            None,
        ),
        (lambda: keras.optimizers.Adam(1e-3), None),
    ],
)
def test_learning_rate(optimizer, kind):
    assert kinds(compiled(small(), optimizer=optimizer()), *bars()) == ([kind] if kind else [])


# --------------------------------------------------------------------------- what a batch does in the net


def test_a_signal_that_fades():
    """Sigmoids in a row, and the same net with ReLUs."""
    x, y = bars()

    def deep(activation):
        training.seed(0)
        net = keras.Sequential([keras.Input((SIDE, SIDE, 1))], name="deep")
        for _ in range(7):
            net.add(L.Conv2D(8, 3, padding="same", activation=activation, kernel_initializer="he_normal"))
        net.add(L.GlobalAveragePooling2D())
        net.add(L.Dense(3, activation="softmax"))
        return net

    found = diagnosed(deep("sigmoid"), x, y, train=False)
    assert found.kinds == ["signal fades"] and "batch norm behind each" in found.findings[0].cure
    assert kinds(deep("relu"), x, y) == []


@jax
def test_dead_units_and_no_gradient():
    x, y = bars()
    net = small()
    net.get_layer("conv").bias.assign(np.full(8, -1000.0))
    found = diagnosed(net, x, y, train=False)
    assert (
        found.kinds == ["dead units", "no gradient"]
        and "100 % of the channels of conv" in found.findings[0].seen
    )


@jax
def test_the_spread_of_images_by_hand():
    """The root of the mean variance over the images of the first layer's output."""
    x, y = bars()
    net = small()
    seen = look(Given.of(net, x, y, seed=0))
    maps = keras.Model(net.input, net.get_layer("conv").output).predict(seen.images, verbose=0)
    assert seen.names == ["conv", "predictions"]
    np.testing.assert_allclose(seen.spread[0], np.sqrt(maps.var(0).mean()), rtol=1e-4)


def trained(net, x, y, **how):
    settings = dict(epochs=3, batch_size=20, learning_rate=0.05, shift=0, mirror=False, weight_decay=0) | how
    training.fit(net, x, y, verbose=False, **settings)
    return net


def test_a_trained_net_is_in_order_and_one_on_foreign_pixels_is_not():
    x, y = bars()
    net = trained(small(), x, y)
    assert kinds(net, x, y) == []
    assert kinds(net, -20 * x, y)[-1] == "loss above a guess"


@jax
def test_one_class_predicted():
    x, y = bars()
    net = trained(small(), x, y, epochs=1)
    assert net.optimizer.iterations == 0, "fit leaves another optimiser, so the net is known by its biases"
    net.get_layer("predictions").bias.assign(np.array([0, 0, 50.0]))
    assert "one class predicted" in kinds(net, x, y)


@jax
def test_moving_statistics_of_a_run_that_was_too_short():
    """Newcomers' threads: training accuracy 1, held out no better than a guess, and the weights are right."""
    x, y = bars()
    net = normed()
    net.fit(x, y, epochs=4, batch_size=20, verbose=0)
    found = diagnosed(net, x, y, train=False)
    assert found.kinds[-1] == "moving statistics" and "after 24 steps 79 % of them" in found.findings[-1].seen
    training.statistics.remeasure(net, [x])
    assert kinds(net, x, y) == []


# --------------------------------------------------------------------------- a few images


@jax
def test_a_net_that_learns_a_few_images():
    found = diagnosed(compiled(small()), *bars())
    assert found.kinds == [] and found.in_order["a few images"].startswith(
        "16 images, a guess has 1.09: SGD takes"
    )


@pytest.mark.parametrize(
    "optimizer, kind",
    [
        (lambda: keras.optimizers.SGD(1e-7), "optimiser does not move"),
        (lambda: keras.optimizers.SGD(2.0, momentum=0.9), "learning rate too large"),
    ],
)
def test_rates_that_do_not_learn_a_few_images(optimizer, kind):
    x, y = bars()
    assert kinds(compiled(small(activation=None), LOGITS, optimizer()), 6 * x, y, train=True)[-1] == kind


def test_a_net_that_cannot_tell_images_apart():
    image = keras.Input((SIDE, SIDE, 1))
    x = L.Rescaling(0.0)(image)
    net = keras.Model(image, L.Dense(3, activation="softmax")(L.Flatten()(x)), name="blind")
    assert "does not fit a few images" in kinds(net, *bars(), train=True)


class Own(keras.Model):
    """A model with a call of its own."""

    def __init__(self):
        super().__init__(name="own")
        self.dense = L.Dense(3, activation="softmax")

    def call(self, x):
        return self.dense(keras.ops.reshape(x, (-1, SIDE * SIDE)))


def test_a_model_without_a_graph_is_looked_at_as_far_as_possible():
    x, y = bars()
    net = Own()
    net(x[:1])
    found = diagnosed(compiled(net), x * 30 + 200, y + 9)
    assert (
        "call() of its own" in found.not_looked["end and loss"]
        and found.in_order["learning rate"] == "SGD, 0.05"
    )


# --------------------------------------------------------------------------- masks


@pytest.mark.parametrize(
    "made, kind, cure",
    [
        (lambda m: m * 255, "mask values not 0 and 1", "(masks > 127.5)"),
        (lambda m: data.resize(m[..., None] * 255, (8, 8)).repeat(2, 1).repeat(2, 2)[..., 0], "mask values between classes",
         "resize_masks"),
        (lambda m: m + 1, "mask values not 0 and 1", "(masks > 1.5)"),
        (lambda m: m + 3 * (m == 1) * (np.arange(16) % 5 == 0) , "mask values outside the classes", "pixel_weights"),
        (lambda m: m * 0, "masks all one class", "np.unique"),
        (lambda m: m * (np.arange(len(m)) == 0)[:, None, None], "little foreground", "dice_loss"),
        (lambda m: m[:, ::2, ::2], "size of masks", "data.resize_masks(masks, (16, 16))"),
        (lambda m: m[:, 0, 0], "shape of masks", "(n, 16, 16)"),
        (lambda m: np.repeat(m[..., None], 3, -1) * 255, "mask values: colours", "masks[..., 0]"),
    ],
)  # fmt: skip
def test_masks(made, kind, cure):
    x, masks = blobs()
    found = diagnosed(x, made(masks), per_pixel(), train=False)
    assert found.kinds[0] == kind and cure in found.findings[0].cure
    assert kinds(x, masks, per_pixel()) == kinds(x, masks[..., None], per_pixel()) == []
    assert kinds(x, masks, per_pixel(padding="valid")) == []


@jax
@pytest.mark.parametrize("steps, cause", [(20, "nothing of the images yet"), (60, "tells the two apart")])
def test_a_black_mask(steps, cause):
    """zhixuhao/unet#217 and its like: one sigmoid, rare foreground, too few steps."""
    rng, masks = np.random.default_rng(0), np.zeros((24, 16, 16), "uint8")
    for mask, (top, left) in zip(masks, rng.integers(0, 13, (24, 2)), strict=True):
        mask[top : top + 3, left : left + 3] = 1
    x = (rng.normal(0, 0.3, masks.shape) + 0.4 * masks)[..., None].astype("float32")
    net = compiled(per_pixel(1, "sigmoid"), "binary_crossentropy", keras.optimizers.Adam(1e-2))
    net.fit(x, masks[..., None], epochs=steps, verbose=0)
    found = diagnosed(x, masks, net, train=False)
    assert found.kinds == ["little foreground", "mask all background"] and cause in found.findings[-1].cause


# --------------------------------------------------------------------------- no false alarm


@pytest.fixture(scope="module")
def clothes():
    images = data.load("fashion_mnist", train=300, test=10, verbose=False).standardised()
    return np.pad(images.x_train, ((0, 0), (2, 2), (2, 2), (0, 0))), images.y_train


SLIM = dict(input_shape=(32, 32, 1), classes=10)
SOUND = {
    "LeNet5": lambda: models.LeNet5(**SLIM),
    "VGG11": lambda: models.VGG11(**SLIM, widths=(8, 16, 32, 64, 64), hidden=64, batch_norm=True),
    "ResNetCIFAR": lambda: models.ResNetCIFAR(8, **SLIM),
    "DenseNetCIFAR": lambda: models.DenseNetCIFAR(22, 8, bottleneck=True, **SLIM),
    "NiN": lambda: models.NiN(**SLIM),
}


@pytest.mark.parametrize("name", SOUND)
def test_no_false_alarm(name, clothes):
    training.seed(0)
    assert kinds(SOUND[name](), *clothes, train=name in ("LeNet5", "ResNetCIFAR")) == []


def test_no_false_alarm_on_masks():
    cells = data.load("cells", train=16, test=1, verbose=False).standardised()
    training.seed(0)
    net = models.UNet(padding="same", widths=(8, 16, 32), input_shape=(64, 64, 1), batch_norm=True)
    assert kinds(cells.x_train, cells.y_train, net, train=True) == []


def test_vgg_from_nothing(clothes):
    """rasbt/deeplearning-models#76 and ten more threads: the loss stays at ln 10."""
    training.seed(0)
    net = models.VGG16(**SLIM, widths=(8, 16, 32, 64, 64), hidden=64)
    found = diagnosed(net, *clothes, train=False)
    assert found.kinds == ["signal fades"] and "block1_conv1" in found.findings[0].seen
