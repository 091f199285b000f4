"""Read the weights in a file of PyTorch, or in a .safetensors file, without PyTorch.

`torch.save` pickles descriptions of the tensors (`torch_pickle`); the numbers lie beside them and
are read afterwards. Two formats:

torch >= 1.6   a zip archive: NAME/data.pkl, the bytes of each storage in NAME/data/KEY
before         pickles one after another (a number to know the format by, version, system, content,
               keys), then for each key the length of its storage and its bytes
"""

import io
import zipfile
from pathlib import Path

import numpy as np

from gff_keras.pretrained.torch_pickle import Refused, Storage, Tensor, Unpickler

_SAFETENSORS = {"F32": "f4", "F16": "f2", "BF16": "u2", "F64": "f8", "I64": "i8"}
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
    except Refused as refused:
        sentence = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(refused))
        raise ValueError(f"{path} {sentence}") from None
    except Exception as error:  # a damaged pickle can fail in any way
        raise ValueError(
            f"{path} is damaged or cut off ({type(error).__name__}); copy or download it again."
        ) from error
    for _ in range(3):  # not for ever: a name can be a million times "module."
        if all(name.startswith("module.") for name in arrays):
            arrays = {name.removeprefix("module."): array for name, array in arrays.items()}
    return arrays


def _read_zip(path):
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickled = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickled) != 1:
            raise Refused("is a zip file, but not one of PyTorch: it has no data.pkl.")
        folder = pickled[0].removesuffix("data.pkl")
        orders = _members(archive, {f"{folder}byteorder"} & {*names})
        order = ">" if orders == [b"big"] else "<"
        [content] = _members(archive, pickled)
        tensors = _state_dict(Unpickler(io.BytesIO(content)).load())
        storages = list(dict.fromkeys(tensor.storage for tensor in tensors.values()))
        members = _members(archive, [f"{folder}data/{storage.key}" for storage in storages])
    numbers = {s: _numbers(data, s, order) for s, data in zip(storages, members, strict=True)}
    return {name: _array(tensor, numbers) for name, tensor in tensors.items()}


def _members(archive, names):
    """The bytes of members of a zip file, together no more than it has."""
    members = [archive.getinfo(name) for name in names]
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise Refused("is a compressed zip file, which torch.save never writes; get the original.")
    if sum(member.file_size for member in members) > Path(archive.filename).stat().st_size:
        raise EOFError
    return [archive.read(member) for member in members]


def _read_pickled(path):
    with open(path, "rb") as file:
        if not _begins_like_torch(file):
            raise Refused("is not a file of PyTorch; give one that torch.save wrote.")
        Unpickler(file).load()  # version
        Unpickler(file).load()  # byte order of the system: storages are little-endian everywhere
        unpickler = Unpickler(file)
        tensors = _state_dict(unpickler.load())
        numbers = {}
        for key in Unpickler(file).load():
            if not isinstance(key, str):
                raise TypeError
            storage = unpickler.storages[key]
            size = int.from_bytes(file.read(8), "little") * np.dtype(storage.dtype).itemsize
            if size > path.stat().st_size:  # before memory is asked for it
                raise EOFError
            numbers[storage] = _numbers(file.read(size), storage)
    return {name: _array(tensor, numbers) for name, tensor in tensors.items()}


def _begins_like_torch(file):
    try:
        return Unpickler(file).load() == _MAGIC_NUMBER
    except Exception:  # not a pickle, or one that names something
        return False


def _read_safetensors(path):
    import safetensors

    arrays = {}
    for name, entry in safetensors.deserialize(path.read_bytes()):
        if entry["dtype"] not in _SAFETENSORS:
            raise Refused(
                f"holds {name} in {entry['dtype']}, but only {', '.join(_SAFETENSORS)} are read; "
                "convert it."
            )
        storage = Storage(name, _SAFETENSORS[entry["dtype"]])
        arrays[name] = _numbers(entry["data"], storage).reshape(entry["shape"])
    return arrays


def _state_dict(content):
    """The tensors in a checkpoint, by name."""
    found = content
    for _ in range(3):  # not for ever: a dictionary can hold itself
        if not isinstance(found, dict):
            break
        tensors = {k: v for k, v in found.items() if isinstance(v, Tensor) and isinstance(k, str)}
        if tensors:
            return tensors
        found = next((found[key] for key in _NESTS if key in found), None)
    held = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
    raise Refused(
        f"holds no weights by name (but {held[:80]}); save torch.save(network.state_dict(), FILE)."
    )


def _numbers(data, storage, order="<"):
    """The numbers in a storage's bytes."""
    numbers = np.frombuffer(data, np.dtype(storage.dtype).newbyteorder(order))
    if storage.dtype == "u2":  # here, not in each tensor: a view can be longer than its storage
        numbers = np.left_shift(numbers, 16, dtype="u4").view("f4")
    return numbers


def _array(tensor, numbers):
    """A view of the numbers of its storage."""
    storage, offset, shape, strides = tensor
    flat = numbers[storage]
    if not all(isinstance(n, int) and n >= 0 for n in (offset, *shape, *strides)):
        raise TypeError
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if 0 not in shape and last >= len(flat):
        raise EOFError
    steps = [step * flat.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False)
