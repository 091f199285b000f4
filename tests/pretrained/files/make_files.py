"""Make the .pth files beside this script: `python make_files.py`, with torch 2.13."""

from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

HERE = Path(__file__).parent


def main():
    numbers = torch.arange(24, dtype=torch.float32) / 8
    shared = numbers[4:].reshape(4, 5)
    weights = OrderedDict(
        plain=numbers.reshape(2, 3, 4),
        transposed=numbers.reshape(4, 6).T,
        offset=shared[1:3, 2:],
        every_other=numbers[1::2],
        expanded=numbers[3:5].reshape(2, 1).expand(2, 3),
        empty=torch.zeros(0, 3),
        scalar=torch.tensor(2.5),
        half=numbers.half(),
        bfloat16=(numbers * 3).bfloat16().reshape(4, 6)[:, 1:4],
        double=numbers.double() / 3,
        steps=torch.tensor(-7),
        parameter=nn.Parameter(numbers[:6].reshape(2, 3)),
    )
    names = {f"module.{name}": tensor for name, tensor in weights.items()}
    checkpoint = {"epoch": 3, "best": 0.5, "state_dict": OrderedDict(names), "args": ["a", None]}
    torch.save(checkpoint, HERE / "zip.pth")
    torch.save(checkpoint, HERE / "legacy.pth.tar", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    main()
