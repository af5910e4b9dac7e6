"""Builders as people call them: what they refuse, what they are called, what survives a save."""

import inspect
import re

import keras
import numpy as np
import pytest

import cnnbook
from cnnbook import graph, models

SMALL = {
    "LeNet5": dict(classes=4),
    "VGG11LRN": dict(input_shape=(32, 32, 3), widths=(4, 4, 4, 4, 4), hidden=8, classes=4),
    "VGG13": dict(
        input_shape=(32, 32, 3), kernel=5, batch_norm=True, widths=(4, 4, 4, 4, 4), hidden=8, classes=4
    ),
    "ResNet18": dict(input_shape=(32, 32, 3), shortcut="A", widths=(4, 8, 8, 8), classes=4),
    "ResNetCIFAR": dict(depth=8, widths=(4, 8, 8), classes=4),
    "PlainCIFAR": dict(depth=8, widths=(4, 8, 8), classes=4),
}


@pytest.mark.parametrize("name", SMALL)
def test_save_reload_and_one_step(name, tmp_path):
    net = getattr(models, name)(**SMALL[name])
    x = np.random.default_rng(0).normal(size=(2, *net.input_shape[1:])).astype("float32")
    before = net.predict(x, verbose=0)
    assert before.shape == (2, 4) and np.allclose(before.sum(1), 1, atol=1e-5)
    net.save(tmp_path / "net.keras")
    np.testing.assert_array_equal(cnnbook.load(tmp_path / "net.keras").predict(x, verbose=0), before)
    start = net.get_weights()
    net.compile("sgd", "sparse_categorical_crossentropy")
    net.train_on_batch(x, np.array([0, 1]))
    moved = [not np.array_equal(a, b) for a, b in zip(start, net.get_weights(), strict=True)]
    assert np.mean(moved) > 0.9  # a dead ReLU may hold one back, a path cut off holds many


@pytest.mark.parametrize(
    "name, smallest",
    [("LeNet5", 32), ("AlexNet", 67), ("VGG16", 32), ("VGG19", 32), ("ResNet18", 32), ("ResNet152", 32)],
)
def test_smallest_size(name, smallest):
    channels = 1 if name == "LeNet5" else 3
    build = getattr(models, name)
    assert graph.blueprint(build, input_shape=(smallest, smallest, channels)).output_shape[0] is None
    with pytest.raises(ValueError, match=f"at least {smallest} pixels"):
        build(input_shape=(smallest, smallest - 1, channels))


def test_smallest_size_of_dense_evaluation_and_cifar():
    with pytest.raises(ValueError, match="at least 224 pixels"):
        models.VGG16(window=7, input_shape=(223, 300, 3))
    assert (
        graph.blueprint(models.ResNetCIFAR, 20, input_shape=(3, 3, 3))
        .get_layer("conv4_block3_out")
        .output.shape[1]
        == 1
    )
    with pytest.raises(ValueError, match="at least 3 pixels"):
        models.ResNetCIFAR(20, input_shape=(2, 2, 3))


