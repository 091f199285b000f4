"""The parts of the figure that work on several levels: what goes from level to level in them."""

import itertools

from gff_keras import layers

from .canvas import PANEL, QUIET
from .graph import convs_after, convs_before, gate_channels

FUSIONS = (
    layers.GatedFullyFusion,
    layers.ConcatFusion,
    layers.AdditionFusion,
    layers.FeaturePyramid,
    layers.GatedFeaturePyramid,
    layers.DeepLabDecoder,
)
FOLLOWING = (layers.DenseFeaturePyramid, layers.SemanticBranch)
TITLES = {
    layers.PyramidPooling: "PPM",
    layers.ASPP: "ASPP",
    layers.DenseASPP: "DenseASPP",
    layers.GatedFullyFusion: "Gated Fully Fusion",
    layers.ConcatFusion: "Concatenation",
    layers.AdditionFusion: "Addition",
    layers.FeaturePyramid: "FPN",
    layers.GatedFeaturePyramid: "Gated FPN",
    layers.DeepLabDecoder: "Decoder",
    layers.SemanticBranch: "Semantic branch",
    layers.DenseFeaturePyramid: "Dense Feature\nPyramid",
}
RULES = {  # what a newcomer reads below the figure
    layers.GatedFullyFusion: (
        r"GFF, Eq. 5:  $\tilde{X}_l = (1+G_l)\cdot X_l + (1-G_l)\cdot\sum_{i\neq l} G_i\cdot X_i$"
        r"  of reduced $X_i$;   ● sends $G_i\cdot X_i$,   ○ receives it times $1-G_l$"
    ),
    layers.ConcatFusion: (
        r"Concat, Eq. 2:  $[X_1, \ldots, X_L]$  of reduced $X_l$ at the finest level, refined;"
        r"   ○ joins the concatenation"
    ),
    layers.AdditionFusion: (
        r"Add, Eq. 3:  $X_1 + \ldots + X_L$  of reduced $X_l$ at the finest level, refined;"
        r"   ○ is added"
    ),
    layers.FeaturePyramid: (
        r"FPN, Eq. 4:  $\tilde{X}_l = X_l + \tilde{X}_{l+1}$,  $\tilde{X}_L = X_L$  of reduced"
        r" $X_l$, before the 3x3 conv;   ● sends $\tilde{X}_l$,   ○ receives it"
    ),
    layers.GatedFeaturePyramid: (
        r"Gated FPN:  $\tilde{X}_l = (1+G_l)\cdot X_l + (1-G_l)\cdot G_{l+1}\cdot\tilde{X}_{l+1}$"
        r"  of reduced $X_l$, before the 3x3 conv;   ● sends $G_l\cdot\tilde{X}_l$,"
        r"   ○ receives it times $1-G_l$"
        "\n"
        r"The coarsest level, which becomes $y_0$:  $\tilde{X}_L = (1+G_L)\cdot X_L$"
    ),
    layers.DeepLabDecoder: (
        r"Decoder:  $y_0$ beside the reduced $X_1$, refined;   ○ joins the concatenation"
    ),
    layers.SemanticBranch: (
        "Semantic branch:  a coarser level is upsampled by 2 after each 3x3 conv;   ○ is added"
    ),
    layers.DenseFeaturePyramid: (
        r"DFP, Eq. 6:  $y_i = H_i([y_0, \tilde{X}_L, \ldots])$  from the coarsest level to"
        r" its own;   ○ joins the concatenation"
    ),
}


def block_width(part):
    """Width of the block of a part, with room for the convolutions in it."""
    if isinstance(part.layer, layers.DenseFeaturePyramid):
        return 1.45
    return 1.62 + 0.5 * bool(convs_after(part))


