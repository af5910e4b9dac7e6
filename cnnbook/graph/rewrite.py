"""Models rewritten: nested and Sequential ones as one functional graph, and plans of nets that have no memory."""

from collections import Counter

import keras

from ..keras_internals import calls_in, calls_its_graph, deep_graphs, filled_in, variables_without_memory

# Between the name of a nested model and that of its layer, where two layers of a net have one name. Keras, files and the
# ids of a drawing bear it; our own layers have none in their names.
SEPARATOR = "."


def is_graph(operation):
    """Whether an operation is a model to read through: a functional or Sequential one without a `call` of its own."""
    return isinstance(operation, keras.Model) and calls_its_graph(operation)


def as_functional(model):
    """The functional form of a model: itself, or a Sequential one's chain with the same layers.

    The chain is made once and kept with the model. ValueError for a model that has no graph.
    """
    if not is_graph(model):
        raise ValueError(
            f"only functional and Sequential models can be read as a graph, got {_what(model)}: build it as "
            "keras.Model(inputs, outputs); inside such a model it is one row, like any layer"
        )
    if isinstance(model, keras.Sequential):
        if not model.built:
            raise ValueError(
                f"{model.name} has not been built; give it a keras.Input or call it on an image first"
            )
        return _kept(model, "functional", lambda: _chain(model))
    return model


def _what(model):
    if not isinstance(model, keras.Model):
        return f"{type(model).__name__}, which is no keras.Model"
    return f"{model.name}, a {type(model).__name__} that computes its outputs by a call() of its own"


def _chain(model):
    shape, dtype = model.inputs[0].shape[1:], model.inputs[0].dtype
    x = inputs = keras.Input(shape, dtype=dtype, name=f"{model.name}_input")
    for layer in model.layers:
        x = layer(x)
    return keras.Model(inputs, x, name=model.name)


def flatten(model, shape=None):
    """An equal functional model with nested models inlined: the same layers, so the same weights, at one level.

    shape: (height, width, channels) of the image, for a model of one input whose sizes are free. A model that is flat
    already, and has no size to fill in, is returned itself. Where two layers have one name, as those of two nets of one
    family in an ensemble, the nested one goes by its model's name too: `one.conv1`, a stand-in that shares all of its
    layer's state (`same_layer`); the layer itself keeps its name. A nested model with a `call` of its own stays one layer.
    Inlining calls the shared layers once more, which Keras remembers as long as they live, so the result is kept with the
    model, until its layers change.
    """
    functional = as_functional(model)
    free = shape is not None and None in functional.inputs[0].shape[1:]
    if not free and not any(map(is_graph, functional.operations)):
        return functional
    shape = tuple(shape) if free else None
    return _kept(model, shape, lambda: _inlined(functional, shape))


def _inlined(functional, shape):
    copies = {id(t): keras.Input(shape or t.shape[1:], dtype=t.dtype, name=t.name) for t in functional.inputs}
    inputs = keras.tree.map_structure(lambda tensor: copies[id(tensor)], functional.input)
    with deep_graphs():
        outputs = _inline(functional, _stand_ins(functional), inputs)
        return keras.Model(inputs, outputs, name=functional.name)


def _inline(model, stand_ins, inputs):
    """Calls each operation of a model in turn, or what stands in for it. Returns the outputs, structured as the model's."""
    values = dict(zip(map(id, model.inputs), _in_order(model, inputs), strict=True))
    for node in calls_in(model):
        if not node.is_input:
            args, kwargs = filled_in(node, values)
            if is_graph(node.operation):
                inner = as_functional(node.operation)
                outputs = _inline(inner, stand_ins, args[0] if args else kwargs["inputs"])
            else:
                outputs = stand_ins.get(id(node.operation), node.operation)(*args, **kwargs)
            values.update(zip(map(id, node.outputs), keras.tree.flatten(outputs), strict=True))
    return keras.tree.map_structure(lambda tensor: values[id(tensor)], model.output)


def _in_order(model, inputs):
    """What a model is called on, in the order of its inputs; whole numbers become floats where it reads floats, as in Keras.

    Floats stay as precise as they are: the layers that read them cast.
    """
    if isinstance(inputs, dict) and not isinstance(model.input, dict):
        inputs = [inputs[t.name] for t in model.inputs]
    pairs = zip(keras.tree.flatten(inputs), model.inputs, strict=True)
    return [
        keras.ops.cast(x, t.dtype) if "float" not in x.dtype and x.dtype != t.dtype else x for x, t in pairs
    ]


