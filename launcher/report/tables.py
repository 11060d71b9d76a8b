"""Tables as variables of a template. On a narrow screen each row becomes a card, so no table scrolls sideways."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...training.checkpoint.manifest import CheckpointManifest
from ...training.export.scores import Scores
from ..runs.status import describe_outcome
from .run_data import RunData
from .sections import mix_rows, validation_rows

ABSENT = "–"


@dataclass(frozen=True)
class Cell:
    """A value of a table.

    Attributes:
        remark: in small letters after the text.
        color: index of the color of a curve, whose key is shown before the text.
        bar: shares of a bar and of a mark on it, or None, instead of the text.
        code: whether the text is a name or hash.
        strong: whether it is the best of its row.
    """

    text: str
    remark: str = ""
    color: int | None = None
    bar: tuple[float, float | None] | None = None
    code: bool = False
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells. The first cell of a row names it.

    Attributes:
        columns: their headings; none: the table has no heading row.
        text: indexes of the columns that are left-aligned and may break into several lines.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    caption: str = ""
    text: Sequence[int] = ()

    @property
    def cells(self) -> list[list[Cell]]:
        return [[Cell(cell) if isinstance(cell, str) else cell for cell in row] for row in self.rows]


def validation_table(run: RunData) -> Table:
    columns = ["source", "first loss", "best", "at step", "last", "token accuracy", "word accuracy"]
    rows: list[list[Cell | str]] = [
        [
            Cell(row["source"], color=row["color"]),
            score(row["first"]["loss"]),
            score(row["best"]["loss"]),
            count(row["best"]["step"]),
            score(row["last"]["loss"]),
            percent(row["last"]["accuracy"]),
            percent(row["last"]["word_accuracy"]),
        ]
        for row in validation_rows(run)
    ]
    return Table(columns, rows, "Validation by source")


def mix_table(run: RunData) -> Table:
    rows: list[list[Cell | str]] = [
        [
            Cell(row["source"], "synthetic" if row["synthetic"] else "", row["color"]),
            count(row["tokens"]),
            Cell("", color=row["color"], bar=(row["share"], row["planned"])),
            percent(row["share"], 2),
            percent(row["planned"], 2),
            row["licence"] or ABSENT,
        ]
        for row in mix_rows(run)
    ]
    step = count(run.mix[-1]["step"]) if run.mix else ""
    caption = f"Tokens read from each source by step {step}, and the planned shares at that step"
    return Table(["source", "tokens", "share", "read", "planned", "license"], rows, caption, text=[2, 5])


def attempts_table(run: RunData) -> Table:
    last = len(run.attempts) - 1
    rows = [
        [
            str(attempt.number or ABSENT),
            attempt.started[:19].replace("T", " "),
            " ".join(word for word in (attempt.launcher, attempt.job) if word) or ABSENT,
            count(attempt.step),
            count(attempt.ranks),
            attempt.hosts or ABSENT,
            describe_outcome(attempt) or ("unknown" if at < last else "none yet"),
        ]
        for at, attempt in enumerate(run.attempts)
    ]
    return Table(["attempt", "UTC", "launcher", "from step", "ranks", "hosts", "outcome"], rows, text=[1, 2, 5, 6])


def skips_table(run: RunData) -> Table:
    rows = [[count(skip["after"]), count(skip["packs"])] for skip in run.skips]
    return Table(["after packs", "packs"], rows, "Packs skipped after loss spikes")


def checkpoints_table(run: RunData) -> Table:
    columns = ["checkpoint", "tokens", "validation loss", "ranks", "attempt", "MiB"]
    return Table(columns, [[Cell(name, code=True), *_checkpoint(one)] for name, one in run.checkpoints.items()])


def _checkpoint(manifest: CheckpointManifest | None) -> list[str]:
    if manifest is None:
        return ["unreadable manifest", *[ABSENT] * 4]
    size = sum(file.bytes for file in manifest.files.values())
    return [
        count(manifest.progress.tokens),
        score(manifest.validation_loss),
        count(manifest.world_size),
        count(manifest.attempt),
        f"{size / 2**20:,.1f}",
    ]


def score_tables(results: Scores) -> list[Table]:
    """Return one table per task, with a row for each score and a column for each model."""
    tables = []
    for task, models in results.items():
        names = dict.fromkeys(name for scores in models.values() for name in scores)
        rows = [[name, *(_mean(scores.get(name)) for scores in models.values())] for name in names]
        tables.append(Table(["score", *models], rows, task))
    return tables


def _mean(values: dict[str, Any] | None) -> Cell | str:
    if values is None:
        return ABSENT
    deviation = values["deviation"]
    return Cell(score(values["mean"]), "" if deviation is None else f"± {deviation:.4f}, {len(values['values'])} seeds")


def origin_table(manifest: CheckpointManifest) -> Table:
    rows: list[list[Cell | str]] = [
        ["data set", Cell(f"{manifest.data_address or ABSENT}, manifest {manifest.data_manifest}")],
        ["code", Cell(manifest.git_revision or "an installed package", code=bool(manifest.git_revision))],
        ["Python", manifest.python],
        ["packages", ", ".join(f"{name} {version}" for name, version in manifest.packages.items())],
    ]
    shards: Iterable[tuple[str, str]] = manifest.data["sources"].items()
    rows += [[f"shards of {name}", Cell(digest, code=True)] for name, digest in shards]
    return Table([], rows, text=[1])


def score(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.4f}"


def percent(value: float | None, digits: int = 1) -> str:
    return ABSENT if value is None else f"{100 * value:.{digits}f} %"


def count(value: int | None) -> str:
    return ABSENT if value is None else f"{value:,}"
