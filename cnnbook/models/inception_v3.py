"""Inception-v3. Szegedy, Vanhoucke, Ioffe, Shlens & Wojna 2016, Rethinking the Inception architecture, arXiv:1512.00567.

New: convolutions in factors: two 3x3 for a 5x5, 1x7 and 7x1 for a 7x7, 1x3 beside 3x1 for a 3x3 (Fig. 5 to 7), and maps
that shrink in parallel branches (Fig. 10). As released (TensorFlow, keras.applications): one 5x5 stays in the modules
of 35 x 35, batch norm has no gamma, strided convolutions take no padding. Dropout 0.2 as in TensorFlow's; Keras' has none.
Modules are named as in keras.applications (mixed0 to mixed10), the layers in them by path; the twin leaves those unnamed.
Change first: `width` of the 7x7 modules, or auxiliary=True.
"""

from functools import partial

from keras import layers as L

from ..parts import blocks
from ..weights import KerasApplication, pair
from .network import network, pooled_dropout, predictions


def conv_bn(x, filters, kernel, strides=1, padding=None, **options):
    """Size kept at stride 1 (unless "valid" is asked for), no padding at stride 2; no gamma, a ReLU follows."""
    padding = padding or ("same" if strides == 1 else "valid")
    return blocks.conv_bn(x, filters, kernel, strides, padding=padding, scale=False, **options)


chain = partial(blocks.chain, conv=conv_bn)


def average_pool(x, name):
    return L.AveragePooling2D(3, 1, padding="same", name=f"{name}_pool")(x)


def max_pool(x, name):
    return L.MaxPooling2D(3, 2, name=f"{name}_pool")(x)


def stem(x):
    x = chain(x, (32, 3, 2), (32, 3, 1, "valid"), (64, 3), name="stem1")
    x = max_pool(x, "stem1")  # 73 x 73
    x = chain(x, (80, 1), (192, 3, 1, "valid"), name="stem2")
    return max_pool(x, "stem2")  # 35 x 35 x 192


def module5(x, pool, name):  # Fig. 5, 35 x 35
    a = chain(x, (64, 1), name=f"{name}_1x1")
    b = chain(x, (48, 1), (64, 5), name=f"{name}_5x5")
    c = chain(x, (64, 1), (96, 3), (96, 3), name=f"{name}_3x3dbl")
    d = chain(average_pool(x, name), (pool, 1), name=f"{name}_pool_proj")
    return L.Concatenate(name=name)([a, b, c, d])


def module7(x, n, name):
    """Fig. 6, 17 x 17; seven is (1, 7) and (7, 1). n: the maps inside."""
    a = chain(x, (192, 1), name=f"{name}_1x1")
    b = chain(x, (n, 1), (n, (1, 7)), (192, (7, 1)), name=f"{name}_7x7")
    c = chain(x, (n, 1), (n, (7, 1)), (n, (1, 7)), (n, (7, 1)), (192, (1, 7)), name=f"{name}_7x7dbl")
    d = chain(average_pool(x, name), (192, 1), name=f"{name}_pool_proj")
    return L.Concatenate(name=name)([a, b, c, d])


def fork(x, filters, name):
    """1x3 and 3x1 side by side."""
    a = chain(x, (filters, (1, 3)), name=f"{name}_1x3")
    b = chain(x, (filters, (3, 1)), name=f"{name}_3x1")
    return L.Concatenate(name=name)([a, b])


def module8(x, name):  # Fig. 7, 8 x 8
    a = chain(x, (320, 1), name=f"{name}_1x1")
    b = fork(chain(x, (384, 1), name=f"{name}_3x3_1"), 384, f"{name}_3x3_2")
    c = fork(chain(x, (448, 1), (384, 3), name=f"{name}_3x3dbl"), 384, f"{name}_3x3dbl_3")
    d = chain(average_pool(x, name), (192, 1), name=f"{name}_pool_proj")
    return L.Concatenate(name=name)([a, b, c, d])


def shrink17(x, name):  # Fig. 10
    a = chain(x, (384, 3, 2), name=f"{name}_3x3")
    b = chain(x, (64, 1), (96, 3), (96, 3, 2), name=f"{name}_3x3dbl")
    return L.Concatenate(name=name)([a, b, max_pool(x, name)])


def shrink8(x, name):
    a = chain(x, (192, 1), (320, 3, 2), name=f"{name}_3x3")
    b = chain(x, (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2), name=f"{name}_7x7")
    return L.Concatenate(name=name)([a, b, max_pool(x, name)])


def auxiliary_head(x, classes, activation, name):
    """A classifier on the last 17 x 17 map; its loss counts 0.4 in the released training. It regularises (section 4)."""
    x = L.AveragePooling2D(5, 3, name=f"{name}_pool")(x)  # 5 x 5
    x = chain(x, (128, 1), (768, 5, 1, "valid"), name=name)  # 1 x 1
    x = L.GlobalAveragePooling2D(name=f"{name}_avg_pool")(x)
    return predictions(x, classes, activation, name=f"{name}_predictions")


HEAD = partial(pooled_dropout, dropout=0.2)
KERAS = KerasApplication("tf", names=pair)  # the twin's layers have automatic names: by the graph


def smallest(auxiliary, include_top):
    return 299 if auxiliary and include_top else 75


@network((299, 299, 3), smallest=smallest, head=HEAD, auxiliary_head=auxiliary_head, imagenet=KERAS)
def InceptionV3(x, *, auxiliary=False):
    """Eleven modules. auxiliary: a second output, behind mixed7, which leaves with the top.

    The smallest side is 75, with the auxiliary head 299.
    """
    x = stem(x)
    for i, pool in enumerate((32, 64, 64)):
        x = module5(x, pool, f"mixed{i}")  # 35 x 35
    x = shrink17(x, "mixed3")
    for i, width in enumerate((128, 160, 160, 192), 4):
        x = module7(x, width, f"mixed{i}")  # 17 x 17
    hidden = {"aux1": x}
    x = shrink8(x, "mixed8")
    for i in (9, 10):
        x = module8(x, f"mixed{i}")  # 8 x 8
    return (x, hidden) if auxiliary else x
