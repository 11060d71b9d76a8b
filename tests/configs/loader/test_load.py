"""The loader: all errors together, each with its location; overrides equal edits; dumped configurations load back."""

import json
import math
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, computed_field, model_validator

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.loader.explain import RENAMED
from clinical_modernbert.configs.loader.load import dump, load
from clinical_modernbert.configs.loader.tree import to_yaml
from clinical_modernbert.training.recipe.config import RunConfig


class Precision(Enum):
    BF16 = "bf16"
    FP32 = "fp32"


class Stage(BaseModel):
    length: int = Field(gt=0)
    tokens: int


class Data(BaseModel):
    directory: Path = Path("packs")
    seq_length: int = Field(8192, gt=0)
    weights: dict[str, float] = {}
    stages: list[Stage] = []

    @model_validator(mode="after")
    def _stages_fit(self) -> "Data":
        if any(stage.length > self.seq_length for stage in self.stages):
            raise ValueError(f"a stage is longer than seq_length ({self.seq_length})")
        return self


class Constant(BaseModel):
    kind: Literal["constant"] = "constant"
    warmup: int = 0


class Decay(BaseModel):
    kind: Literal["decay"] = "decay"
    tokens: int
    final: float = 0.0


class Optimizer(BaseModel):
    lr: float = Field(gt=0)
    betas: tuple[float, float] = (0.9, 0.98)
    schedule: Annotated[Constant | Decay, Field(discriminator="kind")] = Constant()


