"""cnnbook.data: the shipped set, choices and sizes, TFDS sets prepared, damaged, raced and killed, folders, photographs."""

import errno
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cnnbook import data
from cnnbook.data import fashion, images
from cnnbook.data.tfds import prepared

ROOT = Path(__file__).parent.parent
needs_debian = pytest.mark.skipif(
    not fashion.DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed"
)


@pytest.fixture
def tfds():
    pytest.importorskip("tensorflow", reason="TFDS needs TensorFlow")
    return pytest.importorskip("tensorflow_datasets", reason="TFDS is not installed")


@pytest.fixture
def no_network(monkeypatch):
    def refuse(address, timeout=None):
        raise OSError("no network")

    monkeypatch.setattr(prepared.socket, "create_connection", refuse)


# --- the shipped set -------------------------------------------------------------------------------------------------


def test_shipped_fashion_mnist(capsys):
    clothes = data.load("fashion_mnist")
    assert capsys.readouterr().out == (
        "fashion_mnist: 12,000 training and 2,000 test images, shipped with cnnbook, a class-balanced part of "
        "Fashion-MNIST (Zalando, MIT licence)\n"
    )
    assert clothes.x_train.shape == (12000, 28, 28, 1) and clothes.x_train.dtype == np.uint8
    assert clothes.y_train.dtype == np.int64 and np.bincount(clothes.y_train).tolist() == [1200] * 10
    assert np.bincount(clothes.y_test).tolist() == [200] * 10
    assert clothes.x_validation.shape == (0, 28, 28, 1) and clothes.y_validation.shape == (0,)
    assert int(clothes.x_train.sum()) == TRAIN_SUM and int(clothes.x_test.sum()) == TEST_SUM
    assert clothes.classes[9] == "Ankle boot"
    assert repr(clothes) == (
        "Images 'fashion_mnist': 12,000 training and 2,000 test images\n"
        "  each 28x28x1 uint8, 10 classes: T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, "
        "Ankle boot\n  source: shipped with cnnbook, a class-balanced part of Fashion-MNIST (Zalando, MIT licence)"
    )
    clothes.x_train[0] = 0  # the reader's own copy: the next load is whole
    assert int(data.load("fashion_mnist", verbose=False).x_train.sum()) == TRAIN_SUM


TRAIN_SUM, TEST_SUM = 687403837, 114072606


