"""The reader of graphs against what is known from elsewhere: published receptive fields, gradients, by-hand sums."""

import gc
import weakref

import keras
import numpy as np
import pytest
from helpers.nets import seeded
from helpers.zoo import plan
from keras import layers as L

from cnnbook import graph, models
from cnnbook.keras_internals import all_layers, calls_of
from cnnbook.parts import layers as ours
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

    def many(
        x,
    ):  # nearest by 4 and bilinear by 3, unequal in height and width, over what a pool has made smaller
        x = L.UpSampling2D((4, 2))(L.AveragePooling2D((8, 4))(x))
        x = L.UpSampling2D((3, 1), interpolation="bilinear")(probe(x, 3, 1, "same", 1, "c"))
        return L.AveragePooling2D(2)(x)

    def gaps(x):  # between the kernels lie units that see nothing
        x = L.Conv2DTranspose(1, 1, 3, use_bias=False, name="u1")(probe(x, 3, 2, "same", 1, "d1"))
        return probe(x, 2, 1, "valid", 1, "last")

    def matched(x):  # the last column of the enlarged map is repeated, its first row cut off
        up = L.UpSampling2D(5)(L.AveragePooling2D(5)(x))
        return ours.MatchSize(offset=1)([up, L.Cropping2D(1)(x)])

    def skipped(x):
        up = L.UpSampling2D(2)(
            L.UpSampling2D(2)(probe(probe(x, 3, 2, "same", 1, "d1"), 3, 2, "same", 1, "d2"))
        )
        return probe(L.Add()([probe(x, 3, 1, "same", 1, "skip"), up]), 3, 1, "same", 1, "last")

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
        "enlarged by many ways": net(many),
        "gaps": net(gaps),
        "matched": net(matched),
        "skipped": net(skipped),
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
    rows = graph.trace(net)
    row, (height, width) = rows[-1], net.output_shape[1:3]
    walked = graph.windows(rows, row)
    middle = (height // 2, width // 2), (height // 2 + 1, width // 2 + 3)
    for unit in (*middle, (1, width - 1)):
        seen = heat(net, unit)
        ends = [(max(first[u], 0), min(stop[u], 64)) for (first, stop), u in zip(walked, unit, strict=True)]
        if not len(seen):  # padding, or nothing at all
            assert any(first >= stop for first, stop in ends)
            continue
        found = [(seen[:, axis].min(), seen[:, axis].max() + 1) for axis in (0, 1)]
        # at the corner a hole of a dilated kernel may lie on the last pixel
        assert found == ends or (
            unit not in middle
            and all(e[0] <= f[0] and f[1] <= e[1] for e, f in zip(ends, found, strict=True))
        )
    assert row.receptive_field == tuple((stop - first).max() for first, stop in walked)
    assert row.window == tuple(first[0] for first, _ in walked)
    for axis, (first, stop) in enumerate(walked):
        middle = (first + stop - 1) / 2 - row.centre[axis] - np.arange(len(first)) * float(row.stride[axis])
        if row.field.regular:
            assert not middle.any()
        elif path != "matched":  # there the edge's windows are no part of the mean
            assert abs(middle[stop > first].mean()) < 0.2


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

    with pytest.raises(
        ValueError, match="functional and Sequential.* got mine, a Own that .* call.*Model.inputs, out"
    ):
        graph.trace(Own(name="mine"))
    with pytest.raises(ValueError, match="got Dense, which is no keras.Model"):
        graph.trace(L.Dense(1))
    with pytest.raises(ValueError, match="not been built"):
        graph.trace(keras.Sequential([L.Dense(1)]))


# --------------------------------------------------------------------------- nets in a net, as people build them


@pytest.fixture(scope="module")
def ensemble():
    """The mean of two nets of one builder, all of whose layers have the same names."""
    small = dict(depth=8, widths=(2, 3, 4), input_shape=(16, 16, 3), classes=5)
    x = keras.Input((16, 16, 3), name="image")
    nets = [seeded(models.ResNetCIFAR(**small, name=name), i) for i, name in enumerate(("one", "two"))]
    return keras.Model(x, L.Average(name="mean")([net(x) for net in nets]), name="both")


def test_layers_of_one_name_go_by_their_model_too(ensemble):
    image = np.random.default_rng(0).normal(0, 1, (2, 16, 16, 3)).astype("float32")
    flat, rows = graph.flatten(ensemble), graph.trace(ensemble)
    np.testing.assert_array_equal(read(flat(image)), read(ensemble(image)))
    alone = [row.name for row in graph.trace(ensemble.get_layer("one"))[1:]]
    names = [row.name for row in rows]
    assert sorted(names) == sorted(["image", "mean", *(f"{n}.{x}" for n in ("one", "two") for x in alone)])
    assert [n.removeprefix("one.") for n in names if n.startswith("one.")] == alone
    assert {layer.name for layer in ensemble.get_layer("two").layers[1:]} == {
        *alone
    }  # the layers keep theirs
    assert sum(row.params + row.state for row in rows) == ensemble.count_params()
    stages = [graph.stage_of(row) for row in rows if row.name.startswith("two.conv")]
    assert list(dict.fromkeys(stages)) == ["two.conv1", "two.conv2", "two.conv3", "two.conv4"]
    assert {*graph.features(ensemble)} == {1, 2, 4}
    assert graph.compare(ensemble, ensemble).layers == {}


def test_what_stands_for_a_layer_of_another_name_is_that_layer(ensemble, tmp_path):
    flat = graph.flatten(ensemble)
    conv, stands = ensemble.get_layer("two").get_layer("conv1_conv"), flat.get_layer("two.conv1_conv")
    assert graph.same_layer(conv, stands) and not graph.same_layer(conv, flat.get_layer("one.conv1_conv"))
    assert isinstance(stands, L.Conv2D) and stands.kernel is conv.kernel
    stands.trainable = False
    assert not conv.trainable and len(flat.trainable_variables) == len(ensemble.trainable_variables)
    conv.trainable = True
    assert stands.trainable
    flat.save(tmp_path / "flat.keras")
    again = keras.models.load_model(tmp_path / "flat.keras")
    assert type(again.get_layer("two.conv1_conv")) is L.Conv2D
    np.testing.assert_array_equal(again.get_layer("two.conv1_conv").kernel, conv.kernel)


def test_only_names_that_meet_are_prefixed_by_as_much_as_tells_them_apart():
    def net(*layers, name):
        return keras.Sequential([keras.Input((8, 8, 3)), *layers], name=name)

    conv = [L.Conv2D(3, 1, name="conv") for _ in range(4)]
    shared = L.ReLU(name="relu")
    pairs = [
        net(net(c, shared, name="inner"), L.ReLU(name=f"own{i}"), name=f"net{i}")
        for i, c in enumerate(conv[:2])
    ]
    x = image = keras.Input((8, 8, 3), name="image")
    for part in (conv[2], *pairs, net(conv[3], L.ReLU(name="image"), name="third")):
        x = part(x)
    assert [row.name for row in graph.trace(keras.Model(image, x))] == [
        *("image", "conv", "net0.inner.conv", "relu", "own0", "net1.inner.conv", "relu:2", "own1"),
        *("third.conv", "third.image"),
    ]


def test_a_subclassed_model_within_a_net_is_one_row():
    class Res(keras.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.conv = L.Conv2D(3, 3, padding="same", name="inside")

        def call(self, x):
            return x + self.conv(x)

    class Doubled(keras.Model):  # a functional model whose call says more than its graph
        def call(self, x):
            return 2 * super().call(x)

    a, x = keras.Input((8, 8, 3)), keras.Input((8, 8, 3), name="image")
    y = Doubled(a, L.Conv2D(2, 1, name="hidden")(a), name="doubled")(Res(name="res")(x))
    inner = keras.Sequential([keras.Input((8, 8, 2)), L.Conv2D(2, 3, name="read")], name="inner")
    net = keras.Model(x, inner(y))
    rows = graph.trace(net)
    assert [(r.name, r.kind, r.params, r.known) for r in rows] == [
        *(("image", "InputLayer", 0, True), ("res", "Res", 84, False), ("doubled", "Doubled", 8, False)),
        ("read", "Conv2D", 38, False),
    ]
    image = np.ones((1, 8, 8, 3), "float32")
    np.testing.assert_array_equal(read(graph.flatten(net)(image)), read(net(image)))
    with pytest.raises(ValueError, match="got doubled, a Doubled that computes"):
        graph.trace(net.get_layer("doubled"))


@pytest.mark.parametrize("call", ["by keyword", "by name", "whole numbers"])
def test_nested_models_are_read_however_they_are_called(call):
    a, b = keras.Input((4, 4, 2), name="second"), keras.Input((4, 4, 2), name="first")
    inner = keras.Model([a, b], L.Subtract(name="less")([L.Conv2D(2, 1, name="conv")(a), b]), name="inner")
    x = keras.Input((4, 4, 2), name="image", dtype="uint8" if call == "whole numbers" else "float32")
    y = L.Identity(name="same")(x) if call == "whole numbers" else L.Rescaling(2.0, name="twice")(x)
    given = {"first": x, "second": y} if call == "by name" else [y, x]
    net = keras.Model(x, inner(inputs=given) if call == "by keyword" else inner(given))
    image = np.random.default_rng(0).integers(0, 9, (1, 4, 4, 2)).astype(x.dtype)
    np.testing.assert_allclose(read(graph.flatten(net)(image)), read(net(image)), rtol=1e-6)
    assert [row.name for row in graph.trace(net)][-1] == "less"


def test_a_blueprint_never_gets_memory():
    """Keras gives memory to all variables that wait for it when a stateless scope ends; plans do not wait."""
    net = graph.blueprint(models.VGG16)
    with keras.StatelessScope():
        pass
    assert all(variable._value is None for variable in net.weights)
    graph.blueprint(models.LeNet5)
    assert all(variable._value is not None for variable in models.LeNet5().weights)


# --------------------------------------------------------------------------- looking at a net leaves it as it is


def calls_by_layer(model):
    return {layer.name: len(calls_of(layer)) for layer in all_layers(model)}


@pytest.mark.parametrize("kind", ["nested", "sequential"])
def test_looking_again_leaves_no_more_calls_on_the_layers(kind):
    core = models.ResNetCIFAR(8, widths=(4, 8, 8), input_shape=(14, 14, 4), include_top=False)
    if kind == "nested":
        x = keras.Input((14, 14, 4))
        model = keras.Model(x, L.Dense(5, name="top")(L.GlobalAveragePooling2D(name="gap")(core(x))))
    else:
        model = keras.Sequential([keras.Input((14, 14, 4)), core, L.GlobalAveragePooling2D(), L.Dense(5)])
    first = [(row.name, row.params) for row in graph.trace(model)]
    calls = calls_by_layer(model)
    for _ in range(5):
        assert [(row.name, row.params) for row in graph.trace(model)] == first
        graph.summary(model), graph.totals(model), graph.features(model), graph.compare(model, model)
    assert calls_by_layer(model) == calls
    assert graph.flatten(model) is graph.flatten(model) and graph.flatten(core) is core


def test_a_model_that_was_looked_at_can_be_collected_and_saved(tmp_path):
    inner = keras.Sequential([keras.Input((6, 6, 4)), L.Conv2D(4, 3, name="inside")], name="inner")
    x = keras.Input((8, 8, 3))
    # a layer before the nested model: it knows both the nested model and, once inlined, the layers in it
    model = keras.Model(x, L.Flatten()(inner(L.Conv2D(4, 3, name="before")(x))), name="outer")
    weights = [w.path for w in model.weights]
    graph.summary(model)
    assert [w.path for w in model.weights] == weights and len(model.layers) == 4
    model.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras")
    image = np.ones((1, 8, 8, 3), "float32")
    np.testing.assert_array_equal(read(model(image)), read(again(image)))
    assert [r.macs for r in graph.trace(again)] == [r.macs for r in graph.trace(model)]
    watched = [weakref.ref(m) for m in (model, inner, again, graph.flatten(model))]
    del model, inner, again, x
    gc.collect()
    assert [w() for w in watched] == [None] * 4


def test_a_changed_model_is_read_anew():
    chain = keras.Sequential([keras.Input((8, 8, 1)), L.Conv2D(2, 3, name="a")])
    assert graph.totals(chain)["receptive_field"] == (3, 3)
    chain.add(L.Conv2D(2, 3, name="b"))
    assert graph.totals(chain)["receptive_field"] == (5, 5)
    inner = keras.Sequential([keras.Input((8, 8, 1)), L.Conv2D(2, 3, name="c")])
    outer = keras.Sequential([keras.Input((8, 8, 1)), inner])
    assert [r.name for r in graph.trace(outer)][1:] == ["c"]
    inner.add(L.ReLU(name="d"))
    assert [r.name for r in graph.trace(outer)][1:] == ["c", "d"]
    inner.pop()
    assert [r.name for r in graph.trace(outer)][1:] == ["c"]


def test_free_sizes_are_filled_in_by_flatten():
    x = keras.Input((None, None, 3), name="image")
    net = keras.Model(x, L.Conv2D(4, 3, name="conv")(x))
    assert graph.flatten(net) is net
    small, large = (graph.flatten(net, (n, n, 3)) for n in (8, 16))
    assert [m.output_shape for m in (small, large)] == [(None, 6, 6, 4), (None, 14, 14, 4)]
    assert graph.flatten(net, (8, 8, 3)) is small and small.get_layer("conv") is net.get_layer("conv")
    assert graph.totals(large)["macs"] == 14 * 14 * 9 * 3 * 4


def test_main_rows_of_a_nested_net_with_two_outputs():
    x = keras.Input((16, 16, 3))
    stem = keras.Sequential([keras.Input((16, 16, 3)), L.Conv2D(4, 3, 2, name="stem")])(x)
    side = L.Conv2D(1, 5, name="side")(stem)
    net = keras.Model(x, [L.Conv2D(2, 3, name="main")(stem), side])
    names = [row.name for row in graph.main_rows(graph.trace(net), net)]
    assert names[1:] == ["stem", "main"] and graph.totals(net)["receptive_field"] == (7, 7)


# --------------------------------------------------------------------------- rules


def rows_of(*layers, shape=(8, 8, 4)):
    x = image = keras.Input(shape, name="image")
    for layer in layers:
        x = layer(x)
    return graph.trace(keras.Model(image, x))


def test_an_unregistered_layer_is_unknown_and_marked():
    @keras.saving.register_keras_serializable("test")
    class Sigmoid(L.Layer):  # shares its name with a bare operation, which says nothing of what it does
        def call(self, x):
            return x

    row = rows_of(Sigmoid(name="mine"))[-1]
    assert (row.group, row.known, row.receptive_field, row.macs) == ("unknown", False, None, 0)
    assert graph.describe(row) == graph.Description("unknown", "Sigmoid", "4", "Sigmoid")


def test_a_layer_is_registered_once_with_all_that_is_known_of_it():
    class Halved(L.Layer):
        def call(self, x):
            return x[:, ::2, ::2]

    class HalvedAgain(Halved):
        pass

    graph.register(
        Halved,
        group="pool",
        field=lambda layer, field, inputs, outputs: field.slide((1, 1), (2, 2), (0, 0)),
        box="pool",
        words=lambda layer, shape: ("every other", "/2", "every other pixel, /2"),
    )
    for layer in (Halved(), HalvedAgain()):
        row = rows_of(L.Conv2D(2, 3), layer)[-1]
        assert (row.group, row.receptive_field, row.stride, row.macs) == ("pool", (3, 3), (2, 2), 0)
        assert graph.describe(row).text == "every other pixel, /2"
    with pytest.raises(ValueError, match="group is one of input, .*, got 'pooling'"):
        graph.register(Halved, group="pooling")
    with pytest.raises(ValueError, match='"pool" needs field='):
        graph.register(Halved, group="pool")
    with pytest.raises(ValueError, match='"dense" needs macs='):
        graph.register(Halved, group="dense")
    with pytest.raises(ValueError, match="box is None or one of input, .*, got 'quiet'"):
        graph.register(Halved, group="norm", box="quiet")


def test_what_drawings_say():
    rows = rows_of(
        L.Conv2D(16, (3, 5), 2, padding="same", groups=4),
        L.BatchNormalization(),
        L.Activation("silu"),
        L.DepthwiseConv2D(3, dilation_rate=2, padding="same"),
        L.SeparableConv2D(8, 3, padding="same"),
        L.Conv2DTranspose(8, 4, 2, padding="same"),
        L.Conv2DTranspose(8, 2, 2),
        L.MaxPooling2D(3, 2),
        ours.MaxPoolingWithSwitches(2),
    )
    describe = [graph.describe(row) for row in rows]
    assert [(d.kind, d.what, d.numbers) for d in describe] == [
        ("input", "image", "8×8×4"),
        ("conv", "3×5 conv", "16 in 4, /2"),
        (None, "batch norm", ""),
        (None, "swish", ""),
        ("conv", "3×3 depthw. d2", "16"),
        ("conv", "3×3 separable", "8"),
        ("conv", "4×4 up-conv", "8, ×2"),
        ("conv", "2×2 up-conv", "8"),  # a stride as large as the window goes without saying
        ("pool", "max pool", "3×3, /2"),
        ("pool", "max pool", "2×2, /2"),
    ]
    assert [d.text for d in describe if d.kind][:3] == [
        *("image, 8 x 8 x 4", "3x5 conv, 16, /2", "3x3 depthwise, 16")
    ]


def test_groups_and_what_is_read():
    x = keras.Input((8, 8, 4), name="image")
    cut = L.Cropping2D(1, name="cut")(x)
    y = ours.MatchSize(name="match")([cut, x])
    z = y + x
    net = keras.Model(x, L.Dense(2, name="top")(L.GlobalAveragePooling2D(name="gap")(z * 2)))
    rows = {row.name: row for row in graph.trace(net)}
    assert [row.group for row in rows.values()] == [
        *("input", "padding", "padding", "merge", "pointwise", "pool", "dense")
    ]
    assert rows["match"].inputs == ("cut", "image") and rows["match"].reads == ("cut",)


@pytest.mark.parametrize(
    "layer, sizes",
    [
        (L.Conv2D(6, (3, 5), groups=2), [dict(height=3, width=5, **{"in": 2}, out=6)]),
        (L.Conv2DTranspose(6, (3, 5)), [dict(height=3, width=5, out=6, **{"in": 4})]),
        (
            L.DepthwiseConv2D((3, 5), depth_multiplier=2),
            [dict(height=3, width=5, channel=4, multiplier=2)],
        ),
        (
            L.SeparableConv2D(6, (3, 5)),
            [
                dict(height=3, width=5, channel=4, multiplier=1),
                dict(height=1, width=1, **{"in": 4}, out=6),
            ],
        ),
        (L.Dense(6), [{"in": 4, "out": 6}]),
        (
            ours.LocallyConnected2D(6, (3, 5)),
            [dict(row=7, column=5, height=3, width=5, **{"in": 4}, out=6)],
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_kernel_axes_name_the_sides_of_the_kernels(layer, sizes):
    layer.build((None, 9, 9, 4))
    kernels = {v.name: tuple(v.shape) for v in layer.weights if "kernel" in v.name}
    axes = graph.kernel_axes(layer)
    assert [dict(zip(axes[k], shape, strict=True)) for k, shape in kernels.items()] == sizes
    assert graph.kernel_axes(L.ReLU()) == {}


def test_all_our_own_layers_are_registered():
    from cnnbook.weights import Preprocess

    classes = [Preprocess, *(getattr(ours, name) for name in ours.__all__)]
    classes = [cls for cls in classes if issubclass(cls, L.Layer)]
    unknown = graph.rule_of.dispatch(L.Layer)
    assert len(classes) == 13
    assert [cls.__name__ for cls in classes if graph.rule_of.dispatch(cls) is unknown] == []