class Run(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    resume: bool = True
    workers: int | Literal["auto"] = "auto"
    precision: Precision = Precision.BF16
    data: Data = Data()
    optimizer: Optimizer
    phases: list[Annotated[Constant | Decay, Field(discriminator="kind")]] = []
    note: str | None = None

    @computed_field
    def title(self) -> str:
        return self.name.title()


GOOD = """\
name: tiny
data:
  seq_length: 512
  stages:
    - {length: 128, tokens: 1_000}
    - {length: 512, tokens: 13e9}
optimizer:
  lr: 5e-4
  schedule: {kind: decay, tokens: 7}
"""


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def error_lines(text: str, *overrides: str) -> list[str]:
    """Return the lines of the error for a recipe `text`, saved as a.yaml in the working directory."""
    Path("a.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        load(Run, Path("a.yaml"), overrides)
    return str(error.value).splitlines()


def test_a_valid_recipe_loads(workdir: Path) -> None:
    Path("a.yaml").write_text(GOOD)
    run = load(Run, Path("a.yaml"), ["data.stages.1.length=0o400", "precision=fp32", "data.directory=/x y", "note=yes"])
    assert run == Run(
        name="tiny",
        precision=Precision.FP32,
        data=Data(
            directory=Path("/x y"),
            seq_length=512,
            stages=[Stage(length=128, tokens=1000), Stage(length=256, tokens=13_000_000_000)],
        ),
        optimizer=Optimizer(lr=5e-4, schedule=Decay(tokens=7)),
        note="yes",
    )
    assert isinstance(run.data.stages[1].tokens, int)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "seq_length",
            "seq_lenght",
            "a.yaml:3: data.seq_lenght: unknown key; did you mean seq_length?"
            " (keys here: directory, seq_length, weights, stages)",
        ),
        ("lr: 5e-4", "betas: [0, 1]", "a.yaml:7: optimizer.lr: missing; expected a number"),
        ("name: tiny", "note: ~", "a.yaml:1: name: missing; expected text"),
        ("tokens: 7", "final: 1", "a.yaml:9: optimizer.schedule.tokens: missing; expected a whole number"),
        ("lr: 5e-4", "lr: fast", "a.yaml:8: optimizer.lr: expected a number, got 'fast'"),
        ("lr: 5e-4", "lr: '5e-4'", "a.yaml:8: optimizer.lr: expected a number, got '5e-4'"),
        ("lr: 5e-4", "lr:", "a.yaml:8: optimizer.lr: expected a number, got null"),
        ("lr: 5e-4", "lr: -1", "a.yaml:8: optimizer.lr: should be greater than 0, got -1"),
        ("lr: 5e-4", "lr: 1\n  betas: [0.9]", "a.yaml:9: optimizer.betas.1: missing; expected a number"),
        ("length: 512", "length: 1.5", "a.yaml:3: data.seq_length: expected a whole number, got 1.5"),
        ("tokens: 13e9", "tokens: [1]", "a.yaml:6: data.stages.1.tokens: expected a whole number, got a list"),
        ("tokens: 13e9", "tokens: 1, tokns: 2", "a.yaml:6: data.stages.1.tokns: unknown key; did you mean tokens?"),
        (
            "kind: decay",
            "kind: dekay",
            "a.yaml:9: optimizer.schedule.kind: expected 'constant' or 'decay', got 'dekay'",
        ),
        (
            "kind: decay",
            "kind: constant",
            "a.yaml:9: optimizer.schedule.tokens: unknown key (keys here: kind, warmup)",
        ),
        ("kind: decay, tokens", "tokens", "a.yaml:9: optimizer.schedule.kind: missing; expected 'constant' or 'decay'"),
        ("{kind: decay, tokens: 7}", "fast", "a.yaml:9: optimizer.schedule: expected a section"),
        ("name: tiny", "name: 12", "a.yaml:1: name: expected text, got 12; put it in quotes to make it text"),
        (
            "name: tiny",
            "name: tiny\nresume: on",
            "a.yaml:2: resume: expected true or false, got 'on'; in YAML",
        ),
        (
            "name: tiny",
            "name: a\nworkers: atuo",
            "a.yaml:2: workers: expected a whole number or 'auto', got 'atuo'",
        ),
        (
            "name: tiny",
            "name: a\nprecision: fp23",
            "a.yaml:2: precision: expected 'bf16' or 'fp32', got 'fp23'",
        ),
        ("name: tiny", "name: tiny\nname: b", "a.yaml:2: name: duplicate key, first given at a.yaml:1"),
        ("name: tiny", "name: tiny\nphases: [{kind: decay}]", "a.yaml:2: phases.0.tokens: missing"),
        (
            "name: tiny",
            "name: tiny\nlr: 1",
            "a.yaml:2: lr: unknown key; did you mean optimizer.lr? (keys here: name",
        ),
        ("data:", "data:\n  weights: {a: x}", "a.yaml:3: data.weights.a: expected a number, got 'x'"),
        ("length: 128", "length: 1024", "a.yaml:2: data: a stage is longer than seq_length (512)"),
    ],
)
def test_an_error_names_its_file_and_line(workdir: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    lines = error_lines(GOOD.replace(old, new, 1))
    assert any(line.startswith(message) for line in lines), lines


def test_all_errors_are_reported_together_and_in_order(workdir: Path) -> None:
    text = GOOD.replace("tiny", "!!set {x}").replace("5e-4", "x").replace("length: 128", "lenght: 128")
    lines = error_lines(text + "name: b\n", "data.seq_length=no", "resme=true", "precision=[")
    assert [line.split(" ")[0] + line.split(" ")[1] if line[0] == "-" else line.split(" ")[0] for line in lines] == [
        "a.yaml:1:",
        "a.yaml:5:",
        "a.yaml:5:",
        "a.yaml:8:",
        "a.yaml:10:",
        "--setdata.seq_length:",
        "--setprecision:",
        "--setresme:",
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.seq_lenght=1", "--set data.seq_lenght: unknown key; did you mean seq_length? (keys here: directory,"),
        ("data.seq_length=yes", "--set data.seq_length: expected a whole number, got 'yes'"),
        ("data={seq_lenght: 1}", "--set data: data.seq_lenght: unknown key; did you mean seq_length?"),
        (
            "data.stages.2.length=1",
            "--set data.stages.2.length: 2 is not an index of this list: it has 2 items",
        ),
        ("data.stages.x=1", "--set data.stages.x: x is not an index of this list: it has 2 items, counted from 0"),
        ("name.x=1", "--set name.x: x cannot be set here: a.yaml:1 gives 'tiny', not a section"),
        ("name=[", "--set name: not valid YAML: while parsing a flow node"),
        ("data.stages.0={length: 1}", "--set data.stages.0: data.stages.0.tokens: missing; expected a whole number"),
        ("optimizer={lr: 1, lr: 2}", "--set optimizer: optimizer.lr: duplicate key, first given at --set optimizer"),
        ("name", "--set name: expected key=value with a dotted key, such as data.seq_length=512"),
        ("data..x=1", "--set data..x: expected key=value with a dotted key, such as data.seq_length=512"),
        ("=1", "--set : expected key=value with a dotted key, such as data.seq_length=512"),
        ("extends=b.yaml", "--set extends: unknown key"),
    ],
)
def test_an_error_in_an_override_names_the_option(workdir: Path, override: str, message: str) -> None:
    lines = error_lines(GOOD, override)
    assert len(lines) == 1
    assert lines[0].startswith(message)


def test_overrides_create_missing_sections_and_later_ones_win(workdir: Path) -> None:
    Path("a.yaml").write_text("name: a\noptimizer:\n")
    run = load(Run, Path("a.yaml"), ["optimizer.lr=1", "optimizer.lr=2", "data.weights.notes=3", "note=a=b"])
    assert (run.optimizer.lr, run.data.weights, run.note) == (2.0, {"notes": 3.0}, "a=b")


def test_extends_merges_sections_and_replaces_lists_and_tables(workdir: Path) -> None:
    (workdir / "sub").mkdir()
    Path("base.yaml").write_text(GOOD)
    Path("sub/middle.yaml").write_text("extends: ../base.yaml\nname: middle\ndata: {weights: {a: 1, b: 2}}\n")
    Path("sub/a.yaml").write_text("extends: middle.yaml\ndata: {weights: {b: 3}, stages: [{length: 1, tokens: 2}]}\n")
    run = load(Run, Path("sub/a.yaml"))
    assert (run.name, run.optimizer.lr, run.data.seq_length) == ("middle", 5e-4, 512)
    assert run.data.weights == {"b": 3.0}
    assert run.data.stages == [Stage(length=1, tokens=2)]


def test_an_error_in_an_extended_file_names_that_file(workdir: Path) -> None:
    (workdir / "sub").mkdir()
    Path("sub/base.yaml").write_text(GOOD.replace("5e-4", "x").replace("stages", "stagse"))
    lines = error_lines("extends: sub/base.yaml\ndata:\n  seq_length: y\n")
    assert [line.split(": ")[0] for line in lines] == ["a.yaml:3", "sub/base.yaml:4", "sub/base.yaml:8"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: a.yaml", "a.yaml:1: extends: files extend each other in a circle: a.yaml -> a.yaml"),
        ("extends: b.yaml", "b.yaml:2: extends: files extend each other in a circle: a.yaml -> b.yaml -> a.yaml"),
        ("\nextends: none.yaml", "a.yaml:2: extends: none.yaml: no such file"),
        ("extends: [b.yaml]", "a.yaml:1: extends: expected the name of one file, got a list"),
        ("extends: list.yaml", "list.yaml: not a recipe: expected keys and their values"),
        ("extends: torn.yaml", "torn.yaml:3: not valid YAML: while parsing a flow node"),
        ("extends: latin.yaml", "latin.yaml: not UTF-8 text: unexpected end of data at byte 6"),
    ],
)
def test_an_invalid_extends_is_rejected(workdir: Path, text: str, message: str) -> None:
    Path("b.yaml").write_text("name: b\nextends: a.yaml\n")
    Path("list.yaml").write_text("- a\n")
    Path("torn.yaml").write_text("a: 1\nb: {\n")
    Path("latin.yaml").write_bytes(b"name: \xe4")
    lines = error_lines(text)
    assert len(lines) == 1
    assert lines[0].startswith(message)


