"""What a word is: GPT-2's pre-tokens as ever, and for every other tokenizer what the characters of the text say."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tokenizer_kinds
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from clinical_modernbert.streaming_data.corpora.pubmed import PubMedSource
from clinical_modernbert.streaming_data.corpora.readers import read
from clinical_modernbert.streaming_data.tokenizer import long_texts, words
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers
from clinical_modernbert.streaming_data.tokenizer.tokenizer import LoadedTokenizer

pytestmark = pytest.mark.slow

TEXTS = st.text(
    st.one_of(
        st.sampled_from(" \n\t.,-/'0123456789aeinorstABé"),
        st.sampled_from("ßµ½ﬁİǆ\u00a0\u3000\u200b\u0301\u0e35\u0e48กขคน患者は発熱アイｱ한글ไทยမြန်\U0001f600\U00020000"),
        st.characters(exclude_categories=["Cs", "Cn"]),
    ),
    max_size=60,
)
UNSPACED = "患者は高熱アイスｱｲ" + "ไทย" + "\U00020000"


@pytest.fixture(scope="module")
def loaded(notes: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedTokenizer]:
    """A tokenizer of each kind, which knows the characters of scripts without spaces."""
    texts = [" ".join(UNSPACED), *notes[:60]]
    folder = tmp_path_factory.mktemp("kinds")
    return {
        kind.__name__: tokenizers.load(tokenizer_kinds.save(kind, texts, folder / kind.__name__))
        for kind in tokenizer_kinds.KINDS
    }


def words_of_characters(text: str) -> list[int]:
    """The word of each character, by a loop over the definition."""

    def kind(character: str) -> str:
        category = unicodedata.category(character)[0]
        if character.isspace():
            return "blank"
        if category in "LM":
            alone = any(first <= ord(character) <= last for first, last in words._WITHOUT_SPACES)
            return ("mark" if category == "M" else "alone") if alone else "letter"
        return "digit" if category == "N" else "other"

    numbers, word = [], 0
    for at, character in enumerate(text):
        before, this = kind(text[at - 1]) if at else None, kind(character)
        glued = at > 0 and text[at - 1] == " " and this != "blank"
        space_before_a_word = character == " " and at + 1 < len(text) and kind(text[at + 1]) != "blank"
        same = (before == this and this != "alone") or (this == "mark" and before == "alone")
        word += space_before_a_word or (not glued and not same)
        numbers.append(word)
    return numbers


def expected_starts(text: str, spans: npt.NDArray[np.int64]) -> list[bool]:
    numbers = words_of_characters(text)
    owners = []
    for start, end in spans.tolist():
        first = next((at for at in range(start, end) if not text[at].isspace()), start)
        owners.append(numbers[min(first, len(text) - 1)])
    return [at == 0 or owner != owners[at - 1] for at, owner in enumerate(owners)]


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
@example("a  b\n\nc don't 120/80, (x)")
@example("ที่นี่ 患者は, 発熱")
def test_words_of_generated_text(loaded: dict[str, LoadedTokenizer], text: str) -> None:
    """GPT-2's pattern keeps its pre-tokens, so data sets stay as they are; all other words follow the definition."""
    for name, tokenizer in loaded.items():
        (encoded,) = tokenizers.encode(tokenizer, [text])
        whole = tokenizer.backend.encode(text, add_special_tokens=False)
        assert encoded.tokens.tolist() == whole.ids
        pretokens = np.diff(np.array(whole.word_ids, np.int64), prepend=-1) != 0
        if tokenizer.word_source == "gpt2":
            assert encoded.word_starts.tolist() == pretokens.tolist(), name
        elif tokenizer.word_source == "pretokens":
            assert not (pretokens & ~encoded.word_starts).any(), name
            assert not text.isascii() or encoded.word_starts.tolist() == pretokens.tolist(), name
        elif text:
            assert encoded.word_starts.tolist() == expected_starts(text, long_texts.spans(whole)), name


