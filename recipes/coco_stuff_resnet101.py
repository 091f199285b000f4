"""GFFNet-ResNet-101 on COCO-Stuff 10k, 171 classes, with the paper's hyper-parameters.

    python -m tfrecords_tools build coco_stuff --source cocostuff-10k --out records/coco_stuff
    gff-keras train coco_stuff_resnet101 --weights resnet101_imagenet_folded.npz

9000 training and 1000 test images; 150 000 steps of 16 crops of 512x512. The paper reports 39.2
mIoU on the test images (Table 10). Not yet measured here.
"""

from pathlib import Path

from gff_keras.training import Recipe

RECIPE: Recipe = Recipe(
    data=Path("records/coco_stuff"),
    out=Path("runs/coco_stuff_resnet101"),
    val_split="test",
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