@pytest.mark.parametrize("path", ["none.yaml", "."])
def test_an_unreadable_file_is_rejected(workdir: Path, path: str) -> None:
    with pytest.raises(UserError, match=r"cannot be read"):
        load(Run, Path(path))


def test_an_empty_file_is_an_empty_section(workdir: Path) -> None:
    assert error_lines("# nothing yet\n") == [
        "a.yaml:1: name: missing; expected text",
        "a.yaml:1: optimizer: missing; expected a section (key: value)",
    ]


def _keys(model: type[BaseModel]) -> list[str]:
    return list(model.model_fields)


@st.composite
def _misspelled_keys(draw: st.DrawFn) -> tuple[str, str, list[str]]:
    """A section's path, a misspelled key of it, and the keys it may stand for."""
    section, keys = draw(
        st.sampled_from([("", _keys(Run)), ("data.", _keys(Data)), ("optimizer.", _keys(Optimizer))]),
    )
    misspellings: dict[str, list[str]] = {}
    for key in keys:
        for at in range(len(key)):
            swapped = key[:at] + key[at : at + 2][::-1] + key[at + 2 :]
            for typo in (key[:at] + key[at + 1 :], key[: at + 1] + key[at:], swapped, key[:at] + "x" + key[at + 1 :]):
                misspellings.setdefault(typo, []).append(key)
    typo = draw(st.sampled_from(sorted(misspellings.keys() - set(keys) - {""})))
    return section, typo, misspellings[typo]