def test_each_character_of_a_script_without_spaces_is_a_word(loaded: dict[str, LoadedTokenizer]) -> None:
    for name, tokenizer in loaded.items():
        for text in (UNSPACED, f"fever {UNSPACED} 38.5", f"({UNSPACED})"):
            (encoded,) = tokenizers.encode(tokenizer, [text])
            if tokenizer.word_source == "gpt2" or name == "wordpiece":
                continue  # as ever; and a word that WordPiece does not know as a whole is one token, [UNK]
            spans = long_texts.spans(tokenizer.backend.encode(text, add_special_tokens=False))
            first, firsts = text.index(UNSPACED), spans[encoded.word_starts][:, 0].tolist()
            assert set(range(first + 1, first + len(UNSPACED))) <= set(firsts), name


def test_words_of_abstracts_are_those_of_before(dev_data: Path) -> None:
    """On ModernBERT's tokenizer: its pre-tokens; and the rule for texts gives the same words of real abstracts."""
    tokenizer = tokenizers.load(dev_data / "modernbert_tokenizer")
    assert tokenizer.word_source == "gpt2"
    cases = json.loads((dev_data / "modernbert_tokenizer" / "golden_token_ids.json").read_text())["cases"]
    abstracts = _abstracts(dev_data)
    assert len(abstracts) > 100
    for text in [*abstracts, *(case["text"] for case in cases)]:
        (encoded,) = tokenizers.encode(tokenizer, [text])
        whole = tokenizer.backend.encode(text, add_special_tokens=False)
        assert encoded.word_starts.tolist() == words.pretoken_starts(whole).tolist()
        if text in abstracts:
            assert encoded.word_starts.tolist() == words.word_starts(text, long_texts.spans(whole)).tolist()


def _abstracts(dev_data: Path) -> list[str]:
    path = dev_data / "pubmed" / "example_400_from_21n1298.xml.gz"
    source = PubMedSource(name="p", format="pubmed", paths=[str(path)], licence="see NLM", public=True)
    return [document.text for document in read(source)]


def test_long_texts_without_words_are_cut_where_no_token_can_cross(
    loaded: dict[str, LoadedTokenizer], notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the tokenizer puts a space before a text (Llama's), and where tokens are of several words."""
    text = "\n\n".join(notes[60:75]) + " don't " + UNSPACED + " café (x)  y"
    wordless = [tokenizer for tokenizer in loaded.values() if tokenizer.word_source == "text"]
    whole = [tokenizers.encode(tokenizer, [text])[0] for tokenizer in wordless]
    for piece in (700, 3_000):
        monkeypatch.setattr(long_texts, "PIECE", piece)
        for tokenizer, expected in zip(wordless, whole, strict=True):
            pieces = list(long_texts.pieces(tokenizer.backend, text, "text"))
            name = tokenizer.directory.name
            # The others were trained across words, so that most letters are in a token with the blank after them.
            most = 2 * piece if name in ("llama", "unigram", "unigram_without_words") else len(text) / 2
            assert max(one.end - one.start for one in pieces) < most, name
            (cut,) = tokenizers.encode(tokenizer, [text])
            for attribute in ("tokens", "word_starts"):
                assert np.array_equal(getattr(cut, attribute), getattr(expected, attribute))
            assert np.array_equal(cut.character_starts(), expected.character_starts())


def test_a_text_that_cannot_be_cut_is_encoded_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vocabulary with a token from any letter to the next word has no place to cut."""
    letters = [chr(code) for code in range(97, 123)]
    vocabulary = ["[UNK]", " ", *letters, *(f"{letter} " for letter in letters)]
    content = {
        "type": "BPE", "unk_token": "[UNK]", "fuse_unk": False, "byte_fallback": False,
        "vocab": {token: number for number, token in enumerate(vocabulary)},
        "merges": [[letter, " "] for letter in letters],
    }  # fmt: skip
    backend = Tokenizer.from_str(json.dumps({"version": "1.0", "added_tokens": [], "model": content}))
    monkeypatch.setattr(long_texts, "PIECE", 50)
    (piece,) = long_texts.pieces(backend, "fever and cough " * 20, "text")
    assert piece.ids == backend.encode("fever and cough " * 20).ids
