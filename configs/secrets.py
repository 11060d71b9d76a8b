"""Secrets in configurations and messages: `find_secret` refuses them where they are read, `scrub` hides them where
something is written.

A password, token or key comes from the environment or from a file of credentials, never from a recipe: what a recipe
holds is copied to run directories, checkpoints, stores and exports. Loading a recipe therefore refuses secrets
(`loader/load.py`). `scrub` is the second wall, for what reaches a file, a log or a message in other ways.
"""

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
FIX = (
    "take it from the environment or a file of credentials instead (AWS_PROFILE, MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD, HF_TOKEN, AZURE_STORAGE_KEY, pass_env of a cluster file)"
)

# Names come from outside, at any length: every repetition has a bound or ends at a character that it cannot contain.
_ANYWHERE = r"(?:password|passwd|passphrase|secret|credentials?|authorization)"
_WORD = (
    r"(?:token|signature|sig|sas|"
    r"(?:api|access|account|private|secret|shared|storage|sas|license|encryption|signing)[_.-]?key)"
)
_NAME = re.compile(rf"(?:.*[^A-Za-z])?(?:\w{{0,64}}{_ANYWHERE}|{_WORD})|.*[_-]key|key", re.IGNORECASE | re.DOTALL)
_NO_SECRET = re.compile(r"(?:unk|cls|sep|pad|mask|bos|eos|unused)_token|pass_secret", re.IGNORECASE)
"""Words of a tokenizer, and the name of a Kubernetes secret."""
_POD = ("kubernetes", "pod")
"""In it, `key` is the name of a label, of a taint or of a secret's entry."""

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{0,30}://"
# The user part of abfs://container@account and ssh://user@host is no secret; that of http(s) may be a token.
_USERINFO = re.compile(rf"({_SCHEME})([^\s/?#:]*:[^\s/?#]*|(?<=p://)[^\s/?#]+|(?<=ps://)[^\s/?#]+)@")


def _named(*more: str) -> str:
    """A name with a word for secrets, or one of `more`, at its end."""
    words = "|".join((_WORD, *more))
    return rf"(?:[\w%.-]{{0,129}}{_ANYWHERE}|(?:[\w%.-]{{0,64}}[_.-])?(?:{words}))"


_IN_QUERY = _named("key", "pwd", "code", "auth", r"X-Amz-[\w-]{1,64}", r"X-Goog-[\w-]{1,64}", "AWSAccessKeyId")
_QUERY = re.compile(rf"([?&;]{_IN_QUERY}=)([^\s&;#'\"<>]+)", re.I)
_ASSIGNED = re.compile(rf"((?<![A-Za-z0-9]){_named('(?<=_)key')}[\"']?\s?=\s?)(\"[^\"]*\"|'[^']*'|[^\s&;,\"']+)", re.I)
_QUOTED_ENTRY = re.compile(rf"([\"']{_named()}[\"']\s*:\s*)(\"[^\"]*\"|'[^']*')", re.I)
_HEADER = re.compile(r"(\bauthorization\s*[:=]\s*(?:(?:bearer|basic|token)\s+)?|\bbearer\s+)([\w.~+/=-]{8,})", re.I)
_FORM = re.compile(
    r"(?<![A-Za-z0-9])(?:A[KS]IA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,}|hf_[A-Za-z0-9]{30,}|"
    r"glpat-[\w-]{20,}|xox[abprs]-[\w-]{10,}|sk-(?:proj-|ant-)?[A-Za-z0-9_]{20,}|"
    r"eyJ[\w-]{6,16000}\.eyJ[\w-]{6,16000}\.[\w-]+)"
)
_WITH_PREFIX = (_USERINFO, _QUERY, _QUOTED_ENTRY, _HEADER, _ASSIGNED)


def is_secret_name(name: str) -> bool:
    """Whether values under this key, variable or option are secrets, such as WANDB_API_KEY or `password`."""
    return bool(_NAME.fullmatch(name)) and not _NO_SECRET.fullmatch(name)


def scrub(text: str) -> str:
    """The text with `***` for credentials in URLs, for values of secret-like names, and for keys of a known form."""
    text = _USERINFO.sub(rf"\1{HIDDEN}@", text)
    for pattern in _WITH_PREFIX[1:]:
        text = pattern.sub(_hide, text)
    return _FORM.sub(HIDDEN, text)


def scrub_tree(value: Any, path: tuple[str | int, ...] = ()) -> Any:
    """A copy of JSON-like values with every text scrubbed, and every value of a secret-like key hidden."""
    if isinstance(value, Mapping):
        return {key: scrub_tree(entry, (*path, key)) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [scrub_tree(entry, (*path, number)) for number, entry in enumerate(value)]
    if _hides(path, value):
        return HIDDEN
    return scrub(value) if isinstance(value, str) else value


def find_secret(path: tuple[str | int, ...], value: str) -> str | None:
    """What in the text at this place of a configuration is a secret, without the secret; None if there is none."""
    if _hides(path, value):
        return f"a value of {path[-1]} is a secret"
    return None if scrub(value) == value else f"{scrub(value)} has a secret in it, shown as {HIDDEN}"


def _hides(path: tuple[str | int, ...], value: Any) -> bool:
    key = path[-1] if path else None
    if not isinstance(key, str) or not is_secret_name(key) or (key == "key" and path[:2] == _POD):
        return False
    return isinstance(value, str) and value not in ("", HIDDEN) and not _is_reference(value)


def _hide(match: re.Match[str]) -> str:
    name = re.split(r"[^\w-]", match[1].rstrip("\"' :="))[-1]
    kept = match[2] == HIDDEN or _is_reference(match[2]) or _NO_SECRET.fullmatch(name)
    return match[0] if kept else f"{match[1]}{HIDDEN}"


def _is_reference(value: str) -> bool:
    """Whether it names a variable or stands for a value: `token=$HF_TOKEN`, `password=<password>`, `token=...`."""
    return bool(re.match(r"[\"']?(?:\$|<|\.\.\.)", value))
