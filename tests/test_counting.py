"""Multiply-adds and parameters against hand sums: every kind of layer, products of tensors, and what cannot be counted."""

import keras
import numpy as np
import pytest
from helpers.zoo import plan
from keras import layers as L
from keras import ops

import cnnbook
from cnnbook import graph, models, viz

pytestmark = pytest.mark.jax


def net_of(call, *shapes):
    """A model of one call. shapes: those of its inputs, without the batch axis."""
    inputs = [keras.Input(shape) for shape in shapes]
    return keras.Model(inputs, call(inputs[0] if len(inputs) == 1 else inputs))


class Hidden(L.Layer):
    """A convolution and a dense layer inside a layer of one's own."""

    def __init__(self, **options):
        super().__init__(**options)
        self.conv, self.dense = L.Conv2D(4, 3), L.Dense(2)

    def build(self, shape):
        self.conv.build(shape)
        self.dense.build((None, 4))

    def call(self, x):
        return self.dense(ops.mean(self.conv(x), axis=(1, 2)))


class OwnKernel(L.Layer):
    """A kernel of its own, used through keras.ops; reshaped before its use."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(1, shape[-1], 5), name="kernel")

    def call(self, x):
        return ops.matmul(x, ops.reshape(self.kernel, self.kernel.shape[1:]))


class Elementwise(L.Layer):
    """A kernel that is used by no product of matrices: how often, nobody can see."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 3), name="kernel")

    def call(self, x):
        return ops.sum(ops.expand_dims(x, -1) * self.kernel, axis=-2)


class Half(L.Layer):
    """A dense layer, which is understood, and beside it what is not."""

    def __init__(self, **options):
        super().__init__(**options)
        self.dense, self.rest = L.Dense(5), Elementwise()

    def build(self, shape):
        self.dense.build(shape)
        self.rest.build(shape)

    def call(self, x):
        return ops.concatenate([self.dense(x), self.rest(x)], -1)


