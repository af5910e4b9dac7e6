"""Whole numbers as arguments: those of NumPy count, what only looks like one is refused in words."""

import json

import keras
import numpy as np
import pytest

from cnnbook import graph, models, training
from cnnbook.arguments import whole_number, whole_numbers
from cnnbook.parts import layers


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.arange(4).max()])
def test_whole_numbers_of_every_kind_are_pythons_afterwards(value):
    number = whole_number(value, "channel")
    assert type(number) is int and number == 3


@pytest.mark.parametrize("value", [True, np.True_, 3.0, np.float32(3), "3", None, [3], np.array([3])])
def test_what_is_no_whole_number_is_refused_with_its_name(value):
    with pytest.raises(ValueError, match="^channel is a whole number of at least 1, got "):
        whole_number(value, "channel")


def test_the_bounds_belong_to_what_is_possible():
    assert whole_number(0, "target", least=0, most=9) == 0 and whole_number(9, "target", least=0, most=9) == 9
    for value in (-1, 10):
        with pytest.raises(ValueError, match=f"^target is a whole number from 0 to 9, got {value}$"):
            whole_number(value, "target", least=0, most=9)


# --------------------------------------------------------------------------- NumPy's numbers, everywhere


def as_numpy(value):
    """The same value in NumPy's types."""
    if isinstance(value, tuple) and all(isinstance(v, int) for v in value):
        return np.array(value)
    return {bool: np.bool_, int: np.int64, float: np.float32}.get(type(value), lambda same: same)(value)


BUILT = [
    ("ResNetCIFAR", dict(depth=8, widths=(2, 2, 4), input_shape=(8, 8, 1), classes=3)),
    ("PreActResNetCIFAR", dict(depth=11, bottleneck=True, widths=(2, 2, 4), input_shape=(8, 8, 1))),
    ("ResNeXtCIFAR", dict(depth=11, cardinality=2, width=32, widths=(4, 4, 4), input_shape=(8, 8, 1))),
    ("DenseNetCIFAR", dict(depth=10, growth=2, compression=0.5, input_shape=(8, 8, 1))),
    ("ShuffleNet", dict(groups=3, scale=0.5, include_top=False, input_shape=(32, 32, 3))),
    ("MobileNet", dict(alpha=0.25, include_top=False, input_shape=(32, 32, 3))),
    ("Maxout", dict(pieces=3, input_shape=(28, 28, 1), classes=2)),
    ("UNet", dict(padding="same", widths=(2, 4), dropout=0.5, classes=2, input_shape=(16, 16, 1))),
]


@pytest.mark.parametrize("name, arguments", BUILT, ids=[name for name, _ in BUILT])
def test_builders_take_numpys_numbers(name, arguments):
    given = {key: as_numpy(value) for key, value in arguments.items()}
    build = models.builder(name)
    plain, found = build(**arguments, name="net"), build(**given, name="net")
    assert found.to_json() == plain.to_json()


def test_other_builders_arguments(monkeypatch):
    with pytest.raises(ValueError, match="radix is at least 2"):
        models.ResNeSt50(radix=np.int64(1))
    for wrong in (True, 8.0, "8", None):
        with pytest.raises(ValueError, match=r"depth is 6n \+ 2"):
            models.ResNetCIFAR(wrong)
    with pytest.raises(ValueError, match="classes is a whole number of at least 1, got True"):
        models.ResNetCIFAR(8, classes=True)
    with pytest.raises(ValueError, match="each side is a whole number of at least 3 pixels"):
        models.ResNetCIFAR(8, input_shape=(32.0, 32, 3))


