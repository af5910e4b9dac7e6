"""The frame that all networks share: `@network` and `@per_pixel` make builders of architectures, `variant` fixes arguments.

An architecture is a function of the image, a tensor, and of its paper's arguments: it gives the last map, that is the
network without its top. The decorator adds the arguments that all builders share (see cnnbook.models), checks them,
makes the input and the ending, fills in the weights, and says in the docstring how small an image may be.

A setting of the decorator may depend on the builder's arguments: it is then a function of those that it names, such as
`smallest=lambda window: 32 * window`. In the same way an architecture that needs a shared argument, the classes for
one, names it among its parameters.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import keras
from keras import layers as L

from ..arguments import integer, plain, whole_number
from ..keras_internals import deep_graphs
from ..parts import blocks, decoders
from . import registry

POOLINGS = {"avg": L.GlobalAveragePooling2D, "max": L.GlobalMaxPooling2D}

# ------------------------------------------------------------------------------------------------- heads and endings


def predictions(x, classes, activation, *, name="predictions"):
    """The last dense layer: the classes of a vector."""
    return L.Dense(classes, activation=activation, name=name)(x)


def pooled(x, classes, activation):
    """The head of ResNet and most nets after it: the mean of each map, and one dense layer."""
    return predictions(L.GlobalAveragePooling2D(name="avg_pool")(x), classes, activation)


def pooled_dropout(x, classes, activation, *, dropout):
    """`pooled` with dropout before the dense layer; 0 leaves it out."""
    x = L.GlobalAveragePooling2D(name="avg_pool")(x)
    x = L.Dropout(dropout, name="dropout")(x) if dropout else x
    return predictions(x, classes, activation)


# ---------------------------------------------------------------------------------------------------------- builders


def network(
    input_shape=(224, 224, 3),
    *,
    smallest,
    classes=1000,
    activation="softmax",
    head=pooled,
    auxiliary_head=None,
    fixed_size=False,
    norm=True,
    name=None,
    imagenet=None,
):
    """Makes a builder of an architecture that classifies images: a function (x, ...) -> the last map.

    input_shape, classes, activation, name: defaults of the builder's arguments; name is the function's in lower case, or
    made of arguments, as "resnext{depth}".
    smallest: the smallest side in pixels.
    head: a function (x, classes, activation, ...) -> the classes' probabilities; further parameters are arguments of the
    builder by name. fixed_size: whether sides must be numbers, not None; True is a head that flattens the map.
    auxiliary_head: a function (x, classes, activation, name) of heads that help training, for an architecture that
    returns (x, {name: map}); they are outputs after the main one, and leave with the top.
    norm: whether the builder has the argument `norm`. imagenet: the source of ImageNet weights, see cnnbook.weights.
    """
    shared = dict(input_shape=input_shape, classes=classes, include_top=True, pooling=None, weights=None)
    shared |= dict(classifier_activation=activation, norm=None, name=name)
    if not norm:
        del shared["norm"]
    if fixed_size is True:
        fixed_size = _with_top

    def decorate(architecture):
        frame = Classifier(architecture, shared, smallest, fixed_size, head, auxiliary_head)
        return frame.builder(architecture.__name__, imagenet=imagenet)

    return decorate


def per_pixel(
    input_shape,
    *,
    smallest,
    classes,
    activation="softmax",
    step=1,
    head=decoders.per_pixel,
    on_backbone=None,
    norm=True,
):
    """Makes a builder of an architecture with a class for every pixel: a function (x, ...) -> the last map.

    input_shape, classes, activation, smallest, norm: as in `network`. step: sides are `smallest` and every `step` more.
    head: a function (x, classes, activation) of that map; None if the architecture ends with the classes itself.
    on_backbone: a function (maps, ...) -> the last map, of the `graph.features` of another encoder; with one the builder
    has the argument `backbone`, and input_shape is then the backbone's.
    """
    shared = dict(input_shape=input_shape, classes=classes, backbone=None, weights=None)
    shared |= dict(classifier_activation=activation, norm=None, name=None)
    if on_backbone:
        shared["input_shape"] = lambda backbone: input_shape if backbone is None else None
    else:
        del shared["backbone"]
    if not norm:
        del shared["norm"]

    def decorate(architecture):
        frame = PerPixel(architecture, shared, smallest, False, head, step, on_backbone)
        return frame.builder(architecture.__name__)

    return decorate


def variant(title, network, *leading, imagenet=None, module=None, **defaults):
    """`network` with its leading arguments fixed and some defaults changed, as a builder called `title`.

    The builder's signature and help show the remaining arguments with their defaults. Its models are named like it, in
    lower case. imagenet: the source of its weights. module: the file of the builder, if it is not the network's.
    """
    return network.frame.builder(title, leading, defaults, imagenet=imagenet, module=module)


@dataclass(frozen=True)
class Frame:
    """What `network` and `per_pixel` were told. A subclass checks its arguments and gives the outputs."""

    architecture: Callable
    shared: dict  # {argument: default or a function of arguments}
    smallest: int | Callable
    fixed_size: bool | Callable
    head: Callable | None

    def builder(self, title, leading=(), defaults=None, *, imagenet=None, module=None):
        """A builder, its signature made of the architecture's own parameters and the shared ones."""
        _, *own = inspect.signature(self.architecture).parameters.values()
        own = [parameter for parameter in own if parameter.name not in self.shared]
        fixed = dict(zip([parameter.name for parameter in own], leading, strict=False))
        defaults = self._defaults(title) | (defaults or {})
        parameters = [p.replace(default=defaults.pop(p.name, p.default)) for p in own[len(leading) :]]
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters += [inspect.Parameter(name, kind, default=defaults.pop(name)) for name in self.shared]
        if defaults:
            raise TypeError(f"{self.architecture.__name__} has no argument {sorted(defaults)}")
        signature = inspect.Signature(parameters)

        def build(*args, **kwargs):
            try:
                given = signature.bind(*args, **kwargs)
            except TypeError as error:
                known = ", ".join(signature.parameters)
                raise TypeError(f"{title}: {error}; its arguments are {known}") from None
            given.apply_defaults()
            return self.model(title, imagenet, fixed | given.arguments)

        build.__name__ = build.__qualname__ = title
        build.__module__ = module or self.architecture.__module__
        build.__doc__ = self._help(title, leading, signature)
        build.__signature__, build.__wrapped__ = signature, self.architecture
        build.frame, build.imagenet = self, imagenet
        return build

    def model(self, title, imagenet, arguments):
        """The model that a builder makes of its arguments, those that were left out included."""
        arguments = {name: plain(value) for name, value in arguments.items()}
        for name, default in self.shared.items():
            if depends(default) and arguments[name] is None:
                arguments[name] = setting(default, arguments)
        self.check(arguments)
        inputs, start = self.start(arguments)
        load = loader(title, imagenet, arguments)
        with blocks.normalising(arguments.get("norm")) as norms, deep_graphs():
            outputs = self.outputs(start, arguments)
            model = keras.Model(inputs, outputs, name=arguments["name"] or title.lower())
        if arguments.get("norm") and not norms:
            raise ValueError(f"{title}: with these arguments no layer normalises, so it takes no norm")
        return load(model)

    def start(self, arguments):
        """The input, and what the architecture begins with: the same."""
        fixed_size = setting(self.fixed_size, arguments)
        smallest = setting(self.smallest, arguments)
        step = setting(getattr(self, "step", 1), arguments)
        inputs = image(arguments["input_shape"], smallest=smallest, step=step, flexible=not fixed_size)
        return inputs, inputs

    def _defaults(self, title):
        defaults = {name: None if depends(value) else value for name, value in self.shared.items()}
        if not depends(self.shared["name"]):
            defaults["name"] = self.shared["name"] or title.lower()
        return defaults

    def _help(self, title, leading, signature):
        text = inspect.getdoc(self.architecture) or ""
        fixed = [getattr(value, "__name__", repr(value)) for value in leading]
        own = inspect.signature(self.architecture).parameters
        for name, parameter in signature.parameters.items():
            before = own[name].default if name in own else self._defaults(title)[name]
            fixed += [f"{name}={parameter.default!r}"] if parameter.default != before else []
        if title != self.architecture.__name__:
            text = f"{title} is {self.architecture.__name__}({', '.join(fixed)}).\n\n{text}"
        text += "\n\nThe arguments that all builders share are explained in help(cnnbook.models)."
        if callable(self.smallest):
            return text
        return f"{text} The smallest side is {self.smallest}{self.beside_smallest}."

    beside_smallest = ""


