"""Messages: their stream, format and colors, the ranks that show them, and the commands that end a command."""

import logging
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminal import COLOR, Terminal, environment

from clinical_modernbert.configs import reporting
from clinical_modernbert.configs.errors import UserError

CMBERT = [sys.executable, "-m", "clinical_modernbert.launcher"]
COLORED = {
    "help": ["--help"],
    "help of a command": ["train", "--help"],
    "wrong usage": ["trian"],
    "error": ["config", "show", "no-such-recipe"],
    "table": ["plan", "base", "--gpu", "h100"],
}
logger = logging.getLogger(f"{reporting.PACKAGE}.test")


@pytest.fixture(autouse=True)
def configured() -> Iterator[None]:
    package = logging.getLogger(reporting.PACKAGE)
    before = package.handlers[:], package.level, package.propagate
    reporting.configure()
    yield
    package.handlers[:], package.level, package.propagate = before


def test_information_goes_to_stdout_and_warnings_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    logger.info("checkpoint %s [1/2] %s", "a/b", "x" * 200)
    logger.warning("one\ntwo")
    logger.debug("nothing")
    out, err = capsys.readouterr()
    assert out == f"checkpoint a/b [1/2] {'x' * 200}\n"
    assert err == "warning: one\n         two\n"


def test_other_ranks_show_only_errors_and_messages_for_all_ranks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "3")
    logger.info("step 1")
    logger.warning("slow")
    logger.info("rank 3 waits", extra=reporting.ALL_RANKS)
    logger.error("lost")
    assert capsys.readouterr() == ("rank 3 waits\n", "error: lost\n")


def test_configuring_twice_shows_a_message_once(capsys: pytest.CaptureFixture[str]) -> None:
    reporting.configure()
    logger.info("once")
    assert capsys.readouterr().out == "once\n"


def test_a_user_error_has_a_traceback_only_for_debugging(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CMBERT_DEBUG", raising=False)
    reporting.report_error(UserError("a.yaml:1: wrong\nb.yaml:2: wrong"))
    assert capsys.readouterr().err == "error: a.yaml:1: wrong\n       b.yaml:2: wrong\n"
    monkeypatch.setenv("CMBERT_DEBUG", "1")
    try:
        raise UserError("wrong")
    except UserError as error:
        reporting.report_error(error)
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("error: wrong\n")


@pytest.mark.slow
def test_notices_of_libraries_are_hidden_and_their_errors_shown() -> None:
    code = (
        "import logging, sys\n"
        "from clinical_modernbert.configs.reporting import configure\n"
        "configure()\n"
        "from transformers.utils import logging as theirs\n"
        "theirs.get_logger('transformers.test').warning('a notice')\n"
        "logging.getLogger('DeepSpeed').warning('a notice')\n"
        "logging.getLogger('DeepSpeed').error('an error')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert "a notice" not in done.stdout + done.stderr
    assert "an error" in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("arguments", COLORED.values(), ids=COLORED)
def test_a_terminal_has_colors_unless_they_are_off(arguments: list[str]) -> None:
    shown = {}
    for settings in ({}, {"NO_COLOR": "1"}, {"TERM": "dumb"}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}):
        with Terminal([*CMBERT, *arguments], 100, environment(**settings)) as terminal:
            terminal.finish()
            shown[" ".join(settings)] = terminal.output
    assert COLOR.search(shown[""])
    assert [name for name, output in shown.items() if COLOR.search(output)] == [""]
    assert b"\x1b" not in shown["TERM"]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", COLORED.values(), ids=COLORED)
def test_a_pipe_has_no_control_codes_unless_colors_are_forced(arguments: list[str]) -> None:
    def output(**settings: str) -> bytes:
        ended = subprocess.run([*CMBERT, *arguments], capture_output=True, env=environment(**settings))
        return ended.stdout + ended.stderr

    assert b"\x1b" not in output()
    assert COLOR.search(output(FORCE_COLOR="1"))
    assert not COLOR.search(output(FORCE_COLOR="1", NO_COLOR="1"))
    assert b"\r" not in output(FORCE_COLOR="1")


def test_the_color_of_a_message_follows_its_level() -> None:
    code = (
        "import logging\n"
        "from clinical_modernbert.configs.reporting import PACKAGE, configure\n"
        "configure()\n"
        "for level in (20, 30, 40): logging.getLogger(PACKAGE).log(level, 'a message')\n"
    )
    with Terminal([sys.executable, "-c", code], 80) as terminal:
        terminal.finish()
        information, warning, error = terminal.output.rstrip().split(b"\n")
    assert not COLOR.search(information)
    assert b"\x1b[33mwarning: \x1b[0ma message" in warning
    assert b"\x1b[1;31merror: \x1b[0ma message" in error


def test_work_goes_on_without_its_terminal(tmp_path: Path) -> None:
    """As that which mpirun gives to ranks, when mpirun is killed."""
    work = (
        "import logging, sys; from clinical_modernbert.configs import reporting as r; r.configure(); "
        f"log = logging.getLogger('{reporting.PACKAGE}.test'); r.redraw('0'); sys.stdin.readline()\n"
        "for step in '12': r.redraw(step); log.info(step); log.warning(step)\n"
        f"r.erase(); open({str(tmp_path / 'end')!r}, 'x')"
    )
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", work], env=environment(), stdin=subprocess.PIPE, stdout=slave, stderr=slave,
        start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    assert os.read(master, 1)
    os.close(master)
    process.communicate(b"\n", timeout=60)
    assert (tmp_path / "end").exists()


def test_the_next_commands_are_on_stderr_and_quoted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reporting.suggest(["train", "my recipe.yaml"], ["plan", "base"])
    assert capsys.readouterr() == ("", "Next: cmbert train 'my recipe.yaml'\n      cmbert plan base\n")
    monkeypatch.setenv("CMBERT_NEXT", "0")
    reporting.suggest(["train", "base"])
    assert capsys.readouterr() == ("", "")
