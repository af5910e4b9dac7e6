"""What all tests share."""

import gc
import os

import psutil
import pytest

# oneDNN keeps a kernel with its working memory for every convolution of another shape: hundreds of nets in one process
# came to 19 GB. A notebook has a handful; there it stays on, and nbval compares what it prints.
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"

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
