"""Learning curves, drawn from a file of numbers."""

import pytest
from PIL import Image

from gff_keras.visualization import (
    learning_curves,
)


def test_learning_curves_draw_what_the_file_holds(tmp_path):
    history, picture = tmp_path / "history.csv", tmp_path / "curves.png"
    history.write_text(
        "epoch,learning_rate,loss,mean_iou,val_loss,val_mean_iou\n"
        "0,0.001,2.0,0.1,NA,NA\n1,0.0005,1.0,0.3,1.2,0.25\n"
    )
    learning_curves(history, picture)
    with Image.open(picture) as both:
        assert both.size == (1650, 630)
    history.write_text("epoch,loss\n0,2.0\n")
    learning_curves(history, picture)
    with Image.open(picture) as one:
        assert one.size == (825, 630)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("epoch,loss\n", "is empty"),
        ("step,loss\n0,1\n", "no column 'epoch'.*step"),
        ("epoch,accuracy\n0,1\n", "'loss' or 'mean_iou'.*epoch"),
        ("epoch,loss\n0,oops\n", "row 2: loss is 'oops'"),
    ],
)
def test_learning_curves_name_what_is_wrong(tmp_path, text, message):
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        learning_curves(tmp_path / "history.csv", tmp_path / "curves.png")


def test_learning_curves_name_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match="nothing.csv does not exist"):
        learning_curves(tmp_path / "nothing.csv", tmp_path / "curves.png")
