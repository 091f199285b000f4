"""Read the weights in a file of PyTorch, or in a .safetensors file, without PyTorch.

`torch.save` pickles, and a pickle may name any function of any module and have it called. The
unpickler here knows what describes a tensor and its storage and nothing else: another name ends the
reading. What it makes are descriptions; the numbers are read afterwards. Two formats:

torch >= 1.6   a zip archive: NAME/data.pkl, the bytes of each storage in NAME/data/KEY
before         pickles one after another (a number to know the format by, version, system, content,
               keys), then for each key the length of its storage and its bytes
"""

import collections
import io
import math
import pickle
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

# NumPy has no bfloat16: it is the upper half of a float32, and is read as an integer first.
_STORAGES = {
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "bf16",
    "DoubleStorage": "f8",
    "LongStorage": "i8",
}
_SAFETENSORS = {"F32": "f4", "F16": "f2", "BF16": "bf16", "F64": "f8", "I64": "i8"}
_NESTS = ("state_dict", "model_state_dict", "model")
_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
SUFFIXES = (".pth", ".pt", ".tar", ".safetensors")


def read_torch_file(path):
    """Return the weights of a file as `{name: array}`, in PyTorch's names and layout.

    Args:
        path: .safetensors, or what `torch.save` wrote (.pth, .pt, .pth.tar): a state dict, or one
            under "state_dict", "model_state_dict" or "model" in a checkpoint. A "module." before
            every name, of networks that trained on several GPUs, is left out.

    Returns:
        Arrays of float32 (also those that were bfloat16), float16, float64 and int64.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is empty, cut off, of another kind, without weights, or holds other things
            than weights, which are never made or called.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Weights file {path} does not exist; give a file of PyTorch.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty; copy or download it again.")
    if path.suffix == ".safetensors":
        read = _read_safetensors
    else:
        with open(path, "rb") as file:
            read = _read_zip if file.read(2) == b"PK" else _read_pickled
    try:
        arrays = read(path)
        if not all(name.isprintable() for name in arrays):
            raise UnicodeError
    except _Refused as refused:
        sentence = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(refused))
        raise ValueError(f"{path} {sentence}") from None
    except Exception as error:  # a damaged pickle can fail in any way
        raise ValueError(
            f"{path} is damaged or cut off ({type(error).__name__}); copy or download it again."
        ) from error
    while arrays and all(name.startswith("module.") for name in arrays):
        arrays = {name.removeprefix("module."): array for name, array in arrays.items()}
    return arrays


class _Refused(Exception):
    """The end of a sentence that begins with the file's path."""


class _Storage(NamedTuple):
    key: str
    dtype: str  # of NumPy, or "bf16"


class _Tensor(NamedTuple):
    """Where numbers lie in a storage, in units of its elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _RebuildTensor:
    __slots__ = ()  # no attributes: a pickle can set those of whatever it was given

    def __call__(self, storage, offset, shape, strides, *_):
        return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _RebuildParameter:
    __slots__ = ()

    def __call__(self, tensor, *_):
        return tensor


_KNOWN = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _RebuildTensor(),  # torch < 0.4
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
    **{("torch", name): name for name in _STORAGES},
}


class _Unpickler(pickle.Unpickler):
    """Makes dictionaries, lists, numbers, texts and `_Tensor`; imports and calls nothing else."""

    def __init__(self, file):
        super().__init__(file)
        self.storages = {}

    def find_class(self, module, name):
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        raise _Refused(
            f"holds {module}.{name}, which is refused: only tensors of float32, float16, bfloat16, "
            "float64 and int64 are read; save torch.save(network.state_dict(), FILE) instead."
        )

    def persistent_load(self, pid):
        kind, dtype, key, _, _, *view = pid
        if kind != "storage" or any(view):
            raise _Refused(f"holds a {kind} that is not read; save it again with torch >= 1.6.")
        self.storages[key] = _Storage(key, _STORAGES[dtype])
        return self.storages[key]


def _read_zip(path):
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickled = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickled) != 1:
            raise _Refused("is a zip file, but not one of PyTorch: it has no data.pkl.")
        folder = pickled[0].removesuffix("data.pkl")
        order = "<"
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") == b"big":
            order = ">"
        tensors = _state_dict(_Unpickler(io.BytesIO(archive.read(pickled[0]))).load())
        keys = dict.fromkeys(tensor.storage.key for tensor in tensors.values())
        storages = {key: archive.read(f"{folder}data/{key}") for key in keys}
    return {name: _array(tensor, storages, order) for name, tensor in tensors.items()}


def _read_pickled(path):
    with open(path, "rb") as file:
        if not _begins_like_torch(file):
            raise _Refused("is not a file of PyTorch; give one that torch.save wrote.")
        _Unpickler(file).load()  # version
        _Unpickler(file).load()  # byte order of the system: storages are little-endian everywhere
        unpickler = _Unpickler(file)
        tensors = _state_dict(unpickler.load())
        storages = {}
        for key in _Unpickler(file).load():
            count = int.from_bytes(file.read(8), "little")
            size = count * _item_size(unpickler.storages[key].dtype)
            if size > path.stat().st_size:  # before memory is asked for it
                raise EOFError
            storages[key] = file.read(size)
    return {name: _array(tensor, storages) for name, tensor in tensors.items()}


def _begins_like_torch(file):
    try:
        return _Unpickler(file).load() == _MAGIC_NUMBER
    except Exception:  # not a pickle, or one that names something
        return False


def _read_safetensors(path):
    import safetensors

    arrays = {}
    for name, entry in safetensors.deserialize(path.read_bytes()):
        if entry["dtype"] not in _SAFETENSORS:
            raise _Refused(f"holds {name} in {entry['dtype']}; one of {', '.join(_SAFETENSORS)}.")
        dtype, shape = _SAFETENSORS[entry["dtype"]], tuple(entry["shape"])
        strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
        tensor = _Tensor(_Storage(name, dtype), 0, shape, strides)
        arrays[name] = _array(tensor, {name: entry["data"]})
    return arrays


def _state_dict(content):
    """The tensors in a checkpoint, by name."""
    found = content
    for _ in range(3):  # not for ever: a dictionary can hold itself
        if not isinstance(found, dict):
            break
        tensors = {k: v for k, v in found.items() if isinstance(v, _Tensor) and isinstance(k, str)}
        if tensors:
            return tensors
        found = next((found[key] for key in _NESTS if key in found), None)
    held = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
    raise _Refused(
        f"holds no weights by name (but {held[:80]}); save torch.save(network.state_dict(), FILE)."
    )


def _array(tensor, storages, order="<"):
    """The numbers of a tensor: a view of its storage's bytes, but for bfloat16."""
    storage, offset, shape, strides = tensor
    dtype = np.dtype("u2" if storage.dtype == "bf16" else storage.dtype).newbyteorder(order)
    flat = np.frombuffer(storages[storage.key], dtype)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if min((offset, *shape, *strides)) < 0 or (0 not in shape and last >= len(flat)):
        raise EOFError
    steps = [step * dtype.itemsize for step in strides]
    array = np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False)
    if storage.dtype == "bf16":
        array = (array.astype("u4") << 16).view("f4")
    return array


def _item_size(dtype):
    return 2 if dtype == "bf16" else np.dtype(dtype).itemsize
