"""What layers and losses must know of tf.distribute: sums over all replicas of a training step."""

import contextlib
import contextvars

import keras
from keras import ops

_apart = contextvars.ContextVar("apart", default=False)


@contextlib.contextmanager
def apart():
    """Context in which each replica stands for itself: sums are taken as if all were like it.

    For validation, where replicas may have images of different sizes, or none: the mean of a loss
    over replicas, which is what Keras logs, is then the mean over their batches.
    """
    token = _apart.set(True)
    try:
        yield
    finally:
        _apart.reset(token)


def sum_over_replicas(x):
    """Sum a tensor over the replicas of a `tf.distribute` strategy; `x` itself where there is one.

    Tensors of a list are summed each for itself. Gradients flow back to every replica. Other
    backends than TensorFlow see the whole batch anyway.
    """
    if not has_replicas():
        return x
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    x = keras.tree.map_structure(ops.convert_to_tensor, x)
    if _apart.get():
        return keras.tree.map_structure(lambda part: part * context.num_replicas_in_sync, x)
    return context.all_reduce(tf.distribute.ReduceOp.SUM, x)


def has_replicas():
    """Whether the code being traced runs on several replicas in step."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    context = tf.distribute.get_replica_context()  # None while Keras builds symbolically
    return context is not None and context.num_replicas_in_sync > 1
