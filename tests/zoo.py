"""What the tests know of every builder, a line each. `make test-all` also runs what is kept out of the quick suite."""

# Smallest side that a builder takes; one pixel less is refused.
SMALLEST = {
    "LeNet5": 32,
    "AlexNet": 67,
    "VGG11": 32,
    "VGG11LRN": 32,
    "VGG13": 32,
    "VGG16C": 32,
    "VGG16": 32,
    "VGG19": 32,
    "Plain18": 32,
    "Plain34": 32,
    "ResNet18": 32,
    "ResNet34": 32,
    "ResNet50": 32,
    "ResNet101": 32,
    "ResNet152": 32,
    "ResNetCIFAR": 3,
    "PlainCIFAR": 3,
    "FCN32s": 1,
    "FCN16s": 1,
    "FCN8s": 1,
    "DeconvNet": 224,
    "UNet": 188,
    "UNetPlusPlus": 16,
}

# Builders of nets with a class per pixel: they have no top to leave out, and some take a backbone.
DENSE = {
    "FCN32s": "backbone",
    "FCN16s": "backbone",
    "FCN8s": "backbone",
    "DeconvNet": None,
    "UNet": "backbone",
    "UNetPlusPlus": "backbone",
}

# Arguments that a builder cannot do without.
NEEDED = {
    "ResNetCIFAR": dict(depth=20),
    "PlainCIFAR": dict(depth=20),
}

# The smallest member of each family, with four classes: saved, loaded, trained by one step on both backends.
SMALL = {
    "LeNet5": dict(),
    "AlexNet": dict(input_shape=(67, 67, 3), classes=4),
    "VGG11LRN": dict(input_shape=(32, 32, 3), widths=(4, 4, 4, 4, 4), hidden=8),
    "VGG13": dict(input_shape=(32, 32, 3), kernel=5, batch_norm=True, widths=(4, 4, 4, 4, 4), hidden=8),
    "ResNet18": dict(input_shape=(64, 64, 3), shortcut="A", widths=(4, 8, 8, 8)),
    "ResNet50": dict(input_shape=(64, 64, 3), widths=(4, 8, 8, 8)),
    "ResNetCIFAR": dict(depth=8, widths=(4, 8, 8), input_shape=(16, 16, 3)),
    "PlainCIFAR": dict(depth=8, widths=(4, 8, 8), input_shape=(16, 16, 3)),
    "DeconvNet": dict(window=1, hidden=8, thinner=16, input_shape=(32, 32, 3)),
    "UNet": dict(widths=(4, 4, 4), input_shape=(44, 48, 3)),
    "UNetPlusPlus": dict(widths=(4, 4, 4), input_shape=(17, 18, 3), classifier_activation="softmax"),
}

# Weights whose gradient may vanish in a new net, by name of layer: (regular expression, reason).
SILENT = [
    # (r"...", "behind a scale that starts at zero"),
]

# (builder, its arguments, height and width): random weights of the keras.applications twin ported, outputs compared.
# Native size, another and odd size, without the top, other classes. A fourth entry is the tolerance where the two
# compute in another order, with the reason beside it.
PORTS = [
    ("VGG16", {}, (224, 224)),
    ("VGG16", {"include_top": False}, (96, 64)),
    ("VGG16", {"include_top": False, "pooling": "max", "input_shape": (None, None, 3)}, (33, 50)),
    ("VGG19", {"include_top": False, "pooling": "avg"}, (64, 64)),
    ("VGG19", {"classes": 7, "input_shape": (32, 32, 3)}, (32, 32)),
    ("ResNet50", {}, (224, 224)),
    ("ResNet50", {"classes": 7, "input_shape": (160, 96, 3)}, (160, 96)),
    ("ResNet50", {"include_top": False, "pooling": "max"}, (97, 65)),
    ("ResNet101", {"include_top": False, "pooling": "avg"}, (64, 64)),
    ("ResNet152", {"classifier_activation": None, "classes": 5, "input_shape": (64, 64, 3)}, (64, 64)),
]
