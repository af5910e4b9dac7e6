"""What is special about the nets before and beside ResNet: NiN, maxout, highways, and the Inception family."""

import keras
import numpy as np
import pytest
from helpers.zoo import plan
from keras import layers as L

from cnnbook import graph, models
from cnnbook.parts.layers import Maxout

read = keras.ops.convert_to_numpy


def built(build, side, channels, *arguments):
    """The rows of one block on a map, without its input."""
    with keras.StatelessScope(initialize_variables=False):
        x = keras.Input((side, side, channels))
        return graph.trace(keras.Model(x, build(x, *arguments, name="m")))[1:]


def kernels(rows):
    """Weights without biases, as the lecture counts."""
    return sum(row.params - getattr(row.operation, "filters", 0) for row in rows)


def test_the_worked_example_of_module_3b():
    """The lecture's 854.2 M and 1.09 M are right; its 358 M for the bottleneck form is 304 M (Table 1 says so too)."""
    naive = built(models.googlenet.naive, 28, 256, 128, 192, 96)
    macs = {row.name: row.macs for row in naive if row.macs}
    assert macs == {"m_1x1_conv": 25_690_112, "m_3x3_conv": 346_816_512, "m_5x5_conv": 481_689_600}
    assert sum(macs.values()) == 854_196_224 and kernels(naive) == 1_089_536
    assert naive[-1].output_shape == (28, 28, 672)
    cheap = built(models.googlenet.module, 28, 256, 128, 128, 192, 32, 96, 64)
    macs = sorted(row.macs for row in cheap if row.macs)
    assert macs == sorted([25_690_112, 25_690_112, 6_422_528, 173_408_256, 60_211_200, 12_845_056])
    assert sum(macs) == 304_267_264 and kernels(cheap) == 388_096
    assert cheap[-1].output_shape == (28, 28, 480)


# from the released Caffe model: output, parameters with biases, multiply-adds
GOOGLENET = {
    "conv1": ((112, 112, 64), 9_472, 118_013_952),
    "conv2": ((56, 56, 192), 114_944, 359_661_568),
    "inception3a": ((28, 28, 256), 163_696, 128_049_152),
    "inception3b": ((28, 28, 480), 388_736, 304_267_264),
    "inception4a": ((14, 14, 512), 376_176, 73_608_192),
    "inception4b": ((14, 14, 512), 449_160, 87_908_352),
    "inception4c": ((14, 14, 512), 510_104, 99_850_240),
    "inception4d": ((14, 14, 528), 605_376, 118_515_712),
    "inception4e": ((14, 14, 832), 868_352, 169_996_288),
    "inception5a": ((7, 7, 832), 1_043_456, 51_079_168),
    "inception5b": ((7, 7, 1024), 1_444_080, 70_697_984),
}


def test_googlenet_module_by_module():
    table = graph.summary(plan(models.GoogLeNet), by="stage").records
    stages = {r["name"]: (r["output"], r["params"], r["MACs"]) for r in table if r["name"] in GOOGLENET}
    assert stages == GOOGLENET
    assert [r["name"] for r in table if r["name"].startswith("pool")] == ["pool1", "pool2", "pool3", "pool4"]


def test_auxiliary_heads_of_googlenet():
    net = plan(models.GoogLeNet, auxiliary=True, name="three")
    assert [t.shape for t in net.outputs] == [(None, 1000)] * 3
    main, *heads = [t._keras_history.operation.name for t in net.outputs]
    assert (main, heads) == ("predictions", ["aux1_predictions", "aux2_predictions"])
    table = {r["name"]: r for r in graph.summary(net, by="stage").records}
    rows = graph.trace(net)
    sizes = [sum(row.params for row in rows if row.name.startswith(head)) for head in ("aux1", "aux2")]
    assert sizes == [3_188_840, 3_190_888]
    reads = {row.name: row.inputs for row in rows}
    assert reads["aux1_pool"] == ("inception4a_out",) and reads["aux2_pool"] == ("inception4d_out",)
    assert table["predictions"]["params"] == 1_025_000
    bare = plan(models.GoogLeNet, auxiliary=True, include_top=False, pooling="avg")
    assert len(bare.outputs) == 1 and not any("aux" in layer.name for layer in bare.layers)
    with pytest.raises(ValueError, match="at least 65 pixels"):
        models.GoogLeNet(auxiliary=True, input_shape=(64, 64, 3))
    with pytest.raises(ValueError, match="need a fixed size"):
        models.GoogLeNet(auxiliary=True, input_shape=(None, None, 3))


