"""Which devices train together, and which share of the data each of them reads.

| what the process finds                         | what trains                                |
|------------------------------------------------|--------------------------------------------|
| several workers in TF_CONFIG, or under `srun`  | the GPUs of all of them, else their CPUs   |
| `cpu_replicas` N                               | N logical CPUs, to try replicas without GPU |
| several GPUs                                   | all of them                                |
| one GPU, or none                               | that GPU, or the CPU                       |

A replica is one device with a copy of the network. All of them take a step together, each with its
part of the batch: loss, gradient and batch statistics are those of the whole batch, so the weights
are those that one device would find.
"""

import math

import keras
import tensorflow as tf

from gff_keras.data import evaluation_dataset, num_examples, training_dataset
from gff_keras.training import multi_worker
from gff_keras.training.cluster import cluster


def choose(cpu_replicas=0):
    """Return the `tf.distribute.Strategy` of this process; call it before all else.

    Args:
        cpu_replicas: number of logical CPUs to train on instead of GPUs; 0 for none.

    Raises:
        ValueError: logical CPUs cannot be had: TensorFlow has started its devices, there are
            several workers, or Keras runs on another backend.
    """
    several_machines = cluster()
    if keras.backend.backend() != "tensorflow":
        if cpu_replicas or several_machines:
            raise ValueError(
                f"Replicas need Keras on TensorFlow, but it runs on {keras.backend.backend()}; set "
                "KERAS_BACKEND=tensorflow, or train on one device without cpu_replicas."
            )
        return tf.distribute.get_strategy()
    if several_machines:
        if cpu_replicas:
            raise ValueError(
                f"cpu_replicas={cpu_replicas} is for one process, but there are several workers; "
                "leave one of them out."
            )
        return multi_worker.connect()
    if cpu_replicas:
        return tf.distribute.MirroredStrategy(_logical_cpus(cpu_replicas))
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def describe(strategy, batch_size):
    """Return a line such as "2 replicas on 1 machine (CPU:0, CPU:1), 4 images each".

    Raises:
        ValueError: the batch cannot be split evenly.
    """
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        more = math.ceil(batch_size / replicas) * replicas
        raise ValueError(
            f"batch_size={batch_size} cannot be split evenly among {replicas} replicas; it is the "
            f"number of images of a step on all of them: give {more}, for example."
        )
    workers = multi_worker.num_workers(strategy)
    devices = ", ".join(device.split("device:")[-1] for device in _devices(strategy))
    return (
        f"{_count(replicas, 'replica')} on {_count(workers, 'machine')} ({devices}"
        f"{' on each' if workers > 1 else ''}), {_count(batch_size // replicas, 'image')} each"
    )


def training_batches(strategy, data_dir, split, *, batch_size, start_step=0, **options):
    """Return `training_dataset` for `fit`: each replica reads its part of every batch.

    All replicas together see at each step the examples that one replica would see.

    Args:
        strategy: what `choose` returned.
        data_dir: folder of records.
        split: name of a split.
        batch_size: images of a step on all replicas.
        start_step: step to begin with.
        **options: further arguments of `training_dataset`.
    """

    def share(context):
        # Replicas of a worker take turns at its batches, so a step takes one batch for each.
        replicas = context.num_replicas_in_sync // context.num_input_pipelines
        return training_dataset(
            data_dir,
            split,
            batch_size=context.get_per_replica_batch_size(batch_size),
            start_step=start_step * replicas,
            shard=context,
            **options,
        )

    return strategy.distribute_datasets_from_function(share)


def validation_batches(strategy, data_dir, split, *, batch_size, **options):
    """Return `evaluation_dataset` for `fit`, and the steps it takes; None: until it ends.

    Replicas take whole batches in turn, so that images of different sizes need no padding and a
    batch has the loss that it has on one replica. Where the last turn has too few, TensorFlow
    gives the rest of the replicas batches without images; see `multi_worker.prepare_fit`.

    Args:
        strategy: what `choose` returned.
        data_dir: folder of records.
        split: name of a split.
        batch_size: images of a batch, as on one replica.
        **options: further arguments of `evaluation_dataset`.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return evaluation_dataset(data_dir, split, batch_size=batch_size, **options), None
    steps = math.ceil(num_examples(data_dir, split) / (batch_size * replicas))

    def share(context):
        batches = evaluation_dataset(data_dir, split, batch_size=batch_size, **options)
        own = batches.shard(context.num_input_pipelines, context.input_pipeline_id)
        # `filter` hides the number of batches: by it Keras would end validation earlier on a worker
        # that has fewer, and the others would wait for it.
        return own.filter(lambda *batch: True)

    return strategy.distribute_datasets_from_function(share), steps


def _logical_cpus(count):
    cpu, *_ = tf.config.list_physical_devices("CPU")
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * count
        )
    except RuntimeError:  # there are logical devices already; a run before may have made ours
        pass
    if len(tf.config.list_logical_devices("CPU")) < count:
        raise ValueError(
            f"cpu_replicas={count} comes too late: TensorFlow has started its devices in this "
            "process, and they stay as they are; train in a new process."
        )
    return [f"CPU:{i}" for i in range(count)]


def _devices(strategy):
    if keras.backend.backend() != "tensorflow":
        return keras.distribution.list_devices()[:1]
    if strategy.num_replicas_in_sync > 1:
        return strategy.extended.worker_devices
    return ["device:GPU:0" if tf.config.list_physical_devices("GPU") else "device:CPU:0"]


def _count(number, name):
    return f"{number} {name}{'' if number == 1 else 's'}"
