"""Data sets by TensorFlow Datasets (TFDS), prepared so that nothing incomplete is ever taken as complete.

A set is prepared in a private folder beside its place and renamed into it when complete. One process prepares at a time (a
file lock, which the system lifts when its owner dies); the others wait and then read. Stock TFDS reads the result.
"""

import contextlib
import importlib
import io
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

from ... import files
from .. import fashion
from ..images import DataError

# What must be reached for a download, and its size in megabytes. A test holds this table against TFDS' own.
URLS = {
    "fashion_mnist": ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/", 29),
    "cifar10": ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", 162),
    "cifar100": ("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz", 161),
    "tf_flowers": ("http://download.tensorflow.org/example_images/flower_photos.tgz", 218),
    "oxford_iiit_pet": ("https://thor.robots.ox.ac.uk/~vgg/data/pets/images.tar.gz", 773),
    # `prepare` alone, no `load`.
    "lfw": ("https://ndownloader.figshare.com/files/5976018", 172),
}
# Builders of our own: their files.
DRAWN = {
    "cnnbook_scenes": "scenes_builder",
    "cnnbook_cells": "cells_builder",
    "cnnbook_faces": "faces_builder",
}
PRIVATE = "incomplete.cnnbook-"
# Seconds after which a stock TFDS `incomplete.*` folder is taken for abandoned.
STALE = 24 * 3600
# What flock says on a file system without locks.


def tfds_folder(data_dir=None):
    """Where TFDS keeps data: `data_dir`, else TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def import_tfds(name):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import tensorflow as tf  # noqa: F401
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise DataError(
            f"{name} is read by TensorFlow Datasets, which is not installed here ({error}): pip install 'cnnbook[cpu]'. "
            "Without it: load('fashion_mnist'), load('scenes') or a folder of images."
        ) from None
    return tfds


def prepare(name, data_dir=None, *, damaged=None):
    """A TFDS builder of `name` ("cifar10", "cnnbook_scenes/segment", ...) whose files are complete.

    Prepares what is not there, with TFDS' checksums and progress bar, and makes again what is incomplete. `damaged` is a
    builder whose files failed on reading: it is made again unless another process just did. Raises DataError within
    seconds, and removes nothing, when the data are not here and their host cannot be reached.
    """
    tfds = import_tfds(name)
    if name.split("/")[0] in DRAWN:
        importlib.import_module(f".{DRAWN[name.split('/')[0]]}", __package__)  # registers the builder
    folder, stamp = tfds_folder(data_dir), damaged and _stamp(damaged)
    home = folder / name.split("/")[0]
    try:
        if stamp is None and (builder := _complete(tfds, name, folder)):
            _sweep(home, older=STALE)
            return builder
        home.mkdir(parents=True, exist_ok=True)
        with _alone(home) as alone, _private(home, alone) as private:
            if (builder := _complete(tfds, name, folder)) and _stamp(builder) != stamp:
                return builder  # another process was first
            prepared = _make(tfds, name, folder, private)
            place = folder / prepared.relative_to(private / "made")
            place.parent.mkdir(exist_ok=True)
            if place.exists():
                os.replace(place, private / "broken")
            try:
                os.rename(prepared, place)
            except OSError:  # a stock TFDS, which knows no lock, may have been first
                if not _complete(tfds, name, folder):
                    raise
    except OSError as error:
        raise DataError(
            f"{name}: cannot write to the data folder {folder} ({error.strerror or error}). Give a folder that can be "
            "written and has room, load(..., data_dir=...), or set TFDS_DATA_DIR."
        ) from None
    return tfds.builder(name, data_dir=folder)


def read(name, use, data_dir=None):
    """`use(builder)` on a complete set; when its records turn out damaged the set is made again, once."""
    builder = prepare(name, data_dir)
    import tensorflow as tf

    broken = (tf.errors.DataLossError, tf.errors.NotFoundError, tf.errors.InvalidArgumentError)
    for last in (False, True):
        try:
            return use(builder)
        except broken as error:
            reason = str(error).splitlines()[0]
        if last:
            raise DataError(f"{name}: unreadable although just made again: {reason}")
        builder = prepare(name, data_dir, damaged=builder)


def is_prepared(name, data_dir=None):
    """Whether a complete-looking TFDS version is in the folder, asked without TFDS."""
    return any((tfds_folder(data_dir) / name).glob("[0-9]*/dataset_info.json"))


def reachable(url, seconds=3.0):
    """Whether a connection to the host of `url` (or to the proxy set for it) opens in time, name look-up included."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname):
        parts = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    port = parts.port or {"https": 443}.get(parts.scheme, 80)
    opened = threading.Event()

    def attempt():
        with contextlib.suppress(OSError), socket.create_connection((parts.hostname, port), timeout=seconds):
            opened.set()

    # In a thread of its own: a name server that does not answer blocks for longer than any socket timeout.
    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    return opened.is_set()


