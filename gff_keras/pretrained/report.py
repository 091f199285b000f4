"""What a file of weights did to a network, and which of its weights fit."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What a weight file did to a network: names of the network, and of what the file has beside.

    Attributes:
        loaded: what was loaded.
        random: the weights of layers that the file does not hold whole, or holds in another shape:
            they stay as they were.
        unused: what else the file holds.
    """

    loaded: tuple[str, ...]
    random: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self):
        lines = [f"loaded: {len(self.loaded)}"]
        lines.append(f"left random: {len(self.random)}{_names(self.random)}")
        if self.unused:
            lines.append(f"in the file but not used: {len(self.unused)}{_names(self.unused)}")
        return "\n".join(lines)


def fitting(path, found, own, partial):
    """Return the names of the network's weights to load: all or, with `partial`, those that fit.

    Args:
        path: the file, for messages.
        found: name -> shape of the file's weights.
        own: name -> shape of the network's weights.
        partial: whether some layers may not fit.

    Raises:
        ValueError: no layer fits or, without `partial`, not all; lists both sides, the weights of
            a layer on one line where they have one shape.
    """
    names = [name for name in own if found.get(name) == own[name]]
    whole = in_whole_layers(found, own)
    if len(names) == len(own) == len(found) or (partial and whole):
        return whole
    problem = f"{len(names)} of the network's {len(own)} weights fit" if names else "no weight fits"
    if names and not whole:
        problem += ", but no layer whole"
    remedy = ", or --partial (partial=True) to load only the layers that fit" if whole else ""
    both_sides = {
        name: f" {found.get(name, 'not')} in the file, {own.get(name, 'not')} in the network"
        for name in {**own, **found}
        if name not in names
    }
    raise ValueError(
        f"{path} is not of this network, {problem}; give the file of the same network{remedy}."
        f"{_indented(_by_layer(both_sides))}"
    )


def in_whole_layers(found, own):
    """Return the names of the weights that fit, in layers of which all do, on both sides.

    A bias is nothing without its kernel, nor a scale without the variance it was trained with.

    Args:
        found: name -> shape of the file's weights.
        own: name -> shape of the network's weights.
    """
    broken = {_layer(name) for name in {**own, **found} if found.get(name) != own.get(name)}
    return tuple(name for name in own if _layer(name) not in broken)


def _layer(name):
    """Of a weight of Keras, `gff/gate_1/kernel`, or of PyTorch, `layer1.0.bn1.weight`."""
    return name.rpartition("/" if "/" in name else ".")[0]


def _by_layer(texts):
    """Lines of name and text; weights of a layer share a line where they have one text."""
    shared: dict[tuple[str, str], list[str]] = {}
    for name, text in texts.items():
        cut = name.rfind("/") + 1 or len(name)  # torchvision's names have no layer to share
        shared.setdefault((name[:cut], text), []).append(name[cut:])
    return [f"{layer}{', '.join(names)}{text}" for (layer, text), names in shared.items()]


def _names(names):
    return _indented(_by_layer(dict.fromkeys(names, "")))


def _indented(lines):
    return "".join(f"\n  {line}" for line in lines)
