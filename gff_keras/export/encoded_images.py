"""JPEG and PNG files to upright RGB in TensorFlow's own operations, wherever the bytes come from.

The pixels are those of `gff_keras.evaluation.images.read_image`. A header is read, and refused
where it promises too much, before anything is decoded: a PNG of a few bytes may announce
65535 x 65535 pixels. All errors are InvalidArgument.
"""

import tensorflow as tf

MAX_SIDE = 16384  # resizing holds a matrix of a side by the network's side
_MAX_BLOCKS = 4096  # of a file, that are searched for its orientation
_MAX_SCANS = 100  # of a progressive JPEG, each a walk over all pixels; encoders write about ten
_MAX_UNFOLDED = 32  # texts and profiles in a PNG, each of which may unfold to 8 MB
_PNG = b"\x89PNG\r\n\x1a\n"
_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112


def read_headers(images, max_pixels):
    """Return what the headers of encoded images tell.

    Args:
        images: string tensor (B,).
        max_pixels: most pixels that an image may have.

    Returns:
        int32 tensors: `sizes` (B, 2), heights and widths of the upright images, and `orientations`
        (B,), EXIF's 1..8.

    Raises:
        InvalidArgumentError: an image is neither JPEG nor PNG, or would take too much to decode.
    """

    def read(item):
        i, data = item
        is_png = tf.strings.substr(data + b"\0" * 8, 0, 8) == _PNG
        is_jpeg = tf.strings.substr(data + b"\0" * 3, 0, 3) == b"\xff\xd8\xff"
        name = tf.strings.join(["image ", tf.strings.as_string(i), " of the batch"])
        known = require(is_png | is_jpeg, name, " is neither JPEG nor PNG")
        with tf.control_dependencies([known]):
            size = tf.cond(is_png, lambda: _png_size(data, name), lambda: _jpeg_size(data, name))
        small = tf.reduce_prod(size) <= max_pixels
        fits = (tf.reduce_min(size) > 0) & (tf.reduce_max(size) <= MAX_SIDE) & small
        limit = f" pixels; the limit is {max_pixels}, and {MAX_SIDE} for a side"
        checked = require(fits, name, " has ", size[0], " x ", size[1], limit)
        with tf.control_dependencies([checked]):
            start = tf.cond(is_png, lambda: _find_in_png(data), lambda: _find_in_jpeg(data))
        orientation = tf.cond(start < 0, lambda: 1, lambda: _read_orientation(data, start))
        size = tf.where(orientation >= 5, size[::-1], size)
        return tf.cast(size, tf.int32), orientation

    return tf.map_fn(
        read,
        (tf.range(tf.size(images)), images),
        fn_output_signature=(tf.TensorSpec((2,), tf.int32), tf.TensorSpec((), tf.int32)),
        parallel_iterations=1,
    )


