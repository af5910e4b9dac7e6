"""What all tests share."""

import gc

import psutil
import pytest

import cnnbook  # noqa: F401  before Keras: it has TensorFlow use its quicker CPU kernels

GROWTH = 500 * 2**20  # bytes
process = psutil.Process()
lowest = [process.memory_info().rss]


@pytest.fixture(autouse=True)
def give_memory_back():
    """Collects what tests have built once it is large: models hold themselves in cycles, which Python leaves for later."""
    yield
    if process.memory_info().rss - lowest[0] > GROWTH:
        gc.collect()
        lowest[0] = process.memory_info().rss