class Scanned(L.Layer):
    """A product in a loop over the 7 rows of a sequence."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 5), name="kernel")

    def call(self, x):
        rows = ops.transpose(x, (1, 0, 2))
        return ops.transpose(ops.map(lambda row: ops.matmul(row, self.kernel), rows), (1, 0, 2))


class Windows(L.Layer):
    """Cuts a map of 8 x 8 into four windows of 4 x 4, each an entry of the first axis, as Swin does."""

    def call(self, x):
        channels = x.shape[-1]
        x = ops.reshape(x, (-1, 2, 4, 2, 4, channels))
        return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 16, channels))

    def compute_output_shape(self, shape):
        return None, 16, shape[-1]


class Gated(L.Conv2D):
    """A convolution whose call was replaced: a gate of another convolution."""

    def build(self, shape):
        super().build(shape)
        self.gate = L.Conv2D(self.filters, 1)
        self.gate.build(shape[:1] + self.compute_output_shape(shape)[1:])

    def call(self, x):
        y = super().call(x)
        return y * self.gate(y)


class Registered(OwnKernel):
    """Registered without a word on its cost."""


graph.register(Registered, group="pointwise")

SEQUENCE, MAP, VIDEO = (7, 4), (8, 8, 3), (2, 4, 6, 3)
LAYERS = {
    # places of the output x window x channels in x channels out
    "Conv1D": (lambda: L.Conv1D(6, 3, padding="causal"), SEQUENCE, 7 * 3 * 4 * 6),
    "Conv1D in groups": (lambda: L.Conv1D(6, 3, 2, groups=2), SEQUENCE, 3 * 3 * 2 * 6),
    "Conv1DTranspose": (lambda: L.Conv1DTranspose(6, 3, 2), SEQUENCE, 7 * 3 * 4 * 6),
    "DepthwiseConv1D": (
        lambda: L.DepthwiseConv1D(3, padding="same", depth_multiplier=2),
        SEQUENCE,
        7 * 8 * 3,
    ),
    "SeparableConv1D": (lambda: L.SeparableConv1D(6, 3, padding="same"), SEQUENCE, 7 * 4 * (3 + 6)),
    "Conv3D": (lambda: L.Conv3D(5, (1, 2, 3), padding="same"), VIDEO, 48 * 6 * 3 * 5),
    "Conv3DTranspose": (lambda: L.Conv3DTranspose(5, 2, 2), VIDEO, 48 * 8 * 3 * 5),
    # steps x gates x (kernel + recurrent kernel)
    "SimpleRNN": (lambda: L.SimpleRNN(5), SEQUENCE, 7 * (4 * 5 + 5 * 5)),
    "LSTM": (lambda: L.LSTM(5), SEQUENCE, 7 * 4 * (4 * 5 + 5 * 5)),
    "GRU, unrolled": (lambda: L.GRU(5, unroll=True), SEQUENCE, 7 * 3 * (4 * 5 + 5 * 5)),
    "Bidirectional": (lambda: L.Bidirectional(L.LSTM(5)), SEQUENCE, 2 * 7 * 4 * (4 * 5 + 5 * 5)),
    "RNN of two cells": (
        lambda: L.RNN([L.LSTMCell(5), L.GRUCell(3)]),
        SEQUENCE,
        7 * (4 * (4 * 5 + 5 * 5) + 3 * (5 * 3 + 3 * 3)),
    ),
    "ConvLSTM1D": (lambda: L.ConvLSTM1D(2, 3, padding="same"), (3, 8, 4), 3 * 4 * 8 * 3 * (4 + 2) * 2),
    "TimeDistributed": (lambda: L.TimeDistributed(L.Conv2D(5, 3)), (4, 8, 8, 3), 4 * 36 * 27 * 5),
    "SpectralNormalization": (lambda: L.SpectralNormalization(L.Conv2D(5, 3)), MAP, 36 * 27 * 5),
    "EinsumDense": (lambda: L.EinsumDense("abc,cde->abde", (None, 2, 5)), SEQUENCE, 7 * 4 * 2 * 5),
    "a layer of one's own": (Hidden, MAP, 36 * 27 * 4 + 4 * 2),
    "a kernel of one's own": (OwnKernel, SEQUENCE, 7 * 4 * 5),
    "a call that was replaced": (lambda: Gated(5, 3), MAP, 36 * 27 * 5 + 36 * 5 * 5),
    "registered without a cost": (Registered, SEQUENCE, 7 * 4 * 5),
    "a loop": (Scanned, SEQUENCE, 7 * 4 * 5),
    # at inference nothing is done, which Keras would not guess from the layer alone
    "augmentation": (lambda: keras.Sequential([L.RandomShear(), L.RandomGaussianBlur()]), MAP, 0),
    "none": (lambda: L.Lambda(lambda x: x[:, ::-1]), MAP, 0),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_by_hand(name):
    layer, shape, macs = LAYERS[name]
    row = graph.trace(net_of(layer(), shape))[-1]
    assert (row.macs, row.macs_at_least) == (macs, macs)


def rows_of_products():
    """Layers and operations that multiply two tensors: a query (6, 8) and a value (5, 8)."""

    def heads(pair, **options):
        return L.MultiHeadAttention(2, 4, **options)(*pair)

    return {
        # query and output 6 * 8 * 8, key and value 5 * 8 * 8; scores and mixture 2 heads * 6 * 5 * 4 each
        "MultiHeadAttention": (heads, 2 * 6 * 8 * 8 + 2 * 5 * 8 * 8 + 2 * (2 * 6 * 5 * 4)),
        # values of 3: 5 * 8 * 6 into them, 2 heads * 6 * 5 * 3 for the mixture, 6 * 6 * 8 out of them; 0.1: no fused product
        "values of another size": (
            lambda pair: heads(pair, value_dim=3, dropout=0.1),
            6 * 8 * 8 + 5 * 8 * 8 + 5 * 8 * 6 + 2 * 6 * 5 * 4 + 2 * 6 * 5 * 3 + 6 * 6 * 8,
        ),
        # four heads of 4 for the query, two for key and value
        "GroupQueryAttention": (
            lambda pair: L.GroupQueryAttention(4, 4, 2)(*pair),
            2 * 6 * 8 * 16 + 2 * 5 * 8 * 8 + 2 * (4 * 6 * 5 * 4),
        ),
        "Attention": (L.Attention(), 2 * 6 * 5 * 8),
        # its scores are sums of tanh, no products; the mixture is one
        "AdditiveAttention": (L.AdditiveAttention(), 6 * 5 * 8),
        "Dot": (L.Dot((2, 2)), 6 * 5 * 8),
        "matmul": (lambda pair: ops.matmul(pair[0], ops.transpose(pair[1], (0, 2, 1))), 6 * 5 * 8),
        "einsum": (lambda pair: ops.einsum("bic,bjc->bij", *pair), 6 * 5 * 8),
        "element by element": (lambda pair: ops.einsum("bic,bic->bic", pair[0], pair[0]), 0),
        "conv": (lambda pair: ops.conv(pair[0], np.ones((3, 8, 2), "float32")), 4 * 3 * 8 * 2),
        "tensordot": (lambda pair: ops.tensordot(pair[0], np.ones((8, 3), "float32"), 1), 6 * 8 * 3),
    }


@pytest.mark.parametrize("name", rows_of_products())
def test_products_of_two_tensors_count(name):
    call, macs = rows_of_products()[name]
    rows = graph.trace(net_of(call, (6, 8), (5, 8)))
    assert sum(row.macs for row in rows) == macs


def test_windows_in_the_first_axis_are_all_counted():
    """Four windows of 16 places: 64 places in all, by a layer of one's own and by a bare reshape."""

    def rows_of(cut):
        rows = graph.trace(net_of(lambda x: L.Dense(5, name="dense")(cut(x)), (8, 8, 3)))
        return [(row.macs, row.activations) for row in rows if row.name == "dense"]

    wanted = [(64 * 3 * 5, 64 * 5)]
    assert rows_of(Windows()) == rows_of(lambda x: ops.reshape(x, (-1, 16, 3))) == wanted


