"""The model of the manifest and its JSON: the same bytes as before, defaults for old files, unknown keys ignored."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from clinical_modernbert.streaming_data.shards.manifest import (
    AuditCounts,
    DataManifest,
    FileInfo,
    LeftOut,
    SourceInfo,
    SpecialIds,
    SplitCounts,
    TokenizerInfo,
    manifest_hash,
    read_manifest,
)
from clinical_modernbert.streaming_data.shards.restricted import restricted_sources

WRITTEN = """\
{
  "version": 1,
  "seq_length": 64,
  "tokenizer": {
    "sha256": "5f1c",
    "vocab_size": 1024,
    "special_ids": {
      "unk": 0,
      "cls": 1,
      "sep": 2,
      "pad": 3,
      "mask": 4
    },
    "unmaskable_ids": [
      0,
      1,
      2,
      3,
      4,
      1023
    ]
  },
  "sources": {
    "letters": {
      "format": "table",
      "licence": "l\\u00e9gal",
      "public": false,
      "synthetic": false,
      "inputs": [
        {
          "name": "letters.jsonl",
          "bytes": 512,
          "sha256": "9a0b"
        }
      ],
      "duplicates": 2,
      "near_duplicates": 1,
      "empty": 3,
      "audit": {
        "documents": 20,
        "flagged": 1,
        "kinds": {
          "date": 2,
          "name": 1
        }
      },
      "splits": {
        "train": {
          "documents": 19,
          "pieces": 21,
          "tokens": 600,
          "packs": 10,
          "fullness": 0.9375
        },
        "held_out": {
          "documents": 0,
          "pieces": 0,
          "tokens": 0,
          "packs": 0,
          "fullness": 0.0
        }
      },
      "cleaned": {
        "ftfy": 4
      }
    },
    "codes": {
      "format": "icd10cm",
      "licence": "public domain",
      "public": true,
      "synthetic": false,
      "inputs": [],
      "duplicates": 0,
      "near_duplicates": 0,
      "empty": 0,
      "audit": null,
      "splits": {
        "train": {
          "documents": 1,
          "pieces": 1,
          "tokens": 64,
          "packs": 1,
          "fullness": 1.0
        }
      },
      "cleaned": {},
      "crosswalks": [
        {
          "name": "gem.txt",
          "bytes": 7,
          "sha256": "00ff"
        }
      ]
    }
  },
  "config": {
    "output": "data",
    "held_out": 0.005
  },
  "packages": {
    "numpy": "2.0.0"
  }
}
"""
"""A manifest as `cmbert data prepare` has written it since version 1."""


def build() -> DataManifest:
    letters = SourceInfo(
        format="table",
        licence="légal",
        public=False,
        synthetic=False,
        inputs=[FileInfo(name="letters.jsonl", bytes=512, sha256="9a0b")],
        duplicates=2,
        near_duplicates=1,
        empty=3,
        audit=AuditCounts(documents=20, flagged=1, kinds={"date": 2, "name": 1}),
        splits={
            "train": SplitCounts(documents=19, segments=21, tokens=600, packs=10, fullness=0.9375),
            "held_out": SplitCounts(tokens=0, packs=0),
        },
        cleaned={"ftfy": 4},
    )
    codes = SourceInfo(
        format="icd10cm",
        licence="public domain",
        public=True,
        synthetic=False,
        splits={"train": SplitCounts(documents=1, segments=1, tokens=64, packs=1, fullness=1.0)},
        crosswalks=[FileInfo(name="gem.txt", bytes=7, sha256="00ff")],
    )
    return DataManifest(
        version=1,
        seq_length=64,
        tokenizer=TokenizerInfo(
            sha256="5f1c",
            vocab_size=1024,
            special_ids=SpecialIds(unk=0, cls=1, sep=2, pad=3, mask=4),
            unmaskable_ids=[0, 1, 2, 3, 4, 1023],
        ),
        sources={"letters": letters, "codes": codes},
        config={"output": "data", "held_out": 0.005},
        packages={"numpy": "2.0.0"},
    )


def test_what_was_left_out_is_read_back() -> None:
    source = SourceInfo(splits={}, left_out={"references": LeftOut(elements=2, characters=31)})
    manifest = build().model_copy(update={"sources": {"pmc": source}})
    assert DataManifest.parse(manifest.to_json().encode()).sources["pmc"] == source


def old_hash(content: dict[str, Any]) -> str:
    """The formula by which existing checkpoints were written."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def test_a_manifest_is_written_byte_for_byte_as_before() -> None:
    assert build().to_json() == WRITTEN


def test_reading_and_writing_a_manifest_changes_nothing() -> None:
    manifest = DataManifest.parse(WRITTEN.encode())
    assert manifest.model_dump() == build().model_dump()
    assert manifest.sources["letters"].splits["train"].segments == 21
    assert manifest.to_json() == WRITTEN


def with_unknown_keys() -> dict[str, Any]:
    content = json.loads(WRITTEN)
    content["note"] = {"rebuilt": [1, 2.50]}
    content["tokenizer"]["special_ids"]["bos"] = 5
    content["sources"]["letters"]["splits"]["test"] = {"packs": 1, "tokens": 3, "bytes": 1e3}
    content["sources"]["codes"]["later"] = None
    return content


@pytest.mark.parametrize("content", [json.loads(WRITTEN), with_unknown_keys()])
def test_the_hash_equals_that_of_existing_checkpoints(tmp_path: Path, content: dict[str, Any]) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    manifest = read_manifest(str(tmp_path))
    assert manifest_hash(manifest) == old_hash(content)
    assert manifest.content() == content
    (tmp_path / "manifest.json").write_text(json.dumps(dict(reversed(content.items()))))
    assert manifest_hash(read_manifest(str(tmp_path))) == old_hash(content)
    (tmp_path / "manifest.json").write_text(json.dumps(content | {"seq_length": 65}))
    assert manifest_hash(read_manifest(str(tmp_path))) != old_hash(content)


def test_the_hash_of_a_new_manifest_equals_that_of_its_file() -> None:
    assert manifest_hash(build()) == old_hash(json.loads(WRITTEN)) == "ceef665619c3691f"


def test_only_the_fields_that_reading_uses_are_required() -> None:
    tokenizer = {"vocab_size": 9, "special_ids": {"pad": 0, "cls": 1, "sep": 2, "mask": 3}, "unmaskable_ids": [0]}
    content = {"version": 1, "seq_length": 8, "tokenizer": tokenizer, "sources": {}}
    content["sources"] = {"notes": {"splits": {"train": {"packs": 2, "tokens": 9}}}}
    notes = DataManifest.parse(json.dumps(content).encode()).sources["notes"]
    assert (notes.public, notes.synthetic, notes.licence, notes.audit, notes.duplicates) == (None,) * 4 + (0,)
    assert (notes.splits["train"].documents, notes.splits["train"].segments) == (0, 0)


def test_a_manifest_is_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        build().seq_length = 128  # type: ignore[misc]


def test_sources_that_are_neither_public_nor_synthetic_are_restricted() -> None:
    assert restricted_sources(build().sources) == ["letters"]
    checkpoint = {"a": {"licence": "x", "public": None, "synthetic": None}, "b": {"public": True}, "c": {}}
    assert restricted_sources(checkpoint) == ["a", "c"]
