"""The command `gff-keras export FORMAT`: one function per format, its arguments are the flags."""

import tyro

from gff_keras.export.saved_model import export_saved_model

FORMATS: dict = {"saved_model": export_saved_model}


def export(argv, prog):
    """Write a model for serving (SavedModel) or for devices (TFLite)."""
    name, *rest = argv or ["--help"]
    if name in ("-h", "--help"):
        print(f"usage: {prog} FORMAT MODEL [OPTIONS]; FORMAT --help lists them.")
        for name, command in FORMATS.items():
            print(f"  {name:<12}{(command.__doc__ or '').splitlines()[0]}")
    elif name in FORMATS:
        tyro.cli(FORMATS[name], args=rest, prog=f"{prog} {name}", use_underscores=True)
    else:
        raise ValueError(f"unknown format {name!r}; choose one of {', '.join(FORMATS)}.")
