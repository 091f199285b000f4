"""Refuse a backend of Keras that is not supported or not installed, before Keras is imported."""

import importlib.util
import os
import sys


def problem(backend):
    """Return what is wrong with a value of KERAS_BACKEND in one sentence, or None."""
    if backend not in (None, "", "tensorflow", "jax"):
        return f"KERAS_BACKEND={backend} must be tensorflow or jax."
    if backend == "jax" and not _is_installed("jax"):
        return (
            "KERAS_BACKEND=jax needs the package jax, which is not installed; in a copy of "
            'gff_keras: pip install -c constraints.txt -e ".[jax]".'
        )
    return None


def _is_installed(package):
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # set to None in sys.modules: Python's way to forbid an import
        return False


if sentence := problem(os.environ.get("KERAS_BACKEND")):
    if os.path.basename(sys.argv[0]) not in ("gff-keras", "-m"):
        raise ImportError(sentence)
    print(f"gff-keras: error: {sentence}", file=sys.stderr)  # the command line: no traceback
    sys.exit(2)