@pytest.mark.parametrize("side, score", [(224, 1), (256, 2), (384, 6), (512, 10)])
def test_score_map_of_dense_evaluation(side, score):
    net = graph.blueprint(models.VGG16, window=7, input_shape=(side, side, 3))
    assert net.get_layer("predictions").output.shape[1:] == (score, score, 1000)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: models.ResNet18(shortcut="D"), 'shortcut is "A", "B" or "C"'),
        (lambda: models.ResNetCIFAR(21), r"depth is 6n \+ 2"),
        (lambda: models.AlexNet(towers=3), "towers is 2"),
        (lambda: models.VGG16(kernel=5), "pairs to replace"),
        (lambda: models.VGG16(kernel=7), "kernel is 3"),
        (lambda: models.VGG16(widths=(64, 128)), "each of the 5 stages"),
        (lambda: models.ResNet50(classes=0), "at least 1"),
        (lambda: models.ResNet50(include_top=False, pooling="mean"), '"avg" or "max"'),
        (lambda: models.ResNet50(input_shape=(224, 224)), r"\(height, width, channels\)"),
        (lambda: models.ResNet50(input_shape=(224, 224, None)), "fixed number of channels"),
        (lambda: models.VGG16(input_shape=(None, None, 3)), "need a fixed size"),
        (lambda: models.builder("ResNet51"), "there are LeNet5"),
        (lambda: models.decode(np.zeros((2, 10))), r"\(n, 1000\)"),
    ],
)
def test_wrong_arguments_say_what_is_possible(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_unknown_names():
    with pytest.raises(TypeError, match="VGG16: .*'class_count'.*its arguments are .*classes"):
        models.VGG16(class_count=3)
    with pytest.raises(AttributeError, match="its builders are LeNet5"):
        models.ResNet51  # noqa: B018


def test_help_shows_the_real_arguments():
    for name in models.BUILDERS:
        build = getattr(models, name)
        parameters = inspect.signature(build).parameters
        common = {
            "input_shape",
            "classes",
            "include_top",
            "pooling",
            "weights",
            "classifier_activation",
            "name",
        }
        assert common <= parameters.keys(), name
        assert build.__name__ == name and build.__module__ == f"cnnbook.models.{models.BUILDERS[name]}"
        assert parameters["weights"].default is None
    assert inspect.signature(models.ResNet18).parameters["shortcut"].default == "B"
    assert inspect.signature(models.PlainCIFAR).parameters["shortcut"].default is None
    assert "ResNet50 is ResNet(bottleneck, (3, 4, 6, 3))" in models.ResNet50.__doc__


def test_names_follow_the_grammar_and_merges_take_the_shortcut_first():
    stage = r"(conv|block|pool|norm|fc|c|s|f)\d+"
    grammar = re.compile(
        rf"^({stage}(_block\d+)?(_[a-z0-9]+)*|flatten|dropout|avg_pool|predictions\w*|image)$"
    )
    for name in models.BUILDERS:
        arguments = {"depth": 14} if "CIFAR" in name else {}
        net = graph.blueprint(getattr(models, name), **arguments)
        assert [op.name for op in net.operations if not grammar.match(op.name)] == [], name
        for row in graph.trace(net):
            if row.kind == "Add":
                shortcut, residual = row.inputs
                assert residual.endswith(("_2_bn", "_3_bn")) and not shortcut.endswith(("_2_bn", "_3_bn")), (
                    row
                )


def test_option_a_pads_with_zeros_and_takes_every_second_pixel():
    x = keras.Input((4, 4, 2))
    from cnnbook.layers import PadChannels

    net = keras.Model(x, PadChannels(5)(keras.layers.MaxPooling2D(1, 2)(x)))
    image = np.arange(32, dtype="float32").reshape(1, 4, 4, 2)
    out = net.predict(image, verbose=0)
    np.testing.assert_array_equal(out[..., :2], image[:, ::2, ::2])
    assert out.shape == (1, 2, 2, 5) and not out[..., 2:].any()


def test_local_response_normalisation_by_its_formula():
    from cnnbook.layers import LocalResponseNormalization

    x = np.random.default_rng(0).normal(0, 20, (2, 3, 3, 7)).astype("float32")
    expected = np.empty_like(x)
    for i in range(7):
        near = x[..., max(0, i - 2) : i + 3].astype("float64")
        expected[..., i] = x[..., i] / (2 + 1e-4 * (near**2).sum(-1)) ** 0.75
    normalised = keras.ops.convert_to_numpy(LocalResponseNormalization()(x))
    np.testing.assert_allclose(normalised, expected, rtol=2e-6)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        peer = tf.nn.local_response_normalization(x, depth_radius=2, bias=2, alpha=1e-4, beta=0.75)
        np.testing.assert_allclose(normalised, peer.numpy(), rtol=2e-6)


def test_plain_net_is_the_residual_net_without_its_additions():
    plain, residual = models.PlainCIFAR(20), models.ResNetCIFAR(20)
    assert plain.count_params() == residual.count_params()
    weighted = [[layer.name for layer in net.layers if layer.weights] for net in (plain, residual)]
    assert weighted[0] == weighted[1]
    assert sum(isinstance(layer, keras.layers.Add) for layer in plain.layers) == 0
    assert sum(isinstance(layer, keras.layers.Add) for layer in residual.layers) == 9


def test_import_is_quick_and_lazy():
    import subprocess
    import sys

    code = (
        "import sys, cnnbook, cnnbook.models; cnnbook.models.BUILDERS;"
        "print([m for m in ('keras', 'tensorflow', 'jax', 'matplotlib', 'pandas') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