def test_layers_keep_pythons_numbers():
    """What they keep is what a saved file holds."""
    for layer in (
        layers.LocalResponseNormalization(np.int64(2), alpha=np.float32(0.5)),
        layers.PadChannels(np.int64(4)),
        layers.Maxout(np.int64(2)),
        layers.SumSplits(np.int64(2)),
        layers.ShuffleChannels(np.int64(2)),
        layers.LocallyConnected2D(np.int64(2), np.int64(3), np.array([1, 2])),
    ):
        config = json.loads(json.dumps({k: v for k, v in layer.get_config().items() if "dtype" not in k}))
        assert type(layer).from_config(config).get_config() == layer.get_config()
    for wrong in (dict(filters=2.5, kernel_size=3), dict(filters=2, kernel_size=(3, True))):
        with pytest.raises(ValueError, match="is a whole number of at least 1"):
            layers.LocallyConnected2D(**wrong)
    with pytest.raises(ValueError, match="radius is a whole number of at least 0, got -1"):
        layers.LocalResponseNormalization(-1)
    for make, words in (
        (lambda: layers.ShuffleChannels(2.0), "groups is a whole number of at least 1, got 2.0"),
        (lambda: layers.TakeChannels(-1, 2), "start is a whole number of at least 0, got -1"),
        (lambda: layers.TakeChannels(0, "2"), "stop is a whole number of at least 1, got '2'"),
        (lambda: layers.MatchSize(1.5), "offset is None or a whole number, got 1.5"),
    ):
        with pytest.raises(ValueError, match=words):
            make()


def test_a_protocol_of_numpys_numbers_is_the_same_and_can_be_kept(tmp_path):
    given = dict(
        epochs=np.int64(3),
        batch_size=np.int32(8),
        learning_rate=np.float32(0.5),
        mirror=np.False_,
        seed=np.uint8(2),
    )
    given |= dict(rates={"conv1": np.float64(0.1)})
    protocol = training.Protocol(**given)
    plain = training.Protocol(3, 8, 0.5, mirror=False, seed=2, rates={"conv1": 0.1})
    assert protocol == plain and json.dumps(protocol.settings()) == json.dumps(plain.settings())
    kept = training.Results(tmp_path / "runs.json").add(
        training.History("a", {"loss": [1.0]}, protocol.settings())
    )
    assert training.Results(tmp_path / "runs.json").histories == [kept]


def test_measures_take_numpys_numbers():
    inputs = keras.Input((4, 4, 1))
    net = keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs))
    assert graph.peak_memory(net, np.int64(3)) == graph.peak_memory(net, 3)
    assert json.dumps(graph.peak_memory(net, np.int64(3)).maps_mb)
    x = np.zeros((5, 4, 4, 1), "float32")
    assert len(training.outputs(net, x, np.int64(2))) == 5
    with pytest.raises(ValueError, match="batch_size is a whole number of at least 1, got 2.5"):
        training.outputs(net, x, 2.5)
    assert training.top_k([[0.1, 0.9]], [0], np.int64(2)) == 1.0
    with pytest.raises(ValueError, match="k is from 1 to the 2 classes, got 1.5"):
        training.top_k([[0.1, 0.9]], [0], 1.5)
    training.seed(np.int64(7))
    first = np.array(keras.random.normal((3,)))
    training.seed(7)
    np.testing.assert_array_equal(keras.random.normal((3,)), first)


@pytest.mark.parametrize("dtype", ["int8", "uint64", "bool", "float16", "float32"])
def test_arrays_of_whole_numbers_of_every_kind_are_integers_afterwards(dtype):
    found = whole_numbers(np.array([0, 1, 1], dtype), "labels")
    assert found.tolist() == [0, 1, 1] and found.dtype.kind in "iub"


@pytest.mark.parametrize(
    "values, given",
    [
        ([0.0, 0.5], "0.5"),
        ([1.0, np.nan], "nan"),
        ([np.inf], "inf"),
        (["1"], "<U1"),
        ([1j], "complex128"),
        ([None], "nan"),
    ],
)
def test_arrays_of_other_things_are_refused(values, given):
    with pytest.raises(ValueError, match=f"labels are whole numbers, got {given}"):
        whole_numbers(values, "labels")
