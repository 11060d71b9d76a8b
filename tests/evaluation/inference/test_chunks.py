"""Inference in chunks: whatever is killed, and however many processes there are, the bytes are the same, in order."""

import itertools
import multiprocessing
import os
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from shouting import open_upper

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.inference import chunks
from clinical_modernbert.evaluation.inference.chunks import Part, Record, parts_directory, run_in_chunks

SETTINGS = {"model": "m"}


def records(count: int = 100, changed: int | None = None) -> Iterator[Record]:
    for number in range(count):
        yield Record(f"id{number}", f"text {number}{' changed' if number == changed else ''}")


def write(parts: Sequence[Part], directory: Path) -> None:
    (directory / "out.ids").write_text("".join(part.content().decode().split()[0] for part in parts))
    (directory / "out").write_bytes(b"".join(part.content() for part in parts))


def run(out: Path, source: Callable[[], Iterator[Record]] = records, workers: int = 1, **settings: Any) -> int:
    return run_in_chunks(source, open_upper, write, out, SETTINGS | settings, workers, "shouting")["texts"]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "RECORDS", 7)


EXPECTED = "".join(f"id{number} TEXT {number}\n" for number in range(100))


def test_results_are_in_order_and_nothing_else_is_left(tmp_path: Path) -> None:
    assert run(tmp_path / "out") == 100
    assert (tmp_path / "out").read_text() == EXPECTED
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.ids"]
    with pytest.raises(UserError, match=r"out: exists already"):
        run(tmp_path / "out")


@pytest.mark.slow
def test_several_processes_write_the_same(tmp_path: Path) -> None:
    assert run(tmp_path / "out", workers=3) == 100
    assert (tmp_path / "out").read_text() == EXPECTED


@pytest.mark.slow
def test_killed_at_every_write_it_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends at its n-th change of the disk, for every n, and the same started again after it."""
    monkeypatch.setattr(chunks, "RECORDS", 30)
    context = multiprocessing.get_context("fork")
    for moment in itertools.count(1):
        out = tmp_path / f"{moment}/out"
        dying = context.Process(target=_run_and_die, args=(out, moment))
        dying.start()
        dying.join()
        if dying.exitcode == 0:
            break
        assert dying.exitcode == 9
        assert run(out) == 100
        assert out.read_text() == EXPECTED, moment
        assert sorted(path.name for path in out.parent.iterdir()) == ["out", "out.ids"], moment
    assert moment > 15


def _run_and_die(out: Path, moment: int) -> None:
    calls = itertools.count(1)

    def dying(function: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        if next(calls) == moment:
            os._exit(9)
        return function(*arguments, **more)

    for name in ("fsync", "replace", "unlink", "rmdir", "mkdir"):
        setattr(os, name, partial(dying, getattr(os, name)))
    run(out)


def test_only_chunks_that_changed_are_computed_again(tmp_path: Path) -> None:
    def interrupt(parts: Sequence[Part], directory: Path) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_in_chunks(records, open_upper, interrupt, out, SETTINGS, 1, "shouting")
    before = {path.name for path in parts_directory(out).glob("*.part")}
    assert len(before) == 15
    computed: list[Record] = []

    def open_counting(process: int) -> Any:
        return lambda given, count: computed.extend(given) or open_upper(0)(given, count)

    run_in_chunks(partial(records, changed=50), open_counting, write, out, SETTINGS, 1, "shouting")
    assert [record.id for record in computed] == [f"id{number}" for number in range(49, 56)]
    assert out.read_text() == EXPECTED.replace("TEXT 50\n", "TEXT 50 CHANGED\n")


def test_other_settings_use_no_part_of_before(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def interrupt(parts: Sequence[Part], directory: Path) -> None:
        raise KeyboardInterrupt

    for model in ("a", "b"):
        with pytest.raises(KeyboardInterrupt):
            run_in_chunks(records, open_upper, interrupt, out, {"model": model}, 1, "shouting")
    assert len(list(parts_directory(out).glob("*.part"))) == 30


def test_a_bad_record_stops_before_anything_is_computed(tmp_path: Path) -> None:
    def bad() -> Iterator[Record]:
        yield from records(50)
        raise UserError("notes.csv: record 51 has no text")

    with pytest.raises(UserError, match="record 51"):
        run(tmp_path / "out", bad)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="no record"):
        run(tmp_path / "out", lambda: iter(()))


def test_an_input_that_changes_meanwhile_is_an_error(tmp_path: Path) -> None:
    for second in (partial(records, changed=99), partial(records, 92), partial(records, 120)):
        sources = iter([records, second])
        with pytest.raises(UserError, match="changed while it was read"):
            run(tmp_path / "out", lambda sources=sources: next(sources)())


def test_one_command_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def second(parts: Sequence[Part], directory: Path) -> None:
        with pytest.raises(UserError, match="another command is writing here"):
            run(out)
        write(parts, directory)

    run_in_chunks(records, open_upper, second, out, SETTINGS, 1, "shouting")
    assert out.read_text() == EXPECTED


@pytest.mark.slow
def test_memory_does_not_grow_with_the_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 texts of 10 kB are 100 MB."""
    monkeypatch.setattr(chunks, "RECORDS", 4096)

    def long_texts() -> Iterator[Record]:
        return (Record(str(number), f"{number}" * (10_000 // len(str(number)))) for number in range(10_000))

    def copy(parts: Sequence[Part], directory: Path) -> None:
        with (directory / "out").open("wb") as file:
            file.writelines(part.content() for part in parts)

    tracemalloc.start()
    try:
        run_in_chunks(long_texts, open_upper, copy, tmp_path / "out", SETTINGS, 1, "shouting")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "out").stat().st_size > 95e6
    assert peak < 20e6


def test_progress_shows_rates_and_the_remaining_time(tmp_path: Path, every_progress: pytest.LogCaptureFixture) -> None:
    run(tmp_path / "out")
    assert "shouting 100/100 texts" in every_progress.text
    assert "texts/s" in every_progress.text
    assert "tokens/s" in every_progress.text
    assert "ETA 0:00" in every_progress.text
