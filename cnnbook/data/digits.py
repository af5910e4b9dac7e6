"""Handwritten digits of 8 x 8 pixels: those inside scikit-learn.

Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, its test part.
https://doi.org/10.24432/C50P49, licensed there as CC BY 4.0: who passes the images on names the authors.
"""

import numpy as np

from .images import DataError, from_arrays

CLASSES = tuple("0123456789")
TEST = 500
SOURCE = "inside scikit-learn (Alpaydin & Kaynak, UCI Machine Learning Repository)"


def load(**choice):
    """`data.load("digits")`."""
    return from_arrays("digits", inside(), CLASSES, SOURCE, **choice)


def inside():
    """Arrays x_train (1297, 8, 8, 1) uint8, y_train (1297,) int64, x_test (500, ...), y_test: always the same division.
    scikit-learn counts ink from 0 to 16; here it is scaled to 0 to 255. DataError where scikit-learn is missing."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(
            f"digits: they lie inside scikit-learn, which cannot be used here ({error}): pip install scikit-learn"
        ) from None
    raw = load_digits()
    order = np.random.default_rng(0).permutation(len(raw.target))
    x = (raw.images[order] * 255 / 16).round().astype("uint8")[..., None]
    y = raw.target[order].astype("int64")
    return {"x_train": x[TEST:], "y_train": y[TEST:], "x_test": x[:TEST], "y_test": y[:TEST]}
