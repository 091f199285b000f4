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


@pytest.mark.parametrize("channels", [1, 4])
def test_other_images_than_rgb_are_refused(rng, channels):
    with pytest.raises(ValueError, match=f"images have {channels} channels"):
        ImageNormalization()(rng.integers(0, 256, (2, 5, 6, channels)))
