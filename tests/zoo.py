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
    "ResNet50V2": 32,
    "ResNet101V2": 32,
    "ResNet152V2": 32,
    "PreActResNetCIFAR": 3,
    "DenseNet121": 32,
    "DenseNet169": 32,
    "DenseNet201": 32,
    "DenseNet264": 32,
    "DenseNetCIFAR": 4,
    "ResNeXt50": 32,
    "ResNeXt101": 32,
    "ResNeXtCIFAR": 3,
    "SEResNet50": 32,
    "SEResNet101": 32,
    "SEResNet152": 32,
    "SENet154": 32,
    "SKNet26": 32,
    "SKNet50": 32,
    "ResNeSt50": 32,
    "ResNeSt101": 32,
}

# Arguments that a builder cannot do without.
NEEDED = {
    "ResNetCIFAR": dict(depth=20),
    "PlainCIFAR": dict(depth=20),
    "PreActResNetCIFAR": dict(depth=20),
    "DenseNetCIFAR": dict(depth=40, growth=12),
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
    "ResNet50V2": dict(input_shape=(64, 64, 3), widths=(4, 8, 8, 8)),
    "PreActResNetCIFAR": dict(depth=8, widths=(4, 8, 8), input_shape=(16, 16, 3)),
    "DenseNetCIFAR": dict(depth=10, growth=4, input_shape=(16, 16, 3)),
    "ResNeXtCIFAR": dict(depth=11, cardinality=2, width=32, widths=(4, 8, 8), input_shape=(16, 16, 3)),
    "SEResNet50": dict(input_shape=(64, 64, 3), ratio=2, widths=(4, 8, 8, 8)),
    "SKNet26": dict(input_shape=(64, 64, 3), cardinality=2, width=32, widths=(4, 8, 8, 8)),
    "ResNeSt50": dict(input_shape=(64, 64, 3), stem=4, widths=(4, 8, 8, 8)),
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
    ("ResNet50V2", {}, (224, 224)),
    ("ResNet50V2", {"include_top": False, "pooling": "max"}, (97, 65)),
    ("ResNet101V2", {"include_top": False, "pooling": "avg"}, (64, 64)),
    ("ResNet152V2", {"classifier_activation": None, "classes": 5, "input_shape": (64, 64, 3)}, (64, 64)),
    ("DenseNet121", {}, (224, 224)),
    ("DenseNet121", {"include_top": False, "pooling": "max"}, (97, 65)),
    ("DenseNet169", {"include_top": False, "pooling": "avg"}, (64, 64)),
    ("DenseNet201", {"classifier_activation": None, "classes": 5, "input_shape": (64, 64, 3)}, (64, 64)),
]
