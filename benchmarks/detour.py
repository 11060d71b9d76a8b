"""The detour experiment: a trained model continued on another source in several ways, with paired seeds.

    CMBERT_TEST_DATA=data python benchmarks/detour.py [--minutes 85] [--out runs/detour]

docs/detour.md has the protocol, which was written before the first run, and gets the tables. Seeds are added until the
intervals are narrow enough or the minutes are used. After an interruption the same command continues; finished runs
are not repeated. docs/detour.md lists the source of each file of the data directory.
"""

import argparse
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import yaml

from clinical_modernbert.benchmarks.learning import models
from clinical_modernbert.benchmarks.learning.arms import (
    ARMS,
    AVERAGED,
    CHECKPOINTS,
    SWEPT,
    Design,
    Family,
    averaged,
    base_recipe,
    best_rate,
    continued_arm,
    first_arm,
    next_rate,
)
from clinical_modernbert.benchmarks.learning.budget import Budget
from clinical_modernbert.benchmarks.learning.differences import (
    ENTITIES,
    MASKED,
    Difference,
    Scores,
    difference_table,
    differences,
    mean_losses,
    precise,
    rate_table,
    score_table,
)
from clinical_modernbert.benchmarks.proof import find_files, write_page
from clinical_modernbert.benchmarks.record import describe_machine
from clinical_modernbert.configs.reporting import run_program
from clinical_modernbert.launcher.commands.demo import print_heading
from clinical_modernbert.launcher.evaluation.tasks import load_tasks
from clinical_modernbert.launcher.experiment.arms import Arm
from clinical_modernbert.launcher.experiment.record import alone, begin, make_record
from clinical_modernbert.launcher.experiment.runs import ArmRun, execute, make_runs
from clinical_modernbert.training.checkpoint.files import list_checkpoints
from clinical_modernbert.training.recipe.config import RunConfig

PAGE = models.REPOSITORY / "docs" / "detour.md"
BEGIN, END = "<!-- detour: begin -->", "<!-- detour: end -->"
CODE = "training model kernels streaming_data evaluation configs/proof.yaml configs/data/detour.yaml"
"""What the numbers rest on (benchmarks/measured.py)."""
FILES = {
    "pubmed": "pubmed/*.xml.gz",
    "pmc": "pmc_fulltext/nxml/*.nxml",
    "dialogues": "notes/aci_bench/*[!a].csv",  # without *_metadata.csv
    "notes": "notes/mtsamples/socd06_test500.csv*",
    "ner train": "eval/BC5CDR-IOB/train.tsv*",
    "ner test": "eval/BC5CDR-IOB/test.tsv*",
}
SOURCES = ("pubmed", "pmc", "dialogues", "notes")
CORES = 2
"""Ranks that run at a time."""
PHASES = {"data": "the data", "first": "the model that is continued", "sweep": "the rates", "pairs": "the seeds"}
Finished = Callable[[ArmRun], None]
Tasks = dict[str, str]
"""Name -> file."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("CMBERT_TEST_DATA"), help="or CMBERT_TEST_DATA")
    parser.add_argument("--out", type=Path, default=Path("runs/detour"))
    parser.add_argument("--minutes", type=float, default=85, help="after which no seeds are added")
    parser.add_argument("--page", type=Path, default=PAGE, help="file in which the tables are written")
    options = parser.parse_args()
    files = find_files(options.data, FILES, "docs/detour.md")
    files |= {kind: [Path(options.data) / FILES[kind]] for kind in SOURCES}  # many files: commands get the pattern
    with alone(options.out):
        experiment(files, options.out, Design(), options.minutes, options.page)


def experiment(
    files: dict[str, list[Path]], out: Path, design: Design, minutes: float, page: Path, extra: Sequence[str] = ()
) -> None:
    """Train and score everything, and write the page after every round of seeds.

    Args:
        extra: overrides of the recipe `proof`, for a small trial.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of every command: waiting threads spin
    budget = Budget(out / "made.json", minutes, models.REPOSITORY, page)
    models.prepare(files, out, "data/detour", SOURCES)
    tasks, base = write_tasks(files, out), base_recipe(out, extra)
    budget.note("data")
    print_heading("3. The model that is continued")
    first = first_arm(design, base)
    (before,) = train_and_score(out / "first", [first], [base.seed], tasks, design, noting(budget, "first"), ranks=2)
    start = list_checkpoints(before.directory / "checkpoints")[0]
    print_heading("4. The rate of each family")
    sweep = {family: sweep_rates(out / "sweep", family, start, tasks, design, base, budget) for family in SWEPT}
    rates = {family: best_rate(mean_losses(losses)) for family, losses in sweep.items()}
    arms = [continued_arm(name, kind, rates[kind.family], start, design, base) for name, kind in ARMS.items()]
    for count in range(design.fewest, design.most + 1, design.added):
        print_heading(f"5. {count} seeds of {len(arms)} arms")
        scores = score_pairs(out / "pairs", arms, count, tasks, design, noting(budget, "pairs"))
        rows = differences(scores, design.source)
        reason = why_enough(rows, count, budget.seconds("pairs") / count, design, budget)
        lines = [f"<!-- measured: {' '.join(budget.made.commits)} | {CODE} | make detour -->", ""]
        lines += rate_table(sweep, design.sweep_seeds)
        flops = {arm.name: arm.flops for arm in arms}
        lines += score_table({**scores, "before": [scores_of(before, tasks)]}, flops, columns(design))
        lines += difference_table(rows, design.half_width)
        lines.append(facts(count, reason or "More seeds follow.", design, budget))
        write_page(page, lines, BEGIN, END)
        if reason:
            break