def test_import_is_light():
    code = (
        "import sys, cnnbook.data; print(sorted({m.split('.')[0] for m in sys.modules} & set(sys.argv[1:])))"
    )
    heavy = [
        "tensorflow",
        "tensorflow_datasets",
        "keras",
        "matplotlib",
        "PIL",
        "skimage",
        "sklearn",
        "jax",
        "scipy",
    ]
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("change", ["flip", "cut", "gone"])
def test_damaged_shipped_file_is_refused(tmp_path, monkeypatch, change):
    raw = bytearray(fashion.SHIPPED.read_bytes())
    raw[len(raw) // 2] ^= 1
    copy = tmp_path / "fashion_mnist.npz"
    if change != "gone":
        copy.write_bytes(raw if change == "flip" else raw[:1000])
    monkeypatch.setattr(fashion, "SHIPPED", copy)
    fashion.shipped.cache_clear()
    try:
        with pytest.raises(
            data.DataError, match="fashion_mnist.npz (is damaged|cannot be read).*Install cnnbook again"
        ):
            data.load("fashion_mnist")
    finally:
        fashion.shipped.cache_clear()


@needs_debian
@pytest.mark.checkout
def test_shipped_file_is_built_from_the_published_files(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    import build_fashion_subset as build

    shipped, whole = fashion.shipped(), fashion.complete(fashion.DEBIAN)
    monkeypatch.setattr(build.fashion, "whole", lambda folder: whole)
    with np.load(io.BytesIO(build.build(fashion.DEBIAN, build.zipfile.ZIP_STORED))) as built:
        for key, array in shipped.items():
            assert (built[key] == array).all()
    assert whole["x_train"].shape == (60000, 28, 28, 1) and whole["x_test"].shape == (10000, 28, 28, 1)


def test_licence_lies_beside_the_file():
    text = fashion.SHIPPED.with_suffix(".txt").read_text()
    assert "Copyright (c) 2017 Zalando SE" in text and "MIT License" in text


# --- choices -----------------------------------------------------------------------------------------------------------


def test_parts_are_balanced_disjoint_and_seeded():
    ask = dict(train=4000, validation=500, test=1000, verbose=False)
    one, same, other = (data.load("fashion_mnist", seed=s, **ask) for s in (0, 0, 1))
    for part, each in (("train", 400), ("validation", 50), ("test", 100)):
        assert np.bincount(one.part(part)[1]).tolist() == [each] * 10
        assert (one.part(part)[0] == same.part(part)[0]).all() and (
            one.part(part)[1] == same.part(part)[1]
        ).all()
        assert (one.part(part)[0] != other.part(part)[0]).any()
    labels = fashion.shipped()["y_train"]
    index = images.choose("set", labels, labels, train=4000, validation=500)
    assert not set(index["train"]) & set(index["validation"]) and len(set(index["train"])) == 4000
    larger = images.choose("set", labels, labels, train=6000, validation=500)
    assert set(index["train"]) < set(larger["train"]) and set(index["validation"]) == set(
        larger["validation"]
    )
    assert one.sizes == {"train": 4000, "validation": 500, "test": 1000}


def test_balance_without_enough_of_a_class():
    labels = np.array([0] * 3 + [1] * 50 + [2] * 50)
    order = images.balanced_order(labels, 0)
    assert sorted(order) == list(range(103)) and np.bincount(labels[order[:23]]).tolist() == [3, 10, 10]
    assert np.ptp(np.bincount(labels[order[:8]])) <= 1


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (
            {"train": 12001},
            "12001 training and 0 validation images were asked for, the training part has 12000",
        ),
        ({"train": 12000, "validation": 1}, "12000 training and 1 validation"),
        ({"validation": 13000}, "0 training and 13000 validation"),
        ({"test": 2001}, "test=2001, the test part has 2000"),
        ({"train": -1}, "train is a whole number of at least 0, got -1"),
        ({"train": 0.5}, "train is a whole number of at least 0, got 0.5"),
        ({"validation": True}, "validation is a whole number of at least 0, got True"),
        ({"seed": -3}, "seed is a whole number of at least 0, got -3"),
        ({"size": 0}, "size is a whole number of at least 1, got 0"),
        ({"size": (1, 2, 3)}, r"size=\(1, 2, 3\)"),
    ],
)
def test_impossible_requests(ask, says):
    with pytest.raises(ValueError, match=says):
        data.load("fashion_mnist", **ask)


def test_unknown_names_and_options():
    with pytest.raises(
        ValueError,
        match="known are fashion_mnist, digits, scenes, cells, faces, cifar10.*Did you mean 'cifar100'",
    ):
        data.load("cifar-100")
    with pytest.raises(ValueError, match=r"a folder of images by its path\.$"):
        data.load("qqqq")
    with pytest.raises(TypeError, match="no option tsk; scenes also takes task"):
        data.load("scenes", tsk="segment")
    with pytest.raises(TypeError, match="no option task"):
        data.load("fashion_mnist", task="segment")
    with pytest.raises(ValueError, match="full is for fashion_mnist"):
        data.load("cifar10", full=True)
    with pytest.raises(ValueError, match="part='tset'"):
        data.load("fashion_mnist", verbose=False).part("tset")


# --- size, scale, show ---------------------------------------------------------------------------------------------------


