"""The report at the end of a run. It must not cost the run: whatever goes wrong is a warning."""

import sys

from gff_keras import report
from gff_keras.training.run_folder import replacing


def write_report(recipe, verbose):
    """Write OUT/report.html, unless the recipe leaves it out or no validation chose a best model.

    Args:
        recipe: `Recipe` of a run that has ended.
        verbose: say so, and on a terminal show the progress.
    """
    path = recipe.out / "report.html"
    best = path.with_name("best.keras")
    if not recipe.report or not best.is_file():
        return
    if verbose:
        print(f"\nDrawing {path} (--no-report leaves it out)", flush=True)
    try:
        bar = bool(verbose) and sys.stdout.isatty()
        html = report.page(best, recipe.data, split=recipe.val_split, verbose=bar)
        with replacing(path) as temporary:
            temporary.write_text(html, encoding="utf-8")
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        print(
            f"{path} could not be drawn: {reason}. The run itself is whole; "
            f"`gff-keras report {best} --data {recipe.data}` draws it again.",
            flush=True,
        )
