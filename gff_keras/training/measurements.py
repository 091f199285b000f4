"""What a training step used: learning rate and memory."""

import resource
import sys

import keras
import tensorflow as tf


def used_learning_rate(optimizer):
    """Return the learning rate of the last update of the weights; of the first before it.

    `optimizer.learning_rate` is that of the next step. With accumulated gradients an update comes
    at the end of every group of steps; the schedule counts steps.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # float16 wraps it
    rate = optimizer._learning_rate
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        steps, group = (
            int(keras.ops.convert_to_numpy(optimizer._iterations)),
            optimizer.gradient_accumulation_steps or 1,
        )
        rate = rate(max(steps // group * group - 1, 0))
    return float(keras.ops.convert_to_numpy(rate))


def peak_memory_gib():
    """Return the peak use of the fullest GPU; without GPU, of this process."""
    if gpus():
        peak = max(map(_peak, gpus()))
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, else KiB
        peak *= 1 if sys.platform == "darwin" else 1024
    return peak / 2**30


def gpus():
    """Return the GPUs that Keras's backend uses."""
    if keras.backend.backend() == "jax":
        import jax

        return [device for device in jax.local_devices() if device.platform == "gpu"]
    return [f"GPU:{i}" for i, _ in enumerate(tf.config.list_logical_devices("GPU"))]


def _peak(gpu):
    if isinstance(gpu, str):
        return tf.config.experimental.get_memory_info(gpu)["peak"]
    return gpu.memory_stats()["peak_bytes_in_use"]
