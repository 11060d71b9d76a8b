"""A real headless browser, for pages that the project writes."""

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


def find_browser() -> str | None:
    return next(filter(None, map(shutil.which, _NAMES)), None)


def visit(page: Path, width: int, expression: str, directory: Path, dark: bool = False) -> tuple[Any, list[str]]:
    """Load `page`; return the value of a JavaScript expression in it, and the messages on the console.

    Args:
        directory: an empty directory for the browser's files.
        dark: whether the system prefers dark colors.
    """
    probe = f"addEventListener('load', () => {{ parent.document.title = JSON.stringify({expression}) }})"
    probed = escape(f"{page.read_text(encoding='utf-8')}<script>{probe}</script>")
    # A frame can be narrower than the minimum width of a window.
    frame = directory / "frame.html"
    frame.write_text(f"<iframe srcdoc='{probed}' width={width} height=900 style='border:0'></iframe>", encoding="utf-8")
    command = [find_browser() or "", *_FLAGS, "--enable-logging=stderr", f"--user-data-dir={directory / 'profile'}"]
    if dark:
        command.append("--blink-settings=preferredColorScheme=0")
    ended = subprocess.run(
        [*command, "--window-size=1600,900", "--virtual-time-budget=2000", "--dump-dom", frame.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    title = re.search(r"<title>(.*?)</title>", ended.stdout, re.DOTALL)
    assert title, ended.stderr
    return json.loads(unescape(title[1])), re.findall(r"CONSOLE.*", ended.stderr)
