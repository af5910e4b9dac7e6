"""Builders as people call them: what they refuse, what they are called, what survives a save."""

import functools
import inspect
import operator
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers.weights import outputs
from helpers.zoo import DENSE, ONE_PER_KIND, SILENT, SMALL, plan

import cnnbook
from cnnbook import graph, models
from cnnbook.parts import blocks
from cnnbook.training import gradients

pytestmark = pytest.mark.jax

JAX = keras.backend.backend() == "jax"
MEMBERS = [
    pytest.param(name, marks=pytest.mark.every_variant) if JAX and name not in ONE_PER_KIND else name
    for name in SMALL
]
SMALLEST = {row["builder"]: row["smallest"] for row in models.figures() if row["smallest"]}
# One of the builders of a file that begin at the same size.
ONE_OF_EACH = list(
    {(models.BUILDERS[name], SMALLEST[name]): name for name in reversed(models.BUILDERS)}.values()
)
ONE_OF_EACH = sorted(ONE_OF_EACH) if JAX else ONE_PER_KIND


def needed(name):
    """Arguments that a builder cannot do without: those of its smallest row in the table of figures."""
    parameters = inspect.signature(getattr(models, name)).parameters
    row = min((row for row in models.figures() if row["builder"] == name), key=lambda row: row["params"])
    return {k: v for k, v in row["arguments"].items() if parameters[k].default is inspect.Parameter.empty}


@pytest.fixture(scope="module", params=MEMBERS)
def net(request):
    """The smallest member of a family, built once for the tests that ask for it; one lives at a time."""
    return operator.attrgetter(request.param)(models)(**{"classes": 4, **SMALL[request.param]})


def test_save_and_reload(net, tmp_path):
    x = np.random.default_rng(0).normal(size=(2, *net.input_shape[1:])).astype("float32")
    before = first(outputs(net, x))
    assert before.shape == (2, *net.outputs[0].shape[1:]) and np.allclose(before.sum(-1), 1, atol=1e-5)
    net.save(tmp_path / "net.keras")
    own = any(type(layer).__module__.startswith("cnnbook") for layer in net.layers)
    opens = (lambda path: cnnbook.load(path, trusted=True)) if own else keras.models.load_model
    again = opens(tmp_path / "net.keras")
    np.testing.assert_array_equal(first(outputs(again, x)), before)


def first(answers):
    """The main output of a net that may have auxiliary heads."""
    return keras.ops.convert_to_numpy(keras.tree.flatten(answers)[0])


@pytest.fixture
def one_program(monkeypatch):
    """JAX would otherwise compile a program for each operation and shape of a gradient."""
    if JAX:
        import jax

        eager = jax.value_and_grad
        monkeypatch.setattr(jax, "value_and_grad", lambda function: jax.jit(eager(function)))


def test_one_training_step_reaches_every_weight(net, one_program):
    """Every gradient is there and finite; those of kernels are above noise. zoo.SILENT lists exceptions and reasons."""
    x = np.random.default_rng(0).normal(size=(4, *net.input_shape[1:])).astype("float32")

    def loss(outputs):
        return sum(-keras.ops.mean(keras.ops.log(o[..., 1] + 1e-7)) for o in keras.tree.flatten(outputs))

    loss.images = x
    _, found = gradients.of_weights(net, loss)
    assert len(found) == len(net.trainable_weights)
    layer_of = {w.path: layer.name for layer in net.layers for w in layer.trainable_weights}
    silent = []
    for weight in net.trainable_weights:
        gradient = found[weight.path]
        assert np.isfinite(gradient).all(), weight.path
        excused = any(re.search(pattern, layer_of[weight.path]) for pattern, _ in SILENT)
        if "kernel" in weight.name and not excused and np.abs(gradient).max() < 1e-9:
            silent.append(weight.path)
    assert silent == []


def smallest_of(name):
    """The builder with what it needs, and its smallest input shape."""
    side = SMALLEST[name]
    return functools.partial(getattr(models, name), **needed(name)), (
        side,
        side,
        1 if name == "LeNet5" else 3,
    )


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_smallest_size(name):
    """The smallest size forwards (here: its shapes do); `make test-all` runs every builder at it."""
    build, shape = smallest_of(name)
    net = graph.blueprint(build, input_shape=shape)
    assert all(side >= 1 for row in graph.trace(net) for side in row.output_shape)


@pytest.mark.parametrize("name", models.BUILDERS)
def test_one_pixel_less_is_refused_with_what_is_possible(name):
    build, (side, _, channels) = smallest_of(name)
    with pytest.raises(ValueError, match=f"at least {side} pixels"):
        build(input_shape=(side, side - 1, channels))


