"""Writes files of PyTorch by hand, byte by byte: whole, damaged and hostile ones."""

import pickle
import zipfile

import numpy as np

STORAGES = {"f4": "FloatStorage", "f2": "HalfStorage", "f8": "DoubleStorage", "i8": "LongStorage"}
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C


def fragment(value):
    """The opcodes that put a plain value on the stack."""
    return pickle.dumps(value, 2)[2:-1]


def name(module, what):
    return f"c{module}\n{what}\n".encode()


def call(function, *arguments):
    return function + b"(" + b"".join(arguments) + b"tR"


def dictionary(items):
    return b"}(" + b"".join(fragment(key) + value for key, value in items.items()) + b"u"


def storage(kind, key, count):
    place = fragment("storage") + name("torch", kind) + fragment(key)
    return b"(" + place + fragment("cpu") + fragment(count) + b"tQ"


def tensor(kind, key, count, offset, shape, strides):
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    hooks = call(name("collections", "OrderedDict"))
    place = (fragment(x) for x in (offset, shape, strides, False))
    return call(rebuild, storage(kind, key, count), *place, hooks)


def state_dict(arrays):
    """`(opcodes, storages)` of arrays."""
    tensors, storages = {}, {}
    for i, (key, array) in enumerate(arrays.items()):
        array = np.array(array, order="C")
        strides = tuple(step // array.itemsize for step in array.strides)
        kind = STORAGES[array.dtype.str[1:]]
        tensors[key] = tensor(kind, str(i), array.size, 0, array.shape, strides)
        storages[str(i)] = array.tobytes()
    return dictionary(tensors), storages


def write(path, opcodes, storages, legacy=False):
    """Write what `torch.save` writes: a zip archive, or the format before torch 1.6."""
    content = b"\x80\x02" + opcodes + b"."
    if not legacy:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
            for key, data in storages.items():
                archive.writestr(f"archive/data/{key}", data)
        return path
    with open(path, "wb") as file:
        for value in (MAGIC_NUMBER, 1001, {"little_endian": True}):
            pickle.dump(value, file, 2)
        file.write(content)
        pickle.dump(list(storages), file, 2)
        for data in storages.values():
            file.write(np.int64(len(data) // 4).tobytes() + data)  # of float32
    return path


def write_arrays(path, arrays, legacy=False):
    return write(path, *state_dict(arrays), legacy)
