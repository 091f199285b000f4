"""Operations of PSPNet and GFFNet as torch's own counter sees them, for `gff-keras info --table3`.

    python benchmarks/operations_torch.py

Runs the PyTorch networks of `train_step_torch.py` on one image of 512x512, 19 classes, under
`torch.utils.flop_counter`, which counts convolutions as they are called: two operations for a
multiplication and an addition. Needs torch and NumPy only. docs/networks.md shows what it prints.
"""

import torch
from torch.utils.flop_counter import FlopCounterMode
from train_step_torch import STAGES, Network

SIZE = (512, 512)


def main():
    """Print a Markdown table."""
    print("| backbone | network | M parameters | GFLOPs |\n|---|---|---:|---:|")
    for backbone in STAGES:
        for name in ("PSPNet", "GFFNet"):
            network = Network(name, backbone, 19, 0.1).eval()
            counter = FlopCounterMode(display=False)
            with torch.no_grad(), counter:
                network(torch.zeros(1, 3, *SIZE))
            count = sum(
                p.numel() for path, p in network.named_parameters() if not path.startswith("aux")
            )
            by_module = counter.get_flop_counts()
            auxiliary = ("Network.aux_conv", "Network.aux_classifier")  # for training only
            giga = sum(by_module["Network"].values()) / 1e9
            giga -= sum(sum(by_module[module].values()) for module in auxiliary) / 1e9
            print(f"| {backbone} | {name} | {count / 1e6:.3f} | {giga:.3f} |", flush=True)


if __name__ == "__main__":
    main()
