"""Imports run one way: layers -> backbones -> pretrained -> models -> sharing -> .. -> cli."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "layers": {"layers"},
    "data": {"data"},
    "backbones": {"backbones", "layers"},
    "pretrained": {"pretrained", "backbones", "layers"},
    "models": {"models", "data", "pretrained", "backbones", "layers"},
    "sharing": {"sharing", "data", "models"},
    "visualization": {"visualization", "data"},
    "evaluation": {
        "evaluation",
        "visualization",
        "sharing",
        "data",
        "models",
        "backbones",
        "layers",
    },
    "report": {"report", "evaluation", "visualization", "sharing", "data", "models"},
    "export": {"export", "evaluation", "visualization", "sharing", "data", "models", "layers"},
    "training": {
        "training",
        "report",
        "evaluation",
        "visualization",
        "sharing",
        "data",
        "models",
        "pretrained",
        "backbones",
        "layers",
    },
}


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module == "gff_keras":
                yield from (f"gff_keras.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_run_one_way(package):
    files = list((ROOT / "gff_keras" / package).glob("*.py"))
    assert files
    for path in files:
        for module in imported_modules(path):
            if module.startswith("gff_keras"):
                part = module.split(".")[1] if "." in module else "?"
                assert part in MAY_IMPORT[package], f"{path} imports {module}"


def test_only_the_backbones_import_keras_cv():
    users = {
        path.parent.name
        for path in ROOT.glob("gff_keras/**/*.py")
        if any(m.split(".")[0] == "keras_cv" for m in imported_modules(path))
    }
    assert users == {"backbones"}


def test_layers_and_models_are_free_of_tensorflow():
    """But for what each backend does its own way."""
    users = {
        path.name
        for package in ("layers", "backbones", "pretrained", "models")
        for path in (ROOT / "gff_keras" / package).glob("*.py")
        if any(m.split(".")[0] == "tensorflow" for m in imported_modules(path))
    }
    assert users == {"batch_normalization.py", "convolution.py", "replicas.py", "resizing.py"}


def test_tfrecords_tools_need_label_tables_only():
    """But for the checker's picture, which shows masks as predictions are shown."""
    for path in (ROOT / "tfrecords_tools").glob("*.py"):
        allowed = ["gff_keras.data.labels", "gff_keras.data.label_tables"]
        allowed += ["gff_keras.visualization"] * (path.name == "report.py")
        for module in imported_modules(path):
            assert not module.startswith("gff_keras") or module in allowed, path
