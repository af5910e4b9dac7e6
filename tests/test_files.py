"""Files written whole: the old one or the new one, for whom the user's umask says, through nobody's link."""

import os
import stat
import sys

import numpy as np
import pytest

from cnnbook import files

posix = pytest.mark.skipif(sys.platform == "win32", reason="rights and links are POSIX'")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@posix
@pytest.mark.parametrize("mask, rights", [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_rights_are_those_of_the_umask_which_nobody_changes(mask, rights, tmp_path, monkeypatch):
    """Between two calls of os.umask a file of another thread would be open to all."""
    before = os.umask(mask)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "umask", lambda mask: pytest.fail("the umask was changed"))
            files.write(tmp_path / "results.json", "{}")
        assert stat.S_IMODE((tmp_path / "results.json").stat().st_mode) == rights
    finally:
        os.umask(before)


@posix
def test_planted_links_are_not_followed(tmp_path):
    (victim := tmp_path / "victim.txt").write_text("mine")
    for name in ("run.npz", "run.npz.part", ".run.npz", ".run.npz.lock"):
        (tmp_path / name).symlink_to(victim)
    with files.replaced(tmp_path / "run.npz") as file:
        file.write(b"numbers")
    assert victim.read_text() == "mine"
    assert (tmp_path / "run.npz").read_bytes() == b"numbers" and not (tmp_path / "run.npz").is_symlink()


def test_two_who_write_one_file_at_once_both_write_it_whole(tmp_path):
    path = tmp_path / "runs" / "run.npz"
    with files.replaced(path) as one:
        with files.replaced(path) as two:
            one.write(b"on")
            two.write(b"two")
        assert path.read_bytes() == b"two"
        one.write(b"e")
    assert path.read_bytes() == b"one" and names(path.parent) == ["run.npz"]


def test_after_an_error_the_old_file_is_as_it_was(tmp_path):
    path = tmp_path / "run.npz"
    files.write(path, "old")
    with pytest.raises(KeyboardInterrupt), files.replaced(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and names(tmp_path) == ["run.npz"]


def test_what_could_not_be_written_is_said_before(tmp_path):
    files.ready(tmp_path / "new" / "deep" / "run.npz")
    assert not names(tmp_path)  # nothing is made yet
    with pytest.raises(ValueError, match=f"{tmp_path.name} is a folder: give the path of a file"):
        files.ready(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="run.npz cannot be written: .*file"):
        files.ready(tmp_path / "file" / "run.npz")


def test_headers_are_those_of_the_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", key="abc", vectors=np.zeros((3, 2), "float32"))
    assert files.headers(tmp_path / "a.npz") == {
        "key": ((), np.dtype("<U3")),
        "vectors": ((3, 2), np.dtype("f4")),
    }
