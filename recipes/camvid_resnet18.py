"""GFFNet-ResNet-18 on CamVid at 240x180, from partial ImageNet weights."""

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
