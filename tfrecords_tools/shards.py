"""Read TFRecord files past their damage, where TensorFlow's own reader stops for good.

A record is its length (8 bytes), the length's checksum (4), its data and the data's checksum (4).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import google_crc32c

_HEADER, _FOOTER = struct.Struct("<QI"), struct.Struct("<I")


def read_shard(path: Path) -> Iterator[tuple[bytes | None, str]]:
    """Yield each record's data and what is wrong with it, or "".

    Reading goes on after a wrong checksum. Where it cannot, the last data is None.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as shard:
            while header := shard.read(_HEADER.size):
                if len(header) < _HEADER.size:
                    yield None, "the file ends within it"
                    return
                length, checksum = _HEADER.unpack(header)
                if checksum != _masked_crc(header[:8]):
                    yield None, "its length field is damaged"
                    return
                if shard.tell() + length + _FOOTER.size > size:
                    yield None, "the file ends within it"
                    return
                data = shard.read(length)
                (checksum,) = _FOOTER.unpack(shard.read(_FOOTER.size))
                intact = checksum == _masked_crc(data)
                yield data, "" if intact else "its checksum does not fit its data"
    except OSError as error:
        yield None, f"the file cannot be read ({error.strerror})"


def _masked_crc(data: bytes) -> int:
    """CRC-32C as TFRecord files keep it: rotated, with a constant added."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
