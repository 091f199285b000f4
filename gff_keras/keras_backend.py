"""Refuse a backend of Keras that is not supported or not installed, before Keras is imported."""

import importlib.util
import os
import sys


def problem(backend):
    """Return what is wrong with a value of KERAS_BACKEND in one sentence, or None."""
    if backend not in (None, "", "tensorflow", "jax"):
        return f"KERAS_BACKEND={backend} must be tensorflow or jax."
    if backend == "jax" and importlib.util.find_spec("jax") is None:
        return (
            "KERAS_BACKEND=jax needs the package jax, which is not installed; in a copy of "
            'gff_keras: pip install -c constraints.txt -e ".[jax]".'
        )
    return None


def refuse(backend):
    """End the command line with the sentence, without a traceback; raise ImportError elsewhere."""
    sentence = problem(backend)
    if sentence and os.path.basename(sys.argv[0]) not in ("gff-keras", "-m"):
        raise ImportError(sentence)
    if sentence:
        print(f"gff-keras: error: {sentence}", file=sys.stderr)
        sys.exit(2)


refuse(os.environ.get("KERAS_BACKEND"))
