"""Labels that are no class: they must stop training wherever they come from, also inside a graph.

This project's records are checked when they are read. A user's own data set is not, and a label
beyond the classes gives, by backend and device, an error without a value, garbage or NaN.
"""

import keras
from keras import ops


def all_known(labels, num_classes, ignore_label=None, name="label"):
    """Stop at a label that is neither a class nor `ignore_label`, where the backend can stop.

    TensorFlow can: eagerly, in graphs and on replicas. XLA and the other backends know no
    assertions; there the caller turns its result into NaN, so that nobody takes it for one.

    Args:
        labels: int32 tensor of any shape.
        num_classes: labels 0..num_classes-1 are known.
        ignore_label: known as well, if given.
        name: what the labels are called in the message.

    Returns:
        Boolean scalar: whether all labels are known.

    Raises:
        tf.errors.InvalidArgumentError: On TensorFlow: names a label and the number of classes.
    """
    outside = ops.logical_or(labels < 0, labels >= num_classes)
    if ignore_label is not None:
        outside = ops.logical_and(outside, labels != ignore_label)
    # Of floats, since TensorFlow reduces integers of a GPU on the CPU.
    highest = ops.max(ops.where(outside, ops.cast(labels, "float32"), -float("inf")))
    known = ops.isinf(highest)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        rest = f"is outside the {num_classes} classes 0..{num_classes - 1}"
        if ignore_label is not None:
            rest += f" and is not {ignore_label}, the label to ignore"
        tf.debugging.Assert(known, [name, tf.cast(highest, "int32"), rest])
    return known
