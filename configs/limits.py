"""Bounds on what is read from outside, each with its reason: what a file may cost is decided here, not by the file.

What is above a bound is refused with a message; nothing is cut or left out silently. docs/limits.md has the memory and
the time that was measured at each bound.
"""

from pathlib import Path

from .errors import UserError

YAML_CHARACTERS = 1 << 18
"""Of one YAML file, and of its texts after the expansion of aliases. The largest recipe here has 6,000."""
YAML_NODES = 20_000
"""Keys and values of one YAML file after the expansion of aliases: a list of 10,000 files still fits."""
YAML_DEPTH = 32
"""Levels of nesting in YAML. Recipes have five."""
YAML_FILES = 16
"""Files that extend one another."""

FREE_EXPANSION = 1 << 26
"""Bytes that a compressed file may expand to, whatever its ratio: a small table of equal rows passes."""
EXPANSION = 200
"""Bytes per compressed byte, beyond the free ones. Text has 3 to 10, XML up to 20, notes that repeat one another 100;
DEFLATE ends at 1,032, which only runs of equal bytes reach. More is legitimate at times, so the message names the way
out: a file that was unpacked expands to nothing."""

DOCUMENT_CHARACTERS = 1 << 24
"""Of one document, which is some million words. The longest records of patients are a tenth of it."""
RECORD_CHARACTERS = 1 << 25
"""Of one line of JSON or one record of CSV, in which a document may have escapes and other columns."""
HEADER_CHARACTERS = 1 << 20
"""Of the line with the names of columns."""
MARKUP_CHARACTERS = 1 << 22
"""Of one document in RTF or HTML, pictures included: the time of the conversion grows with it."""
MARKUP_DEPTH = 100
"""Tables inside tables, and groups inside groups."""

XML_BYTES = 1 << 25
"""Of one article or one citation, and of a table of codes. The largest article of PMC seen has 9 MB, ICD-10-CM 9 MB."""
XML_TAGS = 1_500_000
"""Tags and attributes in these: a tag of four bytes takes 120 bytes in memory. ICD-10-CM has 500,000."""
CODE_FILE_BYTES = 1 << 25
"""Of a list of codes, which is read at once. ICD-10-CM's order file has 15 MB."""
CODE_LINES = 1_000_000
"""Of a list of codes that is kept in memory. MeSH's tree has 64,000."""
ANNOTATION_BYTES = 1 << 26
"""Of a text with its annotations, or a JSON file of such texts, which is read at once: some ten thousand notes."""
TERM_LEVELS = 256
"""Of a hierarchy of terms. MeSH has 14, HPO 16."""
TAR_HEADER_BYTES = 1 << 20
"""Of an extended header in a tar package, which is read at once; a name has 4 KB at most."""
ZIP_MEMBERS = 1_000
"""Files in a zip archive, each of which is opened. Archives of CMS have ten."""
ZIP_DIRECTORY_BYTES = 1 << 22
"""Of the directory of a zip archive, which is read at once."""

SHARD_BYTES = 1 << 28
"""Of one shard, which is read at once to compute its hash. `cmbert data prepare` writes 16 MB; before, 64 MB."""
INDEX_BYTES = 1 << 25
"""Of the index of a source: 50,000 shards, which are 800 GB. Python takes 26 bytes per byte of the worst JSON."""
TOKENIZER_BYTES = 3 << 24
"""Of tokenizer.json. 256,000 tokens with their merges take 33 MB."""
SETTINGS_BYTES = 1 << 22
"""Of a config.json or tokenizer_config.json."""


class TooLargeError(UserError):
    """Something is above a bound of this module."""


def read_file(path: Path, limit: int) -> bytes:
    """The bytes of a file; ValueError if there are more than `limit`, which are not read."""
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"more than the {limit:,} bytes that such a file may have")
    return content