class Block:
    """A part that works on several levels: a row of each, and columns for what goes between them.

    Args:
        drawing: the `Drawing` that it belongs to.
        part: `Part` of the graph.
        column: the drawing's column.
    """

    def __init__(self, drawing, part, column):
        self.drawing, self.canvas, self.part = drawing, drawing.canvas, part
        self.x, self.width = drawing.x[column], drawing.width[column]
        self.dense = isinstance(part.layer, layers.DenseFeaturePyramid)
        self.rows = _rows(part)
        self.inside = self.rows[:-1] if self.dense else self.rows  # y_0 passes above
        self.flows = _flows(part, self.rows)
        self.before, self.after = convs_before(part), convs_after(part)
        first = self.x + 0.12
        if self.before:
            first += 0.36 + max(self.conv_width(convs) for convs in self.before)
        last = self.x + self.width - (0.6 if self.dense or self.after else 0.12)
        step = min((last - first) / len(self.flows), 0.2 if self.dense else 1)
        self.columns = [first + step * (i + 0.5) for i in range(len(self.flows))]

    def draw(self):
        self.draw_panel()
        self.draw_rows()
        for x, found in ((self.x + 0.32, self.before), (self.x + self.width - 0.52, self.after)):
            for level, convs in zip(self.rows, found, strict=False):  # or on the finest level only
                self.draw_convs(x, level, convs)
        for level, channels in enumerate(gate_channels(self.part), start=1):
            self.draw_gate(level, channels)
        self.draw_flows()

    def draw_panel(self):
        y, kind = self.drawing.y, type(self.part.layer)
        low, high = y(self.inside[0]) - 0.5, y(self.inside[-1]) + 0.68
        self.canvas.box(self.x, (low + high) / 2, self.width, high - low, PANEL, z=1)
        place = {"x": self.x + self.width / 2}
        if self.dense:  # beside the line from y_0
            place = {"x": self.columns[0] + 0.1, "ha": "left"}
        self.canvas.text(
            y=high - 0.08, text=TITLES[kind], size=8.5, weight="bold", va="top", **place
        )
        file = kind.__module__.rpartition(".")[-1] + ".py"
        self.canvas.text(self.x + self.width / 2, low + 0.12, file, 7.5, QUIET)

    def draw_rows(self):
        leaving = sorted(tensor.level for tensor in self.part.outputs)
        ends = dict(zip((source for source, _ in self.flows), self.columns, strict=True))
        right = self.x + self.width
        for tensor, level in zip(_by_level(self.part), self.rows, strict=True):
            if level not in self.inside:
                continue
            y, end = self.drawing.y(level), right if level in leaving else ends[level]
            self.drawing.enter(tensor, self.x, level)
            self.canvas.line((self.x, y), (end, y), arrow=False)
            if self.dense:
                self.draw_h(right - 0.55, y, len(leaving) - leaving.index(level))

    def narrows(self, convs):
        """Whether convolutions give another number of channels than the part does."""
        return convs[-1].filters != self.part.outputs[0].channels

    def conv_width(self, convs):
        return 0.62 if self.narrows(convs) else 0.4

    def draw_convs(self, x, level, convs):
        """Convolutions in a row, one below the other."""
        lines = [f"{conv.kernel_size}x{conv.kernel_size}" for conv in convs]
        lines[-1] += f" to {convs[-1].filters}" if self.narrows(convs) else ""
        y, width = self.drawing.y(level), self.conv_width(convs)
        self.canvas.box(x, y, width, 0.06 + 0.16 * len(lines))
        self.canvas.text(x + width / 2, y - 0.01, "\n".join(lines))

    def draw_gate(self, level, channels):
        x, y, feature = self.x, self.drawing.y(level), self.part.inputs[level - 1]
        self.canvas.line((x + 0.2, y), (x + 0.2, y + 0.2), arrow=False)
        self.canvas.box(x + 0.08, y + 0.3, 0.76, 0.22, "white", self.drawing.color(level))
        label = f"$G_{level}$  1/{feature.stride} · {channels}"
        self.canvas.text(x + 0.46, y + 0.295, label)

    def draw_h(self, x, y, index):
        size = self.part.layer.kernel_size
        self.canvas.box(x, y, 0.45, 0.38)
        text = f"$H_{index}$\n{size}x{size}"
        self.canvas.text(x + 0.225, y - 0.01, text, linespacing=1.15)

    def draw_flows(self):
        """A filled dot where a level sends, empty ones where it is received."""
        for (source, receivers), x in zip(self.flows, self.columns, strict=True):
            color = self.drawing.color(source)
            start, *others = (self.drawing.y(level) for level in (source, *receivers))
            ends = [(x, pick(start, *others)) for pick in (min, max)]
            self.canvas.line(*ends, color=color, arrow=False)
            self.canvas.dot(x, start, color, filled=True)
            for y in others:
                self.canvas.dot(x, y, color, filled=False)


def _by_level(part):
    """The tensors that go in, finest first; where X_L comes twice, the second is the context."""
    return sorted(part.inputs, key=lambda tensor: tensor.level)


def _rows(part):
    rows = [tensor.level for tensor in _by_level(part)]
    for i in range(1, len(rows)):
        rows[i] = max(rows[i], rows[i - 1] + 1)
    return rows


def _flows(part, rows):
    """What goes from level to level, from left to right: (level that sends, those that receive)."""
    falling = rows[::-1]
    if isinstance(part.layer, layers.GatedFullyFusion):
        return [(i, [level for level in rows if level != i]) for i in falling]
    if isinstance(part.layer, (layers.FeaturePyramid, layers.GatedFeaturePyramid)):
        return [(coarse, [fine]) for coarse, fine in itertools.pairwise(falling)]
    if isinstance(part.layer, layers.DenseFeaturePyramid):
        return [(level, falling[i + 1 :]) for i, level in enumerate(falling[:-1])]
    return [(level, [rows[0]]) for level in rows[1:]]
