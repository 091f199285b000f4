"""The README's code runs as printed, but for the sizes, which are made small."""

import json
import re
from pathlib import Path

import keras
import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
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


def test_gff_as_a_plug_in(rng):
    """The block of docs/networks.md, as it stands there; X~_4 by Eq. 5 from gates and features."""
    page = (ROOT / "docs" / "networks.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict = {}
    exec(compile(code, "networks.md", "exec"), names)
    inner = keras.Model(names["trunk"].input, names["features"] + names["fused"])
    image = rng.uniform(-1, 1, (1, 256, 320, 3)).astype("float32")
    maps = inner(image)
    features, fused = maps[:4], maps[4:]
    assert [x.shape[1:] for x in fused] == [(64 >> i, 80 >> i, 128) for i in range(4)]
    assert names["model"](image).shape == (1, 256, 320, 5)
    fusion = names["fusion"]
    g = [gate.numpy() for gate in fusion.gates(features)]
    x = [reduce(x_l).numpy() for reduce, x_l in zip(fusion.reductions, features, strict=True)]
    # The coarsest level receives every factor-th sample of all finer ones.
    received = sum((g[i] * x[i])[:, :: 8 >> i, :: 8 >> i] for i in range(3))
    coarsest = (1 + g[3]) * x[3] + (1 - g[3]) * received
    np.testing.assert_allclose(fused[3], coarsest, rtol=1e-4, atol=1e-5)


def test_commands_exist():
    from gff_keras.cli import COMMANDS

    used = set(re.findall(r"^gff-keras (\w+)", README, re.MULTILINE))
    assert used and used <= set(COMMANDS)
