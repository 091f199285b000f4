"""Training on several machines, and all that Keras and TensorFlow need to be told for it.

Every worker runs the same program, and `cluster.py` finds them. Some operations, such as a step or
reading a metric, need all workers at once: each must call them in the same order, or all of them
wait for ever. Only the chief, the first worker, writes files.
"""

import contextlib
import re

import keras
import tensorflow as tf

from gff_keras.training.cluster import meet


def connect():
    """Wait for all workers of the cluster and return their `tf.distribute.Strategy`."""
    meet()
    # What runs without a graph runs once, before the first step.
    tf.get_logger().addFilter(lambda record: "eagerly has significant" not in record.getMessage())
    return tf.distribute.MultiWorkerMirroredStrategy()


def num_workers(strategy):
    """Return the number of processes that train together."""
    return getattr(strategy.extended, "_num_workers", 1)


def strategy_of(model):
    """Return the strategy that a model was made under; on other backends, that of one device."""
    return getattr(model, "distribute_strategy", None) or tf.distribute.get_strategy()


def is_chief(strategy):
    """Whether this process writes the files."""
    return strategy.extended.should_checkpoint if num_workers(strategy) > 1 else True


def prepare_fit(model):
    """Make Keras's `fit` and `evaluate` work for a compiled model under any strategy.

    Call it in the strategy's scope, where the model was made. Three things in Keras 3 stand in the
    way (for 1 and 2 see github.com/keras-team/keras/issues/20585):

    1. To build what is not yet built, `fit` and `evaluate` average the replicas' first batches.
       That fails for images, which are integers, and for images of different sizes. So all is built
       here, and the method that would build does nothing.
    2. Among several workers, the logs of a step are averaged along their first axis, which numbers
       lack. So steps return logs of shape (1,).
    3. At the end of validation, replicas for which nothing is left get a batch without images, even
       without height and width, which convolutions refuse. So such a batch is passed over.
    """
    strategy = strategy_of(model)
    if strategy.num_replicas_in_sync == 1:
        return
    if not model.optimizer.built:  # a second time, loss scaling would make its variables again
        model.optimizer.build(model.trainable_variables)
    model._maybe_symbolic_build = lambda iterator=None, data_batch=None: None
    model.test_step = _passing_over_nothing(model, model.test_step)
    if num_workers(strategy) > 1:
        model.train_step = _with_an_axis(model.train_step)
        model.test_step = _with_an_axis(model.test_step)


def draw_apart(model):
    """Give each replica random numbers of its own: with the same, dropout would repeat its masks.

    Call it once, when the model has its first weights or those of a checkpoint, which has the
    random state of the first replica; those of the others follow from it.
    """
    strategy = strategy_of(model)
    states = [v for v in model.variables if v.path.endswith("seed_generator_state")]

    def shift():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        for state in states:  # (seed, numbers drawn)
            state.assign(state.value + tf.cast([replica, 0], state.dtype))

    if strategy.num_replicas_in_sync > 1:
        strategy.run(shift)


def from_chief(strategy, variables):
    """Give variables the chief's values, where each worker has computed its own."""
    if num_workers(strategy) == 1:
        return
    for variable in variables:
        variable.assign(_sum(strategy, variable.numpy() * is_chief(strategy)))


def agree(strategy, number, name):
    """Raise ValueError unless a number is the same on all workers.

    Args:
        strategy: of the run.
        number: what this worker has.
        name: what it is, for the message: the folder that it was read from, for example.
    """
    if num_workers(strategy) == 1:
        return
    total, squares = _sum(strategy, tf.constant([number, number**2], tf.float64)).numpy()
    if total**2 != squares * num_workers(strategy):  # else all are the same
        raise ValueError(
            f"the workers see different contents in {name} (this one: {number}); it must lie on a "
            "file system that all of them share."
        )


class AgreedSignals(keras.callbacks.Callback):
    """A signal that one worker received is received by all of them, after the same step.

    Args:
        signals: `StopSignals` of this process.
        strategy: of the run.
    """

    def __init__(self, signals, strategy):
        super().__init__()
        self.signals = signals
        self.strategy = strategy
        self.received = None

    def on_train_batch_end(self, batch, logs=None):
        if num_workers(self.strategy) == 1:
            self.received = self.signals.received
            return
        local = tf.one_hot(self.signals.received or 0, 65)  # workers per signal number, 0 for none
        numbers = _sum(self.strategy, local).numpy()[1:]
        self.received = int(numbers.argmax()) + 1 if numbers.any() else None

    on_test_batch_end = on_train_batch_end


@contextlib.contextmanager
def together(strategy):
    """Context of a run: no worker leaves before the chief is done, and none waits for a lost one.

    Raises:
        ConnectionError: a worker has stopped. TensorFlow's heartbeat notices within ten seconds
            once a step runs; while a graph is built, when that is done.
    """
    if num_workers(strategy) == 1:
        yield
        return
    remedy = "Start all of them again with --resume to go on from the last checkpoint."
    try:
        yield
        if is_chief(strategy):
            remedy = "The run had come to its end: all its files are written."
        _sum(strategy, tf.zeros(1))  # a worker that ends early looks like a lost one
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.DeadlineExceededError,
        tf.errors.FailedPreconditionError,
        tf.errors.CancelledError,
        tf.errors.InternalError,
    ) as error:
        # Errors of this worker's own device have the same types.
        if not re.search("ollective|/job:|oordination|peer|socket", error.message, re.IGNORECASE):
            raise
        raise ConnectionError(
            "another worker has stopped, so this one stops, too; its own output tells why. "
            f"{remedy} (TensorFlow says: {reason(error.message)})"
        ) from error


def reason(message):
    """The line of an error from a graph that says what happened."""
    frames = ("Graph execution error", "Detected at", "<stack traces", "File ")
    lines = [line.strip() for line in message.splitlines()]
    line = next((line for line in lines if line and not line.startswith(frames)), message)
    return re.sub(r"^\{\{.*?\}\} ", "", line)  # the node of the graph


def _with_an_axis(step):
    def wrapped(data):
        return {name: keras.ops.reshape(value, (1,)) for name, value in step(data).items()}

    return wrapped


def _passing_over_nothing(model, step):
    def wrapped(data):
        return tf.cond(tf.size(data[0]) > 0, lambda: step(data), model.get_metrics_result)

    return wrapped


def _sum(strategy, value):
    """Add up the workers' values, outside of a step."""
    return strategy.reduce(tf.distribute.ReduceOp.SUM, tf.convert_to_tensor(value), axis=None)
