"""Multiply-adds of a call for which no formula is registered: it is run on shapes alone, and the products in it are watched.

What counts is every product that sums: convolutions, matrix products, einsum. So the two products of an attention count,
though they have no kernel: query times key, and the scores times the values. Published figures of vision transformers and
the counters of PyTorch (fvcore, ptflops) count them too. What is multiplied element by element does not count.
"""

import contextlib
import math
import sys
import weakref
from collections import Counter
from dataclasses import dataclass

import keras

from ..keras_internals import (
    all_layers,
    backend_functions,
    filled_in,
    own_trainable_variables,
    preparation_of_cells,
)


@dataclass(frozen=True)
class Count:
    """Multiply-adds of one call for one image. macs: None where they are not known, or where a size is free. at_least:
    what of them is known; None where a size is free. first_axes: the size of each output's first axis for one image, None
    where it could not be seen."""

    macs: int | None
    at_least: int | None
    first_axes: tuple | None = None


_counted = weakref.WeakKeyDictionary()


def count(call, first_axes):
    """The `Count` of a call, as in `calls_in`. first_axes: the size of the first axis of each input for one image, 1 where
    that is the batch. Kept with the call, so that a net which is looked at again does not run its layers again."""
    key = tuple(first_axes)
    kept = _counted.setdefault(call, {})
    if key not in kept:
        kept[key] = _count(call, key)
    return kept[key]


# A free side while the call runs: whether there are products at all does not hang on it.
_SOME_SIDE = 32


def _count(call, first_axes):
    operation, times = call.operation, 1
    free = any(None in t.shape[1:] for t in call.input_tensors)
    tensors = [
        _of_shape((n, *(side or _SOME_SIDE for side in t.shape[1:])) if t.shape else (), t)
        for n, t in zip(first_axes, call.input_tensors, strict=True)
    ]
    args, kwargs = filled_in(call, dict(zip(map(id, call.input_tensors), tensors, strict=True)))
    if "training" in kwargs:  # the call remembers how it was made; a model that predicts says False
        kwargs = {**kwargs, "training": False}
    watched = operation
    if isinstance(operation, keras.layers.TimeDistributed):
        # Keras runs the layer inside once for each step; we run it for one.
        watched, step, times = operation.layer, tensors[0].shape[2:], tensors[0].shape[1]
        args, kwargs = (_of_shape((first_axes[0], *step), tensors[0]),), {}
    watch, first = _watched(watched, args, kwargs)
    known = watch.understood and not unseen_kernels(operation, watch)
    if free:
        return Count(None, None) if watch.macs or not known else Count(0, 0)
    macs = watch.macs * times
    seen = first is not None and len(first) == len(call.outputs) and None not in first
    return Count(macs if known else None, macs, first if seen else None)


def _of_shape(shape, tensor):
    """A KerasTensor of this shape, else as another one. With a name: Keras numbers those without."""
    return keras.KerasTensor(shape, dtype=tensor.dtype, name="watched")


def _watched(operation, args, kwargs):
    """(the `Watch` of a call that is run on these KerasTensors, the sizes of its outputs' first axes, None if it fails)."""
    watch = Watch()

    def run(*args, **kwargs):
        inference = _Inference(lambda: operation(*args, **kwargs))
        with watch.looking():
            return inference(keras.ops.zeros(()), training=False)

    try:
        if keras.backend.backend() == "jax":
            outputs = _run_on_jax(run, args, kwargs, watch)
        else:
            outputs = keras.tree.flatten(_Run(run).compute_output_spec(*args, **kwargs))
    except Exception:  # whatever another's layer raises when it is run once more: then its cost is not known
        watch.understood = False
        return watch, None
    return watch, tuple(t.shape[0] if t.shape else 1 for t in outputs if hasattr(t, "shape"))


class _Inference(keras.layers.Layer):
    """Runs a function as a model does at inference: without it, layers for augmentation would augment."""

    def __init__(self, function):
        super().__init__(autocast=False, name="inference")
        self.function = function

    def call(self, _, training=False):
        return self.function()


