"""docs/fine_tuning.ipynb runs from its first cell to its last, and learns."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gff_keras.sharing import load_model

NOTEBOOK = Path(__file__).parents[1] / "docs" / "fine_tuning.ipynb"


def read():
    return pytest.importorskip("nbformat").read(NOTEBOOK, as_version=4)


def outputs_of(notebook, kind):
    return [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if kind in (output["output_type"], *output.get("data", {}))
    ]


def test_committed_notebook_is_small_and_complete():
    notebook = read()
    assert NOTEBOOK.stat().st_size < 300_000
    counts = [cell["execution_count"] for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))  # run once, from first to last
    assert len(outputs_of(notebook, "image/jpeg")) == 4
    assert not outputs_of(notebook, "error")
    streams = outputs_of(notebook, "stream")
    assert all(output["name"] == "stdout" for output in streams)  # no warnings of one machine
    assert not re.search(r"/(root|home|tmp|work)/", NOTEBOOK.read_text())


@pytest.mark.slow
def test_notebook_runs(tmp_path):
    client = pytest.importorskip("nbclient").NotebookClient(
        read(), timeout=1200, resources={"metadata": {"path": str(tmp_path)}}
    )
    notebook = client.execute()  # raises with cell and traceback where one fails
    assert len(outputs_of(notebook, "image/jpeg")) == 4
    text = "".join(output["text"] for output in outputs_of(notebook, "stream"))
    assert "Nothing is wrong." in text
    mean_iou = float(re.search(r"^mean_iou +([\d.]+)$", text, re.MULTILINE)[1])
    assert mean_iou > 45
    assert float(re.search(r"best val mIoU ([\d.]+)", text)[1]) == pytest.approx(
        mean_iou / 100, abs=2e-3
    )
    work = tmp_path / "fine_tuning"
    model = load_model(work / "best.keras")
    photo = np.asarray(Image.open(work / "source" / "images" / "scene_000.jpg"))
    expected = np.asarray(model(photo[None], training=False)["logits"])[0].argmax(-1)
    assert (np.asarray(Image.open(work / "scene_000_mask.png")) == expected).mean() > 0.999
