"""The figure of a GFFNet: its parts in rows by level and columns by kind, drawn from its graph."""

import itertools
import textwrap

import matplotlib

from gff_keras import layers
from gff_keras.models.names import model_name

from .blocks import FOLLOWING, FUSIONS, RULES, TITLES, Block, block_width
from .canvas import CHIP, CHIP_HEIGHT, EDGE, INK, QUIET, STAGE, Canvas
from .graph import CONTEXTS, read

ROW, GAP = 0.8, 0.18


class Drawing:
    """The figure of one model: rows by level, columns from left to right by kind of part."""

    def __init__(self, model):
        self.graph = graph = read(model)
        self.levels = len(graph.stages)
        self.fusion = next(iter(graph.of(*FUSIONS)), None)
        self.after = next(iter(graph.of(*FOLLOWING)), None)
        convs = graph.of(layers.ConvBNReLU)
        self.convs = [part for part in convs if part.layer.name != "aux_conv"]
        self.auxiliary = next((part for part in convs if part not in self.convs), None)
        self.unused = graph.unused()

        self.head = head = next(p for p in graph.parts if p.layer.name == "classifier")
        self.width = {"backbone": 1.0, "features": CHIP}
        self.width |= {"fusion": block_width(self.fusion)} if self.fusion else {}
        self.width |= {"convs": 0.64} if self.convs else {}
        self.width |= {"fused": CHIP} if self.fusion else {}
        self.width |= {"after": block_width(self.after), "result": CHIP} if self.after else {}
        self.width |= {"classifier": 0.64 if len(head.inputs) == 1 else 0.45, "output": CHIP}
        lefts = itertools.accumulate((w + GAP for w in self.width.values()), initial=0.35)
        self.x = dict(zip(self.width, lefts, strict=False))
        notes = self.notes()
        self.bottom = 0.04 + 0.26 * len(notes)
        self.top = self.y(self.levels + 1) + (0.92 if self.auxiliary else 0.3)  # blocks reach up
        self.canvas = Canvas(max(self.right("output") + 0.15, 6.4), self.top + 0.8)
        self.chips = {}  # where each tensor is drawn: (left edge, y)

        self.canvas.text(0.15, self.top + 0.57, model_name(model), 11, ha="left", weight="bold")
        for i, (note, color) in enumerate(reversed(notes)):
            self.canvas.text(0.15, 0.2 + 0.26 * i, note, 8, color, ha="left")
        self.draw_backbone()
        self.draw_context()
        if self.fusion:
            Block(self, self.fusion, "fusion").draw()
        for part in self.convs:
            self.draw_convolutions(part)
        if self.fusion:
            self.draw_fused()
        if self.after:
            Block(self, self.after, "after").draw()
            self.draw_result()
        self.draw_head()
        if self.auxiliary:
            self.draw_auxiliary()

    def y(self, level):
        """Height of a level; 0 is the image's, below the finest."""
        return self.bottom + 0.3 + ROW * level + 0.15 * (level > 0) + 0.3 * (level > self.levels)

    def right(self, column):
        return self.x[column] + self.width[column]

    def color(self, level, light=0.0):
        shade = 0.78 - 0.68 * (level - 1) / self.levels
        return tuple(c + (1 - c) * light for c in matplotlib.colormaps["viridis"](shade)[:3])

    def chip(self, x, tensor, symbol, y=None):
        y = self.y(tensor.level) if y is None else y
        shades = ()
        if tensor in self.unused:
            shades = (EDGE, "white", EDGE)
        elif tensor.level:
            shades = (self.color(tensor.level), self.color(tensor.level, 0.82))
        self.canvas.chip(x, y, tensor, symbol, *shades)
        self.chips[id(tensor)] = (x, y)

    def enter(self, tensor, x, level):
        """An arrow from a tensor to the left edge of what takes it at a level."""
        left, y = self.chips[id(tensor)]
        if self.y(level) == y:
            self.canvas.line((left + CHIP, y), (x, y))
        else:  # X_L stands for the context map, too
            middle = left + CHIP / 2
            corner = (middle, self.y(level))
            self.canvas.line((middle, y + CHIP_HEIGHT / 2), corner, (x, corner[1]))

    def notes(self):
        """What stands below the figure, from top to bottom: (text, colour)."""
        rules = [RULES[type(part.layer)] for part in (self.fusion, self.after) if part]
        notes = [(line, INK) for rule in rules for line in rule.split("\n")]
        features = [stage.feature for stage in self.graph.stages]
        for text, taken_by in (
            ("Not used by this network", []),
            ("Used by the auxiliary head alone", [self.auxiliary]),
        ):
            found = [f"$X_{x.level}$" for x in features if self.graph.users(x) == taken_by]
            notes += [(f"{text}:  {', '.join(found)}", QUIET)] if found else []
        size = "1/4 · 256:  a quarter of the image's height and width, 256 channels"
        return [*notes, (size, QUIET)]

    def draw_backbone(self):
        x, width = self.x["backbone"], self.width["backbone"]
        middle = x + width / 2
        self.chip(middle - CHIP / 2, self.graph.image, "image")
        below = self.y(0) + CHIP_HEIGHT / 2
        finest = self.graph.stages[0].feature.stride.bit_length() - 1
        for stage in self.graph.stages:
            level, y = stage.feature.level, self.y(stage.feature.level)
            lines = [f"{stage.convolutions} conv" + "s" * (stage.convolutions > 1)]
            lines += [f"dilation {stage.dilation}"] if stage.dilation > 1 else []
            self.canvas.line((middle, below), (middle, y - 0.28))
            self.canvas.box(x, y, width, 0.56, STAGE)
            self.canvas.text(middle, y + 0.155, f"C{finest + level - 1}", 9, weight="bold")
            self.canvas.text(middle, y - 0.09, "\n".join(lines))
            self.chip(self.x["features"], stage.feature, f"$X_{level}$")
            color = EDGE if stage.feature in self.unused else INK
            self.canvas.line((x + width, y), (self.x["features"], y), color=color)
            below = y + 0.28

    def draw_context(self):
        x, width = self.x["backbone"], self.width["backbone"]
        middle, y = x + width / 2, self.y(self.levels + 1)
        for part in self.graph.of(*CONTEXTS):
            (context,) = part.outputs
            rates = ", ".join(map(str, getattr(part.layer, "rates", ())))
            lines = textwrap.wrap(f"rates {rates}" if rates else "context", 16)
            height = 0.36 + 0.14 * len(lines)
            self.canvas.line((middle, self.y(self.levels) + 0.28), (middle, y - height / 2))
            self.canvas.box(x, y, width, height, STAGE)
            title = y + height / 2 - 0.15
            self.canvas.text(middle, title, TITLES[type(part.layer)], 9, weight="bold")
            self.canvas.text(middle, title - 0.14 - 0.07 * len(lines), "\n".join(lines))
            users = [type(user.layer) for user in self.graph.users(context)]
            later = {layers.MultiLevelConv, layers.DeepLabDecoder}.isdisjoint(users)
            self.chip(self.x["features"], context, "context" if later else "$y_0$")
            self.canvas.line((x + width, y), (self.x["features"], y))

    def draw_convolutions(self, part):
        """Convolutions on one level: refinement, or the context map's reduction."""
        x, (out,) = self.x["convs"], part.outputs
        y = self.y(out.level)
        if out.level > self.levels:
            self.enter(part.inputs[0], x, out.level)
        else:
            self.canvas.line((self.right("fusion"), y), (x, y))
        text = "\n".join(f"{layer.kernel_size}x{layer.kernel_size} conv" for layer in part.layers)
        self.canvas.box(x, y, self.width["convs"], CHIP_HEIGHT)
        self.canvas.text(x + self.width["convs"] / 2, y, text, 8, linespacing=1.3)
        self.canvas.line((x + self.width["convs"], y), (self.x["fused"], y))

    def draw_fused(self):
        """What fusion and refinement give, and the context map that is fused with it."""
        refined = {part.outputs[0].level: part.outputs[0] for part in self.convs}
        fused = {tensor.level: tensor for tensor in self.fusion.outputs}
        for level, tensor in {**fused, **refined}.items():
            symbol = rf"$\tilde{{X}}_{level}$" if level <= self.levels else "$y_0$"
            if isinstance(self.fusion.layer, layers.DeepLabDecoder):
                symbol = "decoded"
            self.chip(self.x["fused"], tensor, symbol)
            if level not in refined:
                y = self.y(level)
                self.canvas.line((self.right("fusion"), y), (self.x["fused"], y))

    def draw_result(self):
        for tensor in self.after.outputs:
            symbol, y = "merged", self.y(tensor.level)
            if isinstance(self.after.layer, layers.DenseFeaturePyramid):
                coarser = [other for other in self.after.outputs if other.level > tensor.level]
                symbol = f"$y_{len(coarser) + 1}$"
            self.chip(self.x["result"], tensor, symbol)
            self.canvas.line((self.right("after"), y), (self.x["result"], y))

    def draw_head(self):
        part, (scores,) = self.head, self.head.outputs
        x, width = self.x["classifier"], self.width["classifier"]
        rows = [tensor.level for tensor in part.inputs]
        low, high = self.y(min(rows)) - 0.3, self.y(max(rows)) + 0.3
        for tensor in part.inputs:
            self.enter(tensor, x, tensor.level)
        self.canvas.box(x, (low + high) / 2, width, high - low, STAGE)
        size = part.layer.kernel_size
        text = f"{size}x{size} conv"
        if len(rows) > 1:
            text = f"concatenate at 1/{scores.stride},\n{text} with bias"
        turn = 90 if len(rows) > 1 else 0
        self.canvas.text(x + width / 2, (low + high) / 2, text, 8, rotation=turn, linespacing=1.5)
        y = self.y(scores.level)
        self.canvas.line((x + width, y), (self.x["output"], y))
        self.chip(self.x["output"], scores, "scores")
        up = 1 if scores.level == 1 else -1
        logits = next(p for p in self.graph.parts if p.layer.name == "logits").outputs[0]
        middle = self.x["output"] + CHIP / 2
        ends = [(middle, y + up * d) for d in (CHIP_HEIGHT / 2, 1.2 * ROW - CHIP_HEIGHT / 2)]
        self.canvas.line(*ends)
        white = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        self.canvas.text(middle, y + up * 0.56 * ROW, "bilinear", 8, bbox=white)
        self.chip(self.x["output"], logits, "logits", y + up * 1.2 * ROW)

    def draw_auxiliary(self):
        part, x, width = self.auxiliary, self.x["backbone"], self.width["backbone"]
        (source,), (hidden,) = part.inputs, part.outputs
        (classify,) = self.graph.users(hidden)
        logits = self.graph.users(classify.outputs[0])[0].outputs[0]
        from_y = self.y(source.level)
        path = ((x, from_y), (0.15, from_y), (0.15, self.top), (x, self.top))
        self.canvas.line(*path, color=QUIET, style="--")
        self.canvas.box(x, self.top, width, 0.5)
        sizes = [p.layer.kernel_size for p in (part, classify)]
        self.canvas.text(x + width / 2, self.top + 0.1, "auxiliary head", 8)
        text = ", ".join(f"{k}x{k}" for k in sizes) + " conv"
        self.canvas.text(x + width / 2, self.top - 0.11, text)
        self.canvas.line((x + width, self.top), (self.x["features"], self.top), color=QUIET)
        self.chip(self.x["features"], logits, "aux logits", self.top)
        at = self.right("features") + 0.12
        self.canvas.text(at, self.top, "for training only", 8, QUIET, ha="left")
