"""XLA for the training step alone."""


def compile_train_step(model):
    """Let XLA compile the training step of a model, after `model.compile(jit_compile=False)`.

    `jit_compile=True` would compile validation, too, anew for every size of an image.

    Raises:
        ValueError: the model trains on several replicas; XLA compiles for one device.
    """
    strategy = getattr(model, "distribute_strategy", None)  # TensorFlow's models have one
    if strategy and strategy.num_replicas_in_sync > 1:
        raise ValueError(
            "jit_compile compiles for one device, this run has "
            f"{strategy.num_replicas_in_sync} replicas; leave it out."
        )
    model.make_test_function()  # made now, it stays as it is
    model.jit_compile = True
