"""Bounds of configuration and JSON files: bombs in YAML are refused with file and line, in a second."""

import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from clinical_modernbert.configs import limits
from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.model.hugging_face_config import read_json

SECONDS = 5


class Recipe(BaseModel):
    a: Any = None
    b: Any = None
    c: Any = None


def bomb(levels: int) -> str:
    """Ten to the power of `levels` values."""
    lines = ["a: &l0 [x, x, x, x, x, x, x, x, x, x]", "b:"]
    lines += [f"  - &l{level} [{', '.join([f'*l{level - 1}'] * 10)}]" for level in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (bomb(6), 2, "b: more than 20,000 values in all, with each alias"),
        (bomb(60), 2, "b: more than 20,000 values"),
        ("a: 1\nb: &b " + "x" * 100_000 + "\nc: [*b, *b, *b]", 3, "c: more than 262,144 characters in all"),
        ("a: 1\nb: " + "[" * 1_500 + "]" * 1_500, 2, "more than 32 levels of nesting"),
        ("a: 1\nb: " + "[" * 100_000, 2, "more than 32 levels of nesting"),
        ("a: 1\nb: " + "{a: " * 5_000, 2, "more than 32 levels of nesting"),
        ("".join(" " * level + "a:\n" for level in range(500)), 32, "more than 32 levels of nesting"),
        ("- " * 100_000, 1, "more than 32 levels of nesting"),
        ("? " * 100_000, 1, "more than 32 levels of nesting"),
        ("a: 1\nb: " + "x" * 300_000, 2, "more than 262,144 characters, the limit of a YAML file"),
        ("# comment\n" * 100_000, 26_215, "more than 262,144 characters"),
        ("\u00e9" * 300_000, 1, "more than 262,144 characters"),
        ("a: 1\nb: 0x" + "f" * 20_000, 2, "an integer of 20,002 characters; expected at most 100"),
        ("a: 1\nb: " + "9" * 20_000, 2, "an integer of 20,000 characters; expected at most 100"),
        ('a: "\\UFFFFFFFF"', 1, "an escape above"),
        ("a: 1\n? [b]\n: 1", 2, "a key must be a single word or number"),
        ("a: 1\na: 2", 2, "duplicate key"),
        ("a: &a [*a]", 1, "an anchor cannot contain itself"),
    ],
)
def test_a_yaml_bomb_is_refused_with_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    started = time.process_time()
    with pytest.raises(UserError) as refusal:
        load(Recipe, path)
    assert time.process_time() - started < SECONDS
    assert f"{path}:{line}: " in str(refusal.value) or f"a.yaml:{line}: " in str(refusal.value)
    assert message in str(refusal.value)


def test_many_problems_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\n" * 1_000)
    with pytest.raises(UserError) as refusal:
        load(Recipe, path)
    assert len(str(refusal.value).splitlines()) == 101
    assert str(refusal.value).endswith("and 899 more problems")


def test_a_list_of_ten_thousand_files_is_no_bomb(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a:\n" + "".join(f"  - notes/{number}.csv\n" for number in range(10_000)))
    assert len(load(Recipe, path).a) == 10_000


def test_a_chain_of_files_is_bounded(tmp_path: Path) -> None:
    for number in range(400):
        (tmp_path / f"{number}.yaml").write_text(f"extends: {number + 1}.yaml\n")
    (tmp_path / "400.yaml").write_text("a: 1\n")
    assert load(Recipe, tmp_path / "390.yaml").a == 1
    with pytest.raises(UserError, match=r"15\.yaml:1: extends: more than 16 files"):
        load(Recipe, tmp_path / "0.yaml")


@pytest.mark.parametrize("override", [".".join("a" * 3_000) + "=1", "a=" + "[" * 3_000, "a=0x" + "f" * 9_999])
def test_an_override_is_bounded_as_a_file_is(tmp_path: Path, override: str) -> None:
    (tmp_path / "a.yaml").write_text("b: 1\n")
    with pytest.raises(UserError, match=r"levels|characters"):
        load(Recipe, tmp_path / "a.yaml", [override])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 200_000, "nested more than 100 levels deep"),
        (b'{"a":' * 200_000, "nested more than 100 levels deep"),
        (b"null", "expected a JSON object, found NoneType"),
        (b'"text"', "expected a JSON object, found str"),
        (b"[]", "expected a JSON object, found list"),
        (b"\xff", "codec"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "Exceeds the limit"),
        (b" " * (limits.SETTINGS_BYTES + 1), "more than the 4,194,304 bytes"),
    ],
)
def test_a_json_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_json(path)
