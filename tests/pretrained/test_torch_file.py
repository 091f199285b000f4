"""Files that torch wrote lie in files/; what torch would not write is written by hand."""

import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors
from safetensors.numpy import save_file

from gff_keras.pretrained.torch_file import read_torch_file
from tests.pretrained import torch_writer as by_hand

FILES = Path(__file__).parent / "files"
NUMBERS = np.arange(24, dtype="float32") / 8


@pytest.mark.parametrize("file", ["zip.pth", "legacy.pth.tar"])
def test_a_file_of_torch(file):
    """Views, dtypes and parameters, under "state_dict" and with "module." before the names."""
    expected = {
        "plain": NUMBERS.reshape(2, 3, 4),
        "transposed": NUMBERS.reshape(4, 6).T,
        "offset": NUMBERS[4:].reshape(4, 5)[1:3, 2:],
        "every_other": NUMBERS[1::2],
        "expanded": np.repeat(NUMBERS[3:5, None], 3, axis=1),
        "empty": np.zeros((0, 3), "float32"),
        "scalar": np.float32(2.5),
        "half": NUMBERS.astype("float16"),
        "bfloat16": (NUMBERS * 3).reshape(4, 6)[:, 1:4],  # 8 bits hold these
        "double": NUMBERS.astype("float64") / 3,
        "steps": np.int64(-7),
        "parameter": NUMBERS[:6].reshape(2, 3),
    }
    arrays = read_torch_file(FILES / file)
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        assert array.dtype == expected[name].dtype
        np.testing.assert_array_equal(array, expected[name], strict=True)


@pytest.fixture
def arrays(rng):
    shapes = {"conv1.weight": (4, 3, 3, 3), "bn1.weight": (4,), "fc.weight": (2, 4)}
    return {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}


@pytest.mark.parametrize("legacy", [False, True])
def test_checkpoints(arrays, tmp_path, legacy):
    opcodes, storages = by_hand.state_dict(arrays)
    for keys in ((), ("state_dict",), ("model",), ("model", "model_state_dict")):
        nested = opcodes
        for key in reversed(keys):
            nested = by_hand.dictionary({"epoch": by_hand.fragment(3), key: nested})
        found = read_torch_file(by_hand.write(tmp_path / "w.pt", nested, storages, legacy))
        assert found.keys() == arrays.keys()
        for name, array in found.items():
            np.testing.assert_array_equal(array, arrays[name], strict=True)


def test_big_endian(arrays, tmp_path):
    swapped = {name: array.byteswap() for name, array in arrays.items()}
    path = by_hand.write_arrays(tmp_path / "w.pth", swapped)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/byteorder", "big")
    for name, array in read_torch_file(path).items():
        np.testing.assert_array_equal(array, arrays[name])


