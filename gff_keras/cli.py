"""The command `gff-keras`: one function per sub-command, its arguments are the flags."""

import dataclasses
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf
import tyro
from tyro.conf import Positional

import gff_keras
import recipes
from gff_keras.evaluation.command import evaluate, predict
from gff_keras.evaluation.complexity import complexity
from gff_keras.evaluation.complexity import table as complexity_table
from gff_keras.evaluation.cost_table import SIZE, cost_table
from gff_keras.evaluation.gate_command import compare_models, gates
from gff_keras.export.command import export
from gff_keras.models import GFFNet
from gff_keras.quickstart import quickstart as run_quickstart
from gff_keras.report.command import card, report
from gff_keras.sharing import load_model, locate
from gff_keras.training import Recipe, Stopped
from gff_keras.training import train as run_training
from gff_keras.training.multi_worker import reason
from recipes import street_scenes_resnet18


def main(argv=None):
    """Run a sub-command; errors that a user can cause end in one sentence and exit status 2."""
    name, *rest = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(_usage())
        return 0
    if name == "--version":
        print(gff_keras.__version__)
        return 0
    if keras.backend.backend() != "tensorflow":  # which then only reads data: the GPU is not for it
        tf.config.set_visible_devices([], "GPU")
    prog = f"gff-keras {name}"
    try:
        if name == "train":
            train(rest, prog)
        elif name == "export":
            export(rest, prog)
        elif name in COMMANDS:
            tyro.cli(COMMANDS[name], args=rest, prog=prog, use_underscores=True)
        else:
            print(f"gff-keras: unknown command {name!r}\n\n{_usage()}", file=sys.stderr)
            return 2
    except (ValueError, OSError) as error:
        print(f"{prog}: error: {error}", file=sys.stderr)
        return 2
    except tf.errors.OpError as error:  # a damaged record, met inside the input pipeline
        print(f"{prog}: error: {_record_error(error.message)}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(f"\n{prog}: {stopped}", file=sys.stderr)
        return stopped.status
    except KeyboardInterrupt:
        print(f"\n{prog}: stopped", file=sys.stderr)
        return 130
    return 0


def train(argv, prog):
    """Train a recipe: a name from recipes/ or a Python file that defines RECIPE."""
    if argv and argv[0] in ("-h", "--help"):
        print(f"usage: {prog} RECIPE [--FIELD VALUE ...]; RECIPE --help lists the fields.")
        print(f"RECIPE: a Python file, or one of {', '.join(recipe_names())}")
        return
    if not argv or argv[0].startswith("-"):
        raise ValueError(f"name a recipe first: {prog} RECIPE, one of {', '.join(recipe_names())}.")
    name, *rest = argv
    default, description = load_recipe(name)
    recipe = tyro.cli(
        Recipe,
        default=default,
        args=rest,
        prog=f"{prog} {name}",
        description=description,
        use_underscores=True,
    )
    run_training(recipe)
    print(f"\nwritten to {recipe.out}")


def load_recipe(name):
    """Return `(RECIPE, docstring)` of a recipe given by name or path of a Python file."""
    path = Path(name)
    if path.suffix != ".py":
        path = _recipes_folder() / f"{name}.py"
    if not path.is_file():
        raise FileNotFoundError(
            f"Recipe {name!r} not found; give a Python file or one of {', '.join(recipe_names())}."
        )
    try:
        module = runpy.run_path(str(path))
    except Exception as error:
        raise ValueError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    if not isinstance(module.get("RECIPE"), Recipe):
        raise ValueError(f"{path} defines no RECIPE; see recipes/camvid_resnet18.py for the form.")
    return module["RECIPE"], module["__doc__"]


def recipe_names():
    """Return the names of the recipes that come with the package."""
    return sorted(path.stem for path in _recipes_folder().glob("[a-z]*.py"))


def _recipes_folder():
    return Path(recipes.__path__[0])


def quickstart(
    out: Path = Path("runs/quickstart"),
    epochs: int = street_scenes_resnet18.RECIPE.epochs,
    seed: int = street_scenes_resnet18.RECIPE.seed,
    overwrite: bool = False,
):
    """Draw street scenes, train a small GFFNet, evaluate it and show what it sees.

    Takes some minutes on two CPU cores.

    Args:
        out: folder to write.
        epochs: passes over the training scenes.
        seed: of scenes, weights and data order.
        overwrite: replace a finished quickstart in `out`.
    """
    recipe = dataclasses.replace(street_scenes_resnet18.RECIPE, epochs=epochs, seed=seed)
    run_quickstart(recipe, out, overwrite)


def info(
    model: Positional[Path | None] = None,
    backbone: str = "resnet101",
    num_classes: int = 19,
    context: str | None = "ppm",
    fusion: str | None = "gff",
    dfp: bool = True,
    aux_head: bool = True,
    output_stride: int = 8,
    filters: int = 256,
    size: tuple[int, int] = SIZE,
    table3: bool = False,
):
    """Print layers, parameters and operations of a network, by block.

    Args:
        model: .keras file, folder or hf://USER/NAME; without it, the network that the other
            options describe.
        backbone: a name in gff_keras.backbones.BACKBONES, such as resnet18, densenet121 or
            wider_resnet38.
        num_classes: number of classes.
        context: ppm, aspp, dense_aspp or None.
        fusion: gff, concat, add, fpn, gated_fpn or None.
        dfp: dense feature pyramid after the fusion.
        aux_head: auxiliary head.
        output_stride: stride of the last backbone features.
        filters: channels of the fused features.
        size: height and width of the image that operations are counted for.
        table3: instead, compare the plain network, with GFF and with GFF and DFP on every backbone,
            as the paper's Table 3 does; of the other options only size counts.
    """
    if min(size) < 1:
        raise ValueError(f"size={size} must be positive: height and width in pixels.")
    if table3 and model:
        raise ValueError(f"--table3 is of all backbones; leave {model} out.")
    if table3:
        print(cost_table(size=size))
        return
    if model:
        network = load_model(locate(model))
    else:
        network = GFFNet(
            backbone,
            num_classes,
            context=context,
            fusion=fusion,
            dfp=dfp,
            aux_head=aux_head,
            output_stride=output_stride,
            filters=filters,
        )
    print(complexity_table(complexity(network, size), size))


COMMANDS: dict[str, Callable[..., None]] = {
    "quickstart": quickstart,
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "gates": gates,
    "compare": compare_models,
    "report": report,
    "card": card,
    "info": info,
    "export": export,
}


def _usage():
    lines = ["usage: gff-keras COMMAND [OPTIONS]; gff-keras COMMAND --help lists them.", ""]
    for name, command in COMMANDS.items():
        lines.append(f"  {name:<12}{(command.__doc__ or '').splitlines()[0]}")
    return "\n".join(lines)


def _record_error(message):
    """The sentence that this project wrote into a TensorFlow error, without the graph's words."""
    found = re.search(r"assertion failed: \[(.*?)\]\s*$", message, re.MULTILINE)
    if not found:
        return reason(message)
    sentence = found[1].replace("] [", " ")  # around a number in it
    # TensorFlow writes quotes and letters beyond ASCII as escaped bytes.
    return sentence.encode().decode("unicode_escape").encode("latin-1").decode("utf-8", "replace")


if __name__ == "__main__":
    sys.exit(main())