def test_area_average_down_is_exact():
    four = np.array([[0, 1], [1, 1]], "uint8")[None, ..., None]
    assert data.resize(four, 1).tolist() == [[[[1]]]]  # 0.75, and halves go up:
    assert data.resize(np.array([[0, 1]], "uint8")[..., None], 1).tolist() == [[[1]]]
    ramp = np.arange(9, dtype="uint8").reshape(1, 9, 1)
    assert data.resize(ramp, (1, 3))[0, :, 0].tolist() == [1, 4, 7]
    assert data.resize(ramp * 10, (1, 2))[0, :, 0].tolist() == [18, 62]  # (0+10+20+30+20) / 4.5 = 17.8, 62.2
    x = data.load("fashion_mnist", verbose=False).x_test
    small = data.resize(x, 14)
    mean = x.reshape(-1, 14, 2, 14, 2, 1).sum(axis=(2, 4), dtype="int64")
    assert (small == (mean + 2) // 4).all() and small.dtype == np.uint8
    assert data.resize(x, 28) is x


def test_bilinear_up_is_exact():
    two = np.array([[0, 100]], "uint8")[..., None]
    assert data.resize(two, (1, 4))[0, :, 0].tolist() == [0, 25, 75, 100]
    x = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), "uint8")
    assert data.resize(np.full((1, 5, 7, 3), 200, "uint8"), (9, 32)).min() == 200
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    theirs = np.asarray(image.fromarray(x[0]).resize((28, 20), image.BILINEAR)).astype(int)
    assert np.abs(data.resize(x, (20, 28))[0].astype(int) - theirs).max() <= 1
    with pytest.raises(ValueError, match="uint8"):
        data.resize(x.astype("float32"), 3)


def test_load_with_size_and_standardised():
    small = data.load("fashion_mnist", train=2000, validation=100, test=200, size=14, verbose=False)
    assert small.x_train.shape == (2000, 14, 14, 1) and small.x_validation.shape == (100, 14, 14, 1)
    scaled = small.standardised()
    assert scaled.x_test.dtype == np.float32 and scaled.mean.shape == (1,)
    x = small.x_train.astype("float64")
    np.testing.assert_allclose([scaled.mean[0], scaled.std[0]], [x.mean(), x.std()], rtol=1e-6)
    assert abs(scaled.x_train.mean()) < 1e-4 and abs(scaled.x_train.std() - 1) < 1e-4
    np.testing.assert_allclose(scaled.x_test, (small.x_test - x.mean()) / x.std(), atol=1e-5)
    assert small.x_train.dtype == np.uint8 and scaled.standardised() is scaled


@pytest.mark.parametrize(
    "ask", [{"name": "fashion_mnist"}, {"name": "scenes"}, {"name": "scenes", "task": "classify"}]
)
def test_show(ask):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed").use("agg")
    import matplotlib.pyplot as plt

    some = data.load(train=5, test=2, verbose=False, **ask)
    figure = some.show(2, 3)
    assert len(figure.axes) == 6 and sum(bool(a.images) for a in figure.axes) == 5 and not plt.get_fignums()
    if some.y_train.ndim == 1:
        assert figure.axes[0].get_title() == some.classes[some.y_train[0]]
        shown = some.standardised().show(1, 2).axes[0].images[0].get_array()
        assert (shown.squeeze() == some.x_train[0].squeeze()).all()
    with pytest.raises(ValueError, match="validation part is empty"):
        some.show(part="validation")


# --- no network ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "tf_flowers", "oxford_iiit_pet"])
def test_no_network_fails_fast_and_clearly(tfds, tmp_path, no_network, name):
    start = time.perf_counter()
    with pytest.raises(data.DataError) as caught:
        data.load(name, data_dir=tmp_path)
    assert time.perf_counter() - start < 5
    text = str(caught.value)
    host = prepared.URLS[name][0].split("/")[2]
    for word in (name, host, str(tmp_path), "data_dir=", "TFDS_DATA_DIR", "load('fashion_mnist')"):
        assert word in text
    assert not [*tmp_path.rglob("incomplete*")] and caught.value.__context__ is None


def test_labeled_faces_in_the_wild_are_prepared_or_refused(tfds, tmp_path, no_network):
    with pytest.raises(data.DataError, match=r"lfw.*ndownloader\.figshare\.com"):
        data.prepare("lfw", tmp_path)


def test_a_silent_network_is_given_up(monkeypatch):
    def hang(address, timeout=None):
        time.sleep(4)
        raise OSError

    monkeypatch.setattr(prepared.socket, "create_connection", hang)
    start = time.perf_counter()
    assert not prepared.reachable("https://example.org/", seconds=0.3)
    assert time.perf_counter() - start < 2


def test_a_proxy_is_asked_instead_of_the_host(monkeypatch):
    asked = []

    def note(address, timeout=None):
        asked.append(address)
        raise OSError

    monkeypatch.setattr(prepared.socket, "create_connection", note)
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert not prepared.reachable("https://outside.example/x") and not prepared.reachable(
        "https://inside.example/x"
    )
    assert asked == [("proxy.example", 3128), ("inside.example", 443)]


