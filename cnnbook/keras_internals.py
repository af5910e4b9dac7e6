"""Every private name of Keras that cnnbook reads, in one place: when a release moves one, one test says which."""

import contextlib
import sys


@contextlib.contextmanager
def deep_graphs(frames=20_000):
    """Room for Keras to walk very deep nets: it recurses once per layer, and ResNet-1202 has 4,200."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, frames))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
