"""What the paper's modules cost on every backbone: parameters and operations, as in its Table 3."""

from tqdm import tqdm

from gff_keras.backbones import BACKBONES
from gff_keras.evaluation.complexity import Block, complexity
from gff_keras.models import GFFNet
from gff_keras.models.names import BASELINES, backbone_name

SIZE = (512, 512)
NUM_CLASSES = 19
CONTEXTS = {"densenet121": "dense_aspp", "wider_resnet38": "aspp"}  # Tables 4 and 8; others: ppm
NETWORKS = (("", None, False), (" + GFF", "gff", False), (" + GFF + DFP", "gff", True))
PAPER = {  # Table 3: millions of parameters and GFLOPs
    ("resnet101", ""): (65.6, 580.1),
    ("resnet101", " + GFF"): (69.7, 600.1),
    ("resnet101", " + GFF + DFP"): (70.5, 625.5),
}
_HEAD = ("backbone", "network", "M parameters", "GFLOPs", "computed", "paper: M", "paper: GFLOPs")


def cost_table(names=None, size=SIZE):
    """Return a Markdown table of the networks on these backbones, without auxiliary head.

    A bar on a terminal shows how far it is.

    Args:
        names: backbones; all but the variants of ResNets for PyTorch's weights if None.
        size: (height, width) of the image that operations are counted for.

    Raises:
        ValueError: a backbone is unknown, or Keras runs on another backend than TensorFlow.
    """
    names = names or [name for name in BACKBONES if not name.endswith(("_v1.5", "_deep"))]
    lines = [_row(_HEAD), _row(["---", "---", *["---:"] * (len(_HEAD) - 2)])]
    with tqdm(total=len(names) * len(NETWORKS), disable=None) as bar:
        for name in names:
            backbone = name  # made once
            for suffix, fusion, dfp in NETWORKS:
                bar.set_description(f"{backbone_name(name)}{suffix}")
                context = CONTEXTS.get(name, "ppm")
                model = GFFNet(
                    backbone, NUM_CLASSES, context=context, fusion=fusion, dfp=dfp, aux_head=False
                )
                backbone = model.backbone
                total = sum(complexity(model, size), Block("total"))
                network = f"{BASELINES[context]}{suffix}"
                paper = PAPER.get((name, suffix), ("", ""))
                lines.append(
                    _row([backbone_name(name), network, *_numbers(total), *map(str, paper)])
                )
                bar.update()
    return "\n".join(lines)


def _numbers(total):
    counts = (total.operations, total.computed)
    return [f"{total.parameters / 1e6:.1f}", *(f"{count / 1e9:.1f}" for count in counts)]


def _row(cells):
    return f"| {' | '.join(cells)} |"
