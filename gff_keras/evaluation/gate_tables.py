"""The results of gate analysis and of comparisons as text, and as rows of a CSV file."""

import csv

MEAN = "mean IoU"


def write_csv(path, rows):
    """Write rows, the first with the names of the columns; None is an empty cell."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def gate_rows(statistics):
    """Return a row per class, the first over all pixels: three measures for every gate."""
    gates = statistics["gates"]
    measures = [key for key in next(iter(gates.values())) if key != "classes"]
    rows = [["class", *(f"{gate} {measure}" for gate in gates for measure in measures)]]
    rows.append(["all pixels", *(gate[m] for gate in gates.values() for m in measures)])
    for name in statistics["pixels"]:
        values = (gate["classes"][name][m] for gate in gates.values() for m in measures)
        rows.append([name, *values])
    return rows


def share_rows(statistics):
    """Return the receive and the send shares, a row per level."""
    levels = range(1, len(statistics["gates"]) + 1)
    rows: list[list] = [["share", "level", *(f"level {i}" for i in levels)]]
    for share in ("receive", "send"):
        rows += [[share, i, *row] for i, row in enumerate(statistics[share], start=1)]
    return rows


def ablation_rows(ablation):
    """Return a row per class, the last the mean: IoU with all gates, without each, and changes."""
    without = ablation["without"]
    heads = [f"IoU without {gate}" for gate in without] + [f"change without {g}" for g in without]
    rows = [["class", "IoU", *heads]]
    for name, iou in _ious(ablation):
        others = [dict(_ious(other))[name] for other in without.values()]
        rows.append([name, iou, *others, *(change(iou, x) for x in others)])
    return rows


def comparison_rows(results):
    """Return a row per class, the last over all: IoU of A and B, pixels, mended and broken by B."""
    rows = [["class", "IoU A", "IoU B", "change", "pixels", "mended", "broken"]]
    counts = [*results["classes"].values(), results]
    for (name, a), (_, b), row in zip(
        _ious(results["A"]), _ious(results["B"]), counts, strict=True
    ):
        rows.append([name, a, b, change(a, b), row["pixels"], row["mended"], row["broken"]])
    return rows


def statistics_table(statistics):
    """Format the result of `statistics` as lines of text."""
    gates = statistics["gates"]
    width = max(map(len, ("all pixels", *statistics["pixels"]))) + 2
    lines = [" " * width + "".join(f"{gate:>11}{'':10}" for gate in gates)]
    lines.append(" " * width + f"{'mean':>7}{'>0.9':>7}{'<0.1':>7}" * len(gates))
    for name, *values in gate_rows(statistics)[1:]:
        lines.append(f"{name:{width}}" + "".join(_number(x, 7, 2) for x in values))
    for title, key, row, column in (
        ("% of a fused level that comes from", "receive", "X~", "X"),
        ("% of what a level gives that goes to", "send", "X", "X~"),
    ):
        heads = (f"{column}{i}" for i in range(1, len(gates) + 1))
        lines += ["", f"{title:40}" + "".join(f"{head:>8}" for head in heads)]
        for i, shares in enumerate(statistics[key], start=1):
            lines.append(f"  {row}{i}".ljust(40) + "".join(_number(100 * x, 8, 1) for x in shares))
    return "\n".join(lines)


def ablation_table(ablation):
    """Format the result of `ablation` as lines of text: changes in points."""
    without = ablation["without"]
    width = max(map(len, (*ablation["iou"], MEAN))) + 2
    lines = [f"{'class':{width}}{'IoU %':>8}" + "".join(f"{f'{g} = 0':>9}" for g in without)]
    for name, iou, *rest in ablation_rows(ablation)[1:]:
        changed = rest[len(without) :]
        lines.append(
            f"{name:{width}}{_number(iou, 8, 2, 100)}"
            + "".join(_number(x, 9, 2, 100, "+") for x in changed)
        )
    lines.insert(-1, "")
    return "\n".join(lines)


def comparison_table(results):
    """Format the result of `compare` as lines of text."""
    width = max(map(len, (*results["classes"], MEAN))) + 2
    heads = ("A IoU %", "B IoU %", "change", "mended", "broken")
    lines = [f"{'class':{width}}" + "".join(f"{head:>10}" for head in heads)]
    for name, a, b, changed, _, mended, broken in comparison_rows(results)[1:]:
        numbers = (
            _number(a, 10, 2, 100) + _number(b, 10, 2, 100) + _number(changed, 10, 2, 100, "+")
        )
        lines.append(f"{name:{width}}{numbers}{mended:>10,}{broken:>10,}")
    lines.insert(-1, "")
    return "\n".join(lines)


def _ious(result):
    """Pairs of class and IoU, the last the mean."""
    return [*result["iou"].items(), (MEAN, result["mean_iou"])]


def change(before, after):
    """Return `after - before`, None where one of them is."""
    return None if None in (before, after) else after - before


def _number(value, width, digits, factor=1, sign=""):
    return f"{'absent':>{width}}" if value is None else f"{factor * value:{sign}z{width}.{digits}f}"
