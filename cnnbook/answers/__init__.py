"""The answers to the chapters' exercises: one file a chapter, read by `cnnbook.exercises.check`.

A file is named as its chapter is, without the number and with underscores (06-normalisation: normalisation.py), and holds
`ANSWERS = {entry: Answer(...)}`; the exercise is then checked by `check("normalisation.entry", answer)`. Off the page and
out of the students' copies, not secret. No chapter's text, no drawing and no training may live here: a file imports models
and numpy inside the functions that judge an answer, so that to read it costs nothing.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

__all__ = [
    "Answer",
    "compared_by_ranges",
    "decided_by_ranges",
    "find",
    "name_of",
    "names",
    "of",
    "outputs_of_both",
    "says",
]


@dataclass(frozen=True)
class Answer:
    """What is right in one exercise, and what a reader is told.

    correct: the right value, or a function of the reader's answer (a number, a function, a layer, a model) that returns
        False or raises AssertionError with words where the answer is wrong; the words are shown. None counts as right, so
        that such a function may consist of asserts. It must draw from no global generator of random numbers: an exercise
        that is done must not change what later cells compute.
    why: said with a right answer only.
    hints: two, said with the first wrong answer and with the second; neither holds the right value (a test).
    tolerance: absolute, for numbers, wherever they stand in `correct`.
    """

    correct: object
    why: str
    hints: tuple[str, str]
    tolerance: float = 0

    def __post_init__(self):
        if not _is_text(self.why):
            raise ValueError(f"why={self.why!r}: say in a sentence why the answer is right")
        if not isinstance(self.hints, tuple) or len(self.hints) != 2 or not all(map(_is_text, self.hints)):
            raise ValueError(
                f"hints={self.hints!r}: two texts are wanted, the second says more than the first"
            )


def _is_text(value):
    return isinstance(value, str) and bool(value.strip())


def name_of(stem: str) -> str:
    """The name of a chapter's answers: "06-deeper-stacks" has them in deeper_stacks.py."""
    return re.sub(r"^[0-9a][0-9]-", "", stem).replace("-", "_")


def names() -> list[str]:
    """The chapters that have answers, by the names of their files."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def of(name: str) -> Mapping[str, Answer]:
    """All answers of one chapter. ValueError where it has none."""
    if name not in names():
        raise ValueError(f"no chapter {name!r} has answers; there is: {', '.join(names()) or 'none yet'}")
    return importlib.import_module(f"{__name__}.{name}").ANSWERS


def find(key: str) -> Answer:
    """The answer of a key "chapter.entry". ValueError, with the keys that there are, for an unknown one."""
    name, _, entry = key.partition(".")
    try:
        answers = of(name)
    except ValueError as error:
        raise ValueError(f"there is no exercise {key!r}: {error}") from None
    if entry not in answers:
        known = ", ".join(f"{name}.{other}" for other in answers)
        raise ValueError(f"there is no exercise {key!r}; there is: {known}")
    return answers[entry]


def decided_by_ranges(
    answer,
    *,
    of: str,
    values: str = "errors",
    lowest: float = 0,
    highest: float = 100,
    between: str = "errors are in per cent, between 0 and 100",
) -> None:
    """Judges the answer ({name: numbers of three seeds or more} of two things, "decided" or "not decided"): it is decided
    where the two ranges do not touch. AssertionError, with the ranges, where the answer says something else.

    of: what the two are, such as "nets". values: what the numbers are. lowest, highest: they lie between these, as `between`
    says in words; both are allowed, since a net that has hardly begun to learn may score 0.
    """
    numbers, verdict = answer
    assert isinstance(numbers, Mapping), f"a dictionary is wanted: {{name: {values}}} of two {of}"
    assert len(numbers) == 2, f"two {of} are wanted, got {len(numbers)}"
    a, b = (sorted(map(float, three)) for three in numbers.values())
    assert min(len(a), len(b)) >= 3, "three seeds for each are wanted"
    assert all(lowest <= value <= highest for value in a + b), between
    ranges = f"the {values} go from {a[0]:.2f} to {a[-1]:.2f} and from {b[0]:.2f} to {b[-1]:.2f}"
    says(verdict, a[-1] < b[0] or b[-1] < a[0], ranges)


def compared_by_ranges(**options) -> Answer:
    """The answer to an experiment that compares two things over seeds; options: those of `decided_by_ranges`."""
    return Answer(
        partial(decided_by_ranges, **options),
        why="Three seeds can show that two ranges do not touch, or that they do; more seeds could still change either.",
        hints=(
            "Compare the worst seed of the better one with the best seed of the other.",
            "If the two ranges share a value, three seeds decide nothing.",
        ),
    )


def says(verdict, decided: bool, numbers: str) -> None:
    """AssertionError unless a verdict is "decided" or "not decided" and is right; numbers: what is shown if it is wrong."""
    said = str(verdict).strip().rstrip(".").casefold()
    assert said in ("decided", "not decided"), f'the verdict is "decided" or "not decided", got {verdict!r}'
    assert (said == "decided") == decided, numbers


def outputs_of_both(ours, yours, shape: tuple, deviation: float) -> tuple:
    """Gives two nets with equal weights' shapes the same drawn weights, and both the same two images of `shape`.

    Returns the images and both outputs, after AssertionError where the outputs are apart by more than batch norm's epsilon
    explains. deviation: of the drawn kernels, so that no shortcut hides what they do. It draws by a generator of its own.
    """
    import numpy as np

    from cnnbook import numerics

    rng = np.random.default_rng(0)
    drawn = [
        rng.uniform(0.5, 1.5, w.shape) if w.ndim == 1 else rng.normal(0, deviation, w.shape)
        for w in ours.get_weights()
    ]
    for net in (ours, yours):
        net.set_weights(drawn)
    images = rng.normal(size=(2, *shape)).astype("float32")
    with numerics.exact():
        a, b = (net.predict(images, verbose=0) for net in (ours, yours))
    apart = float(np.abs(a - b).max() / np.abs(a).max())
    # Batch norm's epsilon is free: 1e-3, Keras' default, against 1e-5 moves the outputs by less than this.
    assert apart < 0.02, f"with the same weights the outputs differ by {apart:.2g} of the largest"
    return images, a, b