def write_tasks(files: dict[str, list[Path]], out: Path) -> Tasks:
    """Write the task files. A model this small needs a higher rate than the published one, and fewer, larger steps."""
    train, test = files["ner train"][0], files["ner test"][0]
    contents = {
        MASKED: {"data": str(out / "data"), "task": {"kind": "masked_words", "packs": "all"}},
        ENTITIES: {
            "data": str(train.parent),
            "task": {"kind": "ner", "train": train.name, "test": test.name},
            "protocol": {"lr": 1e-3, "batch": 32},
        },
    }
    (out / "tasks").mkdir(parents=True, exist_ok=True)
    paths = {name: out / "tasks" / f"{name}.yaml" for name in contents}
    for name, path in paths.items():
        path.write_text(yaml.safe_dump({"name": name, **contents[name]}))
    return {name: str(path) for name, path in paths.items()}


def train_and_score(
    out: Path,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    tasks: Tasks,
    design: Design,
    finished: Finished,
    ranks: int = 1,
) -> list[ArmRun]:
    """Train every arm with every seed, and score it, unless `out` has the results already.

    Raises:
        UserError: `out` has results of other arms, data or tasks, or a run failed by a mistake.
        SystemExit: the experiment was stopped, or a run failed.
    """
    evaluations = load_tasks(list(tasks.values()), [])
    begin(out, make_record(arms, evaluations, "tokens", design.fine_tunings, []), design.most)
    runs = make_runs(arms, seeds, list(tasks.items()), out, ranks, design.fine_tunings)
    execute_all(runs, ranks, finished)
    return runs


def sweep_rates(
    out: Path, family: Family, start: Path, tasks: Tasks, design: Design, base: RunConfig, budget: Budget
) -> dict[float, list[float]]:
    """Rate -> loss of the masked tokens for each seed of the sweep. An end that is best is not the end."""
    losses: dict[float, list[float]] = {}
    waiting = list(design.rates[family])
    only = {MASKED: tasks[MASKED]}
    while waiting:
        rate = waiting.pop(0)
        name = f"{family}-{rate:g}"
        arm = continued_arm(name, ARMS[SWEPT[family]], rate, start, design, base)
        runs = train_and_score(out / name, [arm], design.sweep_seeds, only, design, noting(budget, "sweep"))
        losses[rate] = [scores_of(run, only)[MASKED][f"{design.source} loss"] for run in runs]
        if not waiting and (beyond := next_rate(mean_losses(losses), design.most_rates)):
            waiting.append(beyond)
    return losses