class _Run(keras.Operation):
    """A function as an operation: its `compute_output_spec` runs it on shapes alone."""

    def __init__(self, function):
        super().__init__(name="watched")
        self.function = function

    def call(self, *args, **kwargs):
        return self.function(*args, **kwargs)


_WATCHED = "cnnbook.watched"


def _run_on_jax(run, args, kwargs, watch):
    """The outputs, as shapes, of `run` on KerasTensors. Whatever product in JAX's record of the run is not marked as watched
    was made past Keras."""
    jax = sys.modules["jax"]
    tensors = [t for t in keras.tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor)]

    def function(*arrays):
        values = dict(zip(map(id, tensors), arrays, strict=True))
        filled = keras.tree.map_structure(lambda value: values.get(id(value), value), (args, kwargs))
        with keras.StatelessScope():
            outputs = run(*filled[0], **filled[1])
        return [value for value in keras.tree.flatten(outputs) if hasattr(value, "shape")]

    shapes = [jax.ShapeDtypeStruct(t.shape, t.dtype) for t in tensors]
    made = jax.make_jaxpr(function)(*shapes)
    watch.understood = watch.understood and not _multiplies(made.jaxpr)
    return made.out_avals


def _multiplies(jaxpr):
    """Whether a record of JAX, or one in it, has an operation that is not watched and that multiplies and sums, or calls
    into the unknown."""
    names = {
        "conv_general_dilated",
        "dot_general",
        "io_callback",
        "pure_callback",
        "ragged_dot",
        "ragged_dot_general",
    }
    for equation in jaxpr.eqns:
        if _WATCHED in str(equation.source_info.name_stack):
            continue
        if equation.primitive.name in names:
            return True
        for value in keras.tree.flatten(list(equation.params.values())):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns") and _multiplies(inner):
                return True
    return False


def unseen_kernels(operation, watch):
    """The paths of learned kernels, of layers that are not Keras' own, which nothing watched has read: they are used in a
    way of which the cost is not known. A kernel that was reshaped is told by its size. What has a first axis of 1, as the
    batch, is a token or a table of positions."""
    if not isinstance(operation, keras.layers.Layer):
        return []
    kernels = learned_kernels(layer for layer in [operation, *all_layers(operation)] if not _of_keras(layer))
    unread = [v for v in kernels if id(v) not in watch.read and math.prod(v.shape) not in watch.sizes]
    return [v.path for v in unread if v.shape[0] != 1]


def learned_kernels(layers):
    """The variables of these layers, without those of layers inside them, that may be factors in a product of matrices."""
    variables = {id(v): v for layer in layers for v in own_trainable_variables(layer)}
    return [v for v in variables.values() if sum(n > 1 for n in v.shape) > 1]


def _of_keras(layer):
    return type(layer).__module__.split(".")[0] == "keras"


# --------------------------------------------------------------------------- what a product costs


def _size(tensor):
    return math.prod(tensor.shape)


def _matmul(out, a, b, *_, **__):
    return _size(out) * a.shape[-1]


def _contraction(out, a, b, *_, **__):
    """Of two tensors of which all axes are summed over or kept: the root of all three sizes multiplied."""
    return math.isqrt(_size(a) * _size(b) * _size(out)) if a.shape and b.shape else 0


def _conv(out, inputs, kernel, *_, **__):
    return _size(out) // kernel.shape[-1] * _size(kernel)


def _depthwise(out, inputs, kernel, *_, **__):
    return _size(out) * math.prod(kernel.shape[:-2])


def _separable(out, inputs, kernel, pointwise, *_, **__):
    return _size(out) // pointwise.shape[-1] * (_size(kernel) + _size(pointwise))


def _transposed(out, inputs, kernel, *_, **__):
    return _size(inputs) // kernel.shape[-1] * _size(kernel)


def _attention(out, query, key, value, *_, **__):
    images, queries, heads, width = query.shape
    return images * heads * queries * key.shape[1] * (width + value.shape[-1])