@dataclass(frozen=True)
class Classifier(Frame):
    auxiliary_head: Callable | None

    def check(self, arguments):
        """Raises ValueError for what the ending would refuse, before the layers in front of it are built."""
        if arguments["include_top"]:
            number_of_classes(arguments)
        pooling = arguments["pooling"]
        if pooling is not None and pooling not in POOLINGS:
            raise ValueError(f'pooling is None, "avg" or "max", got {pooling!r}')

    def outputs(self, start, arguments):
        x, heads = call(self.architecture, arguments, start), {}
        if isinstance(x, tuple):
            x, heads = x
        pooling, ending = arguments["pooling"], (arguments["classes"], arguments["classifier_activation"])
        if arguments["include_top"]:
            y = call(self.head, arguments, x, *ending)
            auxiliary = [self.auxiliary_head(map_, *ending, name) for name, map_ in heads.items()]
            return [y, *auxiliary] if auxiliary else y
        return POOLINGS[pooling](name=f"{pooling}_pool")(x) if pooling else x


@dataclass(frozen=True)
class PerPixel(Frame):
    step: int | Callable
    on_backbone: Callable | None

    @property
    def beside_smallest(self):
        return ", with a backbone the backbone's" if self.on_backbone else ""

    def check(self, arguments):
        """Raises ValueError for what the ending would refuse."""
        number_of_classes(arguments)

    def start(self, arguments):
        """The input, and what the architecture begins with: the image, or the maps of a backbone."""
        backbone, shape = arguments.get("backbone"), arguments["input_shape"]
        if backbone is None:
            return super().start(arguments)
        if isinstance(backbone, str):
            shape = (224, 224, 3) if shape is None else tuple(shape)
            backbone = registry.builder(backbone)(include_top=False, input_shape=shape)
        maps = decoders.encoder(backbone, shape, name=arguments["name"])
        return maps.model.input, maps

    def outputs(self, start, arguments):
        architecture = self.architecture if arguments.get("backbone") is None else self.on_backbone
        x = call(architecture, arguments, start)
        return self.head(x, arguments["classes"], arguments["classifier_activation"]) if self.head else x


