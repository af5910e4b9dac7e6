"""Models rewritten: nested and Sequential ones as one functional graph, and plans of nets that have no memory."""

import keras

from ..keras_internals import calls_in, deep_graphs, filled_in, variables_without_memory


def as_functional(model):
    """The functional form of a model: itself, or a Sequential one's chain with the same layers.

    The chain is made once and kept with the model. ValueError for a model that has no graph.
    """
    if isinstance(model, keras.Sequential):
        if not model.built:
            raise ValueError(
                f"{model.name} has not been built; give it a keras.Input or call it on an image first"
            )
        return _kept(model, "functional", lambda: _chain(model))
    if not isinstance(model, keras.Model) or not getattr(model, "operations", None):
        raise ValueError(
            f"only functional and Sequential models can be read as a graph, got {type(model).__name__}"
        )
    return model


def _chain(model):
    shape, dtype = model.inputs[0].shape[1:], model.inputs[0].dtype
    x = inputs = keras.Input(shape, dtype=dtype, name=f"{model.name}_input")
    for layer in model.layers:
        x = layer(x)
    return keras.Model(inputs, x, name=model.name)


def flatten(model, shape=None):
    """An equal functional model with nested models inlined: the same layers, so the same weights, at one level.

    shape: (height, width, channels) of the image, for a model of one input whose sizes are free. A model that is flat
    already, and has no size to fill in, is returned itself. Inlining calls the shared layers once more, which Keras
    remembers as long as they live, so the result is kept with the model, until its layers change.
    """
    functional = as_functional(model)
    free = shape is not None and None in functional.inputs[0].shape[1:]
    if not free and not any(isinstance(operation, keras.Model) for operation in functional.operations):
        return functional
    shape = tuple(shape) if free else None
    return _kept(model, shape, lambda: _inlined(functional, shape))


def _inlined(functional, shape):
    copies = {id(t): keras.Input(shape or t.shape[1:], dtype=t.dtype, name=t.name) for t in functional.inputs}
    inputs = keras.tree.map_structure(lambda tensor: copies[id(tensor)], functional.input)
    with deep_graphs():
        return keras.Model(inputs, _inline(functional, inputs), name=functional.name)


def _inline(operation, *args, **kwargs):
    """Calls an operation; of a model, each of its operations in turn. Returns the outputs, structured as the model's."""
    if not isinstance(operation, keras.Model):
        return operation(*args, **kwargs)
    model = as_functional(operation)
    values = dict(zip(map(id, model.inputs), keras.tree.flatten(args[0]), strict=True))
    for node in calls_in(model):
        if not node.is_input:
            args, kwargs = filled_in(node, values)
            outputs = keras.tree.flatten(_inline(node.operation, *args, **kwargs))
            values.update(zip(map(id, node.outputs), outputs, strict=True))
    return keras.tree.map_structure(lambda tensor: values[id(tensor)], model.output)


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
