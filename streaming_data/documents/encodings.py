"""Which encoding a text that is not UTF-8 probably has, for the message that refuses it."""

_SINGLE_BYTE = ("cp1252", "cp850", "mac_roman")
_SMALL = "äöüßéèêëáàâãåíìîïóòôõúùûçñæøœ"
_WEIGHTS = {**dict.fromkeys(_SMALL.upper(), 0.5), **dict.fromkeys(_SMALL, 1.0)}
_LEAST = 0.6


def likely_encoding(data: bytes) -> str | None:
    """The encoding of Windows, DOS or old Macs in which most bytes beyond ASCII are letters, small ones above all.

    None if there is none. Text in other alphabets may be taken for that of Windows.
    """
    beyond = bytes(byte for byte in data if byte > 127)
    scores = {
        encoding: sum(_WEIGHTS.get(letter, 0.0) for letter in beyond.decode(encoding, "replace")) / max(1, len(beyond))
        for encoding in _SINGLE_BYTE
    }
    best = max(scores, key=lambda encoding: scores[encoding])
    return best if scores[best] >= _LEAST else None
