"""Answers to the exercises of the appendix a1, Count it yourself."""

from cnnbook.answers import Answer

RIGHT = {1, 3, 5, 7, 8, 10}


def ten_sentences(answer):
    given = set(answer)
    unknown = given - set(range(1, 11))
    assert not unknown, f"the sentences are numbered from 1 to 10, {sorted(unknown, key=str)} is none of them"
    false, missed = len(given - RIGHT), len(RIGHT - given)
    assert not false and not missed, f"{false} of those you name are wrong, {missed} right ones are missing"


def multiply_adds(answer):
    import keras

    from cnnbook import graph

    cases = [
        (3, 16, 32, 28, 1, 1),
        (7, 3, 64, 224, 2, 1),
        (1, 192, 64, 28, 1, 1),
        (5, 96, 256, 27, 1, 2),
        (3, 32, 32, 15, 2, 32),
    ]
    for kernel, inputs, outputs, side, stride, groups in cases:
        image = keras.Input((side, side, inputs))
        layer = keras.layers.Conv2D(outputs, kernel, strides=stride, groups=groups, padding="same")
        model = graph.blueprint(lambda image=image, layer=layer: keras.Model(image, layer(image)))
        wanted = graph.totals(model)["macs"]
        got = answer(kernel, inputs, outputs, side, stride, groups)
        assert got == wanted, (
            f"a kernel of {kernel} x {kernel} from {inputs} to {outputs} channels in {groups} groups, on a side of "
            f"{side} with stride {stride}: it gives {got}, the layer takes {wanted:,}"
        )


def longest_path(answer):
    line = {"image": (False, []), "a": (True, ["image"]), "pool": (False, ["a"]), "b": (True, ["pool"])}
    block = {
        "image": (False, []),
        "stem": (True, ["image"]),
        "one": (True, ["stem"]),
        "two": (True, ["one"]),
        "side": (True, ["stem"]),
        "add": (False, ["side", "two"]),
        "dense": (True, ["add"]),
    }
    for layers, wanted in ((line, 2), (block, 4), ({"image": (False, [])}, 0)):
        got = answer(layers)
        assert got == wanted, f"of {layers} it gives {got}, not {wanted}"
    built = {}
    for i in range(1, 51):  # fifty layers, each reads all before it
        built[f"layer {i}"] = (True, list(built))
    assert answer(built) == 50, f"of fifty layers, each reading all before it, it gives {answer(built)}"


ANSWERS = {
    "lost_layer": Answer(
        2_049_000,
        why="The dense layer at the end: 2048 means to 1000 classes, 2,048,000 weights and 1,000 biases.",
        hints=(
            "Compare the net with and without include_top.",
            "Weights from each averaged map to each class, and a bias for each class.",
        ),
    ),
    "ten_sentences": Answer(
        ten_sentences,
        why="Few parameters do not mean few values, and twice the side means four times the places.",
        hints=(
            "Sums of rows settle most of them: params, macs or activations, of all rows or of one kind.",
            "For depth there is the function of this page, for windows the receptive field in graph.totals.",
        ),
    ),
    "multiply_adds": Answer(
        multiply_adds,
        why="A group reads only its own share of the inputs, and a stride leaves fewer places.",
        hints=(
            "Begin with the formula of the sentence; F is the side of the output.",
            "With the padding of the exercise the output's side is side / stride, rounded up.",
        ),
    ),
    "longest_path": Answer(
        longest_path,
        why="A layer lies one deeper than the deepest that it reads, if it has weights.",
        hints=(
            "Keep the depth of every layer that you have passed.",
            "A layer that reads nothing starts at zero: max(..., default=0).",
        ),
    ),
    "leaky": Answer(
        [5.41, 4.24, 3.45, 3.09, 3.0],
        why="The nearer the slope is to 1, the nearer the result is to the bell it came from; at 1 nothing is folded.",
        hints=(
            "np.where(z > 0, z, slope * z) is the leaky ReLU.",
            "shape(x) of this page gives skewness and kurtosis; the second is asked for.",
        ),
        tolerance=0.02,
    ),
}
