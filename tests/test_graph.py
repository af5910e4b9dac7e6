"""The reader of graphs against what is known from elsewhere: published receptive fields, gradients, by-hand sums."""

import keras
import numpy as np
import pytest
from helpers.zoo import plan
from keras import layers as L

from cnnbook import graph, models
from cnnbook.training import gradients

pytestmark = pytest.mark.jax

apps = keras.applications
read = keras.ops.convert_to_numpy


def last(model):
    return graph.totals(model)


@pytest.mark.parametrize(
    "name, field",
    [("VGG16", 212), ("ResNet50", 483), ("ResNet101", 1027), ("ResNet152", 1507), ("MobileNet", 315),
     ("InceptionV3", 1311), ("InceptionResNetV2", 3039)],
)  # fmt: skip
def test_receptive_fields_that_araujo_et_al_2019_published(name, field):
    net = plan(getattr(apps, name), weights=None)
    assert last(net)["receptive_field"] == (field, field)


@pytest.mark.parametrize(
    "layer, size, stride",
    [("conv1", 11, 4), ("pool1", 19, 8), ("conv2", 51, 8), ("pool2", 67, 16), ("conv3", 99, 16), ("conv5", 163, 16),
     ("pool5", 195, 32)],
)  # fmt: skip
def test_alexnet_layer_by_layer(layer, size, stride):
    rows = {row.name: row for row in graph.trace(plan(models.AlexNet))}
    assert rows[layer].receptive_field == (size, size) and rows[layer].stride == (stride, stride)


def probe(x, kernel, stride, padding, dilation, name):
    return L.Conv2D(1, kernel, stride, padding, dilation_rate=dilation, use_bias=False, name=name)(x)


def zoo_of_paths():
    """Small nets, one for each rule of the walk."""

    def net(build, side=64):
        x = keras.Input((side, side, 1))
        return keras.Model(x, build(x))

    def branches(x):
        a = probe(probe(x, 3, 1, "same", 1, "a1"), (1, 7), 1, "same", 1, "a2")
        b = probe(x, (5, 1), 1, "same", 1, "b1")
        return L.Add(name="sum")([a, b])

    def uneven(x):  # windows that are not centred on each other: their union is larger than either
        left = L.Cropping2D(((0, 8), (0, 8)))(x)
        right = L.Cropping2D(((8, 0), (8, 0)))(x)
        return L.Concatenate(name="cat")(
            [probe(left, 3, 1, "same", 1, "l"), probe(right, 5, 1, "same", 1, "r")]
        )

    def down_up(x):
        x = probe(x, 3, 2, "same", 1, "d1")
        x = probe(x, 3, 2, "same", 1, "d2")
        x = L.Conv2DTranspose(1, 4, 2, padding="same", use_bias=False, name="u1")(x)
        return probe(x, 3, 1, "same", 1, "last")

    def enlarged(x):
        x = L.AveragePooling2D(4)(x)
        return probe(L.UpSampling2D(2, interpolation="nearest")(x), 3, 1, "same", 1, "last")

    return {
        "stack of 3x3": net(lambda x: probe(probe(x, 3, 1, "valid", 1, "c1"), 3, 1, "valid", 1, "c2")),
        "stride and same": net(lambda x: probe(probe(x, 7, 2, "same", 1, "c1"), 3, 2, "same", 1, "c2")),
        "even kernel": net(lambda x: probe(probe(x, 4, 2, "same", 1, "c1"), 2, 1, "same", 1, "c2")),
        "dilation": net(lambda x: probe(probe(x, 3, 1, "same", 2, "c1"), 3, 1, "same", 4, "c2")),
        "1x7, 7x1 and a branch": net(branches),
        "uneven branches": net(uneven),
        "padding": net(lambda x: probe(L.ZeroPadding2D(((0, 1), (2, 3)))(x), 3, 2, "valid", 1, "c1")),
        "transposed": net(down_up),
        "enlarged": net(enlarged),
    }


def heat(net, unit):
    """Where the input changes one output unit: kernels all one, so no gradient cancels."""
    for layer in net.layers:
        layer.set_weights([np.ones_like(w) for w in layer.get_weights()])
    image = np.zeros((1, *net.input_shape[1:]), "float32")
    _, found = gradients.of_input(lambda x: keras.ops.sum(net(x)[0, unit[0], unit[1]]), image)
    return np.argwhere(found[0, :, :, 0] > 0)


