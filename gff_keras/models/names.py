"""What networks and their parts are called in the field."""

BASELINES = {"ppm": "PSPNet", "aspp": "DeepLabV3+", "dense_aspp": "DenseASPP", None: "FCN"}
_FUSIONS = {"concat": "Concat", "add": "Addition", "fpn": "FPN", "gated_fpn": "Gated FPN"}
_BACKBONES = (
    ("wider_resnet", "Wider-ResNet-"),
    ("resnet", "ResNet-"),
    ("densenet", "DenseNet-"),
)


def model_name(model):
    """Return the name of a `GFFNet`, such as GFFNet-ResNet-18 or PSPNet-ResNet-50 + FPN."""
    name = BASELINES[model.context]
    if model.fusion == "gff":
        name = "GFFNet" if model.context == "ppm" else f"GFFNet-{name}"
    name = f"{name}-{backbone_name(model.backbone.name)}"
    if model.fusion == "gff":
        return name if model.dfp else f"{name} without DFP"
    parts = [_FUSIONS.get(model.fusion), "DFP" if model.dfp else None]
    return " + ".join([name, *filter(None, parts)])


def backbone_name(name):
    """Return a backbone's name as papers write it: resnet18 -> ResNet-18."""
    for prefix, written in _BACKBONES:
        if name.startswith(prefix):
            return name.replace(prefix, written, 1).replace("_", " ")
    return name