def test_urls_are_those_of_tfds(tfds, tmp_path):
    for name, (url, megabytes) in prepared.URLS.items():
        infos = tfds.builder(name, data_dir=tmp_path).url_infos
        assert any(known.startswith(url) for known in infos)
        assert abs(sum(int(i.size) for i in infos.values()) / 2**20 - megabytes) < 1


def test_without_tensorflow_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(
        data.DataError, match=r"cifar10 is read by TensorFlow Datasets.*pip install 'cnnbook\[cpu\]'"
    ):
        data.load("cifar10", data_dir=tmp_path)


def test_where_needs_neither_network_nor_tensorflow(tmp_path, monkeypatch, no_network):
    monkeypatch.setattr(fashion, "DEBIAN", tmp_path / "none")
    version = tmp_path / "cifar10" / "3.0.2"
    version.mkdir(parents=True)
    (tmp_path / "cifar100" / "incomplete.ABC_3.0.2").mkdir(parents=True)
    (tmp_path / "cifar100" / "incomplete.ABC_3.0.2" / "dataset_info.json").write_text("{}")
    rows = {row.name: row for row in data.where(tmp_path)}
    assert rows["fashion_mnist"].here and rows["scenes"].here is True
    assert rows["digits"].how.startswith("inside scikit-learn")
    assert not rows["cifar10"].here and rows["cifar10"].how == "needs a network once (162 MB)"
    (version / "dataset_info.json").write_text("{}")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    rows = {row.name: row for row in data.where()}
    assert rows["cifar10"].here and not rows["cifar100"].here and not rows["fashion_mnist (full)"].here


# --- TFDS sets: real folders of the real builders, filled with small images --------------------------------------------


def small_images(count, side, classes, seed):
    rng = np.random.default_rng(seed)
    return [(rng.integers(0, 256, (*side, 3), "uint8"), i % classes) for i in range(count)]


@pytest.fixture
def cifar(tfds, tmp_path, monkeypatch):
    """`cifar10` whose download is replaced by 40 + 20 random images; the rest is TFDS and cnnbook."""

    def generators(self, dl_manager):
        self.info.features["label"].names = [f"class {k}" for k in range(10)]
        return {
            part: (
                (i, {"id": f"{i:05d}", "image": x, "label": y})
                for i, (x, y) in enumerate(small_images(n, (32, 32), 10, s))
            )
            for part, n, s in (("train", 40, 0), ("test", 20, 1))
        }

    monkeypatch.setattr(tfds.builder_cls("cifar10"), "_split_generators", generators)
    online(monkeypatch, True)
    return tmp_path / "data folder"


def online(monkeypatch, there):
    monkeypatch.setattr(prepared, "reachable", lambda url: there)


def shard(folder, name, part="train"):
    return next(folder.glob(f"{name}/**/{name.split('/')[0]}-{part}.tfrecord*"))


def test_cifar_as_arrays(cifar, capsys):
    images_ = data.load("cifar10", data_dir=cifar, validation=10, size=16)
    assert capsys.readouterr().out.splitlines() == [
        "cifar10: 30 training, 10 validation and 20 test images, TensorFlow Datasets cifar10 3.0.2"
    ]
    assert images_.x_train.shape == (30, 16, 16, 3) and np.bincount(images_.y_validation).tolist() == [1] * 10
    assert images_.classes[3] == "class 3"
    full = data.load("cifar10", data_dir=cifar, verbose=False)
    assert int(full.x_train.sum()) == sum(int(x.sum()) for x, _ in small_images(40, (32, 32), 10, 0))
    assert sorted(p.name for p in (cifar / "cifar10").iterdir()) == [".cnnbook.lock", "3.0.2"]