@pytest.mark.every_variant
@pytest.mark.parametrize("name", models.BUILDERS)
def test_forward_at_the_smallest_size(name):
    build, shape = smallest_of(name)
    net = build(input_shape=shape)
    probabilities = first(net(np.ones((1, *shape), "float32"), training=False))
    assert probabilities.shape == (1, *net.outputs[0].shape[1:])
    if probabilities.shape[-1] > 1:
        np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-4)


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
    net = plan(models.VGG16, window=7, input_shape=(side, side, 3))
    assert net.get_layer("predictions").output.shape[1:] == (score, score, 1000)


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
        if name in DENSE:
            assert not {"include_top", "pooling"} & parameters.keys(), name
            assert ("backbone" in parameters) == (DENSE[name] == "backbone"), name
            common -= {"include_top", "pooling"}
        assert common <= parameters.keys(), name
        assert build.__name__ == name and build.__module__ == f"cnnbook.models.{models.BUILDERS[name]}"
        assert parameters["weights"].default is None
    assert inspect.signature(models.ResNet18).parameters["shortcut"].default == "B"
    assert inspect.signature(models.PlainCIFAR).parameters["shortcut"].default is None
    assert "ResNet50 is ResNet(bottleneck, (3, 4, 6, 3))" in models.ResNet50.__doc__


NORMALISED = [
    ("ResNet50", {}),
    ("DenseNet121", {}),
    ("UNet", {"batch_norm": True, "padding": "same", "input_shape": (32, 32, 3)}),
]


@pytest.mark.parametrize("name, arguments", NORMALISED)
def test_another_norm_is_one_argument_of_any_network(name, arguments):
    group_norm = functools.partial(keras.layers.GroupNormalization, 8)
    batch, group = (
        graph.blueprint(getattr(models, name), **arguments, norm=norm) for norm in (None, group_norm)
    )
    assert [layer.name for layer in batch.layers] == [layer.name for layer in group.layers]
    changed = {
        (type(a), type(b)) for a, b in zip(batch.layers, group.layers, strict=True) if type(a) is not type(b)
    }
    assert changed == {(keras.layers.BatchNormalization, keras.layers.GroupNormalization)}
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in group.layers)
    assert {layer.groups for layer in group.layers if isinstance(layer, keras.layers.GroupNormalization)} == {
        8
    }
    assert graph.totals(group)["params"] == graph.totals(batch)["params"]
    assert graph.totals(group)["state"] == 0  # no moving statistics


def test_what_norm_refuses():
    with pytest.raises(ValueError, match=r"norm is None .* or a function that makes a layer of norm\(name"):
        models.ResNet18(norm="group")
    with pytest.raises(ValueError, match="UNet: with these arguments no layer normalises"):
        graph.blueprint(models.UNet, norm=functools.partial(keras.layers.GroupNormalization, 8))
    with pytest.raises(TypeError, match="LeNet5: .*'norm'; its arguments are activation"):
        models.LeNet5(norm=None)


def test_a_normalising_block_takes_norm_and_activation():
    x = keras.Input((8, 8, 16))
    norm = functools.partial(keras.layers.GroupNormalization, 4)
    net = keras.Model(x, blocks.conv(x, 8, 3, 2, norm=norm, activation="swish", use_bias=False, name="a"))
    assert [layer.name for layer in net.layers[1:]] == ["a_pad", "a_conv", "a_bn", "a_swish"]
    assert net.get_layer("a_bn").groups == 4 and net.output_shape == (None, 4, 4, 8)


def test_the_smallest_side_is_said_once():
    """The decorator has it: help says it, the published table agrees (see test_one_pixel_less...)."""
    said = 0
    for name in models.BUILDERS:
        build = getattr(models, name)
        if not callable(build.frame.smallest):  # else it depends on arguments, and the docstring says how
            assert build.frame.smallest == SMALLEST[name], name
            assert f"The smallest side is {SMALLEST[name]}" in build.__doc__.splitlines()[-1], name
            said += 1
    assert said > 55
    source = inspect.getsource(inspect.unwrap(models.ResNet50))
    assert source.startswith("@network(smallest=32)\ndef ResNet(x, block, repeats,")


def test_option_a_pads_with_zeros_and_takes_every_second_pixel():
    x = keras.Input((4, 4, 2))
    from cnnbook.parts.layers import PadChannels

    net = keras.Model(x, PadChannels(5)(keras.layers.MaxPooling2D(1, 2)(x)))
    image = np.arange(32, dtype="float32").reshape(1, 4, 4, 2)
    out = net.predict(image, verbose=0)
    np.testing.assert_array_equal(out[..., :2], image[:, ::2, ::2])
    assert out.shape == (1, 2, 2, 5) and not out[..., 2:].any()


def test_local_response_normalisation_by_its_formula():
    from cnnbook.parts.layers import LocalResponseNormalization

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
    code = (
        "import sys, cnnbook, cnnbook.models; cnnbook.models.BUILDERS;"
        "print([m for m in ('keras', 'tensorflow', 'jax', 'matplotlib', 'pandas') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
