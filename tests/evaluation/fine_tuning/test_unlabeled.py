"""Two readings of a text: each without some of its words, in order."""

from clinical_modernbert.evaluation.fine_tuning.unlabeled import DELETED, pairs_of


def test_readings_leave_out_words_and_keep_their_order() -> None:
    texts = [" ".join(f"word{number}" for number in range(400)), "fever", "a-b, c"]
    pairs = pairs_of(texts, seed=0)
    assert pairs == pairs_of(texts, seed=0)
    assert pairs != pairs_of(texts, seed=1)
    first, second = (reading.split() for reading in (pairs[0].query, pairs[0].document))
    assert first != second
    for reading in (first, second):
        numbers = [int(word.removeprefix("word")) for word in reading]
        assert numbers == sorted(numbers)
        assert abs(len(numbers) / 400 - (1 - DELETED)) < 0.1
    assert (pairs[1].query, pairs[1].document) == ("fever", "fever")
    assert all(pair.query and pair.document for pair in pairs)
