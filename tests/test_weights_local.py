"""Weights from files that lie on this machine: found by their names, the larger first, and nothing is fetched."""

import socket

import h5py
import keras
import numpy as np
import pytest

from cnnbook import models, weights


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Keras' folder of files, empty, and no way to the network."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    def refused(*arguments, **options):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "create_connection", refused)
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def test_none_where_no_file_is(folder):
    assert weights.local(models.VGG16) is None


def test_the_convolutions_of_a_file(folder):
    theirs = keras.applications.VGG16(weights=None, include_top=False)
    rng = np.random.default_rng(0)
    for layer in theirs.layers[1:3]:
        layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    with h5py.File(folder / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "w") as file:
        file.attrs["layer_names"] = [layer.name for layer in theirs.layers if layer.weights]
        for layer in (layer for layer in theirs.layers if layer.weights):
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = ["kernel", "bias"]
            for name, values in zip(("kernel", "bias"), layer.get_weights(), strict=True):
                group[name] = values
    ours = weights.local(models.VGG16)
    assert ours.layers[-1].name == "block5_pool"
    for name in ("block1_conv1", "block1_conv2", "block5_conv3"):
        for a, b in zip(
            ours.get_layer(name).get_weights(), theirs.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(a, b)


def test_a_damaged_file_and_another_net_are_told(folder):
    (folder / "vgg16_weights_tf_dim_ordering_tf_kernels.h5").write_bytes(b"half a download")
    with pytest.raises(OSError, match="vgg16_weights_tf_dim_ordering_tf_kernels.h5"):
        weights.local(models.VGG16)
    with pytest.raises(ValueError, match="VGG16 and VGG19, got ResNet50"):
        weights.local(models.ResNet50)
