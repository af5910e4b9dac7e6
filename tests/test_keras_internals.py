"""Every private name of Keras that cnnbook uses still does what `keras_internals` says: one test a name.

When a new Keras moves one, the test that fails says which, and only that function need change.
"""

import ast
import inspect
import types
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers as L

from cnnbook import graph
from cnnbook import keras_internals as internals

pytestmark = [pytest.mark.jax, pytest.mark.torch]

PACKAGE = Path(internals.__file__).parent


@pytest.fixture
def net():
    """A convolution called twice, an addition, a batch norm and a dense layer."""
    twice = L.Conv2D(3, 3, padding="same", name="twice")
    image = keras.Input((8, 8, 3), name="image")
    x = L.Add(name="sum")([twice(image), twice(twice.output)])
    x = L.BatchNormalization(name="norm")(x)
    return keras.Model(image, L.Dense(2, name="top")(L.Flatten(name="flat")(x)))


def test_collectives_on_loopback_is_gloo_s_host_name(monkeypatch):
    """The one private name of JAX: the function that makes Gloo, which takes the name of a host to listen at."""
    bridge = pytest.importorskip("jax._src.xla_bridge")
    assert "hostname: str" in bridge._jax.make_gloo_tcp_collectives.__doc__
    assert "_jax.make_gloo_tcp_collectives(" in inspect.getsource(bridge.make_cpu_client)
    monkeypatch.setattr(bridge._jax, "make_gloo_tcp_collectives", lambda **given: given)
    with internals.collectives_on_loopback() as held:
        assert held and bridge._jax.make_gloo_tcp_collectives(distributed_client=1) == {
            "distributed_client": 1,
            "hostname": "127.0.0.1",
        }
    assert bridge._jax.make_gloo_tcp_collectives(distributed_client=1) == {"distributed_client": 1}
    monkeypatch.delattr(bridge._jax, "make_gloo_tcp_collectives")
    with internals.collectives_on_loopback() as held:
        assert held is False


def test_calls_in_go_by_nodes_by_depth(net):
    calls = internals.calls_in(net)
    assert [call.operation.name for call in calls] == [
        *("image", "twice", "twice", "sum", "norm", "flat", "top")
    ]
    assert [call.is_input for call in calls] == [True, *[False] * 6]
    made = {id(t): i for i, call in enumerate(calls) for t in call.outputs}
    for i, call in enumerate(calls):
        assert all(made[id(t)] < i for t in call.input_tensors)


def test_filled_in_is_arguments_fill_in(net):
    calls = {call.operation.name: call for call in internals.calls_in(net)}
    values = {id(t): i for i, t in enumerate(calls["sum"].input_tensors)}
    assert internals.filled_in(calls["sum"], values) == (([0, 1],), {})


def test_calls_its_graph_is_the_class_of_functional_models(net):
    class Own(keras.Model):
        def call(self, x):
            return x

    class Twice(keras.Model):
        def call(self, x):
            return 2 * super().call(x)

    class Trains(keras.Model):
        def train_step(self, data):
            return {}

    chain = keras.Sequential([keras.Input((8, 8, 3)), L.ReLU()])
    models = [net, chain, Trains(net.inputs, net.outputs), Own(), Twice(net.inputs, net.outputs)]
    assert [internals.calls_its_graph(model) for model in models] == [True, True, True, False, False]


def test_producer_is_in_keras_history(net):
    assert internals.producer(net.outputs[0]) is net.get_layer("top")
    a, b = internals.producing_call(net.get_layer("sum").output).input_tensors
    assert internals.producer(a) is internals.producer(b) is net.get_layer("twice")


def test_producing_call_and_calls_of_are_inbound_nodes(net):
    first, second = internals.calls_of(net.get_layer("twice"))
    tensors = internals.producing_call(net.get_layer("sum").output).input_tensors
    assert [internals.producing_call(t) for t in tensors] == [first, second]
    assert second.input_tensors[0] is tensors[0]


def test_all_layers_is_flatten_layers(net):
    inner = keras.Sequential([keras.Input((8, 8, 3)), L.ReLU(name="relu"), net], name="inner")
    outer = keras.Sequential([keras.Input((8, 8, 3)), inner, L.Dense(1, name="last")])
    names = [layer.name for layer in internals.all_layers(outer)]
    assert {"relu", "twice", "norm", "top", "last", "inner"} <= set(names) and outer.name not in names


def test_own_trainable_variables_are_those_of_the_layer_alone():
    wrapped = L.TimeDistributed(L.Dense(2, name="inside"))
    wrapped(keras.Input((4, 3)))
    assert internals.own_trainable_variables(wrapped) == [] and len(wrapped.trainable_variables) == 2
    assert [v.name for v in internals.own_trainable_variables(wrapped.layer)] == ["kernel", "bias"]