HOSTILE = {
    "posix.system": lambda touch: by_hand.call(b"cposix\nsystem\n", touch),
    "os.system": lambda touch: by_hand.fragment("os") + by_hand.fragment("system") + b"\x93",
    "builtins.eval": lambda touch: b"(" + touch + b"ibuiltins\neval\n",
    "torch.load": lambda touch: by_hand.call(b"ctorch\nload\n", touch),
    "torch.nn.modules.linear.Linear": lambda touch: b"ctorch.nn.modules.linear\nLinear\n)\x81",
    "numpy.core.multiarray.scalar": lambda touch: b"cnumpy.core.multiarray\nscalar\n",
    "torch.ByteStorage": lambda touch: by_hand.storage("ByteStorage", "0", 4),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("what", HOSTILE)
def test_nothing_but_tensors_is_made(arrays, tmp_path, what, legacy):
    touch = by_hand.fragment(f"touch {tmp_path}/executed")
    opcodes, storages = by_hand.state_dict(arrays)
    items = {"args": HOSTILE[what](touch), "state_dict": opcodes}
    path = by_hand.write(tmp_path / "w.pth", by_hand.dictionary(items), storages, legacy)
    with pytest.raises(ValueError, match=re.escape(f"{path} holds {what}, which is refused")) as e:
        read_torch_file(path)
    assert len(str(e.value).splitlines()) == 1
    assert not (tmp_path / "executed").exists()


def test_what_a_pickle_gets_cannot_be_changed(arrays, tmp_path):
    """BUILD sets attributes: of the function that rebuilds tensors, for all files to come."""
    opcodes, storages = by_hand.state_dict(arrays)
    for module, what in (("torch._utils", "_rebuild_tensor_v2"), ("collections", "OrderedDict")):
        change = by_hand.fragment((None, {"__call__": "x", "a": 1}))
        items = {"a": by_hand.name(module, what) + change + b"b", "state_dict": opcodes}
        path = by_hand.write(tmp_path / "w.pth", by_hand.dictionary(items), storages)
        with pytest.raises(ValueError, match="is damaged"):
            read_torch_file(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_files_that_were_cut_off(arrays, tmp_path, legacy):
    whole = by_hand.write_arrays(tmp_path / "whole.pth", arrays, legacy).read_bytes()
    path = tmp_path / "cut.pth"
    for size in (1, 2, 20, 100, 500, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=f"{path} is (damaged or cut off|not a file of PyT)"):
            read_torch_file(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=f"{path} is empty; copy"):
        read_torch_file(path)


def test_other_files(tmp_path):
    path = tmp_path / "w.pth"
    with pytest.raises(FileNotFoundError, match=f"{path} does not exist"):
        read_torch_file(path)
    for content in (
        b"<!DOCTYPE html>",
        b"version https://git-lfs",
        b"\x80\x04K\x01.",
        b"\x00" * 99,
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path} is not a file of PyTorch"):
            read_torch_file(path)
    np.savez(tmp_path / "w.npz", a=np.ones(3))
    with pytest.raises(ValueError, match="is a zip file, but not one of PyTorch"):
        read_torch_file((tmp_path / "w.npz").rename(path))
    epoch = {"epoch": by_hand.fragment(3), "best": by_hand.fragment(0.5)}
    by_hand.write(path, by_hand.dictionary(epoch), {})
    with pytest.raises(ValueError, match=r"holds no weights by name \(but epoch, best\)"):
        read_torch_file(path)
    by_hand.write(path, by_hand.fragment([1, 2]), {})
    with pytest.raises(ValueError, match=r"holds no weights by name \(but list\)"):
        read_torch_file(path)


@pytest.mark.parametrize(
    "offset, shape, strides",
    [(0, (5,), (1,)), (3, (2,), (1,)), (0, (2, 2), (3, 1)), (3, (2,), (-1,)), (-1, (2,), (1,))],
)
def test_tensors_that_leave_their_storage(tmp_path, offset, shape, strides):
    weights = {"a": by_hand.tensor("FloatStorage", "0", 4, offset, shape, strides)}
    opcodes = by_hand.dictionary(weights)
    path = by_hand.write(tmp_path / "w.pth", opcodes, {"0": np.ones(4, "float32").tobytes()})
    with pytest.raises(ValueError, match="is damaged"):
        read_torch_file(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_damaged_bytes_end_in_one_sentence(rng, arrays, tmp_path, legacy):
    path = by_hand.write_arrays(tmp_path / "w.pth", arrays, legacy)
    whole, refused = path.read_bytes(), 0
    for _ in range(300):
        damaged = bytearray(whole)
        for at in rng.integers(0, min(len(whole), 1200), 3):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            read_torch_file(path)
        except ValueError as error:
            assert str(path) in str(error) and len(str(error).splitlines()) == 1
            refused += 1
    assert refused > 100


def test_safetensors(rng, arrays, tmp_path):
    path = tmp_path / "w.safetensors"
    arrays["steps"] = np.int64(3)
    arrays |= {kind: rng.normal(size=(2, 5)).astype(kind) for kind in ("float16", "float64")}
    save_file({f"module.{name}": np.array(array) for name, array in arrays.items()}, path)
    found = read_torch_file(path)
    assert found.keys() == arrays.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, arrays[name], strict=True)
    bits = np.array([[0x3F80, 0xC000], [0x0000, 0x3FC0]], "uint16")
    write_safetensors(path, "BF16", bits)
    np.testing.assert_array_equal(read_torch_file(path)["a"], np.float32([[1, -2], [0, 1.5]]))
    write_safetensors(path, "U16", bits)
    with pytest.raises(
        ValueError, match="holds a in U16, but only F32, F16, BF16, F64, I64 are read; convert it"
    ):
        read_torch_file(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="w.safetensors is damaged or cut off"):
        read_torch_file(path)


def write_safetensors(path, dtype, bits):
    header = f'{{"a":{{"dtype":"{dtype}","shape":[2,2],"data_offsets":[0,8]}}}}'.encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bits.tobytes())
    assert safetensors.deserialize(path.read_bytes())[0][0] == "a"


@pytest.mark.parametrize("legacy", [False, True])
def test_what_torch_writes_here(tmp_path, legacy):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5))
    weights = network.state_dict()
    weights["0.weight"] = weights["0.weight"].to(memory_format=torch.channels_last)
    path = tmp_path / "w.pth"
    torch.save({"model": weights}, path, _use_new_zipfile_serialization=not legacy)
    arrays = read_torch_file(path)
    assert arrays.keys() == weights.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, weights[name].numpy(), strict=True)
    torch.save(network, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ValueError, match=r"holds torch\.nn\.modules\.container\.Sequential, which"):
        read_torch_file(path)