@pytest.mark.parametrize("harm", ["truncated", "flipped", "shard gone", "info gone", "info cut", "empty"])
def test_damage_is_repaired_or_named(cifar, monkeypatch, harm):
    expected = data.load("cifar10", data_dir=cifar, verbose=False)
    file = shard(cifar, "cifar10")
    raw = bytearray(file.read_bytes())
    if harm == "truncated":
        file.write_bytes(raw[:-100])
    elif harm == "flipped":
        raw[len(raw) // 2] ^= 1
        file.write_bytes(raw)
    elif harm == "shard gone":
        file.unlink()
    elif harm == "info gone":
        (file.parent / "dataset_info.json").unlink()
    elif harm == "info cut":
        (file.parent / "dataset_info.json").write_text('{"name": ')
    else:
        shutil.rmtree(file.parent)
        file.parent.mkdir()
    online(monkeypatch, False)
    left = sorted(p.name for p in file.parent.iterdir())
    with pytest.raises(data.DataError, match="cifar10 .*damaged.*www.cs.toronto.edu"):
        data.load("cifar10", data_dir=cifar, verbose=False)
    assert sorted(p.name for p in file.parent.iterdir()) == left  # nothing was removed
    online(monkeypatch, True)
    again = data.load("cifar10", data_dir=cifar, verbose=False)
    assert (again.x_train == expected.x_train).all() and (again.y_test == expected.y_test).all()
    assert sorted(p.name for p in (cifar / "cifar10").iterdir()) == [".cnnbook.lock", "3.0.2"]


def test_failed_preparation_leaves_nothing_behind(cifar, tfds, monkeypatch):
    def fail(self, dl_manager):
        raise RuntimeError("the server sent nonsense\nand more")

    monkeypatch.setattr(tfds.builder_cls("cifar10"), "_split_generators", fail)
    with pytest.raises(
        data.DataError, match="cifar10: preparing it failed.*RuntimeError: the server sent nonsense"
    ):
        data.load("cifar10", data_dir=cifar)
    assert [p.name for p in (cifar / "cifar10").iterdir()] == [".cnnbook.lock"]


def test_folder_that_cannot_be_written(tfds, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(data.DataError, match="cannot write to the data folder .*TFDS_DATA_DIR"):
        data.load("cifar10", data_dir=tmp_path / "file" / "below")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "file"))
    with pytest.raises(data.DataError, match="cannot write to the data folder"):
        data.load("cifar10")
    if os.name == "posix" and os.geteuid() != 0:
        home = tmp_path / "home"
        home.mkdir(mode=0o500)
        with pytest.raises(data.DataError, match="cannot write"):
            data.load("cifar10", data_dir=home / "tensorflow_datasets")


def test_orphans_are_swept_and_live_ones_kept(cifar):
    home = cifar / "cifar10"
    for name in ("incomplete.cnnbook-dead", "incomplete.OLD_3.0.2", "incomplete.NEW_3.0.2"):
        (home / name).mkdir(parents=True)
        (home / name / "part").write_text("x")
    day = time.time() - 2 * 24 * 3600
    for path in (home / "incomplete.OLD_3.0.2" / "part", home / "incomplete.OLD_3.0.2"):
        os.utime(path, (day, day))
    data.load("cifar10", data_dir=cifar, verbose=False)
    assert sorted(p.name for p in home.glob("inc*")) == [
        "incomplete.NEW_3.0.2"
    ]  # a stock TFDS may be at work in it


def test_flowers_as_streams(tfds, tmp_path, monkeypatch):
    def generators(self, dl_manager):
        found = small_images(50, (20, 30), 5, 2)
        return {"train": ((i, {"image": x, "label": y}) for i, (x, y) in enumerate(found))}

    monkeypatch.setattr(tfds.builder_cls("tf_flowers"), "_split_generators", generators)
    online(monkeypatch, True)
    flowers = data.load("tf_flowers", data_dir=tmp_path, train=20, validation=5, size=8, verbose=False)
    assert flowers.sizes == {"train": 20, "validation": 5, "test": 10} and len(flowers.classes) == 5
    assert [int(part.cardinality()) for part in (flowers.train, flowers.validation, flowers.test)] == [
        20,
        5,
        10,
    ]
    labels = [int(y) for _, y in flowers.train]
    assert np.bincount(labels).tolist() == [4] * 5 and [int(y) for _, y in flowers.train] == labels
    seen = [
        {x.numpy().tobytes() for x, _ in part} for part in (flowers.train, flowers.validation, flowers.test)
    ]
    assert len(seen[0] | seen[1] | seen[2]) == 35
    assert flowers.train.element_spec[0].shape == (8, 8, 3)
    assert "20 training, 5 validation and 10 test images" in repr(flowers)
    own = data.load("tf_flowers", data_dir=tmp_path, verbose=False)
    assert next(iter(own.train))[0].shape == (20, 30, 3) and own.sizes == {"train": 40, "test": 10}