@pytest.mark.parametrize("path", list(zoo_of_paths()))
def test_window_by_gradient_equals_the_window_by_walk(path):
    net = zoo_of_paths()[path]
    row = graph.trace(net)[-1]
    height, width = net.output_shape[1:3]
    sizes = []
    for unit in ((height // 2, width // 2), (height // 2 + 1, width // 2 + 1)):
        seen = heat(net, unit)
        first, size = seen.min(0), seen.max(0) - seen.min(0) + 1
        sizes.append(tuple(int(s) for s in size))
        if all(isinstance(s, int) for s in (*row.stride, *row.window)) and path not in (
            "transposed",
            "enlarged",
        ):
            assert tuple(first) == tuple(
                w + u * s for w, u, s in zip(row.window, unit, row.stride, strict=True)
            )
    assert row.receptive_field == tuple(
        max(s) for s in zip(*sizes, strict=True)
    )  # phases differ when enlarging


def test_our_resnet_by_gradient():
    net = models.ResNetCIFAR(14, widths=(2, 2, 2), input_shape=(96, 96, 1), include_top=False)
    for layer in net.layers:  # positive kernels, statistics at rest: every path adds
        if "conv" in layer.name and layer.weights:
            layer.set_weights([np.full_like(w, 0.1) for w in layer.get_weights()])
    image = np.ones((1, 96, 96, 1), "float32")
    _, found = gradients.of_input(lambda x: keras.ops.sum(net(x)[0, 12, 12]), image)
    seen = np.argwhere(found[0, :, :, 0] != 0)
    row = graph.trace(net)[-1]
    assert tuple(seen.max(0) - seen.min(0) + 1) == row.receptive_field == (53, 53)
    assert tuple(seen.min(0)) == tuple(w + 12 * s for w, s in zip(row.window, row.stride, strict=True))


def test_multiply_adds_by_hand():
    x = keras.Input((10, 12, 8))
    y = L.Conv2D(16, (3, 5), strides=2, padding="same", groups=4, name="grouped")(x)  # 5 x 6 x 16
    z = L.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="depth")(y)  # 5 x 6 x 32
    z = L.SeparableConv2D(7, 3, padding="same", name="separable")(z)  # 5 x 6 x 7
    z = L.Conv2DTranspose(4, 2, 2, name="transposed")(z)  # 10 x 12 x 4
    z = L.Dense(3, name="dense")(z)
    rows = {row.name: row for row in graph.trace(keras.Model(x, z))}
    assert rows["grouped"].macs == 5 * 6 * 16 * 3 * 5 * 8 // 4
    assert rows["grouped"].params == 3 * 5 * 2 * 16 + 16
    assert rows["depth"].macs == 5 * 6 * 32 * 9
    assert rows["separable"].macs == 5 * 6 * (32 * 9 + 32 * 7)
    assert rows["transposed"].macs == 5 * 6 * 2 * 2 * 7 * 4 and rows["transposed"].stride == (1, 1)
    assert rows["dense"].macs == 10 * 12 * 4 * 3
    assert rows["transposed"].activations == 10 * 12 * 4


def test_shared_layers_bare_operations_and_unknown_ones():
    shared = L.Conv2D(3, 3, padding="same", name="twice")
    x = keras.Input((8, 8, 3))
    a = shared(x)
    b = shared(keras.ops.relu(a) + x)
    unknown = keras.ops.flip(b, axis=1)
    rows = graph.trace(keras.Model(x, L.Conv2D(1, 3, name="after")(unknown)))
    twice = [row for row in rows if row.name.startswith("twice")]
    assert [row.params for row in twice] == [84, 0] and [row.macs for row in twice] == [8 * 8 * 81] * 2
    assert [row.receptive_field for row in twice] == [(3, 3), (5, 5)]
    assert {"Add", "Relu"} <= {row.kind for row in rows}
    assert [(row.kind, row.known, row.receptive_field) for row in rows][-2:] == [
        ("Flip", False, None),
        ("Conv2D", False, None),
    ]


def test_free_sizes_give_no_guess():
    net = plan(models.VGG16, window=7)
    assert last(net)["macs"] is None and last(net)["params"] == 138_357_544


def test_global_context():
    x = keras.Input((16, 16, 4))
    y = L.Conv2D(4, 3, name="conv")(x)
    gate = L.Dense(4, activation="sigmoid", name="gate")(
        L.GlobalAveragePooling2D(keepdims=True, name="squeeze")(y)
    )
    z = L.Multiply(name="scale")([y, gate])
    rows = {row.name: row for row in graph.trace(keras.Model(x, L.Flatten(name="flat")(z)))}
    assert not rows["conv"].global_context and rows["scale"].global_context and rows["flat"].global_context
    assert rows["scale"].receptive_field == (3, 3)  # of the local path


def nested():
    inner = keras.Sequential(
        [keras.Input((16, 16, 3)), L.Conv2D(4, 3, name="n1"), L.BatchNormalization(name="n2")]
    )
    x = keras.Input((16, 16, 3))
    y = inner(L.Rescaling(1 / 255, name="scale")(x))
    core = models.ResNetCIFAR(8, widths=(4, 8, 8), input_shape=(14, 14, 4), include_top=False)
    return keras.Model(x, L.Dense(5, name="top")(L.GlobalAveragePooling2D(name="gap")(core(y))))


def test_flatten_is_the_same_model_with_the_same_weights():
    model = nested()
    flat = graph.flatten(model)
    assert not any(isinstance(layer, keras.Model) for layer in flat.layers)
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    np.testing.assert_array_equal(read(model(images)), read(flat(images)))
    flat.get_layer("top").set_weights([w + 1 for w in flat.get_layer("top").get_weights()])
    np.testing.assert_array_equal(read(model(images)), read(flat(images)))
    assert sum(r.params + r.state for r in graph.trace(model)) == model.count_params()


def test_sequential_functional_and_nested_agree():
    layers = [L.Conv2D(4, 3, strides=2, name="a"), L.MaxPooling2D(2, name="b"), L.Conv2D(2, 3, name="c")]
    chain = keras.Sequential([keras.Input((32, 32, 3)), *layers])
    x = y = keras.Input((32, 32, 3))
    for layer in layers:
        y = layer(y)
    rows = [
        [(r.name, r.params, r.macs, r.receptive_field) for r in graph.trace(m)[1:]]
        for m in (chain, keras.Model(x, y))
    ]
    assert rows[0] == rows[1] and rows[0][-1][3] == (13, 13)


def test_a_changed_stride_changes_the_rows():
    """What the course promises its students: one stride changed, every table changes."""
    x = keras.Input((32, 32, 3))
    one, two = (
        graph.totals(
            keras.Model(x, L.Conv2D(8, 3, padding="same")(L.Conv2D(8, 3, stride, padding="same")(x)))
        )
        for stride in (1, 2)
    )
    assert (one["receptive_field"], two["receptive_field"]) == ((5, 5), (7, 7)) and two["macs"] < one[
        "macs"
    ] / 3


def test_endpoints_of_a_nested_backbone():
    backbone = graph.features(nested())
    assert keras.Model(backbone.model.inputs, backbone[2].tensor).output_shape[1:] == (7, 7, 8)


def test_summary_counts_and_shows():
    table = graph.summary(plan(models.ResNet50), by="stage")
    stages = {record["name"]: record for record in table.records}
    assert [name for name in stages if name.startswith("conv")] == [
        "conv1",
        "conv2",
        "conv3",
        "conv4",
        "conv5",
    ]
    assert (stages["conv2"]["params"], stages["conv5"]["params"]) == (215_808, 14_964_736)
    assert stages["conv4"]["receptive field"] == (291, 291) and stages["conv4"]["stride"] == (16, 16)
    assert "25,557,032" in repr(table) and "25,557,032" in table._repr_html_()
    with pytest.raises(ValueError, match='"layer" or "stage"'):
        graph.summary(plan(models.LeNet5), by="block")


def test_only_graphs_can_be_read():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="functional and Sequential"):
        graph.trace(Own())
    with pytest.raises(ValueError, match="not been built"):
        graph.trace(keras.Sequential([L.Dense(1)]))


def test_a_blueprint_never_gets_memory():
    """Keras gives memory to all variables that wait for it when a stateless scope ends; plans do not wait."""
    net = graph.blueprint(models.VGG16)
    with keras.StatelessScope():
        pass
    assert all(variable._value is None for variable in net.weights)
    graph.blueprint(models.LeNet5)
    assert all(variable._value is not None for variable in models.LeNet5().weights)
