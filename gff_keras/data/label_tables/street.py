"""Label tables of street scenes: CamVid, Cityscapes and the scenes that this project draws."""

from gff_keras.data.labels import IGNORE_LABEL, LabelSet

_CAMVID = {
    "Sky": (128, 128, 128),
    "Building": (128, 0, 0),
    "Pole": (192, 192, 128),
    "Road": (128, 64, 128),
    "Pavement": (0, 0, 192),
    "Tree": (128, 128, 0),
    "SignSymbol": (192, 128, 128),
    "Fence": (64, 64, 128),
    "Car": (64, 0, 128),
    "Pedestrian": (64, 64, 0),
    "Bicyclist": (0, 128, 192),
}
CAMVID = LabelSet(
    name="camvid",
    classes=tuple(_CAMVID),
    palette=tuple(_CAMVID.values()),
    raw_to_train={**{index: index for index in range(11)}, 11: IGNORE_LABEL},  # 11 is void
    thin=("Pole", "SignSymbol", "Fence", "Pedestrian", "Bicyclist"),
)

_CITYSCAPES = {  # value in labelIds: (name, colour)
    7: ("road", (128, 64, 128)),
    8: ("sidewalk", (244, 35, 232)),
    11: ("building", (70, 70, 70)),
    12: ("wall", (102, 102, 156)),
    13: ("fence", (190, 153, 153)),
    17: ("pole", (153, 153, 153)),
    19: ("traffic light", (250, 170, 30)),
    20: ("traffic sign", (220, 220, 0)),
    21: ("vegetation", (107, 142, 35)),
    22: ("terrain", (152, 251, 152)),
    23: ("sky", (70, 130, 180)),
    24: ("person", (220, 20, 60)),
    25: ("rider", (255, 0, 0)),
    26: ("car", (0, 0, 142)),
    27: ("truck", (0, 0, 70)),
    28: ("bus", (0, 60, 100)),
    31: ("train", (0, 80, 100)),
    32: ("motorcycle", (0, 0, 230)),
    33: ("bicycle", (119, 11, 32)),
}
CITYSCAPES = LabelSet(
    name="cityscapes",
    classes=tuple(name for name, _ in _CITYSCAPES.values()),
    palette=tuple(colour for _, colour in _CITYSCAPES.values()),
    raw_to_train={  # 0..33 are all the values there are
        **dict.fromkeys(range(34), IGNORE_LABEL),
        **{raw: train for train, raw in enumerate(_CITYSCAPES)},
    },
    thin=(
        "fence",
        "pole",
        "traffic light",
        "traffic sign",
        "person",
        "rider",
        "motorcycle",
        "bicycle",
    ),
)

_STREET_SCENES = {
    "road": (128, 64, 128),
    "lane marking": (255, 255, 255),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "fence": (190, 153, 153),
    "vegetation": (107, 142, 35),
    "sky": (70, 130, 180),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "person": (220, 20, 60),
    "car": (0, 0, 142),
}
STREET_SCENES = LabelSet(
    name="street_scenes",
    classes=tuple(_STREET_SCENES),
    palette=tuple(_STREET_SCENES.values()),
    thin=("lane marking", "pole", "traffic light", "traffic sign", "person"),
)
