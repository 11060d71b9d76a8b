"""The gate of `export` and `push`: a model of restricted text goes on with a privacy report of exactly its weights."""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from ...configs.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from ...evaluation.privacy.report import PrivacyReport
    from ...training.checkpoint.manifest import CheckpointManifest
    from ...training.export.privacy import Privacy

WITHOUT = "--without-privacy-report"


def find_report(manifest: "CheckpointManifest", run: Path, given: Path | None, without: bool) -> "PrivacyReport | None":
    """The report of a checkpoint, as far as can be seen without reading weights; None if none is needed or wanted.

    Args:
        run: directory of the run or of one of its checkpoints.
        given: the report's file, instead of the newest of the run that fits.
    Raises:
        UserError: the model is restricted, and there is no report of this checkpoint.
    """
    from ...evaluation.privacy.report import FILE, read_report
    from ...streaming_data.shards.restricted import every_source, restricted_sources

    if without:
        if given:
            raise UserError(f"--privacy-report {given} and {WITHOUT}: give one of them")
        return None
    restricted = restricted_sources(every_source(manifest.sources, manifest.initial_sources))
    if not restricted and given is None:
        return None
    reports = [(given, read_report(given))] if given else [(path, read_report(path)) for path in _reports_of(run)]
    problems = {str(path): _difference(report, manifest.step, manifest.data_manifest) for path, report in reports}
    for path, report in reversed(reports):
        if not problems[str(path)]:
            return report
    reasons = "; ".join(f"{path} {problem}" for path, problem in problems.items()) or f"{run} has no {FILE}"
    trained = (
        f"the model was trained on restricted sources ({', '.join(sorted(restricted))}), and " if restricted else ""
    )
    raise UserError(f"{trained}{reasons}: {_advice(run)}")


def require_report(
    model: Path, training: Mapping[str, Any], restricted: list[str], without: bool
) -> "PrivacyReport | None":
    """The report in the directory of an export, as far as can be seen without reading weights.

    Args:
        training: the content of its training.json.
    Raises:
        UserError: the model is restricted, and there is no report of this checkpoint.
    """
    from ...evaluation.privacy.report import FILE, read_report

    if without or not restricted:
        return None
    if not (model / FILE).is_file():
        problem = f"has no {FILE}"
    else:
        report = read_report(model)
        if not (difference := _difference(report, training.get("step"), training.get("data_manifest"))):
            return report
        problem = f"has a {FILE} that {difference}"
    raise UserError(
        f"{model}: trained on restricted sources ({', '.join(restricted)}), and {problem}: `cmbert privacy RUN` "
        f"makes one, which a new export takes along; or push it with {WITHOUT}"
    )


def require_weights(report: "PrivacyReport", model: "nn.Module", advice: str) -> None:
    """Raise UserError if the report is about other weights than those of the model."""
    from ...evaluation.privacy.report import FILE
    from ...evaluation.privacy.scorer import hash_weights

    if (weights := hash_weights(model)) != report.weights:
        raise UserError(
            f"{FILE} is about other weights ({report.weights}) than those of this model ({weights}), such as the "
            f"running average or a checkpoint that was made again: {advice}"
        )


def privacy_of(manifest: "CheckpointManifest", run: Path, report: "PrivacyReport | None") -> "Privacy":
    """What the export states: the report, or for a restricted model that there is none."""
    from ...evaluation.privacy.card import card_section
    from ...evaluation.privacy.report import FILE
    from ...streaming_data.shards.restricted import every_source, restricted_sources
    from ...training.export.privacy import Privacy

    if report is None:
        restricted = restricted_sources(every_source(manifest.sources, manifest.initial_sources))
        return Privacy(section=_WITHOUT_REPORT if restricted else "")
    return Privacy(
        section=card_section(report),
        files={FILE: report.model_dump_json(indent=1) + "\n"},
        check=lambda model: require_weights(report, model, _advice(run)),
    )


_WITHOUT_REPORT = (
    "## Privacy\n\nThis model was exported without a privacy report. Nobody has tried whether text of patients can be "
    "read out of it, and it must be assumed that it can.\n"
)


def _reports_of(run: Path) -> list[Path]:
    """The reports of a run, the newest last."""
    from ...evaluation.privacy.report import FILE

    directory = run.parent.parent if (run / "manifest.json").is_file() else run
    found = {*directory.glob(FILE), *directory.glob(f"privacy*/**/{FILE}"), *run.glob(FILE)}
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, str(path)))


def _difference(report: "PrivacyReport", step: object, data: object) -> str:
    if report.step != step:
        return f"is about step {report.step:,}, not {step}"
    if not report.attacks():
        return "has no attack in it"
    return "" if report.data == data else f"is about a model of other data ({report.data}, not {data})"


def _advice(run: Path) -> str:
    return f"`cmbert privacy {quote(str(run))}` makes a report, or export it with {WITHOUT}"
