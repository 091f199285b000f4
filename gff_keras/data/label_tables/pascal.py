"""PASCAL Context (59 classes, with or without the background as a 60th) and PASCAL VOC 2012."""

from gff_keras.data.labels import IGNORE_LABEL, LabelSet

_CONTEXT = {  # value in the 459 categories of the .mat files: (name, colour)
    2: ("aeroplane", (180, 120, 120)),
    9: ("bag", (6, 230, 230)),
    18: ("bed", (80, 50, 50)),
    19: ("bedclothes", (4, 200, 3)),
    22: ("bench", (120, 120, 80)),
    23: ("bicycle", (140, 140, 140)),
    25: ("bird", (204, 5, 255)),
    31: ("boat", (230, 230, 230)),
    33: ("book", (4, 250, 7)),
    34: ("bottle", (224, 5, 255)),
    44: ("building", (235, 255, 7)),
    45: ("bus", (150, 5, 61)),
    46: ("cabinet", (120, 120, 70)),
    59: ("car", (8, 255, 51)),
    65: ("cat", (255, 6, 82)),
    68: ("ceiling", (143, 255, 140)),
    72: ("chair", (204, 255, 4)),
    80: ("cloth", (255, 51, 7)),
    85: ("computer", (204, 70, 3)),
    98: ("cow", (0, 102, 200)),
    104: ("cup", (61, 230, 250)),
    105: ("curtain", (255, 6, 51)),
    113: ("dog", (11, 102, 255)),
    115: ("door", (255, 7, 71)),
    144: ("fence", (255, 9, 224)),
    158: ("floor", (9, 7, 230)),
    159: ("flower", (220, 220, 220)),
    162: ("food", (255, 9, 92)),
    187: ("grass", (112, 9, 255)),
    189: ("ground", (8, 255, 214)),
    207: ("horse", (7, 255, 224)),
    220: ("keyboard", (255, 184, 6)),
    232: ("light", (10, 255, 71)),
    258: ("motorbike", (255, 41, 10)),
    259: ("mountain", (7, 255, 255)),
    260: ("mouse", (224, 255, 8)),
    284: ("person", (102, 8, 255)),
    295: ("plate", (255, 61, 6)),
    296: ("platform", (255, 194, 7)),
    308: ("pottedplant", (255, 122, 8)),
    324: ("road", (0, 255, 20)),
    326: ("rock", (255, 8, 41)),
    347: ("sheep", (255, 5, 153)),
    349: ("shelves", (6, 51, 255)),
    354: ("sidewalk", (235, 12, 255)),
    355: ("sign", (160, 150, 20)),
    360: ("sky", (0, 163, 255)),
    366: ("snow", (140, 140, 140)),
    368: ("sofa", (250, 10, 15)),
    397: ("table", (20, 255, 0)),
    415: ("track", (31, 255, 0)),
    416: ("train", (255, 31, 0)),
    420: ("tree", (255, 224, 0)),
    424: ("truck", (153, 255, 0)),
    427: ("tvmonitor", (0, 0, 255)),
    440: ("wall", (255, 71, 0)),
    445: ("water", (0, 235, 255)),
    454: ("window", (0, 173, 255)),
    458: ("wood", (31, 0, 255)),
}
PASCAL_CONTEXT_CATEGORIES = {raw: name for raw, (name, _) in _CONTEXT.items()}


def pascal_context(background: bool, mat: bool) -> LabelSet:
    """Label table of PASCAL Context.

    Args:
        background: What is none of the 59 classes is class 0 of 60; else it is ignored.
        mat: Raw values are the 459 categories of the .mat files; else PNG values, where 0 is the
            background and 1..59 are the classes in alphabetical order.
    """
    names = tuple(name for name, _ in _CONTEXT.values())
    colours = tuple(colour for _, colour in _CONTEXT.values())
    values = _CONTEXT if mat else range(1, 60)
    others = dict.fromkeys(range(460) if mat else [0], 0 if background else IGNORE_LABEL)
    return LabelSet(
        name="pascal_context",
        classes=("background", *names) if background else names,
        palette=((0, 0, 0), *colours) if background else colours,
        raw_to_train=others | {raw: train for train, raw in enumerate(values, int(background))},
        thin=_CONTEXT_THIN,
    )


_CONTEXT_THIN = (
    "bag",
    "bicycle",
    "bird",
    "book",
    "bottle",
    "chair",
    "cup",
    "fence",
    "flower",
    "keyboard",
    "light",
    "motorbike",
    "mouse",
    "person",
    "plate",
    "pottedplant",
    "sign",
)
PASCAL_CONTEXT = pascal_context(background=False, mat=False)

_VOC = {
    "background": (0, 0, 0),
    "aeroplane": (128, 0, 0),
    "bicycle": (0, 128, 0),
    "bird": (128, 128, 0),
    "boat": (0, 0, 128),
    "bottle": (128, 0, 128),
    "bus": (0, 128, 128),
    "car": (128, 128, 128),
    "cat": (64, 0, 0),
    "chair": (192, 0, 0),
    "cow": (64, 128, 0),
    "diningtable": (192, 128, 0),
    "dog": (64, 0, 128),
    "horse": (192, 0, 128),
    "motorbike": (64, 128, 128),
    "person": (192, 128, 128),
    "pottedplant": (0, 64, 0),
    "sheep": (128, 64, 0),
    "sofa": (0, 192, 0),
    "train": (128, 192, 0),
    "tvmonitor": (0, 64, 128),
}
VOC = LabelSet(
    name="voc",
    classes=tuple(_VOC),
    palette=tuple(_VOC.values()),
    thin=("bicycle", "bird", "bottle", "chair", "motorbike", "person", "pottedplant"),
)
