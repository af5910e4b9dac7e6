"""What the tests know of every builder, a line each. `make test-all` also runs what is kept out of the quick suite."""

import functools

from cnnbook import graph
from cnnbook.models import resnet


@functools.lru_cache(maxsize=32)
def plan(builder, *args, **arguments):
    """graph.blueprint, once for all tests that only read the net: most of their time would go to building."""
    return graph.blueprint(builder, *args, **arguments)


# Builders of nets with a class per pixel: they have no top to leave out, and some take a backbone.
DENSE = {
    "FCN32s": "backbone",
    "FCN16s": "backbone",
    "FCN8s": "backbone",
    "DeconvNet": None,
    "UNet": "backbone",
    "UNetPlusPlus": "backbone",
}

# The smallest member of each family, with four classes: saved, loaded, trained by one step on both backends. Where the
# paper's smallest has fifty layers it is the family's function with fewer blocks, still one with and one without a stride.
SMALL = {
    "LeNet5": dict(),
    "AlexNet": dict(input_shape=(67, 67, 3), classes=4),
    "VGG11LRN": dict(input_shape=(32, 32, 3), widths=(4, 4, 4, 4, 4), hidden=8),
    "VGG13": dict(input_shape=(32, 32, 3), kernel=5, batch_norm=True, widths=(4, 4, 4, 4, 4), hidden=8),
    "ResNet18": dict(input_shape=(64, 64, 3), shortcut="A", widths=(4, 8, 8, 8)),
    "resnet.ResNet": dict(
        block=resnet.bottleneck, repeats=(1, 2, 1, 1), input_shape=(64, 64, 3), widths=(4, 8, 8, 8)
    ),
    "ResNetCIFAR": dict(depth=8, widths=(4, 8, 8), input_shape=(16, 16, 3)),
    "PlainCIFAR": dict(depth=8, widths=(4, 8, 8), input_shape=(16, 16, 3)),
    "NiN": dict(input_shape=(8, 8, 3)),
    "DSN": dict(input_shape=(8, 8, 3)),
    "Highway19": dict(input_shape=(8, 8, 3)),
    "FitNet19": dict(input_shape=(8, 8, 3)),
    "Maxout": dict(input_shape=(8, 8, 3)),
    "GoogLeNet": dict(input_shape=(65, 65, 3), auxiliary=True),
    "BNInception": dict(input_shape=(33, 33, 3)),
    "InceptionResNetV1": dict(input_shape=(75, 75, 3), repeats=(1, 1, 1)),
    "resnet_v2.ResNetV2": dict(repeats=(1, 2, 1, 1), input_shape=(64, 64, 3), widths=(4, 8, 8, 8)),
    "PreActResNetCIFAR": dict(depth=8, widths=(4, 8, 8), input_shape=(16, 16, 3)),
    "DenseNetCIFAR": dict(depth=10, growth=4, input_shape=(16, 16, 3)),
    "ResNeXtCIFAR": dict(depth=11, cardinality=2, width=32, widths=(4, 8, 8), input_shape=(16, 16, 3)),
    "senet.SEResNet": dict(repeats=(1, 2, 1, 1), input_shape=(64, 64, 3), ratio=2, widths=(4, 8, 8, 8)),
    "senet.SENet": dict(
        repeats=(1, 2, 1, 1), input_shape=(64, 64, 3), ratio=2, cardinality=2, dropout=0, widths=(4, 8, 8, 8)
    ),
    "sknet.SKNet": dict(
        repeats=(1, 2, 1, 1), input_shape=(64, 64, 3), cardinality=2, width=32, widths=(4, 8, 8, 8)
    ),
    "resnest.ResNeSt": dict(repeats=(1, 2, 1, 1), input_shape=(64, 64, 3), stem=4, widths=(4, 8, 8, 8)),
    "MobileNet": dict(alpha=0.25, input_shape=(32, 32, 3)),
    "MobileNetV2": dict(alpha=0.1, input_shape=(32, 32, 3)),
    "MobileNetV3Small": dict(alpha=0.25, input_shape=(32, 32, 3)),
    "ShuffleNet": dict(scale=0.1, input_shape=(32, 32, 3)),
    "ShuffleNetV2": dict(scale=0.5, input_shape=(32, 32, 3)),
    "NASConvNet": dict(input_shape=(8, 8, 3)),
    "NASNetMobile": dict(cells=1, penultimate=96, stem=8, input_shape=(32, 32, 3)),
    "efficientnet.EfficientNet": dict(width=1, depth=0.5, input_shape=(32, 32, 3)),
    "EfficientNetLite0": dict(input_shape=(32, 32, 3)),
    "DeepFace": dict(kernels=(3,) * 5, filters=(4,) * 5, hidden=8, dropout=0, input_shape=(23, 25, 3)),
    "DeconvNet": dict(window=1, hidden=8, thinner=16, input_shape=(32, 32, 3)),
    "UNet": dict(widths=(4, 4, 4), input_shape=(44, 48, 3)),
    "UNetPlusPlus": dict(widths=(4, 4, 4), input_shape=(17, 18, 3), classifier_activation="softmax"),
}