def decode(data, orientation):
    """Decode one image whose header has been read: string () to uint8 (H, W, 3), upright."""
    image = tf.cond(
        tf.io.is_jpeg(data),
        # Accurate as Pillow is; TensorFlow's default is up to ten grey levels off.
        lambda: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_png(data, channels=3),
    )
    turned = tf.cond(orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    rows = tf.where(_is_any(orientation, (3, 4, 7, 8)), -1, 1)
    columns = tf.where(_is_any(orientation, (2, 3, 6, 7)), -1, 1)
    return tf.ensure_shape(turned[::rows, ::columns], (None, None, 3))


def require(condition, *parts):
    """Return an operation that fails with one sentence, made of texts and integer tensors."""
    tensors = [tf.convert_to_tensor(part) for part in parts]
    texts = [x if x.dtype == tf.string else tf.strings.as_string(x) for x in tensors]
    return tf.debugging.Assert(condition, [tf.strings.join(texts)])


def _is_any(x, values):
    return tf.reduce_any(x[..., None] == tf.constant(values, x.dtype), -1)


def _png_size(data, name):
    """(height, width), int64, of the header that must come first."""
    header = _bytes(data, 12, 12)
    has_header = require(_equal(header[:4], b"IHDR"), name, " is a PNG without a header")
    unfolded = sum(_occurrences(data, kind) for kind in (b"zTXt", b"iTXt", b"iCCP"))
    limit = f" compressed texts and profiles; the limit is {_MAX_UNFOLDED}"
    few = require(unfolded <= _MAX_UNFOLDED, name, " has ", unfolded, limit)
    with tf.control_dependencies([has_header, few]):
        return tf.stack([_big_endian(header[8:12]), _big_endian(header[4:8])])


def _jpeg_size(data, name):
    scans = _occurrences(data, b"\xff\xda")
    # What follows the pixels (a film of the moment) holds the mark by chance, once in 65536 bytes.
    limit = _MAX_SCANS + _length(data) // 16384
    few = require(scans <= limit, name, " has ", scans, " scans; the limit is ", limit)
    with tf.control_dependencies([few]):
        return _int64(tf.io.extract_jpeg_shape(data)[:2])


def _find_in_jpeg(data):
    """Where the EXIF block starts, int64; -1 if there is none before the pixels."""

    def is_before_pixels(at, found):
        head = _bytes(data, at, 2)
        begins_pixels = (head[0] == 0xFF) & _is_any(head[1], (0xDA, 0xD9))
        return (found < 0) & (at < _length(data)) & ~begins_pixels

    def step(at, found):
        head = _bytes(data, at, 10)
        is_exif = (head[0] == 0xFF) & (head[1] == 0xE1) & _equal(head[4:], _EXIF)
        found = tf.where(is_exif, at + 10, found)
        is_filling = (head[0] != 0xFF) | (head[1] == 0xFF)  # also what no segment should have left
        is_mark = _is_any(head[1], (0x00, 0x01, *range(0xD0, 0xD8)))  # without a length
        length = tf.where(is_mark, _int64(2), 2 + _big_endian(head[2:4]))
        return at + tf.where(is_filling, _int64(1), length), found

    return _search(is_before_pixels, step, 2)


def _find_in_png(data):
    """Where the EXIF data start; of several chunks the last counts, as for Pillow."""

    def is_chunk(at, _):
        is_last = _equal(_bytes(data, at + 4, 4), b"IEND")
        return (at + 12 <= _length(data)) & ~is_last

    def step(at, found):
        head = _bytes(data, at, 8)
        is_exif = _equal(head[4:], b"eXIf")
        found = tf.where(is_exif, at + 8, found)
        return at + 12 + _big_endian(head[:4]), found

    return _search(is_chunk, step, 8)


def _search(condition, step, start):
    start, nowhere = _int64(start), _int64(-1)
    loop = tf.while_loop(
        condition, step, (start, nowhere), parallel_iterations=1, maximum_iterations=_MAX_BLOCKS
    )
    return loop[1]


def _read_orientation(data, start):
    """Orientation in the first directory of a TIFF structure; 1 if there is none, or nonsense."""
    start += tf.where(_equal(_bytes(data, start, 6), _EXIF), _int64(len(_EXIF)), 0)  # once more
    header = _bytes(data, start, 8)
    little, big = _equal(header[:4], b"II*\0"), _equal(header[:4], b"MM\0*")

    def number(parts):
        return tf.where(little, _big_endian(parts[..., ::-1]), _big_endian(parts))

    directory = start + number(header[4:])
    count = number(_bytes(data, directory, 2))
    count = tf.minimum(count, tf.maximum(_length(data) - directory - 2, 0) // 12)
    entries = tf.reshape(_bytes(data, directory + 2, 12 * count), (-1, 12))
    fields = tf.stack([number(entries[:, at : at + n]) for at, n in ((0, 2), (2, 2), (4, 4))], 1)
    tag, kind, length = tf.unstack(fields, axis=1)
    is_short = _is_any(kind, (3, 8)) & _is_any(length, (1, 2))  # of two the first counts
    is_long = _is_any(kind, (4, 9)) & (length == 1)
    values = tf.where(is_short, number(entries[:, 8:10]), number(entries[:, 8:12]))
    values = tf.boolean_mask(values, (tag == _ORIENTATION) & (is_short | is_long))
    value = tf.concat([values, _int64([1])], 0)[0]
    return tf.cast(
        tf.where((little | big) & (value >= 1) & (value <= 8), value, _int64(1)), tf.int32
    )


def _bytes(data, start, count):
    """Bytes of a string as int64 numbers, zeros beyond its end."""
    inside = tf.clip_by_value(_int64(start), 0, _length(data))
    many = _int64(count)
    part = tf.io.decode_raw(tf.strings.substr(data, inside, many), tf.uint8)
    padded = _int64(tf.pad(part, [[0, many - tf.size(part, tf.int64)]]))
    return tf.ensure_shape(padded, (count if isinstance(count, int) else None,))


def _equal(numbers, text):
    return tf.reduce_all(numbers == _int64(list(text)))


def _occurrences(data, pattern):
    """How often `pattern` stands anywhere in a string, int64."""
    numbers = tf.io.decode_raw(data, tf.uint8)
    count = tf.maximum(tf.size(numbers) - len(pattern) + 1, 0)
    found = [numbers[at : at + count] == byte for at, byte in enumerate(pattern)]
    return tf.math.count_nonzero(tf.reduce_all(found, 0))


def _length(data):
    return _int64(tf.strings.length(data))


def _big_endian(parts):
    powers = [256**i for i in reversed(range(parts.shape[-1]))]
    return tf.reduce_sum(parts * _int64(powers), -1)


def _int64(x):
    return tf.cast(x, tf.int64)
