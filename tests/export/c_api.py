"""Runs a signature through TensorFlow's C API: no Python code of TensorFlow takes part."""

import ctypes
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

_TYPES = {4: np.uint8, 1: np.float32, 3: np.int32}  # TF_DataType


class Port(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


def library():
    folder = Path(tf.__file__).parent
    found = ctypes.CDLL(str(next(folder.glob("libtensorflow_cc.*"))))
    pointers = """TF_NewStatus TF_NewGraph TF_NewSessionOptions TF_LoadSessionFromSavedModel
        TF_GraphOperationByName TF_AllocateTensor TF_TensorData"""
    for name in pointers.split():
        getattr(found, name).restype = ctypes.c_void_p
    found.TF_Message.restype = ctypes.c_char_p
    found.TF_Dim.restype = ctypes.c_int64
    return found


def run(folder, signature, images):
    """Return the outputs by name of a signature of pixels."""
    tf_c = library()
    status, graph = ctypes.c_void_p(tf_c.TF_NewStatus()), ctypes.c_void_p(tf_c.TF_NewGraph())

    def check():
        assert tf_c.TF_GetCode(status) == 0, tf_c.TF_Message(status)

    options = ctypes.c_void_p(tf_c.TF_NewSessionOptions())
    session = ctypes.c_void_p(
        tf_c.TF_LoadSessionFromSavedModel(
            options,
            None,
            str(folder).encode(),
            (ctypes.c_char_p * 1)(b"serve"),
            1,
            graph,
            None,
            status,
        )
    )
    check()
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    definition = saved.meta_graphs[0].signature_def[signature]

    def port(tensor):
        name, index = tensor.name.split(":")
        return Port(tf_c.TF_GraphOperationByName(graph, name.encode()), int(index))

    dims = (ctypes.c_int64 * images.ndim)(*images.shape)
    size = ctypes.c_size_t(images.nbytes)
    given = ctypes.c_void_p(tf_c.TF_AllocateTensor(4, dims, images.ndim, size))
    at = ctypes.c_void_p(tf_c.TF_TensorData(given))
    ctypes.memmove(at, images.ctypes.data, images.nbytes)
    names = list(definition.outputs)
    found = (ctypes.c_void_p * len(names))()
    tf_c.TF_SessionRun(
        session,
        None,
        (Port * 1)(port(definition.inputs["images"])),
        (ctypes.c_void_p * 1)(given),
        1,
        (Port * len(names))(*(port(definition.outputs[name]) for name in names)),
        found,
        len(names),
        None,
        0,
        None,
        status,
    )
    check()
    return {name: array(tf_c, ctypes.c_void_p(x)) for name, x in zip(names, found, strict=True)}


def array(tf_c, tensor):
    shape = [tf_c.TF_Dim(tensor, i) for i in range(tf_c.TF_NumDims(tensor))]
    dtype = np.dtype(_TYPES[tf_c.TF_TensorType(tensor)])
    count = int(np.prod(shape))
    data = ctypes.string_at(tf_c.TF_TensorData(tensor), count * dtype.itemsize)
    return np.frombuffer(data, dtype).reshape(shape)