def _make(tfds, name, folder, private):
    """Prepares `name` inside `private`; the complete folder, still there."""
    state = "damaged" if any((folder / name).glob("[0-9]*")) else "not there"
    tried, options, downloads = [f"the data folder {folder} ({state})"], {}, private / "downloads"
    if name == "fashion_mnist" and fashion.DEBIAN.is_dir():
        try:
            options = {"manual_dir": fashion.restore(fashion.DEBIAN, private / "published")}
        except DataError as error:
            tried.append(str(error).removeprefix("fashion_mnist: "))
    if name in URLS and not options:
        url, megabytes = URLS[name]
        host = urllib.parse.urlsplit(url).hostname
        downloads = folder / "downloads"
        if not any(downloads.glob(f"*{Path(url).name.split('.')[0]}*")) and not reachable(url):
            tried.append(f"{host} (no connection within 3 seconds)")
            debian = " or install Debian's dataset-fashion-mnist" if name == "fashion_mnist" else ""
            raise DataError(
                f"{name} is not on this machine and cannot be downloaded. Tried: {'; '.join(tried)}. To get it: "
                f"connect once ({megabytes} MB){debian}, or copy a prepared TFDS folder here and give "
                "load(..., data_dir=...) or set TFDS_DATA_DIR. With no network: load('fashion_mnist') and "
                "load('scenes') are shipped with cnnbook."
            )
    builder = tfds.builder(name, data_dir=private / "made")
    config = tfds.download.DownloadConfig(try_download_gcs=False, **options)
    try:
        # It would name the private folder; progress is not on stdout.
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(download_dir=downloads, download_config=config)
    except OSError as error:
        if error.errno is not None and not isinstance(error, ConnectionError) and error.filename:
            # A file or disk of this machine.
            raise
        raise _failed(name, error, tried) from None
    except Exception as error:
        raise _failed(name, error, tried) from None
    return Path(builder.data_path)


def _failed(name, error, tried):
    reason = (str(error).strip().splitlines() or [""])[0][:300]
    return DataError(
        f"{name}: preparing it failed, nothing was removed ({type(error).__name__}: {reason}). Tried: {'; '.join(tried)}, "
        "then its source. Run it again, or give a prepared folder with data_dir= or TFDS_DATA_DIR."
    )


def _complete(tfds, name, folder):
    """The builder when every shard is there and none is short (16 bytes frame each record), else None."""
    try:
        builder = tfds.builder(name, data_dir=folder)
    except OSError:
        raise
    except Exception:
        # The description in the folder cannot be read; a name that TFDS lacks fails again in _make.
        return None
    if not os.path.isfile(os.path.join(builder.data_path, "dataset_info.json")) or not builder.info.splits:
        return None
    framed = builder.info.file_format and builder.info.file_format.value == "tfrecord"
    try:
        for split in builder.info.splits.values():
            size = sum(os.path.getsize(file) for file in split.filepaths)
            if framed and size < int(split.num_bytes) + 16 * split.num_examples:
                return None
    except FileNotFoundError:
        return None
    return builder


def _stamp(builder):
    with contextlib.suppress(OSError):
        stat = os.stat(os.path.join(builder.data_path, "dataset_info.json"))
        return stat.st_ino, stat.st_mtime_ns
    return None


@contextlib.contextmanager
def _private(home, alone):
    """A folder of this process beside the data, removed at the end; those of killed processes are removed at the start."""
    _sweep(home, older=STALE)
    if alone:
        # Whoever made these held the lock, and does not any more.
        _sweep(home, older=0, pattern=PRIVATE + "*")
    private = Path(tempfile.mkdtemp(prefix=PRIVATE, dir=home))
    try:
        yield private
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _sweep(home, older, pattern="incomplete.*"):
    for orphan in [*home.glob(pattern), *home.glob(f"*/{pattern}")]:
        newest = max((p.lstat().st_mtime for p in [orphan, *orphan.rglob("*")]), default=0)
        if time.time() - newest >= older:
            shutil.rmtree(orphan, ignore_errors=True)


@contextlib.contextmanager
def _alone(home):
    """True while this process alone prepares in `home`; False where the file system has no locks."""
    from filelock import Timeout

    lock = files.lock(home / ".cnnbook.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{home.name}: waiting for another process that prepares it", file=sys.stderr)
        lock.acquire()
    except NotImplementedError:
        lock = None
    except OSError as error:
        if error.errno not in files.NO_LOCKS:
            raise
        lock = None
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.release()
