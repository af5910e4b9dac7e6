"""Files like PyTorch's checkpoints that were made to do harm: refused in few words, with little memory, nothing run.

Each is written opcode by opcode, as no library would. Values of right files: tests/test_checkpoints.py.
"""

import hashlib
import importlib.util
import pickle
import struct
import tracemalloc
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cnnbook.weights import pytorch as checkpoints

MAGIC = pickle.dumps(checkpoints.MAGIC, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
PARAMETER = b"ctorch._utils\n_rebuild_parameter\n"
ORDERED = b"ccollections\nOrderedDict\n"


def text(string):
    return b"X" + struct.pack("<I", len(string.encode())) + string.encode()


def integer(number):
    return b"J" + struct.pack("<i", number)


def storage(count=1, name="0", kind="FloatStorage"):
    """A tensor's numbers, as the pickle asks for them."""
    return (
        b"("
        + text("storage")
        + f"ctorch\n{kind}\n".encode()
        + text(name)
        + text("cpu")
        + integer(count)
        + b"tQ"
    )


def numbers(*values):
    return b"(" + b"".join(map(integer, values)) + b"t"


def tensor(numbers_of=None, offset=0, shape=(1,), strides=(1,)):
    place = integer(offset) + numbers(*shape) + numbers(*strides) + b"\x89)"
    return REBUILD + b"(" + (storage() if numbers_of is None else numbers_of) + place + b"tR"


def state(**values):
    """A pickle of {name: value}, the values as opcodes."""
    return b"\x80\x02}(" + b"".join(text(name) + value for name, value in values.items()) + b"u."


ONE = np.float32(1).tobytes()


def archive(path, pickled, storages=None, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("net/data.pkl", pickled)
        for name, raw in (storages if storages is not None else {"0": ONE}).items():
            file.writestr(f"net/data/{name}", raw)
    return path


def refused(path, match):
    """The reader refuses the file, names it, and neither quotes much of it nor needs much memory for it."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=match) as error:
            checkpoints.read(path)
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()
    assert str(path) in str(error.value) and len(str(error.value)) < len(str(path)) + 260


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.pth"


# --------------------------------------------------------------------------- objects that the file would change

SET = text("count") + integer(65536)  # an attribute and its value
BUILT = {
    "a storage": storage() + b"}(" + SET + text("dtype") + storage(name="1") + b"ub",
    "a storage's slots": storage() + b"}}(" + SET + b"u\x86b",
}


@pytest.mark.parametrize("what", BUILT)
def test_a_storage_is_not_told_another_size(what, path):
    """It would read memory past its numbers, this process' own: the check compared what the file had set."""
    reaching = tensor(BUILT[what], 0, (65536,), (1,))
    refused(archive(path, state(w=reaching), {"0": ONE, "1": ONE}), "sets .* of a Storage")


def test_a_tensor_cannot_be_changed_either(path):
    shadowed = tensor() + b"}(" + text("numpy") + ORDERED + b"ub"
    refused(archive(path, state(w=shadowed)), "sets .* of a Tensor")


@pytest.mark.parametrize("name", [REBUILD, PARAMETER])
def test_what_runs_is_not_changed_for_the_next_file(name, path):
    before = tensor()
    for built in (
        b"}(" + text("evil") + text("x") + b"ub",
        b"N}(" + text("__defaults__") + text("x") + b"\x85u\x86b",
    ):
        refused(archive(path, b"\x80\x02" + name + built + b"."), "sets .* of a Rebuild")
    archive(path, state(w=before))
    np.testing.assert_array_equal(checkpoints.read(path)["w"], [1])
    for function in checkpoints.ALLOWED.values():
        assert not getattr(function, "__dict__", None) or isinstance(function, type)


def test_a_dictionary_keeps_its_methods(path):
    """PyTorch sets `_metadata` of its dictionaries, which is passed over; `values` was set as well."""
    named = ORDERED + b")R(" + text("w") + tensor() + b"u"
    for attribute in ("_metadata", "values", "items"):
        built = named + b"}(" + text(attribute) + ORDERED + b"ub."
        found = checkpoints.read(archive(path, b"\x80\x02" + built))
        assert list(found) == ["w"] and found["w"].tolist() == [1]
    empty = ORDERED + b")R(" + text("w") + integer(3) + b"u}(" + text("values") + ORDERED + b"ub."
    refused(archive(path, b"\x80\x02" + empty), "no dictionary of tensors")


def test_a_storage_has_one_size(path):
    """The second mention of a storage is held to the first, and a tensor to the numbers that are there."""
    refused(archive(path, state(a=tensor(), b=tensor(storage(9), 0, (9,), (1,)))), "storage 0 .*two")
    refused(archive(path, state(a=tensor(storage(9), 0, (9,), (1,)))), "4 bytes of 36")
    legacy = MAGIC + state(w=tensor(storage().replace(b"tQ", b"NtQ"))) + b"\x80\x02]."
    path.write_bytes(legacy)
    refused(path, "no numbers")
    refused(archive(path, state(w=tensor(integer(7)))), "a tensor of int")
    refused(archive(path, state(w=PARAMETER + b"(" + numbers(1) + b"\x88)tR")), "a parameter of tuple")


# --------------------------------------------------------------------------- memory and time


def test_a_place_in_the_memo_costs_no_memory(path):
    """131 bytes had Python make room for 2^26 objects, half a gigabyte."""
    refused(archive(path, b"\x80\x02}r" + struct.pack("<I", 2**26) + b"."), "memo")
    path.write_bytes(MAGIC + b"\x80\x02}r" + struct.pack("<I", 2**26) + b".")
    refused(path, "memo")


def test_sizes_are_compared_before_anything_is_read(path):
    zeros = bytes(100_000_000)
    refused(archive(path, state(w=tensor()), {"0": zeros}, zipfile.ZIP_DEFLATED), "compressed")
    refused(archive(path, b"N" * 5_000_000), "5,000,000 bytes")
    archive(path, state(w=tensor()), {"0": zeros})
    refused(path, "100000000 bytes of 4")


def test_many_tensors_of_few_numbers_are_refused(path):
    """Thirty copies of one storage; tied weights, twice the same, are read."""
    one = {"0": ONE * 250_000}
    copies = {f"w{i}": tensor(storage(250_000), 0, (250_000,)) for i in range(30)}
    refused(archive(path, state(**copies), one), "take 30,000,000 bytes of the 1,000,000")
    tied = checkpoints.read(archive(path, state(a=copies["w0"], b=copies["w1"]), one))
    np.testing.assert_array_equal(tied["a"], tied["b"])


def test_storages_that_share_their_bytes_are_refused(path):
    """Entries of an archive may overlap: each is whole, together they are many times the file."""
    names = [str(i) for i in range(40)]
    pickled = state(**{f"w{n}": tensor(storage(250_000, n), 0, (250_000,)) for n in names})
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("net/data.pkl", pickled)
        file.writestr("net/data/0", ONE * 250_000)
        first = file.getinfo("net/data/0")
        for name in names[1:]:
            twin = zipfile.ZipInfo(f"net/data/{name}")
            for field in ("header_offset", "CRC", "compress_size", "file_size"):
                setattr(twin, field, getattr(first, field))
            file.filelist.append(twin)
            file.NameToInfo[twin.filename] = twin
    refused(path, "more than the file")


def test_a_length_past_the_end_is_cut_short(path):
    """Numbers and texts of a terabyte in a file of a few bytes."""
    path.write_bytes(MAGIC + b"\x80\x02\x8d" + struct.pack("<Q", 2**40) + b"x")
    refused(path, "no PyTorch checkpoint|not read")
    many = storage(2**31 - 1).replace(b"tQ", b"NtQ")
    path.write_bytes(MAGIC + state(w=tensor(many)) + pickle.dumps(["0"], 2) + struct.pack("<q", 2**31 - 1))
    refused(path, "0 bytes of 8589934588")


DOUBLED = b"K\x01\x85q\x00" + b"".join(
    b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(24)
)


def test_what_doubles_with_every_byte_is_refused(path):
    """A tuple of a tuple twice, 24 deep: as a shape, as a key, and by the opcode that copies."""
    shape = REBUILD + b"(" + storage() + integer(0) + DOUBLED + numbers(1) + b"\x89)tR"
    refused(archive(path, state(w=shape)), "tuple twice")
    refused(archive(path, b"\x80\x02}" + DOUBLED + b"Ns."), "tuple twice")
    refused(archive(path, b"\x80\x02}K\x01\x85" + b"2\x86" * 24 + b"Ns."), "DUP")
    # What stands before the memo's opcode does not say what is put there: here it changes nothing.
    hidden = DOUBLED.replace(b"\x86q", b"\x86Nbq")
    refused(archive(path, b"\x80\x02}" + hidden + b"Ns."), "twice")


def test_little_of_the_file_is_quoted(path):
    long = "x" * 100_000
    refused(archive(path, state(w=f"c{long}\nevil\n".encode())), "asks for xxx")
    refused(archive(path, state(w=tensor(storage(name=long)))), "it has no net/data/xxx")
    refused(archive(path, state(w=tensor(b"(" + text(long) * 5 + b"tQ"))), "it holds xxx")
    deep = b"(" * 50_000 + b"t" * 50_000
    refused(
        archive(path, state(w=REBUILD + b"(" + storage() + integer(0) + deep + numbers(1) + b"\x89)tR")),
        "shape",
    )


# --------------------------------------------------------------------------- what was refused before, and stays so

ASKED = {
    "GLOBAL": b"cos\nsystem\n(" + text("true") + b"tR.",
    "a method": b"ccollections\nOrderedDict.clear\n.",
    "STACK_GLOBAL": b"\x8c\x02os\x8c\x06system\x93.",
    "INST": b"(S'true'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\n" + text("true") + b"o.",
    "EXT1": b"\x82\x01.",
    "a storage's name called": b"ctorch\nFloatStorage\n(tR.",
    "a function's code": REBUILD + b"}(" + text("__code__") + text("x") + b"ub.",
    "an object's class": tensor() + b"}(" + text("__class__") + ORDERED + b"ub.",
    "a class changed": ORDERED + b"N}(" + text("clear") + text("x") + b"u\x86b.",
    "an object dtype": tensor(storage(kind="ObjectStorage")) + b".",
    "a file elsewhere": b"}(" + text("w") + tensor(storage(name="../../../etc/passwd")) + b"u.",
}


@pytest.mark.parametrize("what", ASKED)
def test_what_held_holds(what, path):
    refused(archive(path, b"\x80\x02" + ASKED[what]), "is not read|no PyTorch checkpoint")


# --------------------------------------------------------------------------- files in packages


def test_a_packaged_file_is_the_one_that_was_tested(tmp_path, monkeypatch):
    """Packages of single authors: what their file holds is known, and another file is refused."""
    (tmp_path / "some_net").mkdir()
    file = tmp_path / "some_net" / "net.pth"
    file.write_bytes(b"weights")
    known = hashlib.sha256(b"weights").hexdigest()
    spec = types.SimpleNamespace(submodule_search_locations=[str(tmp_path / "some_net")])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    assert Path(checkpoints.packaged("some_net", "lite0", sha256=known)) == file
    file.write_bytes(b"other weights")
    with pytest.raises(ImportError, match=r"net.pth .*SHA-256 .*not the file .*some_net"):
        checkpoints.packaged("some_net", "lite0", sha256=known)
