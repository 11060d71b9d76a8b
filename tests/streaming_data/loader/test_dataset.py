"""A prepared data set opened for training, and one clear error for anything that does not fit."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from small_data import MASK, PAD, SEQ_LENGTH, VOCAB, write_small_data

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.loader.config import DataConfig
from clinical_modernbert.streaming_data.loader.dataset import copy_tokenizer, open_dataset
from clinical_modernbert.streaming_data.loader.lanes import LaneOrder
from clinical_modernbert.streaming_data.loader.mix import describe_mix, plan_mix
from clinical_modernbert.streaming_data.loader.prefetch import ShardsAhead
from clinical_modernbert.streaming_data.shards import mds as shards


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def copied(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "data"))


def config(path: Path, **changes: Any) -> DataConfig:
    return DataConfig(path=str(path), **{"seq_length": SEQ_LENGTH, **changes})


def edit_manifest(directory: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text())
    edit(manifest)
    path.write_text(json.dumps(manifest))


def test_a_data_set_opens_with_its_sources_and_vocabulary(written: Path) -> None:
    dataset = open_dataset(config(written), seed=3)
    assert dataset.sources == ("notes", "codes")
    assert [len(reader) for reader in dataset.readers] == [60, 15]
    assert dataset.order.weights == [0.8, 0.2]
    assert (dataset.vocabulary.pad_id, dataset.vocabulary.mask_id) == (PAD, MASK)
    assert dataset.vocabulary.real_ids.tolist() == list(range(5, VOCAB))
    assert len(dataset.read(dataset.order.between(0, 1)[0]).tokens) <= SEQ_LENGTH
    assert Counter(dataset.order.between(0, 75)).most_common(1)[0][1] == 1


def test_weights_select_and_mix_the_sources(written: Path) -> None:
    dataset = open_dataset(config(written, weights={"codes": 3, "notes": 1}), seed=3)
    assert dataset.sources == ("notes", "codes")
    assert dataset.order.weights == pytest.approx([0.25, 0.75], abs=0.01)
    alone = open_dataset(config(written, weights={"codes": 5}), seed=3)
    assert alone.sources == ("codes",)
    assert alone.order.weights == [1]


def test_weights_are_shares_of_tokens_however_full_the_packs(copied: Path) -> None:
    edit_manifest(copied, lambda manifest: manifest["sources"]["codes"]["splits"]["train"].update(tokens=15 * 32))
    dataset = open_dataset(config(copied, weights={"notes": 3, "codes": 1}), seed=3)
    mix = plan_mix(dataset, 100_000)
    assert [part.share for part in mix] == pytest.approx([0.75, 0.25], abs=1e-4)
    assert sum(part.packs for part in mix) == 100_000
    assert mix[1].packs / mix[0].packs == pytest.approx(dataset.pack_tokens[0] / 32 / 3, rel=1e-3)


def test_max_epochs_limits_a_source(written: Path) -> None:
    equal = {"notes": 1, "codes": 1}
    notes, codes = plan_mix(open_dataset(config(written, weights=equal, max_epochs={"codes": 4.5}), 3), 300)
    assert (codes.packs, codes.epochs, codes.ended) == (67, pytest.approx(67 / 15), True)
    assert (notes.packs, notes.ended) == (300 - 67, False)
    assert describe_mix([codes]) == [
        f"mix              codes: {codes.share:.2%} of the tokens, {codes.tokens:,.0f} in 67 packs, 4.47 epochs "
        "(its limit)"
    ]
    every = open_dataset(config(written, weights=equal, max_epochs=2), 3)
    assert [part.epochs for part in plan_mix(every, 150)] == [2, 2]
    with pytest.raises(UserError, match=r"reads 151 packs, but data\.max_epochs allows only 150: raise it"):
        plan_mix(every, 151)
    assert every.identity()["limits"] == {"notes": 120, "codes": 30}
    assert open_dataset(config(written), 3).identity()["limits"] is None


def test_identity_is_json_and_changes_with_everything_that_decides_the_order(written: Path, tmp_path: Path) -> None:
    def identity(seed: int = 3, **changes: Any) -> dict[str, Any]:
        return open_dataset(config(written, **changes), seed).identity()

    first = identity()
    assert json.loads(json.dumps(first)) == first == identity()
    other = open_dataset(config(write_small_data(tmp_path / "other", packs=61)), 3).identity()
    weighted, wider = identity(weights={"notes": 1, "codes": 1}), identity(shuffle_window=3)
    for changed, key in ((identity(4), "seed"), (weighted, "weights"), (wider, "shuffle_window"), (other, "sources")):
        assert changed[key] != first[key]


def test_the_number_of_lanes_is_part_of_the_identity(written: Path) -> None:
    by_batch = [open_dataset(config(written), 3, packs_per_step=packs) for packs in (96, 128)]
    assert [dataset.identity()["lanes"] for dataset in by_batch] == [96, 128]
    assert all("shuffle_window" not in dataset.identity() for dataset in by_batch)
    assert open_dataset(config(written, lanes=7), 3, packs_per_step=96).identity()["lanes"] == 7
    windows = open_dataset(config(written, shuffle_window=16), 3, packs_per_step=96).identity()
    assert windows == open_dataset(config(written), 3).identity()  # what runs of before recorded
    assert windows.keys() == {"sources", "weights", "seq_length", "limits", "shuffle_window", "seed"}
    with pytest.raises(ValidationError, match="lanes and shuffle_window are two orders"):
        config(written, lanes=7, shuffle_window=3)


def test_a_continued_run_keeps_its_order_unless_the_recipe_names_another(written: Path) -> None:
    """Of runs from before there were lanes, of runs whose cache or batch was another, and of those with a key."""
    limits: dict[str, Any] = {"max_epochs": {"codes": 3}, "weights": {"notes": 1, "codes": 2}}
    for begun in ({"shuffle_window": 16}, {"shuffle_window": 2}, {"lanes": 24}, {"lanes": 7}):
        before = open_dataset(config(written, **limits, **begun), 3)
        recorded = json.loads(json.dumps(before.identity()))
        now = open_dataset(config(written, **limits), 3, packs_per_step=32)
        assert now.identity() != recorded
        now.continue_order(recorded)
        assert now.identity() == recorded
        for rank in range(4):
            assert list(now.order.share(8, 40, rank, 4)) == list(before.order.share(8, 40, rank, 4))
        named = open_dataset(config(written, **limits, lanes=5), 3)
        named.continue_order(recorded)
        assert named.identity()["lanes"] == 5
    for broken in ({}, {"lanes": "7"}, {"lanes": True}, {"lanes": 0}, {"lanes": 10**12}, {"shuffle_window": -1}):
        now = open_dataset(config(written), 3, packs_per_step=32)
        now.continue_order(broken)
        assert isinstance(now.order, LaneOrder)
        assert now.order.lanes == 64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seq_length": 512}, r"prepared with seq_length 256, .* set data\.seq_length=256"),
        ({"max_epochs": {"note": 1}}, r"data\.max_epochs names 'note', .*; did you mean notes\?"),
        ({"max_epochs": {"codes": 0.01}}, r"0\.01 of the 15 packs of codes is less than one pack"),
        ({"weights": {"note": 1}}, r"data\.weights names 'note', but .* has notes, codes; did you mean notes\?"),
    ],
)
def test_a_configuration_that_does_not_fit_is_one_error(written: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_dataset(config(written, **changes), 0)


@pytest.mark.parametrize("weights", [{}, {"notes": 0}, {"notes": -1}, {"notes": float("inf")}, {"notes": float("nan")}])
def test_invalid_weights_are_refused(written: Path, weights: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        config(written, weights=weights)


def test_a_split_without_packs_is_one_error(copied: Path) -> None:
    edit_manifest(
        copied, lambda manifest: [s["splits"]["held_out"].update(packs=0) for s in manifest["sources"].values()]
    )
    for split in ("held_out", "test"):
        with pytest.raises(UserError, match="none of its sources has a pack in this split"):
            open_dataset(config(copied), 0, split=split)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda manifest: manifest.update(version=2), r"not a manifest of version 1: version: Input should be 1"),
        (lambda manifest: manifest.pop("seq_length"), "not a manifest of version 1: seq_length: Field required"),
        (lambda manifest: manifest["sources"]["notes"]["splits"]["train"].pop("packs"), "train.packs: Field required"),
        (lambda manifest: manifest["tokenizer"].update(unmaskable_ids=None), r"tokenizer\.unmaskable_ids"),
        (
            lambda manifest: manifest["tokenizer"]["special_ids"].pop("mask"),
            r"special_ids\.mask: Field required",
        ),
    ],
)
def test_a_corrupt_manifest_is_one_error(copied: Path, edit: Callable[[dict[str, Any]], object], message: str) -> None:
    edit_manifest(copied, edit)
    with pytest.raises(UserError, match=message) as caught:
        open_dataset(config(copied), 0)
    assert str(caught.value).startswith(f"{copied}/manifest.json: ")
    assert "prepare the data again" in str(caught.value)


def test_a_truncated_or_missing_manifest_is_one_error(copied: Path) -> None:
    path = copied / "manifest.json"
    path.write_text(path.read_text()[:-10])
    with pytest.raises(UserError, match=r"manifest\.json: not a manifest .*JSON"):
        open_dataset(config(copied), 0)
    path.unlink()
    with pytest.raises(UserError, match=r"manifest\.json: no such file; .*cmbert data prepare"):
        open_dataset(config(copied), 0)


def test_an_index_of_another_data_set_is_one_error(copied: Path) -> None:
    shutil.copy(copied / "codes" / "train" / "index.json", copied / "notes" / "train" / "index.json")
    with pytest.raises(UserError, match=r"notes/train: its index has 15 packs, but .*manifest\.json has 60"):
        open_dataset(config(copied), 0)


def test_shards_fetched_ahead_are_not_checked_again(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []
    monkeypatch.setattr(shards, "_find_corruption", lambda path, shard: checked.append(path.relative_to(written)))
    dataset = open_dataset(config(written, shuffle_window=2), 0)
    for _ in range(2):
        ShardsAhead(dataset, rank=0, world_size=1, steps_back=2)(0, 5)
    ahead = len(checked)
    assert ahead == len(set(checked)) == 2 * 2 + 2  # two windows of two shards; the codes have no more than two shards
    for address in dataset.order.between(0, 75):
        dataset.read(address)
        if len(checked) > ahead:
            break
    first_window = sum(shard.packs for shard in dataset.readers[0].shards[1:3])
    assert dataset.order.between(0, 75).index(address) > first_window


def test_the_tokenizer_is_copied_to_the_run(written: Path, tmp_path: Path) -> None:
    copy_tokenizer(str(written), tmp_path / "run" / "tokenizer")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "run" / "tokenizer" / name).read_bytes() == (written / "tokenizer" / name).read_bytes()
    with pytest.raises(UserError, match=r"tokenizer/tokenizer\.json: no such file"):
        copy_tokenizer(str(tmp_path), tmp_path / "other")


@pytest.mark.parametrize("masking", ["whole_word", "span"])
def test_masking_of_words_is_refused_where_there_are_none(copied: Path, masking: str) -> None:
    """By the counts of the manifest; a manifest without them is old, and its words are the tokenizer's pre-tokens."""

    def count(words: int) -> None:
        counts = {"characters": 40_000, "tokens": 10_000, "words": words}
        edit_manifest(copied, lambda manifest: manifest["sources"]["notes"].update(words=counts))

    tokenizer = copied / "tokenizer" / "tokenizer.json"
    with_words = tokenizer.read_text()
    without_words = json.dumps(json.loads(with_words) | {"pre_tokenizer": None})
    open_dataset(config(copied, masking=masking), seed=1)
    tokenizer.write_text(without_words)
    with pytest.raises(UserError, match=rf"the text of notes, codes into words, so data\.masking={masking} would mask"):
        open_dataset(config(copied, masking=masking), seed=1)
    open_dataset(config(copied, masking="token"), seed=1)
    count(7_000)
    open_dataset(config(copied, masking=masking, weights={"notes": 1}), seed=1)
    count(60)
    tokenizer.write_text(with_words)
    with pytest.raises(UserError, match="does not divide the text of notes into words"):
        open_dataset(config(copied, masking=masking), seed=1)