def test_pets_for_both_tasks(tfds, tmp_path, monkeypatch):
    def generators(self, dl_manager):
        box = tfds.features.BBox(0.0, 0.0, 0.0, 0.0)

        def part(count):
            for i, (x, y) in enumerate(small_images(count, (24, 16), 37, 3)):
                mask = np.repeat(np.array([2, 3, 1], "uint8"), 8)[:, None, None].repeat(16, 1)
                more = {"species": 0, "file_name": f"{i}", "segmentation_mask": mask, "head_bbox": box}
                yield i, {"image": x, "label": y, **more}

        return {"train": part(40), "test": part(38)}

    monkeypatch.setattr(tfds.builder_cls("oxford_iiit_pet"), "_split_generators", generators)
    online(monkeypatch, True)
    ask = dict(data_dir=tmp_path, train=10, test=6, verbose=False)
    pets = data.load("oxford_iiit_pet", task="segment", **ask)
    image, mask = next(iter(pets.train))
    assert (
        image.shape == (24, 16, 3)
        and mask.shape == (24, 16, 1)
        and pets.classes == ("background", "pet", "border")
    )
    assert mask.numpy()[::8, 0, 0].tolist() == [0, 2, 1]
    _, small = next(iter(data.load("oxford_iiit_pet", task="segment", size=8, **ask).test))
    assert set(np.unique(small)) <= {0, 1, 2} and small.shape == (8, 8, 1)
    assert len(data.load("oxford_iiit_pet", **ask).classes) == 37
    with pytest.raises(ValueError, match="task='detect': choose one of classify, segment"):
        data.load("oxford_iiit_pet", task="detect", **ask)


@pytest.fixture
def short_fashion(tfds, monkeypatch):
    """The stock fashion_mnist builder, stopped after 300 images a part to save time."""
    cls = tfds.builder_cls("fashion_mnist")
    whole = cls._generate_examples
    monkeypatch.setattr(
        cls, "_generate_examples", lambda self, num_examples, **files: whole(self, num_examples=300, **files)
    )


@needs_debian
def test_whole_fashion_mnist_from_debian_by_stock_tfds(short_fashion, tmp_path, no_network, tfds):
    clothes = data.load("fashion_mnist", full=True, data_dir=tmp_path, verbose=False)
    assert clothes.sizes == {"train": 300, "test": 300} and clothes.classes == fashion.CLASSES
    published = fashion.complete(fashion.DEBIAN)
    assert int(clothes.x_train.sum()) == int(published["x_train"][:300].sum())
    assert sorted(p.name for p in (tmp_path / "fashion_mnist").iterdir()) == [".cnnbook.lock", "3.0.1"]
    stock = tfds.load("fashion_mnist", split="test", data_dir=tmp_path, download=False)
    assert int(stock.cardinality()) == 300


@needs_debian
def test_restored_files_are_the_published_bytes(tmp_path):
    fashion.restore(fashion.DEBIAN, tmp_path)
    for name, (_, sha256) in fashion.PUBLISHED.items():
        raw = (tmp_path / f"{name}.gz").read_bytes()
        assert hashlib.sha256(raw).hexdigest() == sha256
    assert fashion.published(tmp_path, name) == raw  # the published files themselves are taken too
    assert not [*tmp_path.glob("*.part")]


def test_damaged_debian_copy_without_network(tfds, tmp_path, monkeypatch, no_network):
    debian = tmp_path / "debian"
    debian.mkdir()
    for name in fashion.PUBLISHED:
        (debian / f"{name}.gz").write_bytes(gzip.compress(b"nonsense"))
    monkeypatch.setattr(fashion, "DEBIAN", debian)
    with pytest.raises(data.DataError, match="is not the published file.*eu-central-1.*no connection"):
        data.load("fashion_mnist", full=True, data_dir=tmp_path / "data")


