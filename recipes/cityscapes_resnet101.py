"""GFFNet-ResNet-101 on Cityscapes, 19 classes, with the paper's hyper-parameters.

    python -m tfrecords_tools build cityscapes --source cityscapes --out records/cityscapes
    gff-keras train cityscapes_resnet101 --weights resnet101_imagenet_folded.npz

2975 training and 500 validation images of 2048x1024; 100 000 steps of 8 crops of 864x864. The paper
reports 81.2 mIoU on the validation images (Table 2), with sliding windows of the crop's size.
Not yet measured here.
"""

from pathlib import Path

from gff_keras.training import Recipe

RECIPE: Recipe = Recipe(
    data=Path("records/cityscapes"),
    out=Path("runs/cityscapes_resnet101"),
    backbone="resnet101",
    crop_size=(864, 864),
    batch_size=8,
    total_steps=100_000,
    learning_rate=0.001,
)

if __name__ == "__main__":
    import sys

    from gff_keras.cli import main

    sys.exit(main(["train", __file__, *sys.argv[1:]]))
