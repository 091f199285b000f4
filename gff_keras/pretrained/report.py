"""What a file of weights did to a network, and which of its weights fit."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What a weight file did to a network: names of the network, and of what the file has beside.

    Attributes:
        loaded: what was loaded.
        random: what the file does not hold, or in another shape: it stays as it was.
        unused: what only the file holds, or holds in another shape.
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
    """Return the names that a file and a network share, with the same shape.

    Args:
        path: the file, for messages.
        found: name -> shape of the file's weights.
        own: name -> shape of the network's weights.
        partial: whether some may not fit.

    Raises:
        ValueError: nothing fits or, without `partial`, not all; lists both sides, the weights of a
            layer on one line where they have one shape.
    """
    names = tuple(name for name in own if found.get(name) == own[name])
    if len(names) == len(own) == len(found) or (partial and names):
        return names
    if names:
        problem = f"{len(names)} of the network's {len(own)} weights fit"
        remedy = ", or --partial (partial=True) to leave random what does not fit"
    else:
        problem, remedy = "no weight fits", ""
    both_sides = {
        name: f" {found.get(name, 'not')} in the file, {own.get(name, 'not')} in the network"
        for name in {**own, **found}
        if name not in names
    }
    raise ValueError(
        f"{path} is not of this network, {problem}; give the file of the same network{remedy}."
        f"{_indented(_by_layer(both_sides))}"
    )


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