@pytest.mark.parametrize(
    "layer, shapes",
    [
        (L.Conv2D(5, 3), [(3, 3, 4, 5)]),
        (L.Conv2DTranspose(5, 3), [(3, 3, 5, 4)]),
        (L.DepthwiseConv2D(3, depth_multiplier=2), [(3, 3, 4, 2)]),
        (L.SeparableConv2D(5, 3), [(3, 3, 4, 1), (1, 1, 4, 5)]),
        (L.Dense(5), [(4, 5)]),
        (L.BatchNormalization(), []),
    ],
    ids=lambda value: type(value).__name__,
)
def test_kernel_attributes_hold_the_kernels(layer, shapes):
    layer.build((None, 8, 8, 4))
    kernels = internals.kernel_attributes(layer)
    assert [tuple(variable.shape) for variable in kernels.values()] == shapes
    assert all(getattr(layer, name) is variable for name, variable in kernels.items())


def test_reduced_axes_is_reduction_axes(net):
    assert internals.reduced_axes(net.get_layer("norm")) == (0, 1, 2)
    vector = L.BatchNormalization()
    vector.build((None, 5))
    assert internals.reduced_axes(vector) == (0,)


def test_same_losses_are_losses_and_loss_ids():
    inner = keras.Sequential([keras.Input((2,)), L.ActivityRegularization(l2=1.0)])
    model = keras.Sequential([keras.Input((2,)), inner])
    model(np.array([[1.0, 2.0]], "float32"))
    with internals.same_losses(model):
        model(np.array([[3.0, 4.0]], "float32"))
        assert [float(loss) for loss in model.losses] == [25.0]
    assert [float(loss) for loss in model.losses] == [5.0]
    model(np.array([[0.0, 1.0]], "float32"))
    assert [float(loss) for loss in model.losses] == [1.0]


def test_variables_without_memory_is_the_list_of_keras():
    waiting = internals.variables_without_memory()
    before = list(waiting)
    with keras.StatelessScope(initialize_variables=False):
        layer = L.Dense(2)
        layer.build((None, 3))
    assert [v for v in waiting if not any(v is old for old in before)] == [layer.kernel, layer.bias]
    del waiting[len(before) :]
    with keras.StatelessScope():
        pass
    assert layer.kernel._value is None and internals.variables_without_memory() == []


def test_variable_index_is_get_variable_index(net):
    optimizer = keras.optimizers.SGD()
    optimizer.build(net.trainable_variables)
    assert [internals.variable_index(optimizer, v) for v in net.trainable_variables] == [0, 1, 2, 3, 4, 5]


def test_strategy_at_build_is_distribute_strategy(net):
    assert internals.strategy_at_build(net) is None
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
        with strategy.scope():
            model = keras.Sequential([keras.Input((2,)), L.Dense(1)])
        assert internals.strategy_at_build(model) is strategy


