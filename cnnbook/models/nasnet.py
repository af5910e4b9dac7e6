"""NASNet-A. Zoph et al. 2018, Learning transferable architectures for scalable image recognition, arXiv:1707.07012,
Figure 4 and Tables 2 and 3.

New: the search finds two small cells on CIFAR-10; stacked, they make nets of any size, for ImageNet too. A cell reads the
outputs of the two cells before it.
As released, and in keras.applications: every separable convolution is applied twice, ReLU first. Left out: the auxiliary
head and ScheduledDropPath (paths of a cell dropped while training), which training from scratch wants; dropout before the
classes is the release's. The ImageNet weights want RGB from -1 to 1 (`models.preprocess`).
Change first: the number of cells, or a line of a cell.
"""

from keras import layers as L

from ..parts import blocks
from ..weights import KerasApplication
from .network import network, pooled_dropout, variant


def normalise(x, name):
    return blocks.batch_norm(momentum=0.9997, name=name)(x)


def pointwise(x, filters, name):
    return L.Conv2D(filters, 1, use_bias=False, kernel_initializer="he_normal", name=name)(x)


def squeeze(x, filters, conv_name, bn_name):
    """ReLU, 1x1 convolution, batch normalisation: what comes in, brought to the cell's number of channels."""
    x = L.Activation("relu", name=f"{conv_name}_relu")(x)
    return normalise(pointwise(x, filters, conv_name), bn_name)


