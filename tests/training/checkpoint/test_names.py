"""A name from outside is a checkpoint's or a file's name only in exactly the form that we write."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from written_run import manifest_of

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.training.checkpoint.manifest import FileEntry, read_manifest, write_manifest
from clinical_modernbert.training.checkpoint.names import (
    StoredName,
    is_tensor_file,
    new_attempt_name,
    node_file,
    parse_stored_name,
    rank_file,
)
from clinical_modernbert.training.checkpoint.stored import stored_names

VALID = [
    "step00000012.20260101T000000-abcdef",
    "step00000012.00001",
    "rank00000-of-00002.safetensors",
    "node00000-of-00002.safetensors",
    "manifest.json",
]
HOSTILE = st.one_of(
    st.text(max_size=40),
    st.lists(st.sampled_from(["..", ".", "/", "\\", "\0", "\n", "\u0661", "~", "C:", "%2e", *VALID]), max_size=6).map(
        "".join
    ),
    st.builds(
        lambda name, at, what: name[: at % len(name)] + what + name[at % len(name) :],
        st.sampled_from(VALID),
        st.integers(0, 60),
        st.text(min_size=1, max_size=3),
    ),
)


@given(st.integers(0, 10**12 - 1))
def test_what_we_write_is_read(step: int) -> None:
    name = StoredName(step, new_attempt_name())
    assert parse_stored_name(str(name)) == name
    files = ["manifest.json", rank_file(step % 9999, 10_000), node_file(step % 99, 100)]
    assert stored_names([f"{name}/{file}" for file in files]) == ([name], [])


@given(HOSTILE)
def test_a_hostile_name_never_becomes_a_path(name: str) -> None:
    parsed = parse_stored_name(name)
    for accepted in [str(parsed)] * (parsed is not None) + [name] * is_tensor_file(name):
        assert accepted == name
        assert name.isascii()
        assert name.isprintable()
        assert Path(name).name == name  # one component, and neither . nor ..
        assert not name.startswith(".")
    stored, foreign = stored_names([name, f"{name}/manifest.json"])
    assert [str(checkpoint) for checkpoint in stored] == [name] * (parsed is not None)
    assert len(stored) + len(foreign) == 2 or name == "" or foreign == [name]


@given(HOSTILE.filter(lambda name: not is_tensor_file(name)))
def test_a_manifest_with_a_hostile_name_is_refused(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    directory = tmp_path_factory.mktemp("checkpoint")
    entry = FileEntry(bytes=1, xxh3_128=("0",))
    try:
        json.dumps(name).encode()
        write_manifest(directory, manifest_of(4).model_copy(update={"files": {name: entry}}))
    except UnicodeEncodeError:
        return  # a lone surrogate cannot be in a file
    with pytest.raises(UserError):
        read_manifest(directory)


def test_the_newest_is_the_last_step_and_of_it_the_last_attempt() -> None:
    names = [
        "step00000012.00001",
        "step00000012.20260101T000000-abcdef",
        "step00000012.20250101T000000-ffffff",
        "step100000000.00001",
        "step00000008.20270101T000000-abcdef",
    ]
    stored, _ = stored_names([f"{name}/manifest.json" for name in names])
    assert [str(name) for name in stored] == [names[3], names[1], names[2], names[0], names[4]]