def test_where_the_file_system_has_no_locks_a_set_is_prepared_all_the_same(cifar, monkeypatch):
    def refuse(self, *arguments, **options):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    assert data.load("cifar10", data_dir=cifar, verbose=False).sizes == {"train": 40, "test": 20}
    assert [p.name for p in (cifar / "cifar10").iterdir()] == ["3.0.2"]


PREPARE = """
import sys, pathlib, time
from cnnbook import data
from cnnbook.data.tfds import scenes_builder
scenes_builder.CnnbookScenes.BUILDER_CONFIGS.append(scenes_builder.SceneConfig(name="some", train=int(sys.argv[2]), test=5))
scenes_builder.tfds.disable_progress_bar()
me, wait = pathlib.Path(sys.argv[3]), int(sys.argv[4])
me.write_text("")
while len(list(me.parent.glob("ready*"))) < wait:
    time.sleep(0.02)
builder = data.prepare("cnnbook_scenes/some", sys.argv[1])
print(sum(1 for _ in builder.as_dataset(split="train")))
"""


def start(folder, count, me, wait):
    command = [sys.executable, "-c", PREPARE, str(folder), str(count), str(me), str(wait)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_at_once_and_one_killed_before(tfds, tmp_path):
    folder = tmp_path / "data"
    killed = start(folder, 100_000, tmp_path / "victim", wait=0)
    home = folder / "cnnbook_scenes"
    limit = time.time() + 120
    while not [*home.glob("incomplete.cnnbook-*/made/**/incomplete*")] and time.time() < limit:
        assert killed.poll() is None, killed.communicate()[1]
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    assert [*home.glob("incomplete.cnnbook-*")]
    both = [start(folder, 300, tmp_path / f"ready{i}", wait=2) for i in range(2)]
    for process in both:
        out, err = process.communicate(timeout=180)
        assert process.returncode == 0 and out == "300\n", err
    assert sorted(p.name for p in home.iterdir()) == [
        ".cnnbook.lock",
        "some",
    ]  # the killed one's rest is gone too
    assert [p.name for p in (home / "some").iterdir()] == ["1.0.0"]


# --- digits -----------------------------------------------------------------------------------------------------------


def test_digits_are_scikit_learns(monkeypatch):
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    digits = data.load("digits", verbose=False)
    assert digits.classes == tuple("0123456789") and digits.sizes == {"train": 1297, "test": 500}
    assert digits.x_train.shape == (1297, 8, 8, 1) and digits.x_train.dtype == np.uint8
    raw = datasets.load_digits()
    ink = {(image.tobytes(), label) for image, label in zip(raw.images, raw.target.tolist(), strict=True)}
    assert len(ink) == 1797
    parts = [digits.part(part) for part in ("train", "test")]
    ours = [
        (np.rint(x[..., 0] * (16 / 255)).tobytes(), y)
        for xs, ys in parts
        for x, y in zip(xs, ys.tolist(), strict=True)
    ]
    assert set(ours) == ink and len(ours) == 1797  # each once, with its label
    assert digits.x_train.max() == 255 and digits.x_train.min() == 0
    few = data.load("digits", train=20, test=10, size=14, verbose=False)
    assert few.x_train.shape == (20, 14, 14, 1) and set(np.bincount(few.y_train)) == {2}
    test = {x.tobytes() for x in digits.x_test}
    assert {
        x.tobytes() for x in data.load("digits", seed=3, verbose=False).x_test
    } == test  # seeds only order
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(data.DataError, match="inside scikit-learn.*pip install scikit-learn"):
        data.load("digits")


# --- photographs ----------------------------------------------------------------------------------------------------


def test_photographs(monkeypatch):
    with pytest.raises(ValueError, match="choose one of astronaut, chelsea"):
        data.photograph("dog")
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match="'china'.*scikit-learn.*pip install scikit-learn"):
        data.photograph("china")
    pytest.importorskip("skimage", reason="scikit-image is not installed")
    shapes = {
        "astronaut": (512, 512, 3),
        "chelsea": (300, 451, 3),
        "coffee": (400, 600, 3),
        "rocket": (427, 640, 3),
    }
    for name, shape in shapes.items():
        photo = data.photograph(name)
        assert photo.shape == shape and photo.dtype == np.uint8
