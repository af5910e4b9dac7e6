"""Inception-v4. Szegedy, Ioffe, Vanhoucke & Alemi 2017, arXiv:1602.07261, Fig. 3 to 9.

New: one regular design, cleared of what v3 had inherited: a stem that splits three times, then modules of three kinds,
all alike within their stage. It has no residual connections; the paper's other nets do (inception_resnet.py).
As released in TensorFlow: batch norm without gamma, strided convolutions without padding, dropout 0.2 before the classes.
Change first: `repeats`, the numbers of modules.
"""

from keras import layers as L

from .inception_v3 import HEAD, average_pool, chain, fork, max_pool
from .network import network


def stem(x):
    """Fig. 3, to 35 x 35 x 384."""
    x = chain(x, (32, 3, 2), (32, 3, 1, "valid"), (64, 3), name="stem1")
    a, b = max_pool(x, "stem2"), chain(x, (96, 3, 2), name="stem2_3x3")
    x = L.Concatenate(name="stem2")([a, b])  # 73 x 73
    a = chain(x, (64, 1), (96, 3, 1, "valid"), name="stem3_3x3")
    b = chain(x, (64, 1), (64, (7, 1)), (64, (1, 7)), (96, 3, 1, "valid"), name="stem3_7x7")
    x = L.Concatenate(name="stem3")([a, b])  # 71 x 71
    a, b = chain(x, (192, 3, 2), name="stem4_3x3"), max_pool(x, "stem4")
    return L.Concatenate(name="stem4")([a, b])


def module_a(x, name):
    """Fig. 4."""
    a = chain(x, (96, 1), name=f"{name}_1x1")
    b = chain(x, (64, 1), (96, 3), name=f"{name}_3x3")
    c = chain(x, (64, 1), (96, 3), (96, 3), name=f"{name}_3x3dbl")
    d = chain(average_pool(x, name), (96, 1), name=f"{name}_pool_proj")
    return L.Concatenate(name=name)([a, b, c, d])


def module_b(x, name):
    """Fig. 5."""
    n = f"{name}_7x7dbl"
    a = chain(x, (384, 1), name=f"{name}_1x1")
    b = chain(x, (192, 1), (224, (1, 7)), (256, (7, 1)), name=f"{name}_7x7")
    c = chain(x, (192, 1), (192, (1, 7)), (224, (7, 1)), (224, (1, 7)), (256, (7, 1)), name=n)
    d = chain(average_pool(x, name), (128, 1), name=f"{name}_pool_proj")
    return L.Concatenate(name=name)([a, b, c, d])


def module_c(x, name):
    """Fig. 6."""
    a = chain(x, (256, 1), name=f"{name}_1x1")
    b = fork(chain(x, (384, 1), name=f"{name}_3x3_1"), 256, f"{name}_3x3_2")
    c = chain(x, (384, 1), (448, (1, 3)), (512, (3, 1)), name=f"{name}_3x3dbl")
    c = fork(c, 256, f"{name}_3x3dbl_4")
    d = chain(average_pool(x, name), (256, 1), name=f"{name}_pool_proj")
    return L.Concatenate(name=name)([a, b, c, d])


def reduction_a(x, k, l, m, n, name):  # noqa: E741
    """Fig. 7, with the letters of Table 1."""
    a = chain(x, (n, 3, 2), name=f"{name}_3x3")
    b = chain(x, (k, 1), (l, 3), (m, 3, 2), name=f"{name}_3x3dbl")
    return L.Concatenate(name=name)([a, b, max_pool(x, name)])


def reduction_b(x, name):
    """Fig. 8."""
    a = chain(x, (192, 1), (192, 3, 2), name=f"{name}_3x3")
    b = chain(x, (256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3, 2), name=f"{name}_7x7")
    return L.Concatenate(name=name)([a, b, max_pool(x, name)])


@network((299, 299, 3), smallest=75, head=HEAD)
def InceptionV4(x, *, repeats=(4, 7, 3)):
    """repeats: modules of kind A, B and C."""
    x = stem(x)
    for b in range(1, repeats[0] + 1):
        x = module_a(x, f"mixed5_block{b}")  # 35 x 35 x 384
    x = reduction_a(x, 192, 224, 256, 384, "mixed6_reduction")
    for b in range(1, repeats[1] + 1):
        x = module_b(x, f"mixed6_block{b}")  # 17 x 17 x 1024
    x = reduction_b(x, "mixed7_reduction")
    for b in range(1, repeats[2] + 1):
        x = module_c(x, f"mixed7_block{b}")  # 8 x 8 x 1536
    return x
