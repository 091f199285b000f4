"""How well does flipping an image flip the prediction? One row per image width.

    python benchmarks/flip_error.py [MODEL.keras]

`mirrored`: every kernel averaged with its mirror image, so that only the sampling grid can break
the symmetry. `as trained`: the model itself (random weights if no model is given).
Error: mean absolute difference of logits over their standard deviation; then the share of pixels
whose class changes.
"""

import sys

import numpy as np

import gff_keras as gff
from gff_keras.sharing import load_model

HEIGHT, WIDTHS = 129, (249, 250, 252, 256, 257)


def mirrored(model):
    """Copy a model, every kernel averaged with its left-right mirror image."""
    copy = gff.GFFNet.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    for weight in copy.weights:
        if len(weight.shape) == 4:
            kernel = weight.numpy()
            weight.assign((kernel + kernel[:, ::-1]) / 2)
    return copy


def flip_error(model, image):
    """Return (relative error of the logits, share of pixels that change class)."""
    segmenter = model.segmenter()
    logits = segmenter.predict_on_batch(image)
    flipped = segmenter.predict_on_batch(image[:, :, ::-1])[:, :, ::-1]
    changed = (logits.argmax(-1) != flipped.argmax(-1)).mean()
    return np.abs(logits - flipped).mean() / logits.std(), changed


def main():
    if len(sys.argv) > 1:
        model = load_model(sys.argv[1])
    else:
        import keras

        keras.utils.set_random_seed(0)
        model = gff.GFFNet("resnet18", 19)
    rng = np.random.default_rng(0)
    image = sum(  # coarse structure strong, fine structure weak, as in a photograph
        gff.layers.resize_bilinear(
            (rng.normal(0, 30, (1, HEIGHT // n, max(WIDTHS) // n, 3)) * n**0.5).astype("float32"),
            (HEIGHT, max(WIDTHS)),
        ).numpy()
        for n in (2, 8, 32)
    )
    image = np.clip(127 + image, 0, 255)
    symmetric = mirrored(model)
    print(f"{'width':>6} {'mirrored':>24} {'as trained':>24}")
    for width in WIDTHS:
        cells = []
        for network in (symmetric, model):
            error, changed = flip_error(network, image[:, :, :width])
            cells.append(f"{error:12.1e} {100 * changed:9.2f} %")
        print(f"{width:>6} {cells[0]:>24} {cells[1]:>24}")


if __name__ == "__main__":
    main()
