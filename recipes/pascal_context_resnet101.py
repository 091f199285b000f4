"""GFFNet-ResNet-101 on Pascal Context, 59 classes, with the paper's hyper-parameters.

    python -m tfrecords_tools build pascal_context --source VOC2010 --out records/pascal_context
    gff-keras train pascal_context_resnet101 --weights resnet101_imagenet_folded.npz

4998 training and 5105 validation images; 150 000 steps of 16 crops of 512x512. The paper reports
54.2 mIoU on the validation images (Table 9), 51.0 with --backbone resnet50.
Not yet measured here.
"""

from pathlib import Path

from gff_keras.training import Recipe

RECIPE: Recipe = Recipe(
    data=Path("records/pascal_context"),
    out=Path("runs/pascal_context_resnet101"),
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