def score_pairs(
    out: Path, arms: Sequence[Arm], count: int, tasks: Tasks, design: Design, finished: Finished
) -> dict[str, list[Scores]]:
    """Arm or average -> scores of each of the first `count` seeds."""
    seeds, only = range(design.first_seed, design.first_seed + count), {MASKED: tasks[MASKED]}
    decayed = [arm for arm in arms if arm.config.schedule.decay_tokens]
    constant = [arm for arm in arms if not arm.config.schedule.decay_tokens]
    runs = train_and_score(out / "decayed", decayed, seeds, tasks, design, finished)
    others = train_and_score(out / "constant", constant, seeds, only, design, finished)
    others += average([run for run in (*runs, *others) if run.arm.name in AVERAGED], only, design, finished)
    scores: dict[str, list[Scores]] = {}
    for run in runs:
        scores.setdefault(arm_of(run), []).append(scores_of(run, tasks))
    for run in others:
        scores.setdefault(arm_of(run), []).append(scores_of(run, only))
    return scores


def average(runs: Sequence[ArmRun], tasks: Tasks, design: Design, finished: Finished) -> list[ArmRun]:
    """Average the last checkpoints of each run, and score the averages. Returns these as runs."""
    averages = []
    for run in runs:
        one = ArmRun(f"{averaged(run.arm.name)}-{run.seed}", run.arm, run.seed, run.out)
        if one.scores(list(tasks)) is None:
            if not one.trained():
                options = ["--last", str(CHECKPOINTS), "--out", str(one.directory)]
                one.waiting.append(["checkpoint", "average", str(run.directory), *options])
            files = [part for file in tasks.values() for part in ("--task", file)]
            options = ["--seeds", str(design.fine_tunings), "--out", str(one.results)]
            one.waiting.append(["evaluate", str(one.directory), *files, *options])
        averages.append(one)
    execute_all(averages, 1, finished)
    return averages


def execute_all(runs: Sequence[ArmRun], ranks: int, finished: Finished) -> None:
    """Run what is left of all runs; each rank has a core."""
    if code := execute(runs, max(1, CORES // ranks), ranks, finished):
        raise SystemExit(code)


def arm_of(run: ArmRun) -> str:
    """The arm, or the average of an arm, that a run belongs to."""
    return run.name.rpartition("-")[0]


def scores_of(run: ArmRun, tasks: Iterable[str]) -> Scores:
    """The scores of a run that is finished."""
    scores = run.scores(list(tasks))
    assert scores is not None, run.name
    return scores


def noting(budget: Budget, phase: str) -> Finished:
    """What to do whenever a run is finished: count its time."""

    def finished(run: ArmRun) -> None:
        budget.note(phase)
        print(f"{run.name} is finished; {budget.used():.0f} minutes", flush=True)

    return finished


def why_enough(rows: Sequence[Difference], count: int, per_seed: float, design: Design, budget: Budget) -> str | None:
    """Why no more seeds are needed or possible; None if some are. It looks at widths, never at differences."""
    if precise(rows, design.half_width):
        return f"No seeds were added, since every interval is within ±{100 * design.half_width:g} points."
    if count + design.added > design.most:
        return f"No seeds were added, since {design.most} are the most."
    if not budget.suffices_for(design.added * per_seed):
        return (
            f"No seeds were added, since {design.added} more would exceed {budget.minutes:g} minutes; not every "
            f"interval is within ±{100 * design.half_width:g} points."
        )
    return None


def columns(design: Design) -> list[str]:
    """The scores that the page shows."""
    of_source = [f"{MASKED} {design.source} {score}" for score in ("top1", "word", "loss")]
    return [*of_source, *(f"{MASKED} {source} top1" for source in design.first), f"{ENTITIES} f1"]


def facts(count: int, reason: str, design: Design, budget: Budget) -> str:
    """How many seeds there are and why, and what another one would take."""
    parts = [f"{budget.seconds(phase) / 60:.0f} for {what}" for phase, what in PHASES.items()]
    return (
        f"{count} seeds per arm; each continues the model by {design.tokens:,} tokens. {reason} Minutes on "
        f"{describe_machine()}: {budget.used():.0f}, of which {', '.join(parts)}; another seed of all arms takes "
        f"{budget.seconds('pairs') / count / 60:.1f}."
    )


if __name__ == "__main__":
    run_program(main)
