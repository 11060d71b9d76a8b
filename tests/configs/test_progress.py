"""The line of progress at every width, on a real terminal, and as messages elsewhere."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from clock import Clock
from hypothesis import given
from hypothesis import strategies as st
from terminal import Terminal, environment

from clinical_modernbert.configs import progress
from clinical_modernbert.configs.progress import (
    Line,
    Progress,
    format_duration,
    part_of,
    short_duration,
    short_number,
)

PARTS = st.lists(
    st.integers(1, 20).flatmap(lambda n: st.tuples(st.just("x" * n), st.just("y" * (n // 2 + 1)))),
    min_size=1,
    max_size=8,
)
HASH = """
import sys, time
from clinical_modernbert.configs.progress import Progress
from clinical_modernbert.configs.reporting import configure
import logging
configure()
logger = logging.getLogger("clinical_modernbert.test")
with Progress("hashing", 40_000_000, "B") as shown:
    for block in range(40):
        time.sleep(0.05)
        shown.advance(1_000_000)
        if block == 20:
            logger.info("in the middle")
            logger.warning("careful")
            print("a result", flush=True)
            sys.stderr.write("from a library\\n")
    if sys.argv[1:]:
        input()
print("done")
"""


@given(PARTS, st.integers(0, 8), st.integers(0, 200), st.none() | st.floats(0, 2))
def test_a_line_fits_and_keeps_the_first_parts(
    parts: list[tuple[str, str]], keep: int, width: int, share: float | None
) -> None:
    keep = min(keep, len(parts))
    line = Line(parts, keep, share).fit(width)
    assert len(line) <= width
    if width >= len(" ".join(short for _, short in parts[:keep])):
        kept = line.replace("━", "").replace("╌", "").split()
        assert len(kept) >= keep
        expected = {parts[number] for number in range(len(kept))}
        assert all(word in pair for word, pair in zip(kept, parts, strict=False)), expected


@given(PARTS, st.integers(0, 8), st.integers(1, 200))
def test_a_wider_terminal_shows_at_least_as_many_parts_in_full(
    parts: list[tuple[str, str]], keep: int, width: int
) -> None:
    line = Line(parts, min(keep, len(parts)))
    assert line.fit(width).count("x") <= line.fit(width + 1).count("x")


def test_the_bar_follows_the_share_and_stays_in_its_bounds() -> None:
    for share in (0.0, 0.25, 1.0, 1.5):
        line = Line([("step 1/4", "1/4")], 1, share)
        bar = line.fit(200).removeprefix("step 1/4  ")
        assert (len(bar), bar.count("━")) == (40, round(40 * min(1, share)))
        assert line.fit(19) == "step 1/4"
        assert line.fit(20, "#-").count("#") == round(10 * min(1, share))


def test_messages_are_at_most_one_in_ten_seconds(messages: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with Progress("fine-tuning", 1000, "steps", clock=clock) as shown:
        for step in range(1000):
            clock.now = step / 10
            shown.advance()
    elapsed = [message.split("elapsed ")[1].split()[0] for message in messages.messages]
    assert elapsed == ["0:10", "0:20", "0:30", "0:40", "0:50", "1:00", "1:10", "1:20", "1:30"]
    assert messages.messages[0] == "fine-tuning 101/1,000 steps  elapsed 0:10  ETA 1:29  10.1 steps/s"


def test_short_work_is_silent(messages: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with Progress("hashing", 5, "B", clock=clock) as shown:
        for _ in range(5):
            clock.now += 1.9
            shown.advance()
    assert messages.messages == []


def test_other_ranks_are_silent(messages: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    clock = Clock()
    with Progress("hashing", 5, "B", clock=clock) as shown:
        clock.now = 100
        shown.advance()
    assert messages.messages == []


def test_the_rate_leaves_out_what_was_done_before(messages: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with Progress("downloading", counts="B", clock=clock) as shown:
        shown.update(900, 1000, 0)
        clock.now = 20.0
        shown.update(910, 1000, 50_000_000)
    assert messages.messages == ["downloading 910/1,000 files  elapsed 0:20  ETA 3:00  2.5 MB/s  50.0 MB"]


def test_work_of_unknown_size_has_no_remaining_time(messages: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with Progress("reading notes", unit="documents", clock=clock) as shown:
        clock.now = 10.0
        shown.advance(31)
    assert messages.messages == ["reading notes 31 documents  elapsed 0:10  3.1 documents/s"]


def test_progress_counts_from_all_threads(messages: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with Progress("uploading", 8000, "files", clock=clock) as shown:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: shown.advance(), range(7999)))
        clock.now = 10.0
        shown.advance()
    assert messages.messages[0].startswith("uploading 8,000/8,000 files")


def test_the_larger_work_is_named(messages: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with part_of("result 2 of 10"), Progress("embedding", 4, "texts", clock=clock) as shown:
        clock.now = 10.0
        shown.advance()
    assert messages.messages[0].endswith("  result 2 of 10")
    assert progress._part_of == ""


@given(st.floats(0, 1e8))
def test_short_durations_are_short(seconds: float) -> None:
    assert len(short_duration(seconds)) <= 5


def test_durations_and_numbers() -> None:
    assert [format_duration(s) for s in (0, 65, 7203, 90_000, None)] == ["0:00", "1:05", "2:00:03", "1d 01:00", "-:--"]
    assert [short_duration(s) for s in (0, 65, 3599.7, 7203, 90_000, 1e6)] == [
        "0:00", "1:05", "1h00", "2h00", "1d01", "11d",
    ]  # fmt: skip
    assert [short_number(n) for n in (0.05, 3.21, 312.4, 999.8, 12_345, 999_999, 1_234_567, 0)] == [
        "0.05", "3.21", "312", "1k", "12.3k", "1M", "1.23M", "0",
    ]  # fmt: skip


def test_on_a_terminal_the_line_is_below_messages_and_gone_at_the_end() -> None:
    with Terminal([sys.executable, "-c", HASH], 80) as terminal:
        assert terminal.finish() == 0
        assert terminal.lines() == ["in the middle", "warning: careful", "a result", "from a library", "done"]
        drawn = [line for state in terminal.states for line in state if line.startswith("hashing")]
    assert len(set(drawn)) > 3
    assert all("/40.0 MB  ETA 0:0" in line and " MB/s" in line for line in drawn[2:])
    # At any time there is one line of progress, and it is the last one.
    assert all("hashing" not in line for state in terminal.states for line in state[:-1])


def test_a_killed_command_leaves_the_cursor_and_a_message_of_another_process_replaces_its_line() -> None:
    error = (
        "from clinical_modernbert.configs.reporting import report_error\n"
        "from clinical_modernbert.configs.errors import UserError\n"
        "report_error(UserError('rank 0 was killed'))"
    )
    script = f"""stty -echo; '{sys.executable}' -c "$HASH" wait & child=$!
    read answer; kill -9 $child; wait $child 2>/dev/null; '{sys.executable}' -c "{error}" """
    with Terminal(["bash", "-c", script], 80, environment(HASH=HASH.replace("input()", "time.sleep(600)"))) as terminal:
        terminal.wait_for(lambda lines: bool(lines) and lines[-1].startswith("hashing"))
        assert not terminal.cursor_is_hidden()
        terminal.send("\n")
        terminal.finish()
        assert terminal.lines()[-1] == "error: rank 0 was killed"
        assert not any("hashing" in line for line in terminal.lines())


@pytest.mark.parametrize("settings", [{}, {"FORCE_COLOR": "1"}, {"TERM": "dumb"}])
def test_nothing_is_redrawn_in_a_pipe(settings: dict[str, str]) -> None:
    command = [sys.executable, "-c", HASH]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env=environment(**settings))
    assert ended.stdout == "in the middle\na result\ndone\n"
    assert "\r" not in ended.stderr


def test_nothing_is_redrawn_on_a_dumb_terminal() -> None:
    with Terminal([sys.executable, "-c", HASH], 80, environment(TERM="dumb")) as terminal:
        assert terminal.finish() == 0
        assert b"\x1b" not in terminal.output
        assert "hashing" not in terminal.output.decode()
