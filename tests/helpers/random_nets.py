"""Random nets as people build them: nested, shared, named alike, branching, enlarging; and what a framework multiplies."""

import contextlib
import math

import keras
import numpy as np
from keras import layers as L

from cnnbook.keras_internals import backend_functions
from cnnbook.parts import layers as ours
from helpers.nets import seeded

LARGE = 22  # pixels: maps are made smaller from there on, and larger below a fourth of it


def random_net(seed):
    """A small functional keras.Model of an image, with one to three outputs and weights that follow from the seed."""
    rng = np.random.default_rng(seed)
    sides = tuple(int(n) for n in rng.integers(8, LARGE, 2))
    net = Maker(rng).net((*sides, int(rng.integers(1, 4))), depth=int(rng.integers(3)), heads=True)
    return seeded(net, seed)


class Maker:
    """Makes one net, whose layers are numbered from 1, as those of every net nested in it: so names meet."""

    def __init__(self, rng):
        self.rng, self.numbers, self.shared = rng, {}, []

    def name(self, what):
        self.numbers[what] = self.numbers.get(what, 0) + 1
        return f"{what}{self.numbers[what]}"

    def pick(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def pair(self, *choices):
        return self.pick(*choices), self.pick(*choices)

    def net(self, shape, depth, heads=False, name=None):
        x = image = keras.Input(shape, name="image")
        outputs = []
        for _ in range(self.rng.integers(2, 5)):
            x = self.step(x, depth)
            if heads and self.rng.random() < 0.15:
                outputs.append(self.head(x))
        if heads:
            outputs = [self.head(x), *outputs[:2]]
        return keras.Model(image, outputs or x, name=name or ("net" if heads else None))

    def head(self, x):
        classes = self.pick(1, 3)
        ends, name = self.pick("softmax" if classes > 1 else "sigmoid", None), self.name("head")
        if self.rng.random() < 0.4:
            return L.Conv2D(classes, 1, activation=ends, name=name)(x)
        pool = self.pick(L.GlobalAveragePooling2D, L.GlobalMaxPooling2D, L.Flatten)
        return L.Dense(classes, activation=ends, name=name)(pool()(x))

    def step(self, x, depth):
        smaller = [self.convolution, self.convolution, self.pool, self.cut]
        same = [self.pointwise, self.depthwise, self.branches, self.branches, self.again, self.unpooled]
        same += [self.gate] if self.rng.random() < 0.3 else []
        larger = [self.transposed, self.upsampled, self.padded]
        nested = [self.nested, self.chained] if depth else []
        low, high = min(x.shape[1:3]), max(x.shape[1:3])
        steps = (
            same
            + nested * 2
            + (smaller if low > LARGE // 4 else [])
            + (larger if high < LARGE else smaller[:2])
        )
        return self.pick(*steps)(x, depth)

    # ------------------------------------------------------------------ layers

    def padding(self, x, reach):
        return self.pick("same", "valid") if min(x.shape[1:3]) > reach else "same"

    def convolution(self, x, depth=0):
        kernel, dilation = self.pair(1, 2, 3), self.pick(1, 1, 1, 2)
        options = dict(
            strides=1 if dilation > 1 else self.pick(1, 1, 2, (1, 2)),
            padding=self.padding(x, 2 * max(kernel)),
            dilation_rate=dilation,
            use_bias=bool(self.pick(True, False)),
            activation=self.pick(None, "relu"),
        )
        if self.rng.random() < 0.15:
            options["strides"] = self.pick(1, 2) if dilation == 1 else 1
            return L.SeparableConv2D(2, kernel, **options, name=self.name("conv"))(x)
        groups = x.shape[-1] if self.rng.random() < 0.08 else 1  # XLA compiles each anew
        return L.Conv2D(groups * self.pick(1, 2), kernel, groups=groups, **options, name=self.name("conv"))(x)

    def depthwise(self, x, depth=0):
        layer = L.DepthwiseConv2D(
            self.pick(2, 3), 1, "same", depth_multiplier=self.pick(1, 2), name=self.name("conv")
        )
        return layer(x) if x.shape[-1] < 5 else L.Conv2D(2, 1, name=self.name("conv"))(x)

    def pool(self, x, depth=0):
        kind = self.pick(L.MaxPooling2D, L.AveragePooling2D)
        size = self.pair(2, 3)
        return kind(size, self.pick(1, 2, size), self.padding(x, 3), name=self.name("pool"))(x)

    def cut(self, x, depth=0):
        return L.Cropping2D(((1, 0), (self.pick(0, 1), 1)), name=self.name("cut"))(x)

    def padded(self, x, depth=0):
        return L.ZeroPadding2D(((1, 0), (self.pick(0, 2), 1)), name=self.name("pad"))(x)

    def transposed(self, x, depth=0):
        kernel, stride = self.pair(1, 2, 3, 4), self.pair(1, 2, 3)
        return L.Conv2DTranspose(2, kernel, stride, self.pick("same", "valid"), name=self.name("up"))(x)

    def upsampled(self, x, depth=0):
        return L.UpSampling2D(
            self.pair(1, 2, 3), interpolation=self.pick("nearest", "bilinear"), name=self.name("up")
        )(x)

    def unpooled(self, x, depth=0):
        if min(x.shape[1:3]) < 4:
            return self.pointwise(x)
        pooled, switches = ours.MaxPoolingWithSwitches(2, name=self.name("pool"))(x)
        pooled = L.Conv2D(x.shape[-1], 3, padding="same", name=self.name("conv"))(pooled)
        return ours.MaxUnpooling(2, name=self.name("up"))([pooled, switches])

    def pointwise(self, x, depth=0):
        what = self.rng.integers(5)
        if what < 2:
            return [L.BatchNormalization, L.ReLU][what](name=self.name(("norm", "relu")[what]))(x)
        return [lambda: x + 1.0, lambda: keras.ops.relu(x), lambda: 2.0 * x - x][what - 2]()

    def gate(self, x, depth=0):
        squeezed = L.GlobalAveragePooling2D(keepdims=True, name=self.name("squeeze"))(x)
        return L.Multiply(name=self.name("gate"))(
            [x, L.Dense(x.shape[-1], activation="sigmoid", name=self.name("dense"))(squeezed)]
        )

    def again(self, x, depth=0):
        """A layer that was called before, where there is one that fits, or one that is called twice."""
        fits = [layer for layer, channels in self.shared if channels == x.shape[-1]]
        layer = fits[0] if fits else L.Conv2D(x.shape[-1], 3, padding="same", name=self.name("twice"))
        self.shared.append((layer, x.shape[-1]))
        return layer(layer(x)) if not fits else layer(x)

    # ------------------------------------------------------------------ ways apart, nets within

    def branches(self, x, depth):
        a, b = (
            self.step(self.step(x, 0), depth and depth - 1) if self.rng.random() < 0.7 else x
            for _ in range(2)
        )
        if a.shape[1:3] != b.shape[1:3]:
            b = ours.MatchSize(name=self.name("match"))([b, a])
        if self.rng.random() < 0.5:
            return L.Concatenate(name=self.name("cat"))([a, b])
        b = L.Conv2D(a.shape[-1], 1, name=self.name("conv"))(b)
        return L.Add(name=self.name("sum"))([a, b]) if self.rng.random() < 0.7 else a + b

    def nested(self, x, depth):
        inner = Maker(self.rng).net(x.shape[1:], depth - 1, name=self.name("net"))
        way = self.rng.integers(4)
        if way == 0:
            return inner(inputs=x)
        if way == 1:  # one net for two inputs
            return L.Subtract(name=self.name("less"))([inner(x), inner(keras.ops.relu(x))])
        return inner({"image": x}) if way == 2 else inner(x)

    def chained(self, x, depth):
        """A Sequential net, with a net in it half of the time."""
        maker = Maker(self.rng)
        inner = [maker.net(x.shape[1:], depth - 1, name=maker.name("net"))] if self.rng.random() < 0.5 else []
        layers = [L.Conv2D(2, 1, name=maker.name("conv")), L.ReLU(name=maker.name("relu"))]
        return keras.Sequential([keras.Input(x.shape[1:]), *inner, *layers], name=self.name("net"))(x)


@contextlib.contextmanager
def multiplied():
    """A list that holds, after the block, the multiply-adds of every convolution and product that Keras' backend computed
    for one image: from the shapes of the kernels and results alone."""
    found, places = [], lambda x: math.prod(x.shape[1:-1])
    counted = {
        ("nn", "conv"): lambda out, x, kernel, *_: places(out) * math.prod(kernel.shape),
        ("nn", "depthwise_conv"): lambda out, x, kernel, *_: places(out) * math.prod(kernel.shape),
        ("nn", "separable_conv"): lambda out, x, first, second, *_: (
            places(out) * (math.prod(first.shape) + math.prod(second.shape))
        ),
        ("nn", "conv_transpose"): lambda out, x, kernel, *_: places(x) * math.prod(kernel.shape),
        ("numpy", "matmul"): lambda out, x, kernel, *_: places(x) * math.prod(kernel.shape),
    }
    before, inside = {key: getattr(backend_functions(key[0]), key[1]) for key in counted}, []

    def watched(key):
        def call(*arguments, **options):
            inside.append(key)  # one may be made of others
            try:
                out = before[key](*arguments, **options)
            finally:
                inside.pop()
            if not inside:
                found.append(counted[key](out, *arguments, *options.values()))
            return out

        return call

    try:
        for room, name in counted:
            setattr(backend_functions(room), name, watched((room, name)))
        yield found
    finally:
        for (room, name), function in before.items():
            setattr(backend_functions(room), name, function)
