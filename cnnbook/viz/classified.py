"""What a classifier makes of held-out images: its confusion matrix, and the images that are hardest for it."""

from pathlib import Path

import numpy as np

from ..arguments import whole_number
from . import style
from .picture import Picture, bare, grid


class Confusion(Picture):
    """`.array`: int64 (classes, classes), the counts: the true class by row, the predicted one by column."""

    def __init__(self, evaluation):
        self.evaluation, self.array = evaluation, evaluation.confusion
        count = len(evaluation.y)
        self.title = f"{evaluation.top1:.1%} of {count:,} right" if count else "no held-out images"
        self.alt = f"Confusion matrix of {len(evaluation.classes)} classes, true by row: {self.title}."
        side = min(9, max(3.6, 0.55 * len(evaluation.classes) + 1.8))
        self.size = (side + 0.6, side)

    def draw(self, axes):
        from sklearn.metrics import ConfusionMatrixDisplay

        classes = self.evaluation.classes
        ConfusionMatrixDisplay(self.array, display_labels=classes).plot(
            ax=axes, cmap="Blues", colorbar=False, include_values=len(classes) <= 20, values_format="d",
            im_kw=dict(vmin=0), text_kw=dict(fontsize=9),
        )  # fmt: skip
        if len(classes) > 3:
            axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
        axes.grid(False)
        axes.set(xlabel="predicted", ylabel="true", title=self.title)


class Hardest(Picture):
    """`.array`: the images (n, h, w, c) as they are drawn, the hardest first."""

    def __init__(self, evaluation, most):
        self.evaluation, self.chosen = evaluation, evaluation.hardest[:most]
        self.array = evaluation.x[self.chosen]
        self.alt = f"The {len(self.chosen)} hardest images, each with its prediction: " + "; ".join(
            self._title(i).replace("\n", ", ") for i in self.chosen
        )

    def _title(self, i):
        e = self.evaluation
        p, predicted, truth = e.probabilities[i], e.predicted[i], e.y[i]
        verdict = "right" if predicted == truth else f"wrong: {e.classes[truth]}, {p[truth]:.0%}"
        return f"{e.classes[predicted]}, {p[predicted]:.0%}\n{verdict}"

    def _figure(self):
        rows, columns = grid(len(self.chosen), 4)
        figure, axes = style.figure(2.2 * columns, 2.75 * rows, rows, columns, squeeze=False)
        for axis in axes.flat[len(self.chosen) :]:
            axis.remove()
        for axis, i, image in zip(axes.flat, self.chosen, self.array, strict=False):
            axis.imshow(np.squeeze(image), cmap="gray", vmin=0, vmax=255)
            bare(axis, self._title(i), fontsize=9)
            if self.evaluation.files:
                axis.set_xlabel(Path(self.evaluation.files[i]).name[:28], fontsize=8)
        return figure


def confusion(evaluation):
    """The confusion matrix of a `transfer.Evaluation`: the true class by row, the prediction by column.

    The counts are `.array`, int64 (classes, classes), and stand in the cells for up to 20 classes. Needs scikit-learn.
    """
    return Confusion(evaluation)


def hardest(evaluation, most=8):
    """The images of a `transfer.Evaluation` that were hardest, at most `most`: the mistakes first, the surest of them first,
    then those that were right by the narrowest margin. `.array`: uint8 (n, h, w, c)."""
    most = whole_number(most, "most")
    if not len(evaluation.y):
        raise ValueError("at least one image is drawn, and the evaluation has none")
    return Hardest(evaluation, most)