def test_a_first_axis_that_is_not_the_batch():
    rows = graph.trace(net_of(lambda x: ops.matmul(ops.mean(x, axis=0), np.ones((8, 5), "float32")), (7, 8)))
    assert [(row.macs, row.activations) for row in rows[1:]] == [(0, 7 * 8), (7 * 8 * 5, 7 * 5)]


def test_patches_that_are_only_moved_cost_nothing():
    class Patches(L.Layer):
        def call(self, x):
            return ops.image.extract_patches(x, 4)

    assert [graph.totals(net_of(cut, MAP))["macs"] for cut in (Patches(), Patches().call)] == [0, 0]


def test_looking_inside_a_layer_leaves_it_as_it_is():
    layer = L.MultiHeadAttention(2, 4, name="mine")
    x = keras.Input((6, 8))
    net = keras.Model(x, layer(x, x))
    values = [ops.convert_to_numpy(v) for v in net.weights]
    matmul = ops.matmul(np.ones((1, 2)), np.ones((2, 1)))
    for _ in range(2):
        assert graph.totals(net)["macs"] == 4 * 6 * 8 * 8 + 2 * 2 * 6 * 6 * 4
    assert len(graph.calls_in(net)) == 2 and net.losses == [] and float(matmul[0, 0]) == 2
    for variable, value in zip(net.weights, values, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), value)


# --------------------------------------------------------------------------- what cannot be counted


@pytest.fixture(scope="module")
def not_whole():
    """6 x 6 x 27 x 4 = 3,888 of a convolution, 4 x 5 of a dense layer that stands beside what is not understood."""
    x = keras.Input((8, 8, 3), name="image")
    y = L.GlobalAveragePooling2D(name="gap")(L.Conv2D(4, 3, name="conv")(x))
    return keras.Model(x, Elementwise(name="odd")(Half(name="half")(y)), name="net")


