"""Oxford-IIIT Pet: the trimaps hold 1 (pet), 2 (background) and 3 (not classified)."""

from gff_keras.data.labels import IGNORE_LABEL, LabelSet

OXFORD_PETS = LabelSet(
    name="oxford_iiit_pet",
    classes=("background", "pet"),
    palette=((0, 0, 0), (220, 160, 40)),
    raw_to_train={1: 1, 2: 0, 3: IGNORE_LABEL},
)
