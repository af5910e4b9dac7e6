"""Full float32 where numbers must agree, and on request the arithmetic of a card on a processor.

Graphics cards multiply float32 by their matrix units with factors rounded to 10 bits of mantissa (TF32), unless they are
told not to. Training does not mind; two ways to the same sum then differ by one part in a thousand. A cell that says that
two results are equal computes them inside `exact()`. `rounded_products` rounds so on any machine, to find those that do not.
"""

import contextlib
import functools
import os
import sys

from .keras_internals import backend_functions

__all__ = ["exact", "rounded_products"]

# Explicit bits of mantissa of a factor in TF32; float32 has 23.
TF32_BITS = 10
PRODUCTS = {
    "nn": ("conv", "depthwise_conv", "separable_conv", "conv_transpose"),
    "numpy": ("matmul", "dot", "einsum", "tensordot", "inner", "vdot"),
}
# Set by `cnnbook shake`: every product of the process is rounded, from `import cnnbook` on.
VARIABLE = "CNNBOOK_ROUNDED_PRODUCTS"


class _State:
    exact = 0  # how many blocks of `exact` are open
    switch = None  # TensorFlow's variable: a compiled function reads it when it runs
    whole_process = contextlib.ExitStack()  # held here, since a block that nobody holds ends


@contextlib.contextmanager
def exact():
    """While the block runs, every backend that is loaded multiplies float32 in full; afterwards its switches are back.

    On a CPU, which does so anyway, nothing changes. Sums still differ by their order: compare with a tolerance that follows
    their length, such as 1e-6 times the number of layers.
    """
    with contextlib.ExitStack() as stack:
        for name, switched in (("tensorflow", _tensorflow), ("jax", _jax), ("torch", _torch)):
            if name in sys.modules:
                stack.enter_context(switched(sys.modules[name]))
        _count(1)
        stack.callback(_count, -1)
        yield


@contextlib.contextmanager
def _tensorflow(tensorflow):
    config = tensorflow.config.experimental
    before = config.tensor_float_32_execution_enabled()
    config.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        config.enable_tensor_float_32_execution(before)


def _jax(jax):
    return jax.default_matmul_precision("highest")


@contextlib.contextmanager
def _torch(torch):
    switches = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = False
    try:
        yield
    finally:
        for switch, allowed in zip(switches, before, strict=True):
            switch.allow_tf32 = allowed


def _count(change):
    _State.exact += change
    if _State.switch is not None:
        _State.switch.assign(_State.exact == 0)


@contextlib.contextmanager
def rounded_products(bits=TF32_BITS):
    """While the block runs, Keras' convolutions and matrix products round their float32 factors to so many bits of mantissa,
    in the backward pass too, as a card does: outside of `exact`. Functions that were compiled before stay as they were."""
    before = []
    for room, names in PRODUCTS.items():
        module = backend_functions(room)
        for name in names:
            before.append((module, name, getattr(module, name)))
            setattr(module, name, _rounding(getattr(module, name), bits))
    try:
        yield
    finally:
        for module, name, function in before:
            setattr(module, name, function)


def round_if_asked():
    """Rounds all products of this process where the environment asks for it: called by `import cnnbook`."""
    if os.environ.get(VARIABLE):
        _State.whole_process.enter_context(rounded_products(int(os.environ[VARIABLE])))


def _rounding(product, bits):
    """The function `product` with its float32 tensors rounded on the way in, and its gradient on the way back."""

    @functools.wraps(product)
    def rounded(*args, **keywords):
        import keras

        if keras.backend.backend() != "tensorflow" and _State.exact:
            return product(*args, **keywords)
        args, keywords = keras.tree.map_structure(lambda a: _factor(a, bits), (args, keywords))
        return _factor(product(*args, **keywords), bits, backward=True)

    return rounded


def _factor(value, bits, backward=False):
    """A tensor rounded, its gradient passed on as it is; backward: the other way round. What is no float32 stays."""
    import keras

    if keras.backend.standardize_dtype(getattr(value, "dtype", "int32")) != "float32":
        return value

    @keras.ops.custom_gradient
    def pass_through(x):
        def gradient(*args, upstream=None):
            upstream = args[0] if upstream is None else upstream
            return _round(upstream, bits) if backward else upstream

        return (x if backward else _round(x, bits)), gradient

    # A product with one: TensorFlow's custom gradient takes tensors, and a layer that is called eagerly gives its variable.
    return pass_through(keras.ops.convert_to_tensor(value) * 1)


def _round(x, bits):
    """x to so many bits of mantissa, to the nearest (Dekker 1971): the difference of two large numbers drops the rest."""
    from keras import ops

    large = x * float(2 ** (23 - bits) + 1)
    rounded = large - (large - x)
    rounded = ops.where(ops.isfinite(rounded), rounded, x)
    switch = _switch()
    return rounded if switch is None else ops.where(switch, rounded, x)


def _switch():
    """TensorFlow's variable, None elsewhere. Made at the first product, since it starts TensorFlow's devices, and a program
    may still want to choose these after `import cnnbook`."""
    import keras

    if keras.backend.backend() == "tensorflow" and _State.switch is None:
        import tensorflow as tf

        # Outside of the function that is being compiled, so that the others read the same one.
        with tf.init_scope():
            _State.switch = tf.Variable(_State.exact == 0, trainable=False)
    return _State.switch
