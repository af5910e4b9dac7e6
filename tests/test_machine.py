"""What `import cnnbook` sets for JAX, and what that spares."""

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from cnnbook import machine

pytestmark = pytest.mark.jax

NAMES = (
    "XLA_FLAGS",
    "JAX_PLATFORMS",
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_COMPILATION_CACHE_MAX_SIZE",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
)


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """None of JAX's variables is set, JAX has no plugin, and the user's cache is an empty folder."""
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is put back at the end, even where it was not set
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda name: None)
    return monkeypatch


def chosen():
    return {name: os.environ[name] for name in NAMES if name in os.environ}


def test_programs_are_kept_in_a_folder_of_this_processor(environment, tmp_path):
    machine.have_jax_compile_less()
    (folder,) = (tmp_path / "cache" / "cnnbook").iterdir()
    assert chosen() == {
        "XLA_FLAGS": "--xla_backend_optimization_level=2",
        "JAX_COMPILATION_CACHE_DIR": str(folder),
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(2**28),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
    machine.have_jax_compile_less()  # a kernel started by a process that has set them
    assert os.environ["XLA_FLAGS"] == "--xla_backend_optimization_level=2"
    environment.delenv("JAX_COMPILATION_CACHE_DIR")
    environment.setattr(machine, "processor", lambda: "another one")
    machine.have_jax_compile_less()
    assert len(list((tmp_path / "cache" / "cnnbook").iterdir())) == 2


def test_what_the_environment_says_stays(environment, tmp_path):
    said = {
        "XLA_FLAGS": "--xla_backend_optimization_level=3 --xla_cpu_multi_thread_eigen=false",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "mine"),
    }
    for name, value in said.items():
        environment.setenv(name, value)
    machine.have_jax_compile_less()
    assert chosen() == said and not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "platforms, installed, lowered",
    [("", "jax_plugins", False), ("", "libtpu", False), ("cpu", "jax_plugins", True), ("cuda", "", False)],
)
def test_only_programs_for_a_processor_are_optimised_less(environment, platforms, installed, lowered):
    environment.setenv("JAX_PLATFORMS", platforms)
    environment.setattr(machine.importlib.util, "find_spec", lambda name: name == installed or None)
    environment.setenv("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    machine.have_jax_compile_less()
    flags = ["--xla_cpu_multi_thread_eigen=false", *["--xla_backend_optimization_level=2"] * lowered]
    assert os.environ["XLA_FLAGS"].split() == flags
    assert "JAX_COMPILATION_CACHE_DIR" in os.environ


def test_without_a_folder_to_write_nothing_is_kept(environment, tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder")
    machine.have_jax_compile_less()
    assert set(chosen()) == {"XLA_FLAGS"}


@pytest.mark.parametrize(
    "platform, set_, folder",
    [
        ("linux", {}, ".cache"),
        ("darwin", {}, "Library/Caches"),
        ("win32", {"LOCALAPPDATA": "there"}, "there"),
        ("linux", {"XDG_CACHE_HOME": "elsewhere"}, "elsewhere"),
    ],
)
def test_user_cache_is_where_the_system_has_it(monkeypatch, platform, set_, folder):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in set_.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert machine.user_cache() == (Path(folder) if set_ else Path.home() / folder)


COUNTED = """
import cnnbook
import jax
import keras

hits = []
jax.monitoring.register_event_listener(lambda name, **more: hits.append(name) if name.endswith("cache_hits") else None)
keras.utils.set_random_seed(1)
net = cnnbook.models.LeNet5()
print(len(hits), float(keras.ops.sum(net.layers[1].kernel)))
"""


def test_a_second_process_compiles_nothing_that_the_first_has(tmp_path):
    given = {name: value for name, value in os.environ.items() if name not in NAMES}
    # Whatever it took to compile, so that a quick machine keeps the programs too.
    given |= {"XDG_CACHE_HOME": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    given |= {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    said = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", COUNTED], env=given, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-1000:]
        assert "UserWarning" not in done.stderr
        said.append(done.stdout.split())
    (first, weights), (second, again) = said
    assert int(second) >= int(first) + 5 and weights == again
    assert list((tmp_path / "cnnbook").glob("jax-*/*-cache"))


@pytest.mark.parametrize(
    "apple, cards, named",
    [(False, [], []), (True, [], ["MPS:0"]), (False, ["NVIDIA H100", "NVIDIA H100"], ["NVIDIA H100"] * 2)],
)
def test_the_cards_of_pytorch(apple, cards, named, monkeypatch):
    mps = types.SimpleNamespace(is_available=lambda: apple)
    cuda = types.SimpleNamespace(device_count=lambda: len(cards), get_device_name=cards.__getitem__)
    torch = types.SimpleNamespace(backends=types.SimpleNamespace(mps=mps), cuda=cuda)
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert machine.accelerators("torch") == named
