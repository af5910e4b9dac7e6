"""Inception-ResNet. Szegedy, Ioffe, Vanhoucke & Alemi 2017, arXiv:1602.07261, Fig. 10 to 20.

New: what an Inception module makes is scaled down (0.1 to 0.3, section 3.3) and added to its input; training is faster.
V1 has the blocks of the paper (5, 10, 5); its scales, which the paper leaves open, are V2's. V2 is the released net
(TensorFlow, keras.applications): 10, 20 and 10 blocks, v3's stem and a first module, 1088 and 2080 maps. In both, the 1x1
convolution before the addition has a bias and no batch norm; batch norm has no gamma elsewhere.
V2's modules and blocks are named as in keras.applications, the layers in them by path; the twin leaves those unnamed.
Change first: the scales 0.17, 0.1 and 0.2; without them (1.0) training may die.
"""

from keras import layers as L

from ..parts import blocks
from ..weights import pair as twin_names  # noqa: F401  the twin's layers have automatic names: by the graph
from .inception_v3 import chain, largest, mean
from .inception_v3 import stem as stem_v3
from .inception_v4 import reduction_a


def residual(x, paths, scale, name, activation="relu"):
    """Input plus `scale` times the paths, brought to the input's width by a 1x1 convolution without activation."""
    y = L.Concatenate(name=f"{name}_mixed")(paths)
    y = L.Conv2D(x.shape[-1], 1, name=f"{name}_conv")(y)
    y = L.Rescaling(scale, name=f"{name}_scale")(y) if scale != 1 else y
    x = L.Add(name=f"{name}_add")([x, y])
    return L.Activation(activation, name=f"{name}_ac")(x) if activation else x


def block35(x, n, name):  # Inception-ResNet-A, Fig. 10 and 16; n: maps of the three 3x3
    a = chain(x, (32, 1), name=f"{name}_1x1")
    b = chain(x, (32, 1), (n[0], 3), name=f"{name}_3x3")
    c = chain(x, (32, 1), (n[1], 3), (n[2], 3), name=f"{name}_3x3dbl")
    return residual(x, [a, b, c], 0.17, name)


def block17(x, n, name):  # Inception-ResNet-B, Fig. 11 and 17; n: maps of 1x1; of 1x1, 1x7 and 7x1
    a = chain(x, (n[0], 1), name=f"{name}_1x1")
    b = chain(x, (n[1], 1), (n[2], (1, 7)), (n[3], (7, 1)), name=f"{name}_7x7")
    return residual(x, [a, b], 0.1, name)


def block8(x, n, name, scale=0.2, activation="relu"):  # Inception-ResNet-C, Fig. 13 and 19
    a = chain(x, (192, 1), name=f"{name}_1x1")
    b = chain(x, (192, 1), (n[0], (1, 3)), (n[1], (3, 1)), name=f"{name}_3x3")
    return residual(x, [a, b], scale, name, activation)


def mixed_5b(x, name="mixed_5b"):  # 35 x 35 x 320
    a = chain(x, (96, 1), name=f"{name}_1x1")
    b = chain(x, (48, 1), (64, 5), name=f"{name}_5x5")
    c = chain(x, (64, 1), (96, 3), (96, 3), name=f"{name}_3x3dbl")
    d = chain(mean(x, name), (64, 1), name=f"{name}_pool_proj")
    return L.Concatenate(name=name)([a, b, c, d])


def reduction_b(x, second, third, name):  # Fig. 12 and 18
    a = chain(x, (256, 1), (384, 3, 2), name=f"{name}_3x3")
    b = chain(x, (256, 1), (second, 3, 2), name=f"{name}_3x3b")
    c = chain(x, (256, 1), (second, 3), (third, 3, 2), name=f"{name}_3x3dbl")
    return L.Concatenate(name=name)([a, b, c, largest(x, name)])


def InceptionResNetV1(
    *,
    repeats=(5, 10, 5),
    input_shape=(299, 299, 3),
    classes=1000,
    include_top=True,
    pooling=None,
    weights=None,
    classifier_activation="softmax",
    name="inceptionresnetv1",
):
    """About the cost of Inception-v3. repeats: blocks of kind A, B and C. The smallest side is 75."""
    x = inputs = blocks.image(input_shape, smallest=75)
    x = chain(x, (32, 3, 2), (32, 3, 1, "valid"), (64, 3), name="stem1")  # Fig. 14
    x = largest(x, "stem1")
    x = chain(x, (80, 1), (192, 3, 1, "valid"), (256, 3, 2), name="stem2")
    for b in range(1, repeats[0] + 1):
        x = block35(x, (32, 32, 32), f"block35_{b}")  # 35 x 35 x 256
    x = reduction_a(x, 192, 192, 256, 384, "mixed_6a")
    for b in range(1, repeats[1] + 1):
        x = block17(x, (128, 128, 128, 128), f"block17_{b}")  # 17 x 17 x 896
    x = reduction_b(x, 256, 256, "mixed_7a")
    for b in range(1, repeats[2] + 1):
        x = block8(x, (192, 192), f"block8_{b}")  # 8 x 8 x 1792
    top = dict(classes=classes, include_top=include_top, classifier_activation=classifier_activation)
    return blocks.pooled_classifier(
        inputs, x, **top, pooling=pooling, weights=weights, name=name, dropout=0.2
    )


@blocks.pretrained
def InceptionResNetV2(
    *,
    repeats=(10, 20, 10),
    input_shape=(299, 299, 3),
    classes=1000,
    include_top=True,
    pooling=None,
    weights=None,
    classifier_activation="softmax",
    name="inceptionresnetv2",
):
    """About the cost of Inception-v4. repeats: blocks of kind A, B and C. The smallest side is 75.

    The last block has neither scale nor ReLU; a 1x1 convolution follows.
    """
    x = inputs = blocks.image(input_shape, smallest=75)
    x = mixed_5b(stem_v3(x))
    for b in range(1, repeats[0] + 1):
        x = block35(x, (32, 48, 64), f"block35_{b}")  # 35 x 35 x 320
    x = reduction_a(x, 256, 256, 384, 384, "mixed_6a")
    for b in range(1, repeats[1] + 1):
        x = block17(x, (192, 128, 160, 192), f"block17_{b}")  # 17 x 17 x 1088
    x = reduction_b(x, 288, 320, "mixed_7a")
    for b in range(1, repeats[2]):
        x = block8(x, (224, 256), f"block8_{b}")  # 8 x 8 x 2080
    x = block8(x, (224, 256), f"block8_{repeats[2]}", scale=1, activation=None)
    x = L.Conv2D(1536, 1, use_bias=False, name="conv_7b")(x)  # the names are the twin's
    x = L.BatchNormalization(scale=False, name="conv_7b_bn")(x)
    x = L.Activation("relu", name="conv_7b_ac")(x)
    top = dict(classes=classes, include_top=include_top, classifier_activation=classifier_activation)
    return blocks.pooled_classifier(
        inputs, x, **top, pooling=pooling, weights=weights, name=name, dropout=0.2
    )
