"""The command `gff-keras`: one function per sub-command, its arguments are the flags."""

import dataclasses
import json
import sys
from pathlib import Path

import tyro
from tyro.conf import Positional


def main(argv=None):
    """Run a sub-command; errors that a user can cause end in one sentence and exit status 2."""
    name, *rest = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(_usage())
        return 0
    if name == "--version":
        from gff_keras import __version__

        print(__version__)
        return 0
    if name not in COMMANDS:
        print(f"gff-keras: unknown command {name!r}\n\n{_usage()}", file=sys.stderr)
        return 2
    return run_safely(f"gff-keras {name}", COMMANDS[name], rest)


def run_safely(prog, command, argv):
    """Call `command(argv, prog)` and turn the errors that users cause into one sentence."""
    from tensorflow.errors import OpError

    try:
        command(argv, prog)
    except (ValueError, OSError) as error:
        print(f"{prog}: error: {error}", file=sys.stderr)
        return 2
    except OpError as error:  # a damaged record, met inside the input pipeline
        print(f"{prog}: error: {_first_sentence(error.message)}", file=sys.stderr)
        return 2
    return 0


def train(argv, prog):
    """Train a recipe: a name from recipes/ or a Python file that defines RECIPE."""
    from gff_keras.training import Recipe
    from gff_keras.training import train as run

    if not argv or argv[0].startswith("-"):
        if argv and argv[0] in ("-h", "--help"):
            print(f"usage: {prog} RECIPE [--FIELD VALUE ...]; RECIPE --help lists the fields.")
            return
        raise ValueError(f"name a recipe first: {prog} RECIPE, one of {', '.join(recipe_names())}.")
    recipe, *rest = argv
    default, description = load_recipe(recipe)
    run(
        tyro.cli(
            Recipe,
            default=default,
            args=rest,
            prog=f"{prog} {recipe}",
            description=description,
            use_underscores=True,
        )
    )


def load_recipe(name):
    """Return `(RECIPE, docstring)` of a recipe given by name or path of a Python file."""
    import runpy

    from gff_keras.training import Recipe

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
    import recipes

    return Path(recipes.__path__[0])


def evaluate(argv, prog):
    """Print and save IoU per class, mean IoU and accuracy at the resolution of the masks."""
    from gff_keras.evaluation.evaluate import evaluate as run
    from gff_keras.evaluation.evaluate import table
    from gff_keras.evaluation.prediction import load_predictor

    def command(
        model: Positional[Path],
        data: Path,
        split: str = "val",
        out: Path | None = None,
        image_size: tuple[int, int] | None = None,
    ):
        """Compare a model's predictions with the masks of a split, at the resolution of the masks.

        Args:
            model: .keras file; recipe.json beside it tells the size it was trained at.
            data: folder of records.
            split: split to evaluate.
            out: JSON file to write; MODEL_SPLIT.json beside the model if not given.
            image_size: height and width at which the network sees the images.
        """
        predictor, _ = load_predictor(model, image_size)
        results = run(predictor, data, split)
        print(table(results))
        path = out or model.with_name(f"{model.stem}_{split}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(f"\nwritten to {path}")

    _call(command, argv, prog)


def predict(argv, prog):
    """Write palette masks and overlays with a legend for an image or a folder of images."""
    from gff_keras.evaluation.images import predict_images

    def command(
        images: Positional[Path],
        model: Path,
        out: Path = Path("predictions"),
        image_size: tuple[int, int] | None = None,
    ):
        """Write NAME_mask.png (palette PNG, pixel values are classes) and NAME_overlay.png.

        Args:
            images: JPEG or PNG image, or a folder of them.
            model: .keras file.
            out: folder to write.
            image_size: height and width at which the network sees the images.
        """
        predict_images(images, model, out, image_size)

    _call(command, argv, prog)


def gates(argv, prog):
    """Draw the gate maps of an image beside image and prediction (the paper's Fig. 6)."""
    from gff_keras.evaluation.images import draw_gates

    def command(
        images: Positional[Path],
        model: Path,
        out: Path = Path("gates"),
        image_size: tuple[int, int] | None = None,
    ):
        """Write NAME_gates.png: image, prediction and the gate map of every level.

        Args:
            images: JPEG or PNG image, or a folder of them.
            model: .keras file.
            out: folder to write.
            image_size: height and width at which the network sees the images.
        """
        draw_gates(images, model, out, image_size)

    _call(command, argv, prog)


def info(argv, prog):
    """Print layers, parameters and operations by block."""
    from gff_keras.evaluation.complexity import complexity, table
    from gff_keras.evaluation.prediction import load_model
    from gff_keras.models import GFFNet

    def command(
        model: Positional[Path | None] = None,
        backbone: str = "resnet101",
        num_classes: int = 19,
        fusion: str | None = "gff",
        dfp: bool = True,
        aux_head: bool = True,
        output_stride: int = 8,
        filters: int = 256,
        size: tuple[int, int] = (512, 512),
    ):
        """Print layers, trainable parameters and operations of a network, by block.

        Args:
            model: .keras file; without it, the network that the other options describe.
            backbone: resnet18, resnet34, resnet50, resnet101 or resnet152.
            num_classes: number of classes.
            fusion: gff, or None for PSPNet.
            dfp: dense feature pyramid after the fusion.
            aux_head: auxiliary head.
            output_stride: stride of the last backbone features.
            filters: channels of the fused features.
            size: height and width of the image that operations are counted for.
        """
        if min(size) < 1:
            raise ValueError(f"size={size} must be positive: height and width in pixels.")
        network = (
            load_model(model)
            if model
            else GFFNet(
                backbone,
                num_classes,
                fusion=fusion,
                dfp=dfp,
                aux_head=aux_head,
                output_stride=output_stride,
                filters=filters,
            )
        )
        print(table(complexity(network, size), size))

    _call(command, argv, prog)


def quickstart(argv, prog):
    """Draw street scenes, train a small GFFNet, evaluate it and show what it sees."""
    from gff_keras.quickstart import quickstart as run
    from recipes.street_scenes_resnet18 import RECIPE

    def command(
        out: Path = Path("runs/quickstart"),
        epochs: int = RECIPE.epochs,
        seed: int = RECIPE.seed,
        overwrite: bool = False,
    ):
        """Run the whole way once, from data to pictures, in some minutes on two CPU cores.

        Args:
            out: folder to write.
            epochs: passes over the training scenes.
            seed: of scenes, weights and data order.
            overwrite: replace a finished quickstart in `out`.
        """
        run(dataclasses.replace(RECIPE, epochs=epochs, seed=seed), out, overwrite)

    _call(command, argv, prog)


COMMANDS = {
    "quickstart": quickstart,
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "gates": gates,
    "info": info,
}


def _call(command, argv, prog):
    tyro.cli(command, args=argv, prog=prog, use_underscores=True)


def _usage():
    lines = ["usage: gff-keras COMMAND [OPTIONS]; gff-keras COMMAND --help lists them.", ""]
    for name, command in COMMANDS.items():
        lines.append(f"  {name:<12}{(command.__doc__ or '').splitlines()[0]}")
    return "\n".join(lines)


def _first_sentence(message):
    """The part of a TensorFlow error that this project wrote, without the graph's own words."""
    for line in message.splitlines():
        if "record '" in line:
            return line[line.index("{") :] if line.startswith("{") else line
    return message.splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