def _einsum(out, subscripts, *operands, **_):
    """None for other than two operands: their order is the backend's."""
    if not isinstance(subscripts, str) or len(operands) > 2:
        return None
    if len(operands) == 1:
        return 0
    written, _, result = subscripts.replace(" ", "").partition("->")
    sides = {}
    for axes, operand in zip(written.split(","), operands, strict=True):
        before, dots, after = axes.partition("...")
        shape, rest = tuple(operand.shape), len(operand.shape) - len(before) - len(after)
        names = [*before, *(f"...{i}" for i in range(rest, 0, -1) if dots), *after]
        for name, side in zip(names, shape, strict=True):
            sides[name] = max(side, sides.get(name, 1))
    if "->" not in subscripts:
        letters = written.replace(",", "").replace(".", "")
        result = "..." + "".join(name for name in letters if letters.count(name) == 1)
    summed = [name for name in sides if "." not in name and name not in result]
    return math.prod(sides.values()) if summed else 0


PRODUCTS = {
    "nn": {
        "conv": _conv,
        "depthwise_conv": _depthwise,
        "separable_conv": _separable,
        "conv_transpose": _transposed,
        "dot_product_attention": _attention,
    },
    "numpy": {
        "matmul": _matmul,
        "dot": _contraction,
        "inner": _contraction,
        "vdot": _contraction,
        "tensordot": _contraction,
        "einsum": _einsum,
    },
}
# Sums of products, but of another kind; and loops of which nobody knows how often they turn, or branches.
NOT_UNDERSTOOD = {
    "linalg": [
        *("cholesky", "cholesky_inverse", "det", "eig", "eigh", "inv", "lstsq", "lu_factor", "pinv", "qr"),
        *("solve", "solve_triangular", "svd"),
    ],
    "math": ["fft", "fft2", "ifft2", "rfft", "irfft", "stft", "istft", "cdist"],
    "numpy": ["correlate", "kron"],
}
READ = {"numpy": ("add", "subtract", "take", "tile", "repeat", "broadcast_to")}  # nothing is multiplied there
OPAQUE = {"core": ("while_loop", "fori_loop", "associative_scan", "cond", "switch")}
# Compiled as one by a backend; Keras takes its own loop where they say that they cannot.
FUSED = ("lstm", "gru", "bidirectional_lstm", "bidirectional_gru")


def _steps_of_rnn(inputs, *_, time_major=False, **__):
    return keras.tree.flatten(inputs)[0].shape[0 if time_major else 1]


def _length(elements, *_, **__):
    return keras.tree.flatten(elements)[0].shape[0]


def _steps_of_scan(init, xs=None, length=None, *_, **__):
    return length if xs is None else _length(xs)


# --------------------------------------------------------------------------- watching