def test_has_weight_decay_is_use_weight_decay(net):
    optimizer = keras.optimizers.SGD(weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(net.trainable_variables)
    for v in net.trainable_variables:
        assert internals.has_weight_decay(optimizer, v) == (v.name == "kernel")


def test_build_training_is_symbolic_build(net):
    net.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = np.zeros((2, *net.input_shape[1:]), "float32"), np.zeros(2, "int32")
    internals.build_training(net, (x, y))
    assert [v.name for v in net.metrics_variables] == ["total", "count"] * 2


def test_backend_functions_are_those_that_keras_ops_calls(monkeypatch):
    monkeypatch.setattr(internals.backend_functions("nn"), "relu", lambda x: "replaced")
    monkeypatch.setattr(internals.backend_functions("numpy"), "matmul", lambda a, b: "replaced")
    assert keras.ops.relu(np.ones(2)) == keras.ops.matmul(np.ones((1, 1)), np.ones((1, 1))) == "replaced"


def test_the_module_above_the_backends_functions_is_where_layers_look_up_rnn(monkeypatch):
    monkeypatch.setattr(internals.backend_functions(), "rnn", lambda *args, **options: (1, 2, []))
    assert L.RNN(L.SimpleRNNCell(2)).inner_loop(np.ones((1, 3, 2)), [], None) == (1, 2, [])


def test_differentiate_cross_entropy_per_pixel_has_the_classes_lie_outermost(monkeypatch):
    """What Keras then does on PyTorch, movedim(-1, 1), gives maps that are contiguous."""
    plain = internals.backend_functions("nn").sparse_categorical_crossentropy
    assert list(inspect.signature(plain).parameters) == ["target", "output", "from_logits", "axis"]

    def given(target, output, from_logits, axis):
        return np.moveaxis(output, axis, 1).flags["C_CONTIGUOUS"], np.array(output), target, from_logits

    functions = types.SimpleNamespace(sparse_categorical_crossentropy=given)
    monkeypatch.setattr(internals, "backend_functions", lambda room: functions)
    internals.differentiate_cross_entropy_per_pixel()
    maps, rows = np.arange(48.0).reshape(2, 3, 4, 2), np.ones((2, 3))
    contiguous, seen, *others = functions.sparse_categorical_crossentropy(0, maps.view(Maps), True)
    assert contiguous and np.array_equal(seen, maps) and others == [0, True]
    assert np.array_equal(functions.sparse_categorical_crossentropy(0, rows)[1], rows)


class Maps(np.ndarray):
    """An array with the two methods of a tensor of PyTorch."""

    def movedim(self, source, destination):
        return np.moveaxis(self, source, destination)

    def contiguous(self):
        return np.ascontiguousarray(self).view(Maps)


def test_preparation_of_cells_is_maybe_config_dropout_masks(monkeypatch):
    seen = []
    kind, name = internals.preparation_of_cells()
    monkeypatch.setattr(kind, name, lambda *args: seen.append(args[1]))
    layer = L.RNN([L.SimpleRNNCell(2), L.SimpleRNNCell(3)], unroll=True)
    layer(np.ones((1, 1, 2), "float32"))
    assert seen == [layer.cell]


def test_let_processes_feed_themselves_is_is_multi_process():
    older = types.SimpleNamespace(_is_multi_process=True)
    internals.let_processes_feed_themselves(older)
    assert older._is_multi_process is False
    newer = types.SimpleNamespace(_is_multi_process=True, auto_shard_dataset=False)
    internals.let_processes_feed_themselves(newer)
    assert newer._is_multi_process is True
    assert "self._is_multi_process" in inspect.getsource(inspect.getmodule(keras.distribution.DataParallel))


def test_deep_graphs_can_be_walked():
    x = image = keras.Input((1,))
    for _ in range(1500):
        x = L.Identity()(x)
    with internals.deep_graphs():
        model = keras.Model(image, x)
    assert len(graph.trace(model)) == 1501
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(np.ones((1, 1), "float32"))), [[1.0]])


# --------------------------------------------------------------------------- nobody else uses private names

NOT_OF_KERAS = {"_replace", "_asdict", "_exit"}  # of namedtuple and of os
PRIVATE_WITHOUT_UNDERSCORE = {"fill_in"}


def private(name):
    return name.startswith("_") and not name.startswith("__")


def names_of_our_own(trees):
    """What the package itself defines under a private name: functions, classes, variables, attributes it sets."""
    own = set(NOT_OF_KERAS)
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            own.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            own.add(node.attr)
    return own


def uses_of_private_keras(tree, own):
    """(line, name) of what a module reads of Keras though it is private: attributes, getattr, imports from keras.src."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            name = node.attr
            if name in PRIVATE_WITHOUT_UNDERSCORE or (private(name) and name not in own):
                yield node.lineno, name
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr", "setattr"):
            name = node.args[1]
            if isinstance(name, ast.Constant) and private(name.value) and name.value not in own:
                yield node.lineno, name.value
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras.src"):
            yield node.lineno, node.module
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, a.name) for a in node.names if a.name.startswith("keras.src"))


def test_the_search_finds_what_it_must():
    source = "tensor._keras_history\nnode.arguments.fill_in(x)\ngetattr(m, '_nodes')\nfrom keras.src import x\nself._ours"
    uses = list(uses_of_private_keras(ast.parse(source), {"_ours"}))
    assert sorted(uses) == [(1, "_keras_history"), (2, "fill_in"), (3, "_nodes"), (4, "keras.src")]


def test_no_other_module_uses_private_names_of_keras():
    trees = {
        path: ast.parse(path.read_text("utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "keras_internals.py"
    }
    own = names_of_our_own(trees.values())
    uses = [
        f"{path.relative_to(PACKAGE)}:{line} uses {name}"
        for path, tree in trees.items()
        for line, name in uses_of_private_keras(tree, own)
    ]
    assert not uses, "give it a named function in keras_internals: " + "; ".join(uses)


def test_what_is_in_keras_internals_has_a_test():
    source = Path(__file__).read_text("utf-8")
    public = [
        n.name for n in ast.parse(Path(internals.__file__).read_text("utf-8")).body if hasattr(n, "name")
    ]
    assert [name for name in public if f"internals.{name}(" not in source] == []
