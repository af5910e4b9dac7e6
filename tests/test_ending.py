"""What a net's end is, read from its graph, against nets that end in every way that people write."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from cnnbook import graph, models, transfer
from cnnbook.keras_internals import filled_in
from cnnbook.parts import layers as ours

read = keras.ops.convert_to_numpy
Z = np.random.default_rng(0).normal(0, 2, (6, 4, 4, 3)).astype("float32")


def ends(*end, shape=(4, 4, 3), **options):
    """The ending of a net of a convolution (h, w, 3) and what follows it."""
    x = i = keras.Input(shape)
    x = L.Conv2D(3, 1, name="scores")(x)
    for layer in end:
        x = layer(x)
    return graph.ending(keras.Model(i, x, name="net"), **options)


def average(*towers):
    return lambda x: L.Average()([tower(x) for tower in towers])


def nested(layer):
    """A model inside a Sequential one inside a model: the layer on maps (4, 4, 3)."""
    i = keras.Input((4, 4, 3))
    inner = keras.Sequential([keras.Input((4, 4, 3)), keras.Model(i, layer(i))])
    return lambda x: inner(x)


class Halved(L.Dense):
    """A Dense that computes something else."""

    def call(self, x):
        return super().call(x) / 2


GAP = L.GlobalAveragePooling2D
MAPS = {
    "softmax": [
        [L.Activation("softmax")],
        [L.Softmax()],
        [ops.softmax],
        [L.Dense(5, activation=ops.softmax)],
        [L.Conv2D(5, 1, activation="softmax"), L.Dropout(0.5), L.Identity(), L.Activation("linear")],
        [GAP(), L.Dense(5, activation="softmax"), ours.Labels("abcde"), lambda x: ops.cast(x, "float16")],
        [GAP(), L.Reshape((1, 1, 3)), L.Softmax(), L.Flatten()],
        [L.Softmax(), GAP()],
        [L.Softmax(), L.UpSampling2D(2, interpolation="bilinear"), L.Cropping2D(1)],
        [average(L.Softmax(), L.Conv2D(3, 1, activation="softmax"))],
        [nested(L.Softmax()), L.Activation("linear", dtype="float32")],
        [lambda x: ops.mean(ops.stack([ops.softmax(x), ops.softmax(-x)], 1), 1)],
        [L.Activation("sparsemax")],
    ],
    "sigmoid": [
        [L.Activation("sigmoid")],
        [GAP(), L.Dense(5, activation="sigmoid")],
        [ops.sigmoid, L.GlobalMaxPooling2D()],
        [lambda x: L.Concatenate()([ops.sigmoid(x), L.Conv2D(2, 1, activation="sigmoid")(x)])],
        [L.Activation("hard_sigmoid")],
    ],
    "probability": [
        [GAP(), L.Dense(1, activation="sigmoid"), L.Dropout(0.1)],
        [L.Conv2D(1, 1), ops.sigmoid],
        [nested(L.Conv2D(1, 1, activation="sigmoid"))],
    ],
    "logits": [
        [],
        [GAP()],
        [L.ReLU(), GAP(), L.Activation("linear")],
        [nested(L.Conv2D(5, 1)), GAP()],
        [average(L.Conv2D(3, 1), L.Conv2D(3, 1))],
        [lambda x: ops.mean(ops.stack([x, -x], 1), 1)],
        [lambda x: L.Add()([x, L.ReLU()(L.Conv2D(3, 1)(x))])],
        [L.Softmax(), GAP(), L.Dense(5)],
        [GAP(), L.BatchNormalization(), lambda x: x / 0.5 + 1],
        [ops.log_softmax],
        [L.Conv2DTranspose(3, 2, 2), L.UpSampling2D(2), L.Dropout(0.1)],
        [L.Reshape((16, 3)), L.TimeDistributed(L.Dense(4))],
    ],
    "logit": [[GAP(), L.Dense(1)], [L.Conv2D(1, 1)], [L.Conv2D(1, 1), GAP(), L.Reshape((1,))]],
    None: [
        [L.Lambda(lambda x: x)],
        [L.Activation("tanh")],
        [L.Softmax(), ops.log],
        [L.Softmax(axis=1)],
        [L.Softmax(), L.Permute((3, 1, 2))],
        [L.Softmax(), L.Flatten()],
        [L.Softmax(), L.GlobalMaxPooling2D()],
        [lambda x: ops.softmax(x) + ops.softmax(-x)],
        [L.Softmax(), L.ReLU()],
        [L.Softmax(), lambda x: L.Concatenate()([x, x])],
        [average(L.Softmax(), L.Activation("sigmoid"))],
        [Halved(3)],
        [L.Dense(3, activation=lambda x: ops.softmax(x))],
        [GAP(), L.Dense(1, activation="softmax")],
        [GAP(), L.Dense(1, activation="relu")],
        [GAP(), L.Dense(3), lambda x: ops.sum(x, -1)],
    ],
}


@pytest.mark.parametrize("kind", MAPS)
def test_the_kind_of_an_end(kind):
    found = [(i, ends(*layers)) for i, layers in enumerate(MAPS[kind])]
    assert not [(i, e.kind, e.why) for i, e in found if e.kind != kind]
    from_logits = {"softmax": False, "sigmoid": False, "probability": False, None: None}.get(kind, True)
    assert {e.from_logits for _, e in found} == {from_logits}
    assert all(e.why for _, e in found) if kind is None else True


def test_units_classes_and_places():
    e = ends(L.Conv2D(1, 1))
    assert (e.per, e.units, e.classes, e.binary) == ("pixel", 1, 2, True)
    e = ends(L.Conv2D(4, 1, activation="softmax"), shape=(None, None, 3))
    assert (e.per, e.units, e.classes, e.binary) == ("pixel", 4, 4, False)
    e = ends(GAP(), L.Dense(7))
    assert (e.per, e.units, e.classes) == ("image", 7, 7)


def test_why_names_the_layer_and_the_kind_can_be_told():
    with pytest.raises(
        ValueError, match="net gives .*: odd .Lambda. shows neither .* say it: kind= is one of softmax"
    ):
        ends(L.Lambda(lambda x: x, name="odd")).known()
    told = ends(L.Lambda(lambda x: x), kind="logits")
    assert told.kind == "logits" and told.from_logits and told.squashing is None
    assert ends(L.Softmax(), kind="softmax").squashing is not None  # what is seen as well stays seen
    with pytest.raises(ValueError, match="kind is one of probability, logit for net"):
        ends(GAP(), L.Dense(1), kind="softmax")
    with pytest.raises(ValueError, match="output is a whole number from 0 to 0, got 1"):
        ends(output=1)


def test_outputs_in_numbers():
    """Probabilities and classes of what nets give, however they end."""
    z = np.array([[2.0, -1.0, 0.5], [1000.0, 999.0, 0.0]])
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    logits, softmax = ends(GAP()), ends(GAP(), L.Softmax())
    np.testing.assert_allclose(logits.probabilities(z), p, rtol=1e-12)
    np.testing.assert_array_equal(softmax.probabilities(p), p)
    assert logits.labels(z).tolist() == softmax.labels(p).tolist() == [0, 0]
    one = np.array([[-800.0], [-0.2], [0.0], [3.0]])
    q = [[1, 0], [1 / (1 + np.exp(-0.2)), 1 / (1 + np.exp(0.2))], [0.5, 0.5], [0.04742587, 0.95257413]]
    logit, probability = ends(GAP(), L.Dense(1)), ends(GAP(), L.Dense(1, activation="sigmoid"))
    np.testing.assert_allclose(logit.probabilities(one), q, atol=1e-8)
    np.testing.assert_allclose(probability.probabilities(np.array(q)[:, 1:]), q)
    assert logit.labels(one).tolist() == probability.labels(np.array(q)[:, 1:]).tolist() == [0, 0, 1, 1]
    masks = ends(L.Conv2D(1, 1)).labels(np.array([[[[-1.0], [0.3]]]]))
    assert masks.tolist() == [[[0, 1]]] and masks.dtype == "int64"
    with pytest.raises(ValueError, match="tanh"):
        ends(GAP(), L.Dense(1, activation="tanh")).labels(one)


@pytest.mark.parametrize(
    "end, names",
    [
        (
            [GAP(), L.Dense(5), L.Softmax(), ours.Labels("abcde"), L.Reshape((1, 5)), L.Flatten()],
            "labels reshape flatten",
        ),
        ([nested(L.Activation("softmax")), L.Cropping2D(1), L.Dropout(0.1)], "cropping2d dropout"),
        ([ops.softmax, lambda x: x[..., ::-1]], "get_item"),
    ],
)
def test_the_scores_and_what_lies_behind_them(end, names):
    """The net without its squashing call gives the logits of its output: what lies behind it hands them on."""
    x = i = keras.Input((4, 4, 3))
    for layer in end:
        x = layer(x)
    net = keras.Model(i, x)
    e, flat = graph.ending(net), graph.flatten(net)
    values = {id(flat.inputs[0]): Z}
    for call in graph.calls_in(flat)[1:]:
        args, kwargs = filled_in(call, values)
        values[id(call.outputs[0])] = (
            args[0] if call.operation is e.squashing else call.operation(*args, **kwargs)
        )
    logits = values[id(flat.outputs[0])]
    assert e.call.operation is e.squashing and e.call.input_tensors[0] is e.scores
    assert [o.name.rstrip("_0123456789") for o in e.after] == names.split()
    np.testing.assert_allclose(read(ops.softmax(logits)), read(net(Z)), rtol=1e-5)


def test_a_layer_that_squashes_itself_has_no_tensor_of_scores():
    e = ends(GAP(), L.Dense(3, activation="softmax", name="head"), L.Identity(name="same"))
    assert (e.squashing.name, [o.name for o in e.after], e.scores) == ("head", ["same"], None)
    e = ends(L.Softmax(), GAP(name="pool"))
    assert e.squashing is None and e.after == () and e.why.startswith("pool (GlobalAveragePooling2D) mixes")


def test_a_softmax_that_is_called_twice_is_found_at_the_end():
    softmax, x = L.Softmax(), keras.Input((4, 4, 3))
    net = keras.Model(x, softmax(L.Dense(3)(softmax(x))))
    e = graph.ending(net)
    assert e.call.outputs[0] is net.outputs[0] and e.scores.shape == (None, 4, 4, 3)


def test_two_nets_of_equal_names_and_a_block_without_a_graph():
    """What cannot be made one graph can be trained all the same, so its end must be known."""

    class Block(keras.Model):
        def call(self, x):
            return ops.relu(x)

    i = keras.Input((4, 4, 3))
    x = Block()(i)
    nets = [
        keras.Sequential([keras.Input((4, 4, 3)), L.Dense(3, activation="softmax", name="same")])
        for _ in "ab"
    ]
    assert graph.ending(keras.Model(i, L.Average()([net(x) for net in nets]))).kind == "softmax"
    assert graph.ending(keras.Model(i, x)).kind is None


def test_the_courses_own_nets():
    small = dict(classes=4, classifier_activation=None)
    logits = [
        graph.blueprint(models.NiN, input_shape=(32, 32, 3), **small),
        graph.blueprint(models.FCN8s, input_shape=(32, 32, 3), **small),
        graph.blueprint(models.UNet, input_shape=(188, 188, 1), **small),
        graph.blueprint(models.ResNetCIFAR, depth=8, **small),
    ]
    assert {graph.ending(net).kind for net in logits} == {"logits"}
    google = graph.blueprint(models.GoogLeNet, input_shape=(96, 96, 3), classes=4, auxiliary=True)
    assert [graph.ending(google, k).kind for k in range(3)] == ["softmax"] * 3
    backbone = keras.Sequential([keras.Input((4, 4, 3)), L.Conv2D(2, 1)])
    extended = graph.ending(transfer.extend(backbone, ["cat", "dog"], preprocess="tf"))
    assert (extended.kind, [o.name for o in extended.after]) == ("softmax", ["labels"])


def test_a_stand_in_for_another_layer_is_no_layer_of_ours():
    """Two nested nets have a layer of one name, whose call is its own: flattened, it is known as little as before."""

    class Mine(L.Dense):
        def call(self, x):
            return ops.tanh(super().call(x))

    def net(name):
        image = keras.Input((4,))
        return keras.Model(image, Mine(3, name="scores")(image), name=name)

    image = keras.Input((4,))
    two = keras.Model(image, L.Average()([net("one")(image), net("two")(image)]))
    assert graph.ending(two).kind is None and graph.ending(graph.flatten(two)).kind is None
