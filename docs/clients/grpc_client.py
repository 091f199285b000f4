"""Segment image files through TF Serving's gRPC interface. Needs `grpcio` alone.

    python grpc_client.py photo.jpg other.png --server localhost:8500 --model camvid

Writes the classes of photo.jpg to photo.jpg_classes.pgm, a grey image whose values are the classes
(16 bits beyond 256 classes).

The package tensorflow-serving-api has the messages as Python classes, but installs all of
TensorFlow. Few of their fields are needed here, so this file writes and reads them itself: a
message is a row of fields, each a number that holds field and kind, then a number or the length of
what follows.
"""

import argparse
import array
import collections
import re
import struct
import sys
from pathlib import Path

import grpc

METHOD = "/tensorflow.serving.PredictionService/Predict"
INT32, STRING = 3, 7  # values of tensorflow.DataType
FORMATS = {1: "f", 3: "i", 4: "B", 9: "q", 17: "H"}  # DataType -> format of struct
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


def number(value):
    """Encode an unsigned number: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def field(index, content):
    """Encode a field that holds bytes, or a number."""
    if isinstance(content, int):
        return number(index << 3) + number(content)
    return number(index << 3 | 2) + number(len(content)) + content


def read_number(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at


def fields(data):
    """Yield (index, content) of the fields of a message."""
    at = 0
    while at < len(data):
        key, at = read_number(data, at)
        kind = key & 7
        if kind == 0:
            content, at = read_number(data, at)
        else:
            length, at = read_number(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            content, at = data[at : at + length], at + length
        yield key >> 3, content


def tensor(dtype, values):
    """Encode a list of byte strings, or of numbers, as a TensorProto of one dimension."""
    shape = field(2, field(2, field(1, len(values))))
    if dtype == STRING:
        return field(1, dtype) + shape + b"".join(field(8, value) for value in values)
    content = struct.pack(f"<{len(values)}{FORMATS[dtype]}", *values)
    return field(1, dtype) + shape + field(4, content)


def read_tensor(data):
    """Decode a TensorProto: a memoryview of its shape, or a list of byte strings."""
    dtype, shape, content, texts = 0, [], b"", []
    for index, value in fields(data):
        if index == 1:
            dtype = value
        elif index == 2:
            sizes = [dict(fields(size)) for i, size in fields(value) if i == 2]
            shape = [size.get(1, 0) for size in sizes]
        elif index in (4, 5):  # all bytes of a tensor, or its floats
            content += value
        elif index in (7, 10):  # integers, each as a number
            numbers, at = [], 0
            while at < len(value):
                found, at = read_number(value, at)
                numbers.append(found)
            content += struct.pack(f"<{len(numbers)}{FORMATS[dtype]}", *numbers)
        elif index == 8:
            texts.append(bytes(value))
    if dtype == STRING:
        return texts
    return memoryview(content).cast(FORMATS[dtype], shape)


def predict(channel, model, signature, name, value, outputs=()):
    """Call a signature with one tensor; return the `outputs` by name, all if none are named."""
    request = field(1, field(1, model.encode()) + field(3, signature.encode()))
    request += field(2, field(1, name.encode()) + field(2, value))
    request += b"".join(field(3, output.encode()) for output in outputs)
    reply = channel.unary_unary(METHOD)(request, timeout=60)
    entries = [dict(fields(entry)) for index, entry in fields(reply) if index == 1]
    return {bytes(entry[1]).decode(): read_tensor(entry[2]) for entry in entries}


def segment(channel, model, files, outputs=()):
    """Return `outputs` (all if none are named) of encoded images.

    They are classes and confidence (B, H, W) and sizes (B, 2).

    They are memoryviews; `numpy.asarray` makes arrays of them without a copy. Image i fills the
    first `sizes[i, 0]` rows and `sizes[i, 1]` columns, the rest is padding.
    """
    return predict(channel, model, "serving_bytes", "images", tensor(STRING, files), outputs)


def class_names(channel, model):
    """Return the names of the classes."""
    names = predict(channel, model, "labels", "request", tensor(INT32, [0]), ["names"])["names"]
    return [name.decode() for name in names]


def classes_of(found, i):
    """Return the classes of image i, row after row without padding, and its (height, width)."""
    classes, size = found["classes"], (found["sizes"][i, 0], found["sizes"][i, 1])
    _, rows, columns = classes.shape
    values, start = array.array(classes.format), i * rows * columns
    flat = classes.cast("B").cast(classes.format)
    for at in range(start, start + size[0] * columns, columns):
        values.frombytes(flat[at : at + size[1]].tobytes())
    return values, size


def sentence(error):
    """Return what an error of TensorFlow says, on one line, without the names of its graph."""
    said = re.search(r"assertion failed: \[([^\]]*)\]", error)
    return said[1] if said else " ".join(error.split())


def write_pgm(path, values, size):
    """Write a grey image of 8 bits, or of 16, the higher byte first."""
    largest = 256**values.itemsize - 1
    values = values[:]
    if sys.byteorder == "little":
        values.byteswap()
    path.write_bytes(f"P5 {size[1]} {size[0]} {largest}\n".encode() + values.tobytes())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--server", default="localhost:8500")
    parser.add_argument("--model", required=True)
    options = parser.parse_args()
    try:
        files = [path.read_bytes() for path in options.images]
    except OSError as error:
        raise SystemExit(f"{error.filename}: {error.strerror}") from None
    with grpc.insecure_channel(options.server, options=UNLIMITED) as channel:
        try:
            names = class_names(channel, options.model)
            found = segment(channel, options.model, files, ["classes", "sizes"])
        except grpc.RpcError as error:
            said = f"{error.code().name}: {sentence(error.details())}"
            raise SystemExit(f"{options.server}: {said}") from None
    for i, path in enumerate(options.images):
        classes, size = classes_of(found, i)
        out = path.with_name(f"{path.name}_classes.pgm")
        write_pgm(out, classes, size)
        print(f"{out}:")
        for index, count in sorted(collections.Counter(classes).items()):
            print(f"  {names[index]:<20}{count / len(classes):7.1%}")


if __name__ == "__main__":
    main()
