"""Load a saved network, with label table and recipe."""

import re
import zipfile
from pathlib import Path

import keras

from gff_keras.data import LabelSet
from gff_keras.models import GFFNet
from gff_keras.sharing.metadata import LABELS_FILE, metadata_beside
from gff_keras.sharing.source import locate


def load(source):
    """Load a `GFFNet` with its label table and recipe.

    ```python
    model = gff.load("runs/mine")  # or "mine.keras", or "hf://user/name"
    model.labels.names  # ("sky", "road", ...); labels is None if the file carries no table
    model.recipe["crop_size"]  # the recipe is a dictionary, empty if the file carries none
    ```

    `labels.json` and `recipe.json` beside the file count before what is inside it. Keras's safe
    mode stays on: a file that would execute code is refused.

    Args:
        source: .keras file; a folder with best.keras, last.keras or a single .keras file; or
            "hf://USER/NAME", a repository of the Hugging Face hub.

    Raises:
        FileNotFoundError, ConnectionError: there is no such file or repository, or no network.
        ValueError: the file is no GFFNet, or its labels are another model's; names the file.
    """
    path = locate(source)
    model = load_model(path)
    beside = metadata_beside(path)
    metadata = {**model.metadata, **beside}
    count = _count_classes(metadata.get("labels"), path)
    if count not in (None, model.num_classes):
        inside = "labels" not in beside
        names = f"The label table in {path}" if inside else path.with_name(LABELS_FILE)
        remedy = "write its own into" if inside else "put the model back beside its own"
        raise ValueError(
            f"{names} names {count} classes, but {path} predicts {model.num_classes}; {remedy} "
            f"{LABELS_FILE}."
        )
    try:
        model.metadata = metadata
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return model


def load_model(path):
    """Load the `GFFNet` of a .keras file as it is.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no Keras model, or another one.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"Model file {path} does not exist; give a .keras file, a folder that holds one, or "
            "hf://USER/NAME."
        )
    if path.suffix != ".keras":  # Keras would explain all formats that it ever had
        raise ValueError(f"{path} is not a .keras file; give one that `gff-keras train` wrote.")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no .keras archive, or is cut short; copy it again.")
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:
        raise ValueError(f"{path} cannot be loaded as a .keras model: {_reason(error)}") from error
    if not isinstance(model, GFFNet):
        raise ValueError(f"{path} holds a {type(model).__name__}, not a GFFNet.")
    return model


def _reason(error):
    """What Keras says, in a line; it tells last which class it does not know."""
    if unknown := re.search(r"Could not locate \w+ '([^']+)'", str(error)):
        return (
            f"it holds a {unknown[1]}, which is not Keras's; import the module that registers it "
            "(keras.saving.register_keras_serializable) first."
        )
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _count_classes(table, path):
    """Number of classes that a label table names, None without a table."""
    if table is None:
        return None
    try:
        return LabelSet.from_dict(table).num_classes
    except ValueError as error:
        raise ValueError(f"{path}: {error}.") from None
