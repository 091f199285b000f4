"""A backbone of KerasHub, as docs/backbones.md shows it."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest

from gff_keras.backbones import as_backbone

keras_hub = pytest.importorskip("keras_hub")


@pytest.fixture(scope="module")
def shown():
    """What the Python of the section on KerasHub defines."""
    text = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text()
    names: dict = {}
    exec(re.search(r"```python\n(import keras_hub.*?)```", text, re.DOTALL)[1], names)
    return names


def test_features_are_the_pyramid_outputs(rng, shown):
    backbone = shown["backbone"]
    x = rng.normal(size=(1, 65, 97, 3)).astype("float32")
    pyramid = keras.Model(backbone.inputs, backbone.pyramid_outputs)(x)
    features = as_backbone(backbone)(x)
    for level, ours in zip(("P2", "P3", "P4", "P5"), features, strict=True):
        np.testing.assert_array_equal(ours, pyramid[level])
    assert [f.shape[1:3] for f in features] == [(17, 25), (9, 13), (5, 7), (3, 4)]


def test_a_network_on_it_is_saved_and_loaded(rng, shown, tmp_path):
    model = shown["model"]
    x = rng.integers(0, 256, (1, 65, 97, 3), "uint8")
    expected = model(x)["logits"]
    assert expected.shape == (1, 65, 97, 19)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x)["logits"], expected)
    modules = {type(layer).__module__.split(".")[0] for layer in loaded.backbone.layers}
    assert modules == {"keras"}  # such a file needs no keras_hub
