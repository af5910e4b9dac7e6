"""Inception-ResNet. Szegedy, Ioffe, Vanhoucke & Alemi 2017, arXiv:1602.07261, Fig. 10 to 20.

New: what an Inception module makes is scaled down (0.1 to 0.3, section 3.3) and added to its input; training is faster.
V1 has the blocks of the paper (5, 10, 5); its scales, which the paper leaves open, are V2's. V2 is the released net
(TensorFlow, keras.applications): 10, 20 and 10 blocks, v3's stem and a first module, 1088 and 2080 maps. In both, the 1x1
convolution before the addition has a bias and no batch norm; batch norm has no gamma elsewhere.
V2's modules and blocks are named as in keras.applications, the layers in them by path; the twin leaves those unnamed.
Change first: the scales 0.17, 0.1 and 0.2; without them (1.0) training may die.
"""

from keras import layers as L

from ..weights import KerasApplication, pair
from .inception_v3 import HEAD, average_pool, chain, conv_bn, max_pool
from .inception_v3 import stem as stem_v3
from .inception_v4 import reduction_a
from .network import network


def residual(x, paths, scale, name, activation="relu"):
    """Input plus `scale` times the paths, brought to the input's width by a 1x1 convolution without activation."""
    y = L.Concatenate(name=f"{name}_mixed")(paths)
    y = L.Conv2D(x.shape[-1], 1, name=f"{name}_conv")(y)
    y = L.Rescaling(scale, name=f"{name}_scale")(y) if scale != 1 else y
    x = L.Add(name=f"{name}_add")([x, y])
    return L.Activation(activation, name=f"{name}_ac")(x) if activation else x


def block35(x, n3, nd1, nd2, name):
    """Inception-ResNet-A, Fig. 10 and 16. n3, nd1, nd2: maps of the 3x3 and of the two 3x3 behind each other."""
    a = chain(x, (32, 1), name=f"{name}_1x1")
    b = chain(x, (32, 1), (n3, 3), name=f"{name}_3x3")
    c = chain(x, (32, 1), (nd1, 3), (nd2, 3), name=f"{name}_3x3dbl")
    return residual(x, [a, b, c], 0.17, name)


def block17(x, n1, n7r, n1x7, n7x1, name):
    """Inception-ResNet-B, Fig. 11 and 17. n1: maps of the 1x1; n7r, n1x7, n7x1: of 1x1, 1x7 and 7x1 behind each other."""
    a = chain(x, (n1, 1), name=f"{name}_1x1")
    b = chain(x, (n7r, 1), (n1x7, (1, 7)), (n7x1, (7, 1)), name=f"{name}_7x7")
    return residual(x, [a, b], 0.1, name)


def block8(x, n1x3, n3x1, name, scale=0.2, activation="relu"):
    """Inception-ResNet-C, Fig. 13 and 19. n1x3, n3x1: maps of the two that make a 3x3."""
    a = chain(x, (192, 1), name=f"{name}_1x1")
    b = chain(x, (192, 1), (n1x3, (1, 3)), (n3x1, (3, 1)), name=f"{name}_3x3")
    return residual(x, [a, b], scale, name, activation)


def mixed_5b(x, name="mixed_5b"):
    """The module before the blocks of V2, 35 x 35 x 320."""
    a = chain(x, (96, 1), name=f"{name}_1x1")
    b = chain(x, (48, 1), (64, 5), name=f"{name}_5x5")
    c = chain(x, (64, 1), (96, 3), (96, 3), name=f"{name}_3x3dbl")
    d = chain(average_pool(x, name), (64, 1), name=f"{name}_pool_proj")
    return L.Concatenate(name=name)([a, b, c, d])


def reduction_b(x, second, third, name):
    """Fig. 12 and 18."""
    a = chain(x, (256, 1), (384, 3, 2), name=f"{name}_3x3")
    b = chain(x, (256, 1), (second, 3, 2), name=f"{name}_3x3b")
    c = chain(x, (256, 1), (second, 3), (third, 3, 2), name=f"{name}_3x3dbl")
    return L.Concatenate(name=name)([a, b, c, max_pool(x, name)])


@network((299, 299, 3), smallest=75, head=HEAD)
def InceptionResNetV1(x, *, repeats=(5, 10, 5)):
    """About the cost of Inception-v3. repeats: blocks of kind A, B and C."""
    x = chain(x, (32, 3, 2), (32, 3, 1, "valid"), (64, 3), name="stem1")  # Fig. 14
    x = max_pool(x, "stem1")
    x = chain(x, (80, 1), (192, 3, 1, "valid"), (256, 3, 2), name="stem2")
    for b in range(1, repeats[0] + 1):
        x = block35(x, 32, 32, 32, f"block35_{b}")  # 35 x 35 x 256
    x = reduction_a(x, 192, 192, 256, 384, "mixed_6a")
    for b in range(1, repeats[1] + 1):
        x = block17(x, 128, 128, 128, 128, f"block17_{b}")  # 17 x 17 x 896
    x = reduction_b(x, 256, 256, "mixed_7a")
    for b in range(1, repeats[2] + 1):
        x = block8(x, 192, 192, f"block8_{b}")  # 8 x 8 x 1792
    return x


# V2's twin has layers with automatic names, so they meet by the graph
@network((299, 299, 3), smallest=75, head=HEAD, imagenet=KerasApplication("tf", names=pair))
def InceptionResNetV2(x, *, repeats=(10, 20, 10)):
    """About the cost of Inception-v4. repeats: blocks of kind A, B and C.

    The last block has neither scale nor ReLU; a 1x1 convolution follows.
    """
    x = mixed_5b(stem_v3(x))
    for b in range(1, repeats[0] + 1):
        x = block35(x, 32, 48, 64, f"block35_{b}")  # 35 x 35 x 320
    x = reduction_a(x, 256, 256, 384, 384, "mixed_6a")
    for b in range(1, repeats[1] + 1):
        x = block17(x, 192, 128, 160, 192, f"block17_{b}")  # 17 x 17 x 1088
    x = reduction_b(x, 288, 320, "mixed_7a")
    for b in range(1, repeats[2]):
        x = block8(x, 224, 256, f"block8_{b}")  # 8 x 8 x 2080
    x = block8(x, 224, 256, f"block8_{repeats[2]}", scale=1, activation=None)
    # the names are the twin's
    return conv_bn(x, 1536, 1, padding="valid", name="conv_7b", parts=("{}", "{}_bn", "{}_ac"))
