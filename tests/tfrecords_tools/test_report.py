"""What the checker writes, and its command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gff_keras.data.label_tables import STREET_SCENES
from tests.tfrecords_tools.damage import ROOT, SHARD, flip, folder_options, offsets
from tfrecords_tools import check
from tfrecords_tools.__main__ import main
from tfrecords_tools.report import JSON_FILE, SHEET_FILE


def test_json_and_picture(scenes, tmp_path):
    report = check(scenes)
    (tmp_path / "out").mkdir()
    report.save(tmp_path / "out")
    assert json.loads((tmp_path / "out" / JSON_FILE).read_text()) == report.to_dict()
    sheet = np.asarray(Image.open(tmp_path / "out" / SHEET_FILE))
    for index, view in report.largest.items():
        colour = np.array(STREET_SCENES.palette[index])
        frame = (sheet == colour).all(-1).sum()
        assert frame >= 2 * 4 * (view.mask.shape[0] + view.mask.shape[1])
    text = str(report)
    assert text.startswith(f"{scenes}: 30 examples (train 24, val 6)\nsizes     96x64: 30\n")
    for entry in report.classes():
        line = next(line for line in text.splitlines() if f" {entry['name']} " in line)
        counts = [f"{entry['images_by_split'][split]}" for split in ("train", "val")]
        assert line.split()[-3:] == [f"{entry['share']:.3%}", *counts]


def test_check_as_typed(copy, capsys):
    typed = [sys.executable, "-m", "tfrecords_tools", "check", "copy"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    clean = subprocess.run(typed, cwd=copy.parent, env=env, capture_output=True, text=True)
    assert clean.returncode == 0, clean.stderr
    assert clean.stdout.splitlines()[-1] == f"Report written to {copy}-check"
    assert "Checking: 100%" in clean.stderr and "Traceback" not in clean.stderr
    assert sorted(p.name for p in Path(f"{copy}-check").iterdir()) == [JSON_FILE, SHEET_FILE]
    path = copy / SHARD.format("train")
    flip(path, offsets(path)[1] + 400)
    assert main(["check", str(copy), "--out", str(copy.parent / "new"), "--workers", "2"]) == 1
    said = capsys.readouterr().out
    assert "\n1 error\n  corrupt record (1)\n" in said
    assert f"    {path.name}, record 1, " in said
    (error,) = json.loads((copy.parent / "new" / JSON_FILE).read_text())["errors"]
    assert error["record"] == 1 and error["file"] == path.name


def test_wrong_usage_is_status_2(tmp_path, scenes, drawn, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["check", "nowhere"]) == 2
    assert "nowhere holds no records (no dataset_info.json)" in capsys.readouterr().err
    assert main(["check", "camvid", "--source", "nowhere"]) == 2
    assert "nowhere is not a folder" in capsys.readouterr().err
    (tmp_path / "taken").write_text("")
    assert main(["check", str(scenes), "--out", "taken"]) == 2
    with pytest.raises(SystemExit) as caught:
        main(["check", "folder", "--images", "x"])
    assert caught.value.code == 2
    options = [f"--{key}={value}" for key, value in folder_options(drawn).items()]
    assert main(["check", "folder", *options]) == 0  # warnings alone
    assert (tmp_path / "folder-check" / JSON_FILE).is_file()
    assert main(["check", str(scenes), "--workers", "0"]) == 2
    assert "--workers 0 cannot work" in capsys.readouterr().err
    with pytest.raises(ValueError, match="scenes takes no source; leave it out"):
        check(scenes, source="x")


def test_help_does_not_wait_for_tensorflow():
    code = (
        "import sys\nfrom tfrecords_tools.__main__ import main\n"
        "try:\n    main(['check', '--help'])\nexcept SystemExit:\n"
        "    assert not {'tensorflow', 'gff_keras'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