# One net per kind of layer: plain, local response norm and groups, zero-padded shortcuts, maxout, concatenation, many
# groups, depthwise, shuffled channels, switches, crops. What counts shapes runs for all nets on JAX, which builds
# faster, and for these on TensorFlow; what computes runs for all on TensorFlow, and for these on JAX, which compiles
# every new shape. The rest runs with `make test-all` and `make test-jax ARGS='-m jax'`.
ONE_PER_KIND = [
    "LeNet5",
    "AlexNet",
    "ResNet18",
    "Maxout",
    "DenseNetCIFAR",
    "ResNeXtCIFAR",
    "MobileNet",
    "ShuffleNetV2",
    "DeconvNet",
    "UNet",
]
PORTS_ON_JAX = ["VGG16", "DenseNet121", "MobileNetV2"]  # plain, concatenation, depthwise

# Rows of the table of figures that take half of the time of all to build: deep members of a file with a smaller one.
# `make test` counts the others on TensorFlow, `make test-jax` and `make test-all` every row.
DEEP = (
    "ResNetCIFAR(depth=1202",
    "PreActResNetCIFAR(depth=1001",
    *("ResNet101", "ResNet152", "ResNeXt101", "SEResNet101", "SEResNet152", "ResNeSt101"),  # V2, too
    *("DenseNet169", "DenseNet201", "DenseNet264", "DenseNetCIFAR(depth=190", "DenseNetCIFAR(depth=250"),
    "NASNetLarge",
    *(f"EfficientNetB{i}" for i in range(2, 8)),
)

# Weights whose gradient may vanish in a new net, by name of layer: (regular expression, reason).
SILENT = [
    # (r"...", "behind a scale that starts at zero"),
]

# Additions of two branches, neither of which is a shortcut that could come first: (regular expression, reason).
BRANCHES = [
    (r"^(normal_add_[124]|reduction_add)", "a cell of NASNet adds what it makes of its two inputs"),
]

# (builder, its arguments, height and width): random weights of the keras.applications twin ported, outputs compared.
# Native size, another and odd size, without the top, other classes. A fourth entry is the tolerance where the two
# compute in another order, as a part of the largest output, with the reason beside it. The quick suite has each file of
# `cnnbook.models` at least once, and each of the four ways more than once (InceptionV3 where weights="imagenet" is
# tested, NASNet with one cell between reductions; InceptionResNetV2 takes half a minute).
PORTS = [
    ("VGG16", {"include_top": False, "pooling": "max", "input_shape": (None, None, 3)}, (33, 50)),
    ("VGG19", {"classes": 7, "input_shape": (32, 32, 3)}, (32, 32)),
    ("ResNet50", {}, (224, 224)),
    ("ResNet50V2", {"include_top": False, "pooling": "max"}, (97, 65)),
    ("DenseNet121", {"include_top": False, "pooling": "max"}, (97, 65)),
    ("MobileNet", {}, (224, 224)),
    ("MobileNet", {"alpha": 0.25, "include_top": False, "input_shape": (None, None, 3)}, (33, 50)),
    ("MobileNet", {"alpha": 0.25, "classes": 7, "input_shape": (128, 128, 3)}, (128, 128)),
    ("MobileNetV2", {"alpha": 0.35, "include_top": False, "pooling": "avg"}, (97, 66)),
    # The gate relu6(x + 3) / 6 is x / 6 + 1 / 2, cut off at 0 and 1, in Keras' hard sigmoid: other roundings.
    ("MobileNetV3Large", {"alpha": 0.75, "include_top": False, "pooling": "max"}, (97, 66), 1e-4),
    (
        "MobileNetV3Small",
        {"classes": 7, "classifier_activation": None, "input_shape": (64, 65, 3)},
        (64, 65),
        1e-4,
    ),
    ("MobileNetV3Small", {"minimalistic": True, "include_top": False}, (64, 64)),
    ("EfficientNetB0", {"include_top": False, "input_shape": (None, None, 3)}, (33, 50)),
]