def test_what_is_not_understood_is_no_number(not_whole):
    rows = {row.name: row for row in graph.trace(not_whole)}
    assert (rows["odd"].macs, rows["odd"].macs_at_least) == (None, 0)
    assert (rows["half"].macs, rows["half"].macs_at_least) == (None, 20)
    total = graph.totals(not_whole)
    assert (total["macs"], total["macs_at_least"]) == (None, 3888 + 20)


def test_tables_and_pictures_say_at_least(not_whole):
    table = graph.summary(not_whole)
    cells = {line[0]: line[4] for line in table.cells()}
    assert cells == dict(
        image="0", conv="3,888", gap="0", half="at least 20", odd="-", total="at least 3,908"
    )
    assert "at least 3,908" in repr(table) and "at least 3,908" in table._repr_html_()
    assert list(table.to_frame()["MACs"].dropna()) == [0, 3888, 0]
    compared = cnnbook.compare(not_whole, graph.as_functional(not_whole))
    assert "at least 3,908" in repr(compared) and "at least 3,908" in compared._repr_html_()
    drawn = viz.diagram(not_whole)
    assert "at least 3,908 multiply-adds" in drawn.svg()


def test_a_comparison_of_a_whole_count_with_another(not_whole):
    whole = keras.Model(not_whole.inputs, not_whole.get_layer("gap").output, name="whole")
    shown = repr(cnnbook.compare(whole, not_whole))
    assert "3,888 -> at least 3,908" in shown and "(+0.5 %)" not in shown


def test_products_of_the_backend_itself_are_not_taken_for_nothing():
    """Of two tensors, by TensorFlow's or JAX's own function, which Keras does not see."""
    if keras.backend.backend() == "tensorflow":
        from tensorflow import matmul
    else:
        from jax.numpy import matmul

    class Raw(L.Layer):
        def call(self, x):
            return matmul(x, ops.matmul(x, x))

    row = graph.trace(net_of(Raw(), (6, 6)))[-1]
    assert (row.macs, row.macs_at_least) == (None, 6 * 6 * 6)


def test_what_a_backend_compiled_while_it_was_watched_still_computes():
    """JAX and TensorFlow keep what they trace, and the first trace of this function is the count's."""
    if keras.backend.backend() == "tensorflow":
        from tensorflow import function as compiled
    else:
        from jax import jit as compiled
    square = compiled(lambda x: ops.matmul(x, x))

    class Compiled(L.Layer):
        def call(self, x):
            return square(x)

        def compute_output_shape(self, shape):
            return shape

    x = keras.Input((2, 2), batch_size=1)
    net = keras.Model(x, Compiled()(x))
    assert graph.totals(net)["macs_at_least"] in (0, 2 * 2 * 2)
    found = ops.convert_to_numpy(net(np.array([[[1.0, 2.0], [3.0, 4.0]]], "float32")))
    np.testing.assert_array_equal(found, [[[7, 10], [15, 22]]])


def test_free_sizes_have_no_sum(not_whole):
    x = keras.Input((None, None, 3))
    y = L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(x))
    total = graph.totals(keras.Model(x, L.Dense(2)(y)))
    assert (total["macs"], total["macs_at_least"]) == (None, None)
    sequence = graph.trace(net_of(L.LSTM(5), (None, 4)))[-1]
    assert (sequence.macs, sequence.macs_at_least) == (None, None)


def test_a_field_that_is_not_known_says_behind_which_layer(not_whole):
    x = keras.Input((8, 8, 3))
    y = L.Conv2D(4, 3, name="conv")(x)
    total = graph.totals(keras.Model(x, L.Conv2D(4, 3)(L.Lambda(lambda t: t[:, ::-1], name="turn")(y))))
    assert (total["receptive_field"], total["not_known_behind"]) == (None, "turn")
    tokens = L.MultiHeadAttention(2, 4, name="heads")(*[L.Reshape((36, 4), name="tokens")(y)] * 2)
    net = keras.Model(x, L.Dense(2)(L.GlobalAveragePooling1D()(tokens)), name="net")
    total = graph.totals(net)
    assert (total["receptive_field"], total["not_known_behind"]) == (None, "tokens")
    assert "not known behind tokens" in repr(graph.summary(net))
    assert "not known behind tokens" in repr(cnnbook.compare(net, net))
    text = graph.totals(net_of(L.LSTM(5, return_sequences=True), SEQUENCE))  # no map, and none expected
    assert (text["receptive_field"], text["not_known_behind"]) == (None, None)
    total = graph.totals(not_whole)  # the last map is known, whatever is made of it
    assert (total["receptive_field"], total["not_known_behind"]) == ((3, 3), None)


