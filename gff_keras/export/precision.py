"""The width of the arithmetic of what is exported."""

import keras

DTYPES = ("float32", "mixed_bfloat16")


def with_dtype(model, dtype):
    """Return a copy of a `GFFNet` with the same weights under another dtype policy.

    Args:
        model: `GFFNet`.
        dtype: "float32" or "mixed_bfloat16".

    Raises:
        ValueError: `dtype` is none of these.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} is unknown; choose one of {', '.join(DTYPES)}.")
    config = keras.saving.serialize_keras_object(model)["config"]
    copy = type(model).from_config({**_replace_policies(config, dtype), "dtype": dtype})
    copy.set_weights(model.get_weights())
    return copy


def _replace_policies(config, dtype):
    """The configuration with `dtype` wherever it names a policy."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return {**config, "config": {"name": dtype}}
        return {key: _replace_policies(value, dtype) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(_replace_policies(value, dtype) for value in config)
    return config
