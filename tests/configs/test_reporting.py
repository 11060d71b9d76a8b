"""Messages: their stream, their format, and the ranks that show them."""

import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from clinical_modernbert.configs import reporting
from clinical_modernbert.configs.errors import UserError

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
