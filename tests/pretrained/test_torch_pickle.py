"""What a pickle may hold, and that small files made to fill the memory, or to crash, do not."""

import collections
import pickle
import re
import struct
import subprocess
import sys
import types
import zipfile

import numpy as np
import pytest

import gff_keras
from gff_keras.pretrained.torch_file import read_torch_file
from tests.pretrained import torch_writer as by_hand

ONE = {"0": np.ones(1, "float32").tobytes()}
WEIGHT = by_hand.tensor("FloatStorage", "0", 1, 0, (1,), (1,))
# The package without its __init__, which imports TensorFlow: that takes memory and seconds.
LIMITED = """
import resource, sys, types
package = sys.modules["gff_keras"] = types.ModuleType("gff_keras")
package.__path__ = [sys.argv[1]]
from gff_keras.pretrained.torch_file import read_torch_file
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
try:
    print({name: array.shape for name, array in read_torch_file(sys.argv[2]).items()})
except ValueError as error:
    print(error)
"""


def read_in_1_gib(path):
    """What a process prints that may take no more memory: the shapes, or the error."""
    if sys.platform != "linux":
        pytest.skip("others do not limit the memory of a process")
    command = [sys.executable, "-c", LIMITED, *gff_keras.__path__, str(path)]
    done = subprocess.run(command, env={"OPENBLAS_NUM_THREADS": "1"}, capture_output=True)
    assert done.returncode == 0, done
    return done.stdout.decode().removesuffix("\n")


def deep(inside=b"N"):
    """A tuple in a tuple, half a million times, whose hash overflows the stack."""
    return inside + b"\x85" * 500_000


def item(key, value=b"N"):
    """A dictionary of one item and, besides, the weights."""
    return by_hand.dictionary({"a": b"}" + key + value + b"s", "model": state(WEIGHT)})


def state(weight):
    return by_hand.dictionary({"w": weight})


def stored(dtype, key):
    """A tensor in a storage of this dtype and key."""
    place = by_hand.fragment("storage") + dtype + key + by_hand.fragment("cpu") + b"K\x01"
    rest = (by_hand.fragment(x) for x in (0, (1,), (1,), False))
    rebuild = by_hand.name("torch._utils", "_rebuild_tensor_v2")
    return by_hand.call(rebuild, b"(" + place + b"tQ", *rest)


def many_of_one_list():
    pairs = by_hand.fragment([[f"key {i}", i] for i in range(2000)])
    memo = struct.pack("<I", 10**6), struct.pack("<I", 10**6 + 1)
    first = by_hand.name("collections", "OrderedDict") + b"r" + memo[0] + pairs + b"r" + memo[1]
    again = b"j" + memo[0] + b"j" + memo[1]
    return b"(" + first + b"\x85R" + (again + b"\x85R") * 30_000 + b"t"


FLOATS, KEY = by_hand.name("torch", "FloatStorage"), by_hand.fragment("0")
LONG_VIEW = by_hand.tensor("BFloat16Storage", "0", 1, 0, (2**29,), (0,))
SMALL = {
    "memo": (item(b"K\x01", b"Nr\xff\xff\xff\x7f"), r"\{'w': \(1,\)\}"),
    "view": (state(LONG_VIEW), r"\{'w': \(536870912,\)\}"),
    "pairs": (item(b"K\x01", many_of_one_list()), r"\{'w': \(1,\)\}"),
    "strides": (
        state(by_hand.tensor("FloatStorage", "0", 1, 0, (2**33,), ("x",))),
        r"PATH is damaged or cut off \(TypeError\); copy .*",
    ),
    "key": (item(deep()), "PATH holds a dictionary with a tuple as key, which is refused: .*"),
    "storage's key": (state(stored(FLOATS, deep())), r"PATH is damaged or cut off \(TypeE.*"),
    "storage's dtype": (state(stored(deep(), KEY)), r"PATH is damaged or cut off \(TypeE.*"),
    "storage": (
        state(by_hand.call(by_hand.name("torch._utils", "_rebuild_tensor"), deep(), b"K\x00))")),
        r"PATH is damaged or cut off \(TypeE.*",
    ),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("what", SMALL)
def test_small_files_take_little_memory(tmp_path, what, legacy):
    opcodes, expected = SMALL[what]
    path = by_hand.write(tmp_path / "w.pth", opcodes, ONE, legacy)
    assert re.fullmatch(expected.replace("PATH", re.escape(str(path))), read_in_1_gib(path))


def test_keys_of_storages_are_texts(tmp_path):
    path = by_hand.write(tmp_path / "w.pth", state(WEIGHT), {}, legacy=True)
    end = pickle.dumps([], 2)
    assert path.read_bytes().endswith(end)
    path.write_bytes(path.read_bytes().removesuffix(end) + b"](" + deep() + b"e.")
    assert read_in_1_gib(path).startswith(f"{path} is damaged or cut off (TypeError)")


def test_compressed_archives_are_refused(tmp_path):
    weight = by_hand.tensor("FloatStorage", "0", 2**24, 0, (2**24,), (1,))
    path = by_hand.write(tmp_path / "w.pth", state(weight), {})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data/0", bytes(2**26), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**17
    with pytest.raises(ValueError, match=f"{path} is a compressed zip file, which torch.save nev"):
        read_torch_file(path)


def test_members_that_lie_in_one_another(tmp_path):
    """The bytes of one hold the other, header and all: many such would unpack to gigabytes."""
    numbers = np.zeros(1000, "float32").tobytes()
    inner = zipfile.ZipInfo("archive/data/1")
    inner.CRC, inner.file_size, inner.compress_size = zipfile.crc32(numbers), 4000, 4000
    data = inner.FileHeader(zip64=False) + numbers
    weights = {key: by_hand.tensor("FloatStorage", key, 1000, 0, (1000,), (1,)) for key in "01"}
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + by_hand.dictionary(weights) + b".")
        archive.writestr("archive/data/0", data)
        inner.header_offset = archive.start_dir - len(data)
        archive.filelist.append(inner)
        archive.NameToInfo[inner.filename] = inner
    with pytest.raises(ValueError, match=f"{path} is damaged or cut off"):
        read_torch_file(path)


