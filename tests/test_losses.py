"""The loss and the metrics that fit a net's end, however it ends, and what `fit` refuses before it trains."""

import functools

import keras
import numpy as np
import pytest
from keras import layers as L

from cnnbook import segmentation, training, viz
from cnnbook.training import gradients
from cnnbook.training.protocol import settings_of

read = keras.ops.convert_to_numpy
RNG = np.random.default_rng(0)
X = RNG.normal(0, 1, (12, 4, 4, 2)).astype("float32")
Y = RNG.integers(0, 3, 12)
B = (X[..., 0].mean((1, 2)) > 0).astype("int64")
MASKS = (X[..., 0] > 0).astype("int64")


def maps(units=3, seed=1, name="scores"):
    """A convolution whose maps are the scores of `units` classes."""
    layer = L.Conv2D(units, 1, name=name)
    layer.build((None, 4, 4, 2))
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(0, 1, w.shape) for w in layer.get_weights()])
    return layer


def net(*layers, shape=(4, 4, 2)):
    x = i = keras.Input(shape)
    for layer in layers:
        x = layer(x)
    return keras.Model(i, x, name="net")


def nested(model):
    return keras.Sequential([keras.Input(model.input_shape[1:]), L.Identity(), model], name="outer")


GAP = L.GlobalAveragePooling2D
SCORES = read(net(maps(), GAP())(X))  # (12, 3)


def cross_entropy(scores, y):
    """By hand, from logits (n, classes)."""
    z = scores.astype("float64") - scores.max(-1, keepdims=True)
    return float((np.log(np.exp(z).sum(-1)) - z[np.arange(len(y)), y]).mean())


def one_unit(z, y):
    """Binary cross-entropy by hand, from logits."""
    z = z.astype("float64")
    return float((np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0) - z * y).mean())


ENDS = {
    "scores": lambda: net(maps(), GAP()),
    "scores in a Sequential": lambda: nested(net(maps(), GAP())),
    "scores, averaged": lambda: net(lambda x: L.Average()([GAP()(maps(name=name)(x)) for name in "ab"])),
    "softmax": lambda: net(maps(), GAP(), L.Softmax()),
    "softmax and a cast": lambda: nested(
        net(maps(), GAP(), L.Softmax(), L.Activation("linear", dtype="float32"))
    ),
}


@pytest.mark.jax
@pytest.mark.parametrize("end", ENDS)
def test_the_loss_is_the_cross_entropy_however_a_net_ends(end):
    model, expected = ENDS[end](), cross_entropy(SCORES, Y)
    assert float(training.loss_of(model)(Y, model(X))) == pytest.approx(expected, rel=1e-4)
    assert viz.landscape(model, X, Y, points=3).loss == pytest.approx(expected, rel=1e-4)