# --------------------------------------------------------------------------- layers of one name


def _stand_ins(functional):
    """{id of an operation: what stands in for it}, for those whose name others in the flattened model have too."""
    paths = {}
    for operation, path in _operations(functional, ()):
        paths.setdefault(id(operation), (operation, path))
    inputs, length = [t.name for t in functional.inputs], dict.fromkeys(paths, 1)
    while True:
        names = {key: SEPARATOR.join(path[-length[key] :]) for key, (_, path) in paths.items()}
        often = Counter([*inputs, *names.values()])
        longer = [key for key, name in names.items() if often[name] > 1 and length[key] < len(paths[key][1])]
        if not longer:
            break
        for key in longer:
            length[key] += 1
    return {key: _under(name, paths[key][0]) for key, name in names.items() if name != paths[key][0].name}


def _operations(model, path):
    """(operation, the names that lead to it: those of the nested models, then its own), inputs left out."""
    for node in calls_in(model):
        if not node.is_input:
            here = (*path, node.operation.name)
            if is_graph(node.operation):
                yield from _operations(as_functional(node.operation), here)
            else:
                yield node.operation, here


def _under(name, operation):
    """An operation under another name. All else it shares, now and later: variables, settings, what is frozen or swapped.

    It says that it is of the operation's class, so that it is saved, copied and recognised as such.
    """
    cls = operation.__class__
    parts = {"name": property(lambda self: name), "__class__": property(lambda self: cls)}
    parts["__module__"] = cls.__module__
    stand_in = object.__new__(type(cls.__name__, (cls,), parts))
    object.__setattr__(stand_in, "__dict__", vars(operation))
    return stand_in


def same_layer(a, b):
    """Whether two layers are one, under whatever names: a flattened model has stand-ins where names meet."""
    return a is b or (hasattr(a, "__dict__") and hasattr(b, "__dict__") and vars(a) is vars(b))


def prefix_of(operation):
    """What stands before an operation's own name where two in a net have one: "one.", else ""."""
    name = getattr(operation, "name", "")
    return name.removesuffix(getattr(operation, "__dict__", {}).get("name", name))


# --------------------------------------------------------------------------- forms that are kept


class _Kept:
    """The rewritten forms of one model, and the layers and inputs from which they were made."""

    def __init__(self, made_of):
        self.made_of, self.forms = made_of, {}


_ATTRIBUTE = "_cnnbook_rewritten"


def _kept(model, form, make):
    """`make()`, or what it returned before for this form, as long as the model consists of the same layers.

    The result is an attribute of the model, so both are collected together. In a dictionary with weak keys neither would
    be: the rewritten graph refers to the model where a layer before a nested model leads to both. The attribute is set
    past Keras' `__setattr__` and holds a plain object, so that Keras neither counts it as a layer nor saves it.
    """
    made_of, kept = _made_of(model), vars(model).get(_ATTRIBUTE)
    if kept is None or [*map(id, kept.made_of)] != [*map(id, made_of)]:
        kept = vars(model)[_ATTRIBUTE] = _Kept(made_of)
    if form not in kept.forms:
        kept.forms[form] = make()
    return kept.forms[form]


def _made_of(model):
    """The layers and inputs of a model and of those nested in it; they differ once a layer was added or removed."""
    parts = [*(getattr(model, "inputs", None) or ())]
    for layer in model.layers:
        parts += [layer, *(_made_of(layer) if isinstance(layer, keras.Model) else [])]
    return parts


def blueprint(builder, *args, **arguments):
    """`builder(...)` without memory for its weights: VGG19 in a blink. Count it; it cannot run."""
    # Keras allocates all variables on its list of those without memory as soon as the next stateless call ends, be it the
    # gradient of another net or a training step on JAX. Blueprints would be allocated too, gigabytes of them, so we take
    # their variables off the list.
    waiting = variables_without_memory()
    before = len(waiting)
    try:
        with keras.StatelessScope(initialize_variables=False):
            return builder(*args, **arguments)
    finally:
        del waiting[before:]
