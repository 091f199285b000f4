"""Gate maps on the pixels of an image, and networks without one of their gates."""

import numpy as np
from keras import ops

from gff_keras.evaluation.images import read_all
from gff_keras.evaluation.prediction import Predictor
from gff_keras.layers.resizing import resample, resize_bilinear
from gff_keras.models.checks import check_gated
from gff_keras.visualization import ablation_sheet, gate_sheet


def gate_maps(predictor, image):
    """Return the gate maps of an RGB image (H, W, 3) at its size.

    Args:
        predictor: `Predictor`.
        image: (H, W, 3), 0..255.

    Returns:
        float32 (L, H, W) in [0, 1], G1 of the finest level first.

    Raises:
        ValueError: the model has no gates.
    """
    return on_image(predictor.gates(image), predictor.image_size, image.shape[:2])


def on_image(gates, seen, size):
    """Bring gate maps to the size of the image.

    A map is first sampled on the grid of the pixels that the network saw, where sample i of stride
    s lies at pixel s i (docs/alignment.md), then resized as logits are.

    Args:
        gates: L maps (h_l, w_l).
        seen: (height, width) at which the network saw the image; None: `size`.
        size: (height, width) of the image.

    Returns:
        float32 (L, *size).
    """
    maps = []
    for gate in gates:
        gate = resample(ops.array(gate)[None, ..., None], tuple(seen or size))
        maps.append(ops.convert_to_numpy(resize_bilinear(gate, size))[0, ..., 0])
    return np.clip(np.stack(maps), 0, 1)  # sums of weights are 1 but for rounding


def gated_network(predictor):
    """Return the `GFFNet` of a predictor.

    Raises:
        ValueError: it has no gates, or it is a TFLite file, which keeps none.
    """
    if not isinstance(predictor, Predictor):
        raise ValueError("TFLite files hold no gate maps; give the .keras file of the model.")
    check_gated(predictor.model.fusion)
    return predictor.model


def without_gates(predictor):
    """Return predictors for the same network with one more gate at zero: `{"G1": ..., ...}`."""
    model = gated_network(predictor)
    zero, seen = model.zero_gates, (predictor.image_size, predictor.views)
    levels = range(1, len(model.get_layer("gff").gate_convs) + 1)
    return {f"G{i}": Predictor(model.with_gates([*zero, i]), *seen) for i in levels}


def draw_gates(predictor, labels, images, out, *, ablate=False, native=False, stretch=False):
    """Write pictures and numbers of the gates of image files.

    For every image `NAME_gates.png`, the sheet of `gate_sheet`, and `NAME_gates.npy`, what
    `gate_maps` returns.

    Args:
        predictor: `Predictor`.
        labels: its `LabelSet`.
        images: image file or folder; folders are searched recursively and mirrored in `out`.
        out: folder to write.
        ablate: `NAME_ablation.png` besides: which pixels change their class without each gate.
        native: `NAME_gates.npz` besides: G1..GL, float32 (h_l, w_l), as the network has them.
        stretch: colour each map over its own range.

    Raises:
        FileNotFoundError, ValueError: no image, an unreadable image, a model without gates.
    """
    gated_network(predictor)
    others = without_gates(predictor) if ablate else {}
    for image, target in read_all(images, out):
        gates, classes = predictor.gates(image), predictor.classes(image)
        maps = on_image(gates, predictor.image_size, image.shape[:2])
        gate_sheet(image, maps, classes, labels, stretch).save(f"{target}_gates.png")
        np.save(f"{target}_gates.npy", maps)
        if native:
            np.savez(f"{target}_gates.npz", **{f"G{i}": g for i, g in enumerate(gates, start=1)})
        if ablate:
            without = {name: other.classes(image) for name, other in others.items()}
            sheet = ablation_sheet(image, None, classes, without, labels)
            sheet.save(f"{target}_ablation.png")