@pytest.mark.jax
def test_gradient_norms_are_those_of_the_cross_entropy():
    """For scores, a softmax and one unit: the gradient for the kernel of a linear net by hand."""
    pooled = X.mean((1, 2)).astype("float64")  # the mean of 1 x 1 convolutions is one of the means
    p = np.exp(SCORES - SCORES.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    expected = np.linalg.norm(pooled.T @ (p - np.eye(3)[Y]) / len(Y))
    for model in (ENDS["scores"](), ENDS["softmax"](), ENDS["scores in a Sequential"]()):
        assert training.gradient_norms(model, X, Y) == {"scores": pytest.approx(expected, rel=1e-4)}
        assert viz.gradient_flow(model, X, Y).array == pytest.approx([expected], rel=1e-4)
    z = read(net(maps(1), GAP())(X))[:, 0].astype("float64")
    expected = np.linalg.norm(pooled.T @ (1 / (1 + np.exp(-z)) - B) / len(B))
    for model in (net(maps(1), GAP()), net(maps(1), GAP(), L.Activation("sigmoid"))):
        assert training.gradient_norms(model, X, B) == {"scores": pytest.approx(expected, rel=1e-4)}


def test_gradient_flow_of_every_kernel_of_the_first_output_and_of_a_loss():
    i = keras.Input((4, 4, 2))
    x = L.SeparableConv2D(3, 3, name="sep")(i)
    outputs = [L.Dense(3, activation="softmax", name=name)(GAP()(x)) for name in ("main", "aux")]
    both, first = keras.Model(i, outputs), keras.Model(i, outputs[0])
    found = viz.gradient_flow(both, X, Y).norms[both.name]
    assert (
        list(found) == ["sep/depthwise_kernel", "sep/pointwise_kernel", "main", "aux"] and found["aux"] == 0
    )
    only = training.gradient_norms(first, X, Y)
    assert only == {name: pytest.approx(found[name]) for name in list(found)[:3]}
    doubled = training.gradient_norms(first, X, Y, loss=lambda y, p: 2 * training.loss_of(first)(y, p))
    assert doubled["main"] == pytest.approx(2 * only["main"], rel=1e-5)
    one_hot = training.gradient_norms(first, X, np.eye(3)[Y], loss="categorical_crossentropy")
    assert one_hot["main"] == pytest.approx(only["main"], rel=1e-5)
    first.trainable = False
    with pytest.raises(ValueError, match="no kernel of .* is trained: .*trainable = True"):
        viz.gradient_flow(first, X, Y)


def test_a_net_is_trained_alike_however_it_ends():
    """Scores, flat and nested, and a softmax: one step from equal weights leaves equal weights."""
    left = []
    for end in ("scores", "scores in a Sequential", "softmax and a cast"):
        model = ENDS[end]()
        history = training.fit(model, X, Y, epochs=1, batch_size=12, shift=0, mirror=False, verbose=False)
        assert history.final("loss") == pytest.approx(cross_entropy(SCORES, Y), rel=1e-4), end
        left.append(read(model(X)))
    np.testing.assert_allclose(left[1], left[0], rtol=1e-4)
    np.testing.assert_allclose(left[2], read(keras.ops.softmax(left[0])), rtol=1e-4)


@pytest.mark.parametrize("per_pixel", [False, True])
def test_one_unit_is_trained_and_measured_as_a_sigmoid_or_as_a_logit(per_pixel):
    y, tail = (MASKS, []) if per_pixel else (B, [GAP()])
    logit, sigmoid = net(maps(1), *tail), net(maps(1), *tail, L.Activation("sigmoid"))
    z = read(logit(X))[..., 0]
    curves = []
    for model in (logit, sigmoid):
        assert training.accuracy(model, X, y) == pytest.approx(((z > 0) == y).mean())
        history = training.fit(model, X, y, epochs=1, batch_size=12, shift=0, mirror=False, learning_rate=0.05,
                               validation=(X, y), clean_training_accuracy=True, verbose=False)  # fmt: skip
        curves.append(history.curves)
        assert history.curves["loss"][0] == pytest.approx(one_unit(z, y), rel=1e-4)
        assert history.curves["accuracy"][0] == pytest.approx(((z > 0) == y).mean())
        right = (
            ((read(logit(X))[..., 0] > 0) == y).mean() if model is logit else training.accuracy(model, X, y)
        )
        assert [history.final("val_accuracy"), history.final("train_accuracy")] == pytest.approx([right] * 2)
    assert curves[0] == {name: pytest.approx(values, rel=1e-4) for name, values in curves[1].items()}
    if per_pixel:
        guess = read(logit(X))[..., 0] > 0
        assert curves[0]["val_mean_iou"][-1] == pytest.approx(segmentation.mean_iou(y, guess, 2), abs=1e-5)
        assert (training.predicted(logit, X, y)[1] == guess).all()


# --------------------------------------------------------------------------- a loss that the caller gives

SPARSE, BINARY = keras.losses.SparseCategoricalCrossentropy, keras.losses.BinaryCrossentropy


def test_a_loss_that_asks_for_it_is_told_of_logits():
    dense, p = net(maps()), read(net(maps(), L.Softmax())(X))
    masks = RNG.integers(0, 3, (12, 4, 4))
    for loss in (segmentation.dice_loss, segmentation.focal_loss, segmentation.weighted_cross_entropy):
        found = training.loss_of(dense, loss)(masks, dense(X))
        np.testing.assert_allclose(read(found), read(loss(masks, p)), rtol=1e-3)
        assert training.loss_of(net(maps(), L.Softmax()), loss) is loss
    partial = functools.partial(segmentation.dice_loss, smooth=3.0)
    found = training.loss_of(dense, partial)(masks, dense(X))
    np.testing.assert_allclose(read(found), read(partial(masks, p)), rtol=1e-4)
    named = training.loss_of(net(maps(), GAP()), "sparse_categorical_crossentropy")
    assert float(keras.ops.mean(named(Y, SCORES))) == pytest.approx(cross_entropy(SCORES, Y), rel=1e-4)
    assert isinstance(named, SPARSE) and named.from_logits
    assert (
        training.loss_of(ENDS["softmax"](), "sparse_categorical_crossentropy")
        == "sparse_categorical_crossentropy"
    )


def test_a_net_can_be_saved_whatever_loss_trained_it(tmp_path):
    """Keras saves no functools.partial; so late, it would be the end of a trained net."""
    dense = net(maps(2))
    training.fit(dense, X, MASKS, epochs=1, batch_size=12, loss=segmentation.dice_loss, verbose=False)
    dense.save(tmp_path / "net.keras")
    opened = keras.saving.load_model(tmp_path / "net.keras", compile=False)
    np.testing.assert_array_equal(read(opened(X)), read(dense(X)))
    softmax = net(maps(2), L.Softmax())
    partial = functools.partial(segmentation.focal_loss, gamma=1.0)
    softmax.compile(loss=training.loss_of(softmax, partial))
    softmax.save(tmp_path / "net.keras")


def test_a_run_with_a_partial_is_found_again():
    """What a run is found by must not be an address in memory."""
    partial = functools.partial(segmentation.focal_loss, gamma=1.0)
    assert settings_of(training.Protocol(), X, loss=partial)["loss"] == "focal_loss(gamma=1.0)"


@pytest.mark.parametrize(
    "end, loss, message",
    [
        ([GAP()], SPARSE(), "net gives logits.* reads probabilities.* from_logits=True"),
        (
            [GAP(), L.Softmax()],
            SPARSE(from_logits=True),
            "net gives probabilities.* reads logits.* from_logits=False",
        ),
        (
            [GAP(), L.Softmax()],
            "categorical_crossentropy",
            "one-hot labels.* sparse_categorical_crossentropy",
        ),
        ([GAP(), L.Softmax()], BINARY(), "one unit, and net has 3"),
        (
            [GAP(), L.Dense(1)],
            SPARSE(from_logits=True),
            "at least two units, and net has 1.* binary_crossentropy",
        ),
        ([GAP(), L.Softmax()], "crossentropie", "crossentropie"),
        ([GAP(), L.Lambda(lambda x: x, name="odd")], None, "odd .Lambda.* loss="),
        ([GAP(), L.Lambda(lambda x: x)], "sparse_categorical_crossentropy", "from_logits="),
        ([GAP(), L.Dense(1), L.Reshape(())], None, "no axis of classes"),
        ([GAP(), L.Dense(1, activation="tanh")], keras.losses.MeanSquaredError(), "tanh"),
    ],
)
def test_a_loss_that_does_not_fit_the_net_is_refused(end, loss, message):
    with pytest.raises(ValueError, match=message):
        training.fit(net(maps(), *end), X, B, epochs=1, loss=loss, verbose=False)


def test_what_cannot_be_known_can_be_told():
    hidden = net(maps(), GAP(), L.Lambda(lambda x: 1.0 * x))
    history = training.fit(
        hidden,
        X,
        Y,
        epochs=1,
        batch_size=12,
        shift=0,
        mirror=False,
        loss=SPARSE(from_logits=True),
        verbose=False,
    )
    assert history.final("loss") == pytest.approx(cross_entropy(SCORES, Y), rel=1e-4)
    one = net(maps(1), GAP(), L.Lambda(lambda x: 1.0 * x))
    z = read(one(X))[:, 0]
    assert training.accuracy(one, X, B, kind="logit") == ((z > 0) == B).mean()
    with pytest.raises(ValueError, match="Lambda.* kind="):
        training.accuracy(one, X, B)


# --------------------------------------------------------------------------- labels and images

ONE_HOT = np.eye(3)[Y]


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize(
    "change, message",
    [
        (dict(y=ONE_HOT), r"one-hot.*argmax\(-1\)"),
        (dict(y=Y + 0.5), "labels are whole numbers, got [0-2].5"),
        (dict(y=Y + 1), "labels are 0 to 2 for net, got 1 to 3"),
        (dict(y=Y[:, None]), r"one integer label per image: got 12 images and labels of shape \(12, 1\)"),
        (dict(x=np.where(np.arange(12)[:, None, None, None] == 5, np.nan, X)), "finite.* image 5 holds nan"),
        (dict(x=X[:0], y=Y[:0]), "at least one image"),
    ],
)
def test_labels_and_images_are_checked_before_training(change, message, held_out):
    given = dict(x=X, y=Y) | change
    x, y = (X, Y) if held_out else (given["x"], given["y"])
    validation = (given["x"], given["y"]) if held_out else None
    with pytest.raises(ValueError, match=("held-out .*" if held_out else "") + message):
        training.fit(net(maps(), GAP()), x, y, epochs=1, validation=validation, verbose=False)


def test_labels_in_words_are_refused():
    words = np.array(["cat"] * 12)
    for labels, held_out, name in ((words, None, "y"), (Y, (X, words), "validation's y")):
        with pytest.raises(ValueError, match=f"^{name} holds numbers, got 'cat'"):
            training.fit(net(maps(), GAP()), X, labels, epochs=1, validation=held_out, verbose=False)


def test_masks_are_checked_alike():
    model = net(maps(1))
    for y, message in (
        (MASKS * 0.49, "whole numbers, got 0.49"),
        (MASKS * 2, "labels are 0 to 1 for net, got 0 to 2"),
    ):
        with pytest.raises(ValueError, match=message):
            training.fit(model, X, y, epochs=1, verbose=False)
        with pytest.raises(ValueError, match="held-out .*" + message):
            training.fit(model, X, MASKS, validation=(X, y), epochs=1, verbose=False)


def test_accuracy_counts_labels_of_one_shape_only():
    model = net(maps(), GAP())
    for y in (Y[:, None], ONE_HOT, Y[:6]):
        with pytest.raises(ValueError, match=r"labels of shape \(12,\)"):
            training.accuracy(model, X, y)
    with pytest.raises(ValueError, match="whole numbers, got [0-2].5"):
        training.accuracy(model, X, Y + 0.5)
    with pytest.raises(ValueError, match="whole numbers, got [0-2].5"):
        training.top_k(SCORES, Y + 0.5, 1)


def test_landscape_takes_a_loss_by_name_and_refuses_in_words():
    model = ENDS["softmax"]()
    found = viz.landscape(model, X, ONE_HOT, loss="categorical_crossentropy", points=3)
    assert found.loss == pytest.approx(cross_entropy(SCORES, Y), rel=1e-4)
    for call, message in (
        (lambda: viz.landscape(model, X, ONE_HOT, points=3), "one-hot"),
        (lambda: viz.gradient_flow(model, X, ONE_HOT), "one-hot"),
        (lambda: viz.landscape(model, X, Y, loss="categorical_crossentropy", points=3), "one-hot labels"),
        (lambda: viz.landscape(model, np.nan * X, Y, points=3), "finite.* image 0 holds nan"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    model.get_layer("scores").set_weights([np.full(w.shape, np.inf) for w in model.get_weights()])
    with pytest.raises(ValueError, match="the loss of net itself is nan, so nothing is to be seen around it"):
        viz.landscape(model, X, Y, points=3)


def test_the_loss_of_gradients_reads_labels_of_one_unit():
    model = net(maps(1), GAP())
    z = read(model(X))[:, 0]
    value, _ = gradients.of_weights(model, gradients.loss_on(X, B, from_logits=True))
    assert value == pytest.approx(one_unit(z, B), rel=1e-4)


def test_a_saved_net_opens_with_the_loss_that_trained_it_or_with_none(tmp_path):
    """A loss of other arguments under the same name would change what evaluate says."""
    logit = net(maps(1), GAP())
    partial = functools.partial(keras.losses.binary_crossentropy, from_logits=True)
    training.fit(logit, X, B, epochs=1, loss=partial, verbose=False)
    dice = net(maps(2))
    training.fit(dice, X, MASKS, epochs=1, loss=segmentation.dice_loss, verbose=False)
    logit.save(tmp_path / "logit.keras")
    dice.save(tmp_path / "dice.keras")
    opened = training.load(tmp_path / "logit.keras", trusted=True)
    assert opened.evaluate(X, B[:, None], verbose=0) == pytest.approx(
        logit.evaluate(X, B[:, None], verbose=0)
    )
    without = training.load(tmp_path / "dice.keras", trusted=True)
    assert not without.compiled
    np.testing.assert_array_equal(read(without(X)), read(dice(X)))


def test_losses_of_keras_by_name_read_labels_of_one_unit():
    logit = net(maps(1), GAP(), L.Activation("sigmoid"))
    by_name = training.gradient_norms(logit, X, B, loss="binary_crossentropy")
    assert by_name == pytest.approx(training.gradient_norms(logit, X, B), rel=1e-4)


def test_accuracy_checks_its_labels_before_it_computes(monkeypatch):
    monkeypatch.setattr("cnnbook.training.measures.outputs", None)
    with pytest.raises(ValueError, match=r"labels of shape \(12,\) for these images, got \(12, 3\)"):
        training.accuracy(ENDS["softmax"](), X, ONE_HOT)