class Watch:
    """What happens in a call. macs: multiply-adds; read: ids of the variables that are factors; sizes: of all factors;
    understood: False once something could not be counted."""

    def __init__(self):
        self.macs, self.read, self.sizes, self.understood = 0, set(), set(), True
        self._open, self._explained = True, Counter()

    @contextlib.contextmanager
    def looking(self):
        """While the block runs, Keras' products are counted here."""
        with contextlib.ExitStack() as stack:
            for module, name, function in self._replacements():
                stack.callback(setattr, module, name, getattr(module, name))
                setattr(module, name, function)
            with self._nothing_else():
                yield

    def _replacements(self):
        """(module, name, function in its place) of all that is watched, what a backend lacks left out."""
        places = [
            (room, name, self._product, cost)
            for room, costs in PRODUCTS.items()
            for name, cost in costs.items()
        ]
        places += [
            (r, n, self._product, lambda *_, **__: None) for r, names in NOT_UNDERSTOOD.items() for n in names
        ]
        places += [(room, name, self._opaque, None) for room, names in OPAQUE.items() for name in names]
        places += [(room, name, self._read, None) for room, names in READ.items() for name in names]
        places += [(None, "rnn", self._loop, _steps_of_rnn), ("core", "map", self._loop, _length)]
        places += [(room, "vectorized_map", self._loop, _length) for room in (None, "core")]
        places += [("core", "scan", self._loop, _steps_of_scan)]
        places += [(None, name, self._refused, None) for name in FUSED]
        modules = [(backend_functions(room), name, wrap, extra) for room, name, wrap, extra in places]
        # Keras takes patches out of an image by a convolution with ones and zeros: nothing is multiplied.
        modules += [(keras.ops.image, "extract_patches", self._product, lambda *_, **__: 0)]
        modules += [(*preparation_of_cells(), lambda *_: lambda *_: None, None)]
        return [(m, n, wrap(getattr(m, n), extra)) for m, n, wrap, extra in modules if hasattr(m, n)]

    @contextlib.contextmanager
    def _nothing_else(self):
        """While the block runs, all products of the backend's graph must be those that are watched."""
        before, explained = _products_in_graph(), self._explained.copy()
        yield
        made = _products_in_graph() - before
        self.understood = self.understood and not made - (self._explained - explained)

    @contextlib.contextmanager
    def _closed(self):
        """While the block runs, what Keras does for the sake of a product or a loop that is counted is not counted again."""
        before, explained = _products_in_graph(), self._explained.copy()
        self._open = False
        try:
            yield
        finally:
            self._open = True
            self._explained = explained + (_products_in_graph() - before)

    def _product(self, function, cost):
        def watched(*args, **kwargs):
            if not self._open:
                return function(*args, **kwargs)
            with self._closed():
                out = _made(function, args, kwargs)
            factors = [a for a in keras.tree.flatten((args, kwargs)) if hasattr(a, "shape")]
            self.read.update(map(id, factors))
            self.sizes.update(map(_size, factors))
            macs = cost(out, *args, **kwargs)
            self.understood = self.understood and macs is not None
            self.macs += macs or 0
            return out

        return watched

    def _read(self, function, _):
        def watched(*args, **kwargs):
            self.read.update(
                id(value) for value in (*args, *kwargs.values()) if isinstance(value, keras.Variable)
            )
            return function(*args, **kwargs)

        return watched

    def _loop(self, function, steps):
        """A loop counts as its last turn, times its steps: a backend may run its body more than once to see its shapes."""

        def watched(body, *args, **kwargs):
            if not self._open:
                return function(body, *args, **kwargs)
            before, turn = self.macs, 0

            def once(*values, **options):
                nonlocal turn
                self._open, self.macs = True, 0
                try:
                    with self._nothing_else():
                        return body(*values, **options)
                finally:
                    self._open, turn = False, self.macs

            with self._closed():
                out = function(once, *args, **kwargs)
            self.macs = before + turn * steps(*args, **kwargs)
            return out

        return watched

    def _opaque(self, function, _):
        """What runs other functions, who knows how often: products in them are not counted, and not understood."""

        def watched(*args, **kwargs):
            before = self.macs
            out = function(*args, **kwargs)
            self.understood = self.understood and self.macs == before
            self.macs = before
            return out

        return watched

    def _refused(self, function, _):
        def watched(*args, **kwargs):
            raise NotImplementedError

        return watched


def _made(function, args, kwargs):
    """What a product returns; JAX's record of the run says of its operations that they are watched. They do run: JAX keeps
    what it has traced, for calls to come."""
    if keras.backend.backend() != "jax":
        return function(*args, **kwargs)
    with sys.modules["jax"].named_scope(_WATCHED):
        return function(*args, **kwargs)


# TensorFlow's names of what multiplies and sums, and of what runs other graphs.
_IN_GRAPH = {
    *("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", "MatMul", "XlaDotV2"),
    *("Conv", "Conv2D", "Conv2DBackpropInput", "Conv3D", "Conv3DBackpropInputV2", "DepthwiseConv2dNative"),
    *("EagerPyFunc", "If", "PartitionedCall", "PyFunc", "StatefulPartitionedCall", "StatelessIf"),
    *("StatelessWhile", "While", "XlaConvV2"),
}


def _products_in_graph():
    """How many operations of each kind that may multiply and sum are in the graph which TensorFlow is building; none on
    another backend."""
    if keras.backend.backend() != "tensorflow":
        return Counter()
    graph = sys.modules["tensorflow"].compat.v1.get_default_graph()
    return Counter(operation.type for operation in graph.get_operations() if operation.type in _IN_GRAPH)