@given(_misspelled_keys())
def test_any_misspelled_key_is_reported_with_a_suggestion(
    tmp_path_factory: pytest.TempPathFactory, misspelled: tuple
) -> None:
    section, typo, meant = misspelled
    path = tmp_path_factory.getbasetemp() / "misspelled.yaml"
    path.write_text(GOOD)
    with pytest.raises(UserError) as error:
        load(Run, path, [f"{section}{typo}=1"])
    lines = [line for line in str(error.value).splitlines() if f"{section}{typo}: unknown key" in line]
    assert len(lines) == 1
    assert any(f"did you mean {key}" in lines[0] for key in meant)


_INTEGERS = st.integers(1, 10**12)
_SCHEDULES = st.builds(Constant, warmup=_INTEGERS) | st.builds(
    Decay, tokens=_INTEGERS, final=st.floats(allow_nan=False, allow_infinity=True)
)
_RUNS = st.builds(
    Run,
    name=st.text(max_size=8) | st.sampled_from(["5e-4", "yes", "null", "1_0", "0o7", "<<", "~", "a: b", "# c", "- d"]),
    resume=st.booleans(),
    workers=st.just("auto") | _INTEGERS,
    precision=st.sampled_from(Precision),
    data=st.builds(
        Data,
        directory=st.sampled_from([Path("/data/a b"), Path("größe"), Path(".")]),
        seq_length=st.just(10**13),
        weights=st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False)),
        stages=st.lists(st.builds(Stage, length=_INTEGERS, tokens=_INTEGERS), max_size=2),
    ),
    optimizer=st.builds(
        Optimizer,
        lr=st.floats(0, exclude_min=True),
        betas=st.tuples(st.floats(0, 1), st.floats(0, 1)),
        schedule=_SCHEDULES,
    ),
    phases=st.lists(_SCHEDULES, max_size=2),
    note=st.none() | st.text(max_size=8),
)


@pytest.mark.slow
@given(_RUNS)
def test_a_dumped_configuration_loads_back_equal(tmp_path_factory: pytest.TempPathFactory, run: Run) -> None:
    path = tmp_path_factory.getbasetemp() / "dumped.yaml"
    path.write_text(dump(run), encoding="utf-8")
    assert load(Run, path) == run


def _leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return ([path] if path else []) + [leaf for key, child in inside for leaf in _leaves(child, (*path, str(key)))]


def _edited(values: Any, path: tuple[str, ...], new: object) -> Any:
    if not path:
        return new
    copy = list(values) if isinstance(values, list) else dict(values)
    key: Any = int(path[0]) if isinstance(values, list) else path[0]
    copy[key] = _edited(copy[key], path[1:], new)
    return copy


@pytest.mark.slow
@given(
    run=_RUNS,
    new=st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
    | st.just({"kind": "constant"}),
    data=st.data(),
)
def test_an_override_equals_the_edit(
    tmp_path_factory: pytest.TempPathFactory, run: Run, new: object, data: st.DataObject
) -> None:
    values = run.model_dump(mode="json", round_trip=True)
    values["data"]["weights"] = {"notes": 1.0}
    leaf = data.draw(st.sampled_from(_leaves(values)))
    path, edited = (tmp_path_factory.getbasetemp() / name for name in ("override.yaml", "edited.yaml"))
    path.write_text(to_yaml(values), encoding="utf-8")
    edited.write_text(to_yaml(_edited(values, leaf, new)), encoding="utf-8")
    option = f"{'.'.join(leaf)}={to_yaml(new) if not isinstance(new, dict) else json.dumps(new)}"

    def outcome(file: Path, overrides: list[str]) -> object:
        try:
            return load(Run, file, overrides)
        except UserError as error:
            # The locations differ, and with them the order.
            return sorted(
                line.split(": ", 1)[1].removeprefix(f"{'.'.join(leaf)}: ") for line in str(error).splitlines()
            )

    assert outcome(path, [option]) == outcome(edited, [])


def test_infinity_is_a_number(workdir: Path) -> None:
    Path("a.yaml").write_text(GOOD)
    assert math.isinf(load(Run, Path("a.yaml"), ["optimizer.lr=.inf"]).optimizer.lr)


@pytest.mark.parametrize("old", sorted(RENAMED))
def test_a_renamed_key_is_answered_with_its_present_name(old: str, repository: Path) -> None:
    """Every present name in the table is a key of the recipes, and the error names it."""
    override = {"batch.warmup.packs": "batch.warmup=[{packs: 16, until_tokens: 3_000_000}]"}.get(old, f"{old}=1")
    with pytest.raises(UserError) as error:
        load(RunConfig, repository / "configs/base.yaml", [override, "run_dir=runs/a"])
    name = RENAMED[old].rpartition(".")[2]
    assert f"this key is now called {name}" in str(error.value)
    assert old.rpartition(".")[2] in str(error.value)
