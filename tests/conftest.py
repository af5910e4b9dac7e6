"""What all tests share."""

import gc
import os

import psutil
import pytest

# Here numbers are compared exactly: TensorFlow's plain kernels. nbval runs the notebooks with oneDNN, as students do.
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


@pytest.fixture(scope="module")
def net():
    """The small classifier that most tests of cnnbook.viz look at."""
    from helpers import nets

    return nets.cam_net()


@pytest.fixture(scope="module")
def image():
    """An image for `net`."""
    from helpers import nets

    return nets.image((16, 20, 3))


@pytest.fixture
def said(request, capsys, monkeypatch):
    """What `check` says of an answer to an exercise of the file's CHAPTER; nothing was answered before."""
    from cnnbook import exercises

    monkeypatch.setattr(exercises, "_wrong", exercises.Counter())

    def of(entry, answer):
        exercises.check(f"{request.module.CHAPTER}.{entry}", answer)
        return capsys.readouterr().out

    return of
