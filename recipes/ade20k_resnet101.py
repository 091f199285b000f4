"""GFFNet-ResNet-101 on ADE20K, 150 classes, with the paper's hyper-parameters.

    python -m tfrecords_tools build ade20k --source ADEChallengeData2016 --out records/ade20k
    gff-keras train ade20k_resnet101 --weights resnet101_imagenet_folded.npz

20 210 training and 2000 validation images of all sizes; 150 000 steps of 16 crops of 512x512. The
paper reports 45.33 mIoU and 82.01 % pixel accuracy on the validation images (Table 6).
Not yet measured here.
"""

from pathlib import Path

from gff_keras.training import Recipe

RECIPE: Recipe = Recipe(
    data=Path("records/ade20k"),
    out=Path("runs/ade20k_resnet101"),
    backbone="resnet101",
    crop_size=(512, 512),
    batch_size=16,
    total_steps=150_000,
    learning_rate=0.001,
)

if __name__ == "__main__":
    import sys

    from gff_keras.cli import main

    sys.exit(main(["train", __file__, *sys.argv[1:]]))
