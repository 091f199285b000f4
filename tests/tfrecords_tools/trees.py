"""Trees of published data sets, with random images and masks."""

import numpy as np
from PIL import Image
from scipy.io import savemat

SHAPE = (14, 19)


def write_image(path, rng, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (*SHAPE, 3), np.uint8)).convert(mode).save(path)


def write_mask(path, raw):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".mat":
        savemat(path, {"LabelMap" if raw.dtype == np.uint16 else "S": raw})
    else:
        Image.fromarray(raw).save(path)


def write_list(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key}\n" for key in ids))


def assert_same_masks(found, expected):
    assert sorted(found) == sorted(expected)
    for key, mask in found.items():
        np.testing.assert_array_equal(mask, expected[key], err_msg=key)
