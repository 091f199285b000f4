"""The README's code runs as printed, but for the sizes, which are made small."""

import json
import re
from pathlib import Path

import keras
import numpy as np
from PIL import Image

README = (Path(__file__).parents[1] / "README.md").read_text()
SMALLER = {
    "(256, 256)": "(32, 32)",
    "steps_per_epoch=100": "steps_per_epoch=2",
    "epochs=20": "epochs=1",
}


def test_python_and_json_blocks(rng, tmp_path, monkeypatch, eager):
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    labels = re.search(r"```json\n(.*?)```", README, re.DOTALL).group(1)
    for printed, small in SMALLER.items():
        assert printed in code
        code = code.replace(printed, small)
    monkeypatch.chdir(tmp_path)
    Path("labels.json").write_text(labels)
    raw_values = [int(value) for value in json.loads(labels)["raw_to_train"]]
    for folder in ("images", "masks"):
        Path(folder).mkdir()
    for i in range(40):
        size = rng.integers(30, 50, 2)
        Image.fromarray(rng.integers(0, 256, (*size, 3), "uint8")).save(f"images/{i}.jpg")
        Image.fromarray(rng.choice(raw_values, size).astype("uint8")).save(f"masks/{i}.png")
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    image = rng.integers(0, 256, (1, 45, 61, 3), "uint8")
    again = keras.saving.load_model("mine.keras")
    np.testing.assert_array_equal(again(image)["logits"], names["model"](image)["logits"])


def test_commands_exist():
    from gff_keras.cli import COMMANDS

    used = set(re.findall(r"^gff-keras (\w+)", README, re.MULTILINE))
    assert used and used <= set(COMMANDS)
