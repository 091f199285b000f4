"""Parts of a network that training leaves as they are.

Freeze before `model.compile`, which fixes what is trained. A saved model stays frozen.
"""

import keras

from gff_keras import backbones


def freeze_stages(backbone, stages):
    """Keep the first stages of a backbone: weights and normalisation, whose statistics are used.

    Args:
        backbone: model from `gff_keras.backbones`, for example `GFFNet(...).backbone`.
        stages: 0 freezes nothing, 1 the stem, 2 the stem and the stage that ends in C2, and so on;
            5 freezes all of the backbone.

    Raises:
        ValueError: there are not so many stages, or the backbone is not one of this project's.
    """
    if not 0 <= stages <= 5:
        raise ValueError(f"frozen_stages={stages} is not one of 0 to 5.")
    prefixes = backbones.stages(backbone)
    if stages and prefixes is None:
        raise ValueError(
            f"frozen_stages={stages} needs a backbone of this project; the stages of "
            f"{backbone.name!r} are not known: set layer.trainable = False on its layers."
        )
    for prefix in (prefixes or ())[:stages]:
        for layer in backbone.layers:
            if layer.name.startswith(prefix):
                layer.trainable = False


def freeze_batch_norm(model):
    """Make all batch normalisation in a model, or in its backbone, use its running statistics.

    In training, too; scale, bias and statistics stay as they are. For fine-tuning with batches too
    small for statistics of their own; it needs weights that were trained.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