def test_auxiliary_heads_do_not_change_the_main_path():
    nets = [plan(models.InceptionV3, auxiliary=auxiliary) for auxiliary in (False, True)]
    one, two = (graph.features(net) for net in nets)
    assert {s: e.name for s, e in one.items()} == {s: e.name for s, e in two.items()}
    assert [one[s].name for s in (8, 16, 32)] == ["mixed2", "mixed7", "mixed10"]
    rows = {row.name: row for row in graph.trace(nets[1])}
    assert sum(row.params for name, row in rows.items() if name.startswith("aux1")) == 3_326_696 - 128 - 768
    assert rows["aux1_pool"].inputs == ("mixed7",)  # 896 gammas fewer than torch's copy
    assert rows["aux1_1_relu"].output_shape == (5, 5, 128) and rows["aux1_2_relu"].output_shape == (1, 1, 768)


@pytest.mark.parametrize(
    "name, with_gamma",
    [("InceptionV3", 23_834_568), ("InceptionV4", 42_679_816), ("InceptionResNetV1", 22_756_328),
     ("InceptionResNetV2", 55_843_464)],
)  # fmt: skip
def test_counts_of_the_copies_that_keep_gamma(name, with_gamma):
    net = plan(getattr(models, name))
    norms = [layer for layer in net.layers if isinstance(layer, L.BatchNormalization)]
    assert not any(norm.scale for norm in norms)
    gammas = sum(norm.beta.shape[0] for norm in norms)
    assert sum(row.params for row in graph.trace(net)) + gammas == with_gamma


GRIDS = {
    "InceptionV3": {
        "stem1_1_relu": (149, 149, 32), "stem1_2_relu": (147, 147, 32), "stem1_3_relu": (147, 147, 64),
        "stem1_pool": (73, 73, 64), "stem2_1_relu": (73, 73, 80), "stem2_2_relu": (71, 71, 192),
        "stem2_pool": (35, 35, 192), "mixed0": (35, 35, 256), "mixed1": (35, 35, 288), "mixed2": (35, 35, 288),
        "mixed3": (17, 17, 768), "mixed7": (17, 17, 768), "mixed8": (8, 8, 1280), "mixed10": (8, 8, 2048),
    },
    "InceptionV4": {
        "stem2": (73, 73, 160), "stem3": (71, 71, 192), "stem4": (35, 35, 384), "mixed5_block4": (35, 35, 384),
        "mixed6_reduction": (17, 17, 1024), "mixed6_block7": (17, 17, 1024), "mixed7_reduction": (8, 8, 1536),
        "mixed7_block3": (8, 8, 1536),
    },
    "InceptionResNetV1": {
        "stem2_3_relu": (35, 35, 256), "block35_5_ac": (35, 35, 256), "mixed_6a": (17, 17, 896),
        "block17_10_ac": (17, 17, 896), "mixed_7a": (8, 8, 1792), "block8_5_ac": (8, 8, 1792),
    },
    "InceptionResNetV2": {
        "mixed_5b": (35, 35, 320), "block35_10_ac": (35, 35, 320), "mixed_6a": (17, 17, 1088),
        "block17_20_ac": (17, 17, 1088), "mixed_7a": (8, 8, 2080), "block8_9_ac": (8, 8, 2080),
        "block8_10_add": (8, 8, 2080), "conv_7b_ac": (8, 8, 1536),
    },
    "BNInception": {
        "inception3b_out": (28, 28, 320), "inception3c_out": (14, 14, 576), "inception4d_out": (14, 14, 576),
        "inception4e_out": (7, 7, 1024), "inception5b_out": (7, 7, 1024),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", GRIDS)
def test_maps_have_the_sizes_of_the_paper(name):
    rows = {row.name: row.output_shape for row in graph.trace(plan(getattr(models, name)))}
    assert {layer: rows[layer] for layer in GRIDS[name]} == GRIDS[name]


def test_layers_fall_into_the_stages_of_the_paper():
    def stages(net):
        return [r["name"] for r in graph.summary(net, by="stage").records]

    mixed = [f"mixed{i}" for i in range(11)]
    assert stages(plan(models.InceptionV3)) == [
        *("image", "stem1", "stem2", *mixed, "avg_pool", "dropout", "predictions")
    ]
    found = stages(plan(models.InceptionResNetV2))
    assert found[1:-3] == [
        *("stem1", "stem2", "mixed_5b", "block35", "mixed_6a", "block17", "mixed_7a", "block8", "conv_7b")
    ]
    assert stages(plan(models.InceptionV4))[1:-3] == [
        *("stem1", "stem2", "stem3", "stem4", "mixed5", "mixed6", "mixed7")
    ]


def test_residuals_are_scaled():
    net = plan(models.InceptionResNetV2)
    scales = [layer.scale for layer in net.layers if isinstance(layer, L.Rescaling)]
    assert scales == [0.17] * 10 + [0.1] * 20 + [0.2] * 9  # the last block has none
    assert sum(isinstance(layer, L.Add) for layer in net.layers) == 40
    assert not any(isinstance(layer, L.Add) for layer in plan(models.InceptionV4).layers)


def test_a_highway_layer_by_its_formula():
    x = keras.Input((6, 6, 4))
    net = keras.Model(x, models.highway.highway(x, -2.0, "h"))
    image = np.random.default_rng(0).normal(size=(2, 6, 6, 4)).astype("float32")
    assert np.all(read(net.get_layer("h_t_conv").bias) == -2)
    parts = keras.Model(x, [net.get_layer(f"h_{p}").output for p in ("h_relu", "t_sigmoid")])
    h, t = (read(part) for part in parts(image))
    np.testing.assert_allclose(read(net(image)), h * t + image * (1 - t), atol=1e-6)
    shut = net.get_layer("h_t_conv")
    shut.set_weights([np.zeros_like(shut.get_weights()[0]), np.full(4, -200, "float32")])
    np.testing.assert_array_equal(read(net(image)), image)  # T = 0: the input is carried through


def test_highway_has_nineteen_layers_of_weights_in_depth():
    net = plan(models.Highway19)
    gates = [layer for layer in net.layers if layer.name.endswith("_t_conv")]
    weighted = [layer for layer in net.layers if isinstance(layer, (L.Conv2D, L.Dense))]
    assert len(gates) == 14 and len(weighted) - len(gates) == 19


def test_maxout_by_its_formula():
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 12)).astype("float32")
    for pieces in (1, 2, 3):
        expected = np.stack([x[..., i::pieces] for i in range(pieces)]).max(0)
        np.testing.assert_array_equal(read(Maxout(pieces)(x)), expected)
    assert Maxout(3).compute_output_shape((None, 5, 5, 12)) == (None, 5, 5, 4)
    np.testing.assert_array_equal(read(Maxout(4)(x[:, 0, 0])), x[:, 0, 0].reshape(2, 3, 4).max(-1))
    assert Maxout.from_config(Maxout(5).get_config()).pieces == 5
    with pytest.raises(ValueError, match="largest of 5 channels, but its input has 12"):
        Maxout(5)(x)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Maxout(0)


