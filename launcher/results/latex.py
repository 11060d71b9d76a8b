"""The scores as a LaTeX table for a paper: booktabs, the best of each task bold, intervals over seeds."""

from collections.abc import Mapping, Sequence

from .scores import MeanScore, is_better

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def latex_table(primary: Mapping[str, tuple[str, Mapping[str, MeanScore]]], claims: Sequence[str]) -> str:
    r"""A table with one row per model and one column per task; it needs `\usepackage{booktabs}`.

    Args:
        primary: task -> its first score, and the cell of each model.
        claims: sentences of what may be claimed, as comments.
    """
    models = list(dict.fromkeys(model for _, cells in primary.values() for model in cells))
    best = {task: _best(score, cells) for task, (score, cells) in primary.items()}
    rows = [
        [escape(model), *(_cell(cells.get(model), model in best[task]) for task, (_, cells) in primary.items())]
        for model in models
    ]
    heads = [["", *map(escape, primary)], ["", *(escape(score) for score, _ in primary.values())]]
    lines = [
        "% needs \\usepackage{booktabs}",
        *(f"% {claim}" for claim in claims),
        f"\\begin{{tabular}}{{l{'r' * len(primary)}}}",
        "\\toprule",
        *(" & ".join(head) + r" \\" for head in heads),
        "\\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """The text with LaTeX's special characters escaped."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def _best(score: str, cells: Mapping[str, MeanScore]) -> set[str]:
    return {model for model, one in cells.items() if not any(is_better(score, other, one) for other in cells.values())}


def _cell(cell: MeanScore | None, best: bool) -> str:
    if cell is None:
        return "--"
    mean = f"{cell.mean:.4f}"
    spread = "" if cell.half_width is None else rf" {{\scriptsize $\pm$ {cell.half_width:.4f}}}"
    return (rf"\textbf{{{mean}}}" if best else mean) + spread
