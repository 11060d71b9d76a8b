"""The split of a document."""

from clinical_modernbert.streaming_data.documents.document import Document, is_held_out


def test_the_split_does_not_depend_on_the_name_of_the_column() -> None:
    for patient in map(str, range(50)):
        splits = {
            is_held_out(Document("d", "s", "text", {column: patient}), column, 0.5, 3)
            for column in ("mrn", "subject_id")
        }
        assert len(splits) == 1
