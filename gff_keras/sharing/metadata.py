"""Label table and recipe as they travel inside a model's file."""

import json
import os.path
from pathlib import Path, PurePosixPath, PureWindowsPath

from gff_keras.data import LabelSet
from gff_keras.models.metadata import as_json
from gff_keras.sharing.source import HUB

LABELS_FILE = "labels.json"
RECIPE_FILE = "recipe.json"
_PATHS = ("data", "weights")  # of these fields the name is worth knowing
_LOCAL = ("out", "overwrite", "resume")  # these tell of one machine, not of the network


def metadata(labels, recipe):
    """Return the `metadata` of a `GFFNet`.

    Args:
        labels: `LabelSet`.
        recipe: the fields of a `Recipe` as JSON keeps them (`Recipe.fields()`).
    """
    return as_json({"labels": labels.to_dict(), "recipe": portable(recipe)}, "metadata")


def portable(recipe):
    """Return a recipe's fields as others may see them: a path is reduced to its last name."""
    return {
        name: _without_folders(value, name in _PATHS)
        for name, value in recipe.items()
        if name not in _LOCAL
    }


def metadata_beside(path):
    """Return what `labels.json` and `recipe.json` beside a model tell, as far as they are there.

    Raises:
        ValueError: one of them cannot be read.
    """
    found = {}
    labels, recipe = path.with_name(LABELS_FILE), path.with_name(RECIPE_FILE)
    if labels.is_file():
        found["labels"] = LabelSet.load(labels).to_dict()
    if recipe.is_file():
        found["recipe"] = portable(_read_recipe(recipe))
    return found


def _without_folders(value, is_path):
    if isinstance(value, list | tuple):
        return [_without_folders(part, is_path) for part in value]
    if isinstance(value, dict):
        return {name: _without_folders(part, is_path) for name, part in value.items()}
    if not isinstance(value, str) or not value:
        return value
    if repository := HUB.fullmatch(value):  # everybody's
        return f"hf://{repository[1]}"
    if PureWindowsPath(value).is_absolute():  # of another machine, perhaps
        return PureWindowsPath(value).name
    if is_path or PurePosixPath(value).is_absolute() or value.startswith("~"):
        return Path(os.path.abspath(value)).name
    return value


def _read_recipe(path):
    try:
        recipe = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(recipe, dict):
            raise ValueError("it holds no dictionary of fields")
        return recipe
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as the recipe of a run ({error}); correct it, or move it away."
        ) from None