def test_maxout_learns_the_absolute_value():
    """A unit of two pieces is |x| exactly, where a ReLU needs two units and a sum."""
    x = keras.Input((1,))
    net = keras.Model(x, models.maxout.dense_maxout(x, 1, 2, "abs"))
    net.get_layer("abs_dense").set_weights([np.array([[1.0, -1.0]]), np.zeros(2)])
    points = np.linspace(-2, 2, 9)[:, None].astype("float32")
    np.testing.assert_array_equal(read(net(points)), np.abs(points))


def test_maps_of_the_maxout_net_as_in_its_configuration():
    rows = {row.name: row.output_shape for row in graph.trace(plan(models.Maxout))}
    sides = [rows[f"conv{i}_{kind}"][0] for i in (1, 2, 3) for kind in ("max", "pool")]
    assert sides == [33, 16, 15, 7, 9, 5] and rows["fc_max"] == (500,)


def test_nin_averages_a_map_for_each_class():
    net = models.NiN(input_shape=(8, 8, 3), classes=4, classifier_activation=None)
    maps = keras.Model(net.input, net.get_layer("classes_relu").output)
    image = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(read(net(image)), read(maps(image)).mean((1, 2)), atol=1e-6)
    assert maps.output_shape == (None, 2, 2, 4)
    assert not any(isinstance(layer, L.Dense) for layer in net.layers)
    sides = {row.name: row.output_shape[0] for row in graph.trace(plan(models.NiNImageNet))}
    assert [sides[f"mlpconv{i}_conv"] for i in (1, 2, 3, 4)] == [54, 27, 13, 6]
    with pytest.raises(ValueError, match="classes is a whole number"):
        models.NiN(classes=0)


def test_deep_supervision_reads_the_first_convolutions():
    net = plan(models.DSN)
    reads = {row.name: row.inputs for row in graph.trace(net)}
    for i in (1, 2, 3):
        assert reads[f"aux{i}_flatten"] == (f"mlpconv{i}_conv",)  # before its ReLU
    plain = plan(models.DSN, auxiliary=False)
    assert [layer.name for layer in plain.layers] == [layer.name for layer in plan(models.NiN).layers]
    assert len(plan(models.DSN, include_top=False).outputs) == 1
