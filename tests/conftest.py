"""Shared fixtures."""

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def rng():
    """A seeded generator: the same numbers in every run."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def gff_data():
    """Folder of real images, masks and weights, named by the environment variable GFF_DATA."""
    folder = os.environ.get("GFF_DATA")
    if not folder:
        pytest.skip("GFF_DATA names no folder of real data")
    return Path(folder)
