import keras
import numpy as np
import pytest

from gff_keras.layers import ImageNormalization


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_zero_mean_unit_variance_of_imagenet(rng, dtype):
    images = rng.integers(0, 256, (2, 5, 6, 3)).astype(dtype)
    y = ImageNormalization()(images)
    expected = (images / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert y.dtype == "float32"
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_constants_of_another_source_are_saved(rng, tiny_model, tmp_path):
    model = tiny_model()
    count = len(model.trainable_weights)
    mean, std = rng.uniform(90, 150, 3), rng.uniform(0.5, 80, 3)
    model.get_layer("normalize").assign(mean, std)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").get_layer("normalize")
    images = rng.integers(0, 256, (2, 5, 6, 3), "uint8")
    np.testing.assert_allclose(loaded(images), (images - mean) / std, rtol=1e-5, atol=1e-5)
    assert count == len(model.trainable_weights) and loaded.trainable_weights == []


def test_files_from_before_mean_and_std_were_weights(rng, tiny_model, tmp_path, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr(ImageNormalization, "save_own_variables", lambda self, store: None)
        model = tiny_model()
        model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    images = rng.integers(0, 256, (1, 17, 26, 3), "uint8")
    np.testing.assert_array_equal(loaded(images)["logits"], model(images)["logits"])


def test_constants_are_float32_under_any_policy(rng):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = ImageNormalization()
        y = layer(rng.integers(0, 256, (1, 5, 6, 3), "uint8"))
    finally:
        keras.config.set_dtype_policy("float32")
    assert [w.dtype for w in layer.weights] == ["float32"] * 2 and y.dtype == "float32"


@pytest.mark.parametrize("channels", [1, 4])
def test_other_images_than_rgb_are_refused(rng, channels):
    with pytest.raises(ValueError, match=f"images have {channels} channels"):
        ImageNormalization()(rng.integers(0, 256, (2, 5, 6, channels)))
