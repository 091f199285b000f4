"""Pictures of label maps, gate maps and learning curves, from NumPy arrays."""

from gff_keras.visualization.colors import colorize, default_palette, save_palette_png
from gff_keras.visualization.comparison import ablation_sheet, comparison_sheet
from gff_keras.visualization.curves import learning_curves
from gff_keras.visualization.gates import gate_sheet
from gff_keras.visualization.heatmaps import ablation_heatmap, statistics_heatmap
from gff_keras.visualization.overlays import (
    label_sheet,
    legend_entries,
    overlay,
    overlay_figure,
    prediction_sheet,
)

__all__ = [
    "ablation_heatmap",
    "ablation_sheet",
    "colorize",
    "comparison_sheet",
    "default_palette",
    "gate_sheet",
    "label_sheet",
    "learning_curves",
    "legend_entries",
    "overlay",
    "overlay_figure",
    "prediction_sheet",
    "save_palette_png",
    "statistics_heatmap",
]