# --------------------------------------------------------------------------- whole nets


def small_vit(side=8, patch=4, width=8, heads=2, depth=2):
    """As keras-hub builds one: patches by a convolution, a class token, positions, encoders before their norm."""

    class Tokens(L.Layer):
        def build(self, shape):
            self.token = self.add_weight(shape=(1, 1, shape[-1]), name="token")
            self.positions = L.Embedding(shape[1] + 1, shape[-1])
            self.positions.build((1, shape[1] + 1))

        def call(self, x):
            first = ops.tile(self.token, (ops.shape(x)[0], 1, 1))
            x = ops.concatenate([first, x], axis=1)
            return x + self.positions(ops.arange(x.shape[1])[None])

    image = keras.Input((side, side, 3))
    x = L.Conv2D(width, patch, patch)(image)
    x = Tokens()(L.Reshape((-1, width))(x))
    for _ in range(depth):
        y = L.LayerNormalization()(x)
        x = L.Add()([x, L.MultiHeadAttention(heads, width // heads)(y, y)])
        y = L.Dense(4 * width, activation="gelu")(L.LayerNormalization()(x))
        x = L.Add()([x, L.Dense(width)(y)])
    x = L.LayerNormalization()(x)
    return keras.Model(image, L.Dense(3)(L.Lambda(lambda t: t[:, 0])(x)))


def test_a_vision_transformer():
    """4 patches of 48 numbers into 8; then 5 tokens, in each of 2 encoders four kernels 8 x 8, two products 5 x 5 x 8, and
    8 x 32 twice; 8 x 3 at the end: 4 * 48 * 8 + 2 * (5 * (4 * 64 + 2 * 256) + 2 * 200) + 24 = 10,040."""
    net = small_vit()
    assert graph.totals(net)["macs"] == 10_040
    assert graph.totals(net)["params"] == net.count_params()


def test_convnext_tiny():
    """4.5 G multiply-adds at 224 in Liu et al. 2022, Table 1. Field: 4 of the stem, 3 blocks of 7 x 7 at stride 4, a 2 x 2,
    3 at 8, a 2 x 2, 9 at 16, a 2 x 2, 3 at 32: 4 + 72 + 4 + 144 + 8 + 864 + 16 + 576."""
    total = graph.totals(plan(keras.applications.ConvNeXtTiny, weights=None))
    assert total["macs"] == pytest.approx(4.47e9, rel=5e-3)
    assert total["receptive_field"] == (1688, 1688)


# --------------------------------------------------------------------------- parameters


def nets_that_share():
    """{name: (model, trained, state)}."""
    image, film = keras.Input((4, 4, 3)), keras.Input((2, 4, 4, 3))
    conv = L.Conv2D(2, 3)
    dense, first, second = L.Dense(2), keras.Input((5, 3)), keras.Input((6, 3))
    backbone = keras.Sequential([image, L.Conv2D(2, 3), L.BatchNormalization(), L.Flatten()])
    tied = L.ReversibleEmbedding(10, 4) if hasattr(L, "ReversibleEmbedding") else L.Embedding(10, 4)
    words = keras.Input((5,), dtype="int32")
    read = tied(words, reverse=False) if hasattr(L, "ReversibleEmbedding") else tied(words)
    logits = tied(read, reverse=True) if hasattr(L, "ReversibleEmbedding") else read
    frozen = L.Conv2D(2, 3, trainable=False)
    later = keras.Sequential([keras.Input((4, 4, 3)), L.Conv2D(2, 3), L.BatchNormalization()])
    later.trainable = False
    extra = keras.Model(image, L.Conv2D(2, 3)(image))
    extra.beside = L.Dense(2)
    extra.beside.build((None, 3))
    return {
        "a layer and TimeDistributed of it": (
            keras.Model([image, film], [conv(image), L.TimeDistributed(conv)(film)]),
            3 * 3 * 3 * 2 + 2,
            0,
        ),
        "two TimeDistributed of one layer": (
            keras.Model([first, second], [L.TimeDistributed(dense)(x) for x in (first, second)]),
            8,
            0,
        ),
        "a backbone alone and in TimeDistributed": (
            keras.Model([image, film], [backbone(image), L.TimeDistributed(backbone)(film)]),
            56 + 4,
            4,
        ),
        "tied weights": (keras.Model(words, logits), 40, 0),
        "power iteration": (
            keras.Sequential([keras.Input((4, 4, 3)), L.SpectralNormalization(L.Conv2D(2, 3))]),
            56,
            2,
        ),
        "made frozen": (keras.Model(image, frozen(image)), 56, 0),
        "frozen later": (later, 56 + 4, 4),
        "scaling": (keras.Sequential([keras.Input((4, 4, 3)), L.Normalization()]), 0, 7),
        "Bidirectional": (
            keras.Sequential([keras.Input((5, 3)), L.Bidirectional(L.GRU(2, reset_after=False))]),
            2 * 3 * (3 * 2 + 2 * 2 + 2),
            0,
        ),
        "called by nobody": (extra, 56 + 8, 0),
        "a layer of one's own": (net_of(Hidden(), MAP), 27 * 4 + 4 + 4 * 2 + 2, 0),
    }


@pytest.mark.parametrize("name", nets_that_share())
def test_each_variable_counts_once(name):
    model, trained, state = nets_that_share()[name]
    total = graph.totals(model)
    assert (total["params"], total["state"]) == (trained, state)
    assert trained + state == model.count_params()


@pytest.mark.parametrize("name", ["ResNet50", "UNet", "GoogLeNet"])
def test_our_nets_hold_what_keras_counts(name):
    net = plan(getattr(models, name))
    rows = graph.trace(net)
    assert sum(row.params + row.state for row in rows) == net.count_params()


# --------------------------------------------------------------------------- channels first


def test_channels_first_is_refused_with_the_name_of_the_layer():
    image = keras.Input((3, 8, 8))
    first = L.Conv2D(2, 3, data_format="channels_first", name="early")
    inside = L.TimeDistributed(L.Conv1D(2, 3, data_format="channels_first", name="deep"))
    bare = ops.max_pool
    for net, name in (
        (keras.Model(image, first(image)), "early"),
        (net_of(inside, (2, 3, 8)), "deep"),
        (keras.Model(image, bare(image, 2, data_format="channels_first")), "max_pool"),
    ):
        with pytest.raises(ValueError, match=f"{name}.*channels_first.*channels_last"):
            graph.trace(net)


# --------------------------------------------------------------------------- names that Keras gave


def test_nets_without_names_are_compared_by_the_order_of_their_layers():
    def chain(last, *more):
        layers = [L.Conv2D(2, 3), L.Conv2D(last, 3), *more]
        return keras.Sequential([keras.Input((8, 8, 1)), *layers])

    same = cnnbook.compare(chain(2), chain(2))
    assert same.layers == {} and all(a == b for a, b in same.stages.values())
    found = cnnbook.compare(chain(2), chain(3, L.Conv2D(1, 1)))
    differences = list(found.layers.values())
    assert differences == ["filters 2 -> 3", "only in the second"]
    shared = keras.Input((2, 8, 8, 1))
    films = [keras.Model(shared, L.TimeDistributed(L.Conv2D(2, 3))(shared)) for _ in range(2)]
    assert cnnbook.compare(*films).layers == {}
