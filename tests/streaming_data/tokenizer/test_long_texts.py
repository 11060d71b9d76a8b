"""Long texts have the tokens that they have as one, in a small part of the memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from clinical_modernbert.streaming_data.tokenizer import long_texts, words
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers
from clinical_modernbert.streaming_data.tokenizer.tokenizer import LoadedTokenizer

FRAGMENTS = [
    "word",
    "5.5",
    "\n\n",
    " ",
    "  ",
    "___",
    "a\u0301",
    "\U0001f600",
    "x" * 40,
    "\t",
    "9" * 30,
    "É",
    "don't",
    "\r\n",
    "β",
]


def backends(tokenizer: LoadedTokenizer) -> list[Tokenizer]:
    """Byte-level BPE, WordPiece, and two of byte-level tokens that have no words."""
    vocabulary = {
        "[UNK]": 0,
        **{chr(code): code for code in range(1, 128)},
        **{f"##{chr(code)}": 200 + code for code in range(1, 128)},
    }
    wordpiece = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    wordpiece.normalizer, wordpiece.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    one_word = Tokenizer.from_str(tokenizer.backend.to_str())
    one_word.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)
    metaspace = Tokenizer.from_str(tokenizer.backend.to_str())
    metaspace.pre_tokenizer = pre_tokenizers.Metaspace()
    return [tokenizer.backend, wordpiece, one_word, metaspace]


@settings(max_examples=60, deadline=None)
@given(text=st.lists(st.sampled_from(FRAGMENTS), max_size=300).map("".join), piece=st.integers(2, 80))
@example(text="word" * 6 + " " + "x" * 40, piece=47)  # Metaspace gives the second word another start after a cut
def test_pieces_have_the_tokens_of_the_text(tokenizer: LoadedTokenizer, text: str, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_texts, "PIECE", piece)
        for backend in backends(tokenizer):
            whole, source = backend.encode(text, add_special_tokens=False), words.word_source(backend)
            pieces = list(long_texts.pieces(backend, text, source))
            assert [token for piece in pieces for token in piece.ids] == whole.ids
            starts = np.concatenate([piece.pretoken_starts for piece in pieces])
            assert source == "text" or np.array_equal(starts, words.pretoken_starts(whole))
            characters = np.concatenate([piece.spans + piece.start for piece in pieces])
            assert np.array_equal(characters, long_texts.spans(whole))


def test_long_texts_are_encoded_in_pieces(
    tokenizer: LoadedTokenizer, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "\n\n".join(notes[:20])
    (whole,) = tokenizers.encode(tokenizer, [text])
    monkeypatch.setattr(long_texts, "PIECE", 2_000)
    assert len(list(long_texts.pieces(tokenizer.backend, text, tokenizer.word_source))) > len(text) / 2_000 - 1
    short, cut, empty = tokenizers.encode(tokenizer, [notes[0][:3_000], text, ""])
    assert np.array_equal(cut.tokens, whole.tokens)
    assert np.array_equal(cut.word_starts, whole.word_starts)
    assert np.array_equal(cut.character_starts(), whole.character_starts())
    assert short.tokens.tolist() == tokenizers.encode(tokenizer, [notes[0][:3_000]])[0].tokens.tolist()
    assert len(empty.tokens) == 0


MEASURE = """
import resource, sys
from pathlib import Path
from clinical_modernbert.streaming_data.phi.patterns import PhiAudit
from clinical_modernbert.streaming_data.prepare.chunking import cut_into_segments
from clinical_modernbert.streaming_data.prepare.minhash import band_hashes, bands_for
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers

def use(text):
    encode = tokenizers.encode if sys.argv[3] == "fast" else tokenizers.encode_by_library
    (encoded,) = encode(loaded, [text])
    assert len(cut_into_segments("1", text, encoded, loaded, 1024)) > len(text) / 10_000
    PhiAudit().add_all([text])
    band_hashes([text], bands_for(0.8))

loaded = tokenizers.load(Path(sys.argv[1]))
text = Path(sys.argv[2]).read_text()
text *= 10_000_000 // len(text)
use(text[:600_000])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
use(text)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / len(text.encode()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["fast", "library"])
def test_memory_per_byte_of_a_field(tokenizer: LoadedTokenizer, notes: list[str], tmp_path: Path, way: str) -> None:
    """Everything that is done with a text: tokens, segments, audit, signature. The library alone would need 165 bytes.

    One character is beyond ASCII, so that the text takes the longer way through it all.
    """
    path = tmp_path / "notes.txt"
    path.write_text("\n\n".join([*notes[:100], "β"]))
    command = [sys.executable, "-c", MEASURE, str(tokenizer.directory), str(path), way]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert float(output) < 10