def adjust(p, x, filters, cell):
    """The output of the cell before last, brought to the size of the last one's (x) and to `filters` channels."""
    if p is x:
        return p  # there is no cell before last yet
    if p.shape[1:3] == x.shape[1:3]:
        same = p.shape[-1] == filters
        return p if same else squeeze(p, filters, f"adjust_conv_projection_{cell}", f"adjust_bn_{cell}")
    # every second pixel, and every second pixel from one further right and down
    p = L.Activation("relu", name=f"adjust_relu_1_{cell}")(p)
    shifted = L.ZeroPadding2D(((0, 1), (0, 1)), name=f"adjust_pad_{cell}")(p)
    shifted = L.Cropping2D(((1, 0), (1, 0)), name=f"adjust_crop_{cell}")(shifted)
    halves = []
    for i, y in enumerate((p, shifted), 1):
        y = L.AveragePooling2D(1, 2, name=f"adjust_avg_pool_{i}_{cell}")(y)
        halves.append(pointwise(y, filters // 2, f"adjust_conv_{i}_{cell}"))
    return normalise(L.Concatenate(name=f"adjust_concat_{cell}")(halves), f"adjust_bn_{cell}")


def separable(x, filters, kernel, strides, name):
    """ReLU, separable convolution, batch normalisation: twice, the first by `strides`."""
    for i, step in enumerate((strides, 1), 1):
        x = L.Activation("relu", name=f"separable_conv_{i}_relu_{name}")(x)
        x = blocks.pad_as_tensorflow(x, kernel, name=f"separable_conv_{i}_pad_{name}") if step == 2 else x
        padding, layer = "same" if step == 1 else "valid", f"separable_conv_{i}_{name}"
        x = L.SeparableConv2D(filters, kernel, step, padding, use_bias=False, name=layer)(x)
        x = normalise(x, f"separable_conv_{i}_bn_{name}")
    return x


def normal_cell(x, p, filters, cell):
    """Figure 4, left. x: the output of the last cell, p: of the one before."""

    def sep(y, kernel, branch):
        return separable(y, filters, kernel, 1, f"normal_{branch}_{cell}")

    def mean(y, branch):
        return L.AveragePooling2D(3, 1, "same", name=f"normal_{branch}_{cell}")(y)

    def add(i, *branches):
        return L.Add(name=f"normal_add_{i}_{cell}")(branches)

    p = adjust(p, x, filters, cell)
    h = squeeze(x, filters, f"normal_conv_1_{cell}", f"normal_bn_1_{cell}")
    y1 = add(1, sep(h, 5, "left1"), sep(p, 3, "right1"))
    y2 = add(2, sep(p, 5, "left2"), sep(p, 3, "right2"))
    y3 = add(3, p, mean(h, "left3"))
    y4 = add(4, mean(p, "left4"), mean(p, "right4"))
    y5 = add(5, h, sep(h, 3, "left5"))
    return L.Concatenate(name=f"normal_concat_{cell}")([p, y1, y2, y3, y4, y5])


def reduction_cell(x, p, filters, cell):
    """Figure 4, right: height and width are halved."""

    def sep(y, kernel, strides, branch):
        return separable(y, filters, kernel, strides, f"reduction_{branch}_{cell}")

    def pool(kind, branch):
        return kind(3, 2, name=f"reduction_{branch}_{cell}")(padded)

    def add(name, *branches):
        return L.Add(name=f"reduction_{name}_{cell}")(branches)

    p = adjust(p, x, filters, cell)
    h = squeeze(x, filters, f"reduction_conv_1_{cell}", f"reduction_bn_1_{cell}")
    padded = blocks.pad_as_tensorflow(h, 3, name=f"reduction_pad_1_{cell}")
    y1 = add("add_1", sep(h, 5, 2, "left1"), sep(p, 7, 2, "right1"))
    y2 = add("add_2", pool(L.MaxPooling2D, "left2"), sep(p, 7, 2, "right2"))
    y3 = add("add3", pool(L.AveragePooling2D, "left3"), sep(p, 5, 2, "right3"))
    y4 = add("add_4", y2, L.AveragePooling2D(3, 1, "same", name=f"reduction_left4_{cell}")(y1))
    y5 = add("add4", sep(y1, 3, 1, "left4"), pool(L.MaxPooling2D, "right5"))
    return L.Concatenate(name=f"reduction_concat_{cell}")([y2, y3, y4, y5])


@network(smallest=32, head=pooled_dropout)
def NASNet(x, *, cells=4, penultimate=1056, stem=32, skip_reduction=False, dropout=0.5):
    """NASNet-A, cells @ penultimate: so many normal cells in each of three stages, so many channels in the last map.

    stem: channels of the first convolution. skip_reduction: the cell behind a reduction reads, beside the reduction's
    output, what the reduction's second input was (Large), instead of its first (Mobile). The sizes are fixed, since maps
    are padded by them.
    """
    if penultimate % 24:
        raise ValueError(
            f"penultimate is 6 channels times 4 for each filter: a multiple of 24, got {penultimate}"
        )
    if None in x.shape[1:3]:
        raise ValueError(f"input_shape {x.shape[1:]}: NASNet pads its maps by their sizes; give both")
    filters = penultimate // 24
    x = L.Conv2D(stem, 3, 2, use_bias=False, kernel_initializer="he_normal", name="stem_conv1")(x)
    x = p = normalise(x, "stem_bn1")
    x, p = reduction_cell(x, p, filters // 4, "stem_1"), x
    x, p = reduction_cell(x, p, filters // 2, "stem_2"), x
    for stage in range(3):
        if stage:
            y = reduction_cell(x, p, 2**stage * filters, f"reduce_{stage * cells}")
            x, p = y, p if skip_reduction else x
        first = stage * cells + (stage > 0)  # Keras' numbers of the cells
        for cell in range(first, first + cells):
            x, p = normal_cell(x, p, 2**stage * filters, cell), x
    return L.Activation("relu", name="relu")(x)


KERAS = KerasApplication("tf")
# Table 3 and Table 2
# fmt: off
NASNetMobile = variant("NASNetMobile", NASNet, cells=4, penultimate=1056, imagenet=KERAS)
NASNetLarge  = variant("NASNetLarge",  NASNet, cells=6, penultimate=4032, imagenet=KERAS,
                       stem=96, skip_reduction=True, input_shape=(331, 331, 3))
# fmt: on
