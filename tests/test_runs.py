"""Runs and their files: data of every form, files that two share, that are damaged or another run's, words before work."""

import keras
import numpy as np
import pytest
from keras import layers as L

from cnnbook import segmentation, training, transfer

pd = pytest.importorskip("pandas")


def images(n=24, seed=0):
    """Brighter on the right or not, in noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = rng.normal(0, 1, (n, 6, 6, 1)).astype("float32")
    x[y == 1, :, 3:] += 1
    return x, y


def net(ending=()):
    training.seed(0)
    layers = [L.Flatten(), L.Dense(2, "softmax")]
    return keras.Sequential([keras.Input((6, 6, 1)), *ending, *layers], name="net")


def run(x, y, model=None, **settings):
    settings = dict(epochs=2, batch_size=8, shift=1, verbose=False) | settings
    return training.fit(model or net(), x, y, **settings)


@pytest.fixture(scope="module")
def plain():
    """The run that others are compared with."""
    return run(*images(), validation=images(8, seed=1), clean_training_accuracy=True)


# --------------------------------------------------------------------------- data of every form


def shuffled(y):
    """Labels as scikit-learn's train_test_split leaves them: a pandas Series whose index is not 0 to n - 1."""
    return pd.Series(y, index=np.random.default_rng(5).permutation(len(y)) + 3)


def test_the_labels_trained_on_are_those_given(plain):
    (x, y), (held, labels) = images(), images(8, seed=1)
    given = run(list(x), shuffled(y), validation=[list(held), shuffled(labels)], clean_training_accuracy=True)
    assert given.curves == plain.curves and given.settings == plain.settings


@pytest.mark.parametrize(
    "form", [list, shuffled, lambda y: pd.Series(y, dtype="Int64"), lambda y: y.astype(object)]
)
def test_batches_of_labels_of_any_form(form):
    x, y = images()
    expected, found = (training.Batches(x, labels, batch_size=24)[0] for labels in (y, form(y)))
    np.testing.assert_array_equal(found[1], expected[1])
    assert found[1].dtype.kind == "i"


def test_batches_of_masks_and_weights_as_lists():
    x, y = images()
    masks, weights = (np.repeat(np.repeat((y + k)[:, None, None], 6, 1), 6, 2) for k in (0, 1))
    expected, found = (
        training.Batches(form(x), form(masks), pixel_weights=form(weights), batch_size=24)[0]
        for form in (np.asarray, list)
    )
    assert len(found) == 3
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(x=[np.zeros((6, 6, 1)), np.zeros((5, 6, 1))]), r"x is one array, or a list of equal ones: .*\(5, 6, 1\)"),
        (dict(y=["cat"] * 24), "y holds numbers, got .*'cat'"),
        (dict(validation=images(8)[0]), r"validation is \(images, labels\), got a ndarray of shape \(8, 6, 6, 1\)"),
        (dict(validation=[images(8)[0]]), r"validation is \(images, labels\), got a list of 1"),
        (dict(pixel_weights=np.ones((24, 6, 6))), "pixel_weights .* class for every pixel"),
    ],
)  # fmt: skip
def test_data_that_make_no_array_are_refused_by_name(change, message):
    x, y = images()
    given = dict(x=x, y=y) | change
    with pytest.raises(ValueError, match=message):
        run(given.pop("x"), given.pop("y"), **given)


def test_pixel_weights_have_the_size_of_the_masks():
    inputs = keras.Input((6, 6, 1))
    dense = keras.Model(inputs, L.Conv2D(2, 1, activation="softmax")(inputs))
    x, _ = images()
    with pytest.raises(ValueError, match=r"pixel_weights .*\(24, 6, 6\), got \(24, 6, 5\)"):
        run(x, np.zeros((24, 6, 6), int), dense, pixel_weights=np.ones((24, 6, 5)))


def test_measures_and_heads_take_lists_and_series(plain):
    x, y = images()
    model = net()
    scores = training.outputs(model, x)
    for batch_size in (24, 10):  # in one batch, and in several
        np.testing.assert_allclose(training.outputs(model, list(x), batch_size), scores, atol=1e-6)
    right = training.accuracy(model, x, y)
    assert training.accuracy(model, list(x), shuffled(y)) == right == np.mean(scores.argmax(-1) == y)
    norms = training.gradient_norms(model, list(x), shuffled(y))
    assert norms == pytest.approx(training.gradient_norms(model, x, y))
    vectors = transfer.embeddings(model, x)
    np.testing.assert_array_equal(transfer.embeddings(model, list(x)), vectors)


def test_a_head_learns_from_vectors_and_labels_of_any_form():
    x, y = images(16)
    kernels = []
    for form, labels in ((np.asarray, y), (list, list(y))):
        training.seed(0)
        inputs = keras.Input((6, 6, 1))
        model = transfer.extend(keras.Model(inputs, L.Flatten()(inputs), name="flat"), ["a", "b"], dropout=0)
        transfer.fit_head(model, form(x.reshape(16, -1)), labels, epochs=2)
        kernels.append(np.array(model.get_layer("head_predictions").kernel))
    np.testing.assert_array_equal(kernels[1], kernels[0])


def test_trials_take_labels_of_any_form():
    x, y = images(16)
    trials = transfer.Trials(net(), steps=3, batch_size=8)
    expected = [np.array(w) for w in trials.run(x, y).get_weights()]
    for one, other in zip(expected, trials.run(list(x), shuffled(y)).get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("classes", [np.array(["cat", "dog"]), pd.Series(["cat", "dog"], index=[7, 3])])
def test_names_of_classes_in_any_form(classes):
    inputs = keras.Input((4,))
    body = keras.Model(inputs, L.Dense(3)(inputs), name="body")
    assert transfer.names(transfer.extend(body, classes)) == ("cat", "dog")
    assert transfer.extend(body, np.int64(3)).output_shape == (None, 3)
    for wrong in ("cat", 2.0, True, 1, ["cat"]):
        with pytest.raises(ValueError, match="classes is at least 2, or at least two names, got"):
            transfer.extend(body, wrong)


def test_masks_as_lists_are_scored():
    inputs = keras.Input((6, 6, 1))
    dense = keras.Model(inputs, L.Conv2D(2, 1, activation="softmax")(inputs))
    x, _ = images(4)
    masks = segmentation.labels(training.outputs(dense, x))
    assert training.accuracy(dense, list(x), list(masks)) == 1.0
