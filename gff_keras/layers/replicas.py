"""What layers and losses must know of tf.distribute: sums over all replicas of a training step."""

import keras
from keras import ops


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
    return context.all_reduce(tf.distribute.ReduceOp.SUM, x)


def has_replicas():
    """Whether the code being traced runs on several replicas in step."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    context = tf.distribute.get_replica_context()  # None while Keras builds symbolically
    return context is not None and context.num_replicas_in_sync > 1
