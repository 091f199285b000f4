"""Evaluation with the moving average of the weights that an optimizer with `use_ema=True` keeps."""

import contextlib

import keras


@contextlib.contextmanager
def averaged_weights(model):
    """Within the `with` block the model has the average of its trainable weights.

    Running statistics of batch normalisation are not averaged a second time.

    Raises:
        ValueError: the model's optimizer keeps no average.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # float16 wraps it
    averages = getattr(optimizer, "_model_variables_moving_average", None)
    if averages is None:
        raise ValueError(
            "The optimizer keeps no average of the weights: give it use_ema=True, and train first."
        )
    variables = optimizer._trainable_variables
    raw = _copy(variables)
    _assign(variables, _copy(averages))  # a copy: JAX would give one buffer to both
    try:
        yield
    finally:
        _assign(variables, raw)


def _copy(variables):
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class ValidateAverage(keras.callbacks.Callback):
    """Validate the averaged weights in `fit`.

    Callbacks before this one see the average at the end of an epoch: a `ModelCheckpoint` that keeps
    the best. Those after it see the raw weights again, with which training goes on, to the last
    bit. (Keras's `SwapEMAWeights` swaps by adding and subtracting, which rounds them.)
    """

    def __init__(self):
        super().__init__()
        self.average = contextlib.ExitStack()

    def on_test_begin(self, logs=None):
        self.average.enter_context(averaged_weights(self.model))

    def on_epoch_end(self, epoch, logs=None):
        self.average.close()
