"""Patients from ids, from the files of the recipe, or not at all; a rule that holds by chance is not believed."""

from pathlib import Path

import pytest
from attacked import write_notes

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.privacy.patients import Key, number_patients, patient_sources
from clinical_modernbert.streaming_data.shards.manifest import DataManifest, read_manifest
from clinical_modernbert.streaming_data.shards.mds import PackReader


def documents(data: Path, most: int | None = None) -> dict[Key, bool]:
    """The documents of the packs, and whether they are held out."""
    found: dict[Key, bool] = {}
    for split in ("train", "held_out"):
        reader = PackReader(f"{data}/notes/{split}")
        ids = sorted({name for number in range(len(reader)) for name in reader[number].doc_ids})
        found |= {("notes", name): split == "held_out" for name in ids[:most]}
    return found


def remove_input(data: Path) -> None:
    (data.parent / "notes.jsonl").unlink()


def test_patients_that_ids_begin_with_need_no_file(tmp_path: Path) -> None:
    data = write_notes(tmp_path, 40)
    remove_input(data)
    keys = documents(data)
    found = number_patients(read_manifest(str(data)), keys)
    assert found.known
    assert set(found.numbers.values()) == set(range(40))
    for first in keys:
        for second in keys:
            same = first[1].split("-")[0] == second[1].split("-")[0]
            assert (found.numbers[first] == found.numbers[second]) == same


def test_ids_that_say_nothing_need_the_recipes_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = write_notes(tmp_path, 40, ids="x{number}{patient}")
    keys = documents(data)
    found = number_patients(read_manifest(str(data)), keys)
    assert found.known
    assert len(set(found.numbers.values())) == 40
    for source, name in keys:
        assert found.numbers[source, name] == found.numbers[source, f"x{1 - int(name[1])}{name[2:]}"]
    remove_input(data)
    alone = number_patients(read_manifest(str(data)), keys)
    assert not alone.known
    assert len(set(alone.numbers.values())) == 80
    assert "each document counts as a patient" in caplog.text
    assert not any(name in caplog.text for _, name in keys)


def test_a_rule_that_holds_by_chance_is_not_believed(tmp_path: Path) -> None:
    """Of three documents that are in fact one patient's, any rule fits once in a few seeds."""
    data = write_notes(tmp_path, 40, ids="x{number}{patient}")
    remove_input(data)
    manifest = read_manifest(str(data))
    keys = [key for key, held in documents(data).items() if not held][:3]
    for seed in range(40):
        config = {**manifest.config, "seed": seed}
        other = DataManifest.model_validate({**manifest.content(), "config": config})
        assert not number_patients(other, dict.fromkeys(keys, False)).known


def test_a_data_set_without_patients_names_its_sources(tmp_path: Path) -> None:
    manifest = read_manifest(str(write_notes(tmp_path, 10)))
    assert patient_sources(manifest) == ["notes"]
    content = manifest.content()
    content["sources"]["notes"]["format"] = "pubmed"
    with pytest.raises(UserError, match=r"no source with texts of patients .*only notes"):
        patient_sources(DataManifest.model_validate(content))