# The same, with `make test-all` only: the others at their native sizes, and the large members.
LONG_PORTS = [
    ("VGG16", {"include_top": False}, (96, 64)),
    ("VGG16", {}, (224, 224)),
    ("VGG19", {"include_top": False, "pooling": "avg"}, (64, 64)),
    ("ResNet50", {"include_top": False, "pooling": "max"}, (97, 65)),
    ("ResNet50", {"classes": 7, "input_shape": (160, 96, 3)}, (160, 96)),
    ("ResNet101", {"include_top": False, "pooling": "avg"}, (64, 64)),
    ("ResNet152", {"classifier_activation": None, "classes": 5, "input_shape": (64, 64, 3)}, (64, 64)),
    ("InceptionV3", {"classes": 7, "input_shape": (75, 80, 3)}, (75, 80)),
    ("InceptionV3", {}, (299, 299)),
    ("InceptionV3", {"include_top": False, "pooling": "max"}, (97, 76)),
    ("InceptionResNetV2", {"include_top": False}, (90, 77)),
    ("InceptionResNetV2", {}, (299, 299)),
    ("ResNet50V2", {}, (224, 224)),
    ("ResNet101V2", {"include_top": False, "pooling": "avg"}, (64, 64)),
    ("ResNet152V2", {"classifier_activation": None, "classes": 5, "input_shape": (64, 64, 3)}, (64, 64)),
    ("DenseNet121", {}, (224, 224)),
    ("DenseNet169", {"include_top": False, "pooling": "avg"}, (64, 64)),
    ("DenseNet201", {"classifier_activation": None, "classes": 5, "input_shape": (64, 64, 3)}, (64, 64)),
    ("MobileNet", {"alpha": 0.5, "include_top": False, "pooling": "max"}, (97, 66)),
    ("MobileNetV2", {}, (224, 224)),
    ("MobileNetV2", {"alpha": 1.4, "include_top": False, "pooling": "avg"}, (97, 66)),
    ("MobileNetV2", {"alpha": 0.35, "classes": 7, "input_shape": (96, 96, 3)}, (96, 96)),
    ("MobileNetV2", {"alpha": 0.35, "include_top": False, "input_shape": (None, None, 3)}, (33, 50)),
    ("MobileNetV3Large", {"classifier_activation": None, "input_shape": (224, 224, 3)}, (224, 224), 1e-4),
    ("NASNetMobile", {"classifier_activation": None}, (224, 224)),
    ("NASNetMobile", {"include_top": False, "pooling": "max"}, (97, 66)),
    ("NASNetLarge", {"classes": 7, "input_shape": (34, 33, 3)}, (34, 33)),
    ("EfficientNetB0", {"classifier_activation": None}, (224, 224)),
    ("EfficientNetB1", {"include_top": False, "pooling": "max"}, (97, 66)),
    ("EfficientNetB2", {"classes": 7, "input_shape": (64, 65, 3)}, (64, 65)),
    *((f"EfficientNetB{i}", {"include_top": False}, (34, 33)) for i in (3, 4, 5, 6, 7)),
]
