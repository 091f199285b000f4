"""Standard TFLite metadata: how to feed a model file, and what its classes are called.

TFLite's metadata is a flatbuffer inside the model's, and files appended to the model as a zip
archive. tflite-support, which wrote both, is not built for Python 3.12 and later; mediapipe, which
has taken it over, brings OpenCV and pins of its own for the two hundred bytes that are written here
with flatbuffers. Slot numbers are those of the published schemas, metadata_schema.fbs and
image_segmenter_metadata_schema.fbs.
"""

import io
import json
import zipfile

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

METADATA_BUFFER = "TFLITE_METADATA"
LABELS_FILE = "labels.txt"  # one class name a line, the standard
LABEL_SET_FILE = "labels.json"  # with the palette, as beside a trained model
_AXIS_LABELS, _VALUE_LABELS, _UNKNOWN_FILE = 2, 3, 0
_IMAGE_PROPERTIES, _FEATURE_PROPERTIES = 2, 1  # tags of unions
_NORMALIZATION_OPTIONS = 1
_RGB = 1
_DESCRIPTIONS = {
    "classes": "Class of every pixel, an index into the labels.",
    "logits": "Score of every class before softmax.",
    "confidences": "Probability of every class.",
}


def add_metadata(content, outputs, labels):
    """Return the bytes of a TFLite model with metadata and label files.

    Args:
        content: bytes of a model with one uint8 image as input.
        outputs: names of its outputs, in order: "classes", "logits", "confidences".
        labels: `LabelSet`.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    subgraph = model.subgraphs[0]
    _, height, width, _ = subgraph.tensors[subgraph.inputs[0]].shape
    buffer = schema.BufferT()
    buffer.data = list(_model_metadata(outputs, labels, (int(height), int(width))))
    entry = schema.MetadataT()
    entry.name, entry.buffer = METADATA_BUFFER, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(len(content) + 4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output()) + _archive(labels)


def _archive(labels):
    """A zip archive of the label files; what reads it looks for its end at the end of the file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:  # uncompressed, so that it can be mapped
        for name, text in (
            (LABELS_FILE, "\n".join(labels.classes) + "\n"),
            (LABEL_SET_FILE, json.dumps(labels.to_dict())),
        ):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)  # reproducible
    return file.getvalue()


def _model_metadata(outputs, labels, size):
    b = flatbuffers.Builder(2048)
    input_metadata = _tensor(
        b,
        "image",
        "RGB image, 0..255. Normalisation is inside the model.",
        content=_image_content(b, size),
        process_units=[_normalization(b)],
        stats=_table(b, (0, _floats(b, [255.0])), (1, _floats(b, [0.0]))),
    )
    output_metadata = [
        _tensor(
            b,
            name,
            _DESCRIPTIONS[name],
            content=_table(b, (0, "int8", _FEATURE_PROPERTIES), (1, _table(b))),
            files=[_file(b, LABELS_FILE, _AXIS_LABELS)],
        )
        for name in outputs
    ]
    subgraph = _table(
        b,
        (0, b.CreateString("segmenter")),
        (2, _vector(b, [input_metadata])),
        (3, _vector(b, output_metadata)),
        (9, _vector(b, [_segmenter_options(b)])),
    )
    metadata = _table(
        b,
        (0, b.CreateString("GFFNet")),
        (1, b.CreateString(f"Semantic segmentation, {labels.num_classes} classes: {labels.name}")),
        (3, _vector(b, [subgraph])),
        (6, _vector(b, [_file(b, LABEL_SET_FILE, _UNKNOWN_FILE)])),
        (7, b.CreateString("1.5.0")),
    )
    b.Finish(metadata, file_identifier=b"M001")
    return bytes(b.Output())


def _segmenter_options(b):
    """Custom metadata in which MediaPipe looks for the activation to apply: none."""
    options = flatbuffers.Builder(64)
    table = _table(options, (0, "int8", 0), (1, options.CreateString("1.0.0")))
    options.Finish(table, file_identifier=b"V001")
    data = b.CreateByteVector(bytes(options.Output()))
    return _table(b, (0, b.CreateString("SEGMENTER_METADATA")), (1, data))


def _tensor(b, name, description, content, process_units=(), stats=None, files=()):
    fields = [(0, b.CreateString(name)), (1, b.CreateString(description)), (3, content)]
    if process_units:
        fields.append((4, _vector(b, process_units)))
    if stats is not None:
        fields.append((5, stats))
    if files:
        fields.append((6, _vector(b, files)))
    return _table(b, *fields)


def _image_content(b, size):
    default_size = _table(b, (0, "uint32", size[1]), (1, "uint32", size[0]))
    properties = _table(b, (0, "int8", _RGB), (1, default_size))
    return _table(b, (0, "int8", _IMAGE_PROPERTIES), (1, properties))


def _normalization(b):
    """(pixel - mean) / std as the model wants it: pixels as they are."""
    options = _table(b, (0, _floats(b, [0.0])), (1, _floats(b, [1.0])))
    return _table(b, (0, "int8", _NORMALIZATION_OPTIONS), (1, options))


def _file(b, name, kind):
    return _table(b, (0, b.CreateString(name)), (2, "int8", kind))


def _floats(b, values):
    b.StartVector(4, len(values), 4)
    for value in reversed(values):
        b.PrependFloat32(value)
    return b.EndVector()


def _vector(b, offsets):
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return b.EndVector()


def _table(b, *fields):
    """A table of `(slot, offset)` and `(slot, "int8" | "uint32", value)`."""
    b.StartObject(max((slot for slot, *_ in fields), default=-1) + 1)
    for slot, *value in fields:
        if len(value) == 1:
            b.PrependUOffsetTRelativeSlot(slot, value[0], 0)
        elif value[0] == "int8":
            b.PrependInt8Slot(slot, value[1], 0)
        else:
            b.PrependUint32Slot(slot, value[1], 0)
    return b.EndObject()