class Weight:
    """Pickled as torch pickles a tensor, by the modules that the next test makes."""

    def __reduce_ex__(self, protocol):
        arguments = (FloatStorage(), 0, (2, 3), (3, 1), False, collections.OrderedDict())
        return _rebuild_tensor_v2, arguments


class FloatStorage:
    __module__ = "torch"


def _rebuild_tensor_v2():
    """Never called."""


_rebuild_tensor_v2.__module__ = "torch._utils"


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        if isinstance(value, FloatStorage):
            return "storage", FloatStorage, "0", "cpu", 6
        return None


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_protocols(tmp_path, monkeypatch, protocol, legacy):
    for name in ("torch", "torch._utils"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["torch"].FloatStorage = FloatStorage
    sys.modules["torch._utils"]._rebuild_tensor_v2 = _rebuild_tensor_v2
    weights = collections.OrderedDict({"a": Weight(), "b": Weight()})
    weights._metadata = collections.OrderedDict({"": {"version": 1}})
    beside = {"flags": [True, False, None], "numbers": (1, 300, 70_000, -1, 2**40, 2**3000, 0.5)}
    content = beside | {"text": "é" * 300, "bytes": {0: (1, 2, 3, 4)}, "state_dict": weights}
    pickled = tmp_path / "pickle"
    with open(pickled, "wb") as file:
        Pickler(file, protocol).dump(content)
    numbers = np.arange(6, dtype="float32")
    opcodes = pickled.read_bytes()[:-1]
    path = by_hand.write(tmp_path / "w.pth", opcodes, {"0": numbers.tobytes()}, legacy)
    arrays = read_torch_file(path)
    assert arrays.keys() == {"a", "b"}
    np.testing.assert_array_equal(arrays["b"], numbers.reshape(2, 3), strict=True)


def test_dictionaries_of_python_2(tmp_path):
    """Texts are bytes there, and an ordered dictionary is made of a list of pairs."""
    pairs = b"]](U\x01w" + WEIGHT + b"ea"
    opcodes = by_hand.name("collections", "OrderedDict") + pairs + b"\x85R"
    metadata = by_hand.fragment({"_metadata": {"": {"version": 1}}}) + b"b"
    path = by_hand.write(tmp_path / "w.pth", opcodes + metadata, ONE, legacy=True)
    np.testing.assert_array_equal(read_torch_file(path)["w"], np.ones(1, "float32"), strict=True)


OTHER = "holds an object, a set or the like, which is refused: only tensors of float32,"


@pytest.mark.parametrize(
    "opcodes, sentence",
    [
        (by_hand.fragment({"a": {1.5: 2}}), "holds a dictionary with a float as key, which is r"),
        (pickle.dumps({1, 2}, 4)[:-1], OTHER),
        (b"})\x81", OTHER),
        (b"\x82\x01", OTHER),  # of the registry of extensions
        (b"Pstorage\n", OTHER),
    ],
)
def test_other_content_is_refused(tmp_path, opcodes, sentence):
    path = by_hand.write(tmp_path / "w.pth", opcodes, {})
    with pytest.raises(ValueError, match=re.escape(f"{path} {sentence}")):
        read_torch_file(path)