# ------------------------------------------------------------------------------------------------- arguments, checked


def call(function, arguments, *leading):
    """`function` of the leading values and of those of the builder's arguments that its other parameters name."""
    names = list(inspect.signature(function).parameters)[len(leading) :]
    return function(*leading, **{name: arguments[name] for name in names if name in arguments})


def setting(value, arguments):
    """A setting of the decorator: a value, a function of the builder's arguments, or a name with some in braces."""
    if isinstance(value, str):
        return value.format(**arguments)
    return call(value, arguments) if callable(value) else value


def depends(value):
    """Whether a setting is made of the builder's arguments."""
    return callable(value) or (isinstance(value, str) and "{" in value)


def _with_top(include_top):
    return include_top


def image(input_shape, *, smallest=1, step=1, flexible=True):
    """The input of a network, its shape checked: (height, width, channels), sides of at least `smallest` pixels.

    Sides are `smallest` and every `step` more; they may be None (any size) if `flexible`: a head that flattens needs
    fixed ones.
    """
    shape = tuple(input_shape) if isinstance(input_shape, (tuple, list)) else input_shape
    if not isinstance(shape, tuple) or len(shape) != 3:
        raise ValueError(f"input_shape is (height, width, channels), got {input_shape!r}")
    *sides, channels = shape
    if (integer(channels) or 0) < 1:
        raise ValueError(f"input_shape needs a fixed number of channels, at least 1, got {input_shape!r}")
    for side in sides:
        if side is None and not flexible:
            raise ValueError(
                f"input_shape {input_shape!r}: the dense layers of this network need a fixed size; "
                "give one, or include_top=False"
            )
        if side is not None and (integer(side) or 0) < smallest:
            raise ValueError(
                f"input_shape {input_shape!r}: each side is a whole number of at least {smallest} pixels"
            )
        if side is not None and (side - smallest) % step:
            low = side - (side - smallest) % step
            raise ValueError(
                f"input_shape {input_shape!r}: sides are {smallest} pixels and every {step} more, so that every pool "
                f"divides its map evenly; the nearest are {low} and {low + step}; for other images resize or pad"
            )
    return keras.Input(shape, name="image")


def number_of_classes(arguments):
    """Raises ValueError for a number of classes that is none, and for a softmax over one class."""
    classes = whole_number(arguments["classes"], "classes")
    activation = arguments["classifier_activation"]
    squashes = isinstance(activation, L.Softmax) or activation in ("softmax", keras.activations.softmax)
    if classes == 1 and squashes:
        raise ValueError(
            'softmax over one class is always 1: classes=1 takes classifier_activation="sigmoid", or classes=2'
        )


def loader(title, imagenet, arguments):
    """What a builder's `weights` means, as a function of the model that gives the model, its weights filled in."""
    weights = arguments["weights"]
    if weights is None:
        return lambda model: model
    if weights == "imagenet":
        if imagenet is None:
            known = ", ".join(registry.imagenet_sources())
            raise ValueError(f"no ImageNet weights are known for {title}; these have some: {known}")
        return imagenet.loader(title, arguments)
    if not str(weights).endswith(".weights.h5"):
        raise ValueError(f'weights is None, "imagenet" or the path of a .weights.h5 file, got {weights!r}')
    return lambda model: model.load_weights(weights) or model
