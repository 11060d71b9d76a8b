"""Mutations of small valid files, and the readers of this project that must survive them.

As a program, it is a worker: `fuzz_formats.py FORMAT FIRST LAST DIRECTORY` reads the inputs of these seeds, each within
a time limit and the process within a memory limit, and prints its `Outcomes` as JSON.
"""

import gzip
import io
import json
import random
import resource
import signal
import sys
import tarfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

MOST_SECONDS = 10
"""Of processor time per input; other processes on the machine do not count."""
MOST_WAITING = 120
"""Seconds per input: one that waits takes no processor time."""
MOST_BYTES = 2 << 30
"""Of memory that a worker may take beyond what it has after its imports and one valid file."""

ARTICLE = b"""<?xml version="1.0"?><!DOCTYPE article [<!ENTITY a "b">]><article article-type="x"><front>
<article-meta>
<article-id pub-id-type="pmc">5</article-id><title-group><article-title>On <i>E. coli</i></article-title>
</title-group>
<abstract><p>Why &a;.</p></abstract></article-meta></front><body><sec><title>A</title>
<p>B <xref ref-type="bibr">[1]</xref>
<list><list-item><p>c</p></list-item></list></p><tex-math>\\begin{document} x \\end{document}</tex-math>
</sec></body></article>"""
CITATIONS = b"""<?xml version="1.0"?>\n<PubmedArticleSet><PubmedArticle><MedlineCitation Status="M">
<PMID Version="1">7</PMID>
<Article><Journal><Title>J</Title></Journal><ArticleTitle>T.</ArticleTitle><Abstract><AbstractText Label="X">One.
</AbstractText></Abstract><AuthorList><Author/></AuthorList><Language>eng</Language></Article></MedlineCitation>
<PubmedData><x/></PubmedData></PubmedArticle><DeleteCitation><PMID Version="1">3</PMID></DeleteCitation>
</PubmedArticleSet>"""
TABULAR = b"""<?xml version="1.0"?><ICD10CM.tabular><chapter><name>1</name><desc>C</desc><section id="A00">
<desc>S</desc>
<diag><name>A00</name><desc>Cholera</desc><inclusionTerm><note>n</note></inclusionTerm><sevenChrDef>
<extension char="A">i
</extension></sevenChrDef></diag></section></chapter></ICD10CM.tabular>"""
CODES = b"A000    Cholera due to Vibrio cholerae\nA001    Cholera, unspecified\nZ9989   Dependence on machines\n"
CSV = b'note_id,subject_id,text\n1-DS-1,7,"A note,\nof ""two"" lines"\n2-DS-2,8,BP < 120\n'
JSON_LINES = (
    b'{"text": "a note", "patient": "7"}\n{"text": "\\ud83d\\ude00 x", "patient": 8.0, "more": [1, {"a": null}]}\n'
)
RTF = (
    rb"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0\fcharset0 Arial;}}\f0 BP {\b 120}/80\par caf\'e9 \u8217? {\pict 00}\cell x}"
)
HTML = b"<html><body><p>BP &lt; 120<br>x</p><table><tr><td>a</td><td>1<sup>9</sup></td></tr></table>"
HTML += b"<!-- c --><ul><li>i</ul>"
MESH = b"Heading;A01\nOther;A01.236\n"
YAML = b"""output: x\nsources:\n  - {name: a, format: table, licence: b, paths: [c], split_by: d}
more: &m [1, 2.5, true, "text", 'x', null]\nagain: *m\nlong: |\n  lines\n  of text\nfolded: >-\n  more\n"""
IOB = b"-DOCSTART- -X- O\n\n1 Acute NN B-D\n2 pain NN E-D\n3 # x O\n\n# id = 7\nfever\tNN\tS-D\t\n"
ANN = b"T1\tD 0 5;8 10\tAcute in\nR1\tx Arg1:T1 Arg2:T1\t\nE1\tD:T1 a:T1\n#1\tAnnotatorNotes T1\tn\n"
PUBTATOR = b"7|t|Acute pain\n7|a|in x\n7\t0\t5\tAcute\tD\tM1|M2\n7\tCID\tM1\tM2\n\n8|t|y\n"
BIOC = b"""<?xml version="1.0"?><!DOCTYPE collection SYSTEM "BioC.dtd"><collection><source>s</source><document>
<id>7</id><infon key="a">b</infon><passage><offset>0</offset><text>Acute &lt; pain</text><annotation id="1">
<infon key="type">D</infon><location offset="0" length="5"/><text>Acute</text></annotation></passage><passage>
<offset>13</offset><sentence><offset>13</offset><text>in x</text></sentence></passage><relation id="r">
<infon key="type">x</infon><node refid="1" role="a"/><node refid="1" role="b"/></relation></document></collection>"""
BIOC_JSON = b"""{"documents": [{"id": 7, "passages": [{"offset": 0, "text": "Acute \\ud83d\\ude00 pain",
"annotations": [{"id": "1", "infons": {"type": "D"}, "text": "Acute", "locations": [{"offset": 0, "length": 5}]}]}],
"relations": [{"infons": {}, "nodes": [{"refid": "1", "role": ""}]}]}]}"""
I2B2 = b"""<?xml version="1.0"?><deIdi2b2><TEXT><![CDATA[Acute pain]]></TEXT><TAGS>
<D id="P0" start="0" end="5" text="Acute" TYPE="X"/><L id="L" fromID="P0" toID="P0"/></TAGS></deIdi2b2>"""
CONCEPTS = b'c="acute \xc3\xa9" 1:0 1:1||t="problem"\nc="in" 1:2 1:2||t="test"\n'
LABEL_STUDIO = b"""[{"id": 1, "data": {"text": "Acute \\ud83d\\ude00 pain"}, "annotations": [{"result": [{"id": "a",
"type": "labels", "value": {"start": 9, "end": 13, "text": "pain", "labels": ["D"]}},
{"type": "relation", "from_id": "a", "to_id": "a", "labels": ["x"]}]}], "predictions": []}]"""
SPANS = b'{"id": 1, "text": "Acute pain", "label": [[0, 5, "D"]]}\n{"id": 2, "text": "x", "label": []}\n'

NAMES = [
    *("yaml", "csv", "jsonl", "parquet", "gzip", "pubmed", "pmc", "tar", "tar.gz", "icd10cm", "codes", "zip", "mesh"),
    *("iob", "brat", "pubtator", "bioc", "bioc-json", "i2b2", "i2b2-2010", "label-studio", "spans"),
    *("rtf", "html", "mds-index", "mds-shard", "tokenizer.json", "tokenizer-config"),
]
"""Of the formats."""

Reader = Callable[[Path], object]


class Format(NamedTuple):
    """A kind of file: its name, a valid content, the reader under test."""

    file: str
    content: bytes
    read: Reader


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("PMC5.xml", "../../escaped.xml", "/tmp/escaped.xml"):
            member = tarfile.TarInfo(name)
            member.size = len(ARTICLE)
            member.pax_headers = {"comment": "x"}
            archive.addfile(member, io.BytesIO(ARTICLE))
        link = tarfile.TarInfo("link.xml")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return buffer.getvalue()


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../codes.txt", CODES)
        archive.writestr("readme.pdf", b"%PDF-1.4 nothing")
    return buffer.getvalue()


def _source(kind: str, path: Path, **options: object) -> list[object]:
    from pydantic import TypeAdapter

    from clinical_modernbert.streaming_data.corpora import readers

    values = {"name": "s", "format": kind, "licence": "none", "paths": [str(path)], **options}
    return list(readers.read(TypeAdapter(readers.AnySource).validate_python(values)))


def _table(path: Path) -> object:
    return _source("table", path, split_by="patient", clean=["rtf", "html", "encoding", "control_characters"])


def _read_yaml(path: Path) -> object:
    from pydantic import create_model

    from clinical_modernbert.configs.loader.load import load

    keys: dict[str, Any] = dict.fromkeys(("output", "sources", "more", "again", "long", "folded"), (Any, None))
    return load(create_model("Recipe", **keys), path)


def _read_markup(path: Path) -> object:
    from clinical_modernbert.streaming_data.documents.clean import clean
    from clinical_modernbert.streaming_data.documents.markup import find_markup

    text = path.read_bytes().decode("latin-1")
    find_markup(text)
    return clean(text, ["rtf", "html", "encoding", "control_characters", "boilerplate"], Counter())


def _annotated(path: Path) -> object:
    from clinical_modernbert.evaluation.formats.annotations import read_annotations

    return read_annotations(path)


def _annotated_beside_text(path: Path) -> object:
    path.with_suffix(".txt").write_text("Acute \u00e9 in x\r\npain", newline="")
    try:
        return _annotated(path)
    finally:
        path.with_suffix(".txt").unlink()


def _read_shards(path: Path) -> object:
    from clinical_modernbert.streaming_data.shards.mds import PackReader

    reader = PackReader(str(path.parent))
    return [reader[number] for number in range(min(len(reader), 20))]


def _read_resealed_shard(path: Path) -> object:
    """With an index that has the hash and size of the changed shard, as one has who writes both."""
    import xxhash

    content = path.read_bytes()
    index = json.loads((path.parent / "index.json").read_text())
    index["shards"][0]["raw_data"] |= {"bytes": len(content), "hashes": {"xxh3_64": xxhash.xxh3_64_hexdigest(content)}}
    index["shards"][0]["samples"] = int.from_bytes(content[:4], "little")
    (path.parent / "index.json").write_text(json.dumps(index))
    return _read_shards(path)


def _read_tokenizer(path: Path) -> object:
    from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers

    return tokenizers.encode(tokenizers.load(path.parent), ["a note of w5 w6 [MASK]", "x" * 100])


def parquet_table(home: Path) -> bytes:
    """A table with a text and a patient, written by way of a file in `home`."""
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    parquet.write_table(arrow.table({"text": ["a note", None], "patient": ["7", "8"]}), home / "made.parquet")
    return (home / "made.parquet").read_bytes()


def formats(home: Path) -> dict[str, Format]:
    """Every format; `home` gets the files that its own programs write."""
    from small_data import write_small_data

    if not (home / "small").is_dir():
        write_small_data(home / "small", packs=4, seq_length=32)
    shards, tokenizer = home / "small/notes/train", home / "small/tokenizer"
    return {
        "yaml": Format("a.yaml", YAML, _read_yaml),
        "csv": Format("a.csv", CSV, lambda path: _source("mimic_notes", path)),
        "jsonl": Format("a.jsonl", JSON_LINES, _table),
        "parquet": Format("a.parquet", parquet_table(home), _table),
        "gzip": Format("a.csv.gz", gzip.compress(CSV), lambda path: _source("mimic_notes", path)),
        "pubmed": Format("a.xml", CITATIONS, lambda path: _source("pubmed", path)),
        "pmc": Format("a.nxml", ARTICLE, lambda path: _source("pmc", path)),
        "tar": Format("a.tar", _tar(), lambda path: _source("pmc", path)),
        "tar.gz": Format("a.tar.gz", gzip.compress(_tar()), lambda path: _source("pmc", path)),
        "icd10cm": Format("a.xml", TABULAR, lambda path: _source("icd10cm", path)),
        "codes": Format("a.txt", CODES, lambda path: _source("icd10cm", path)),
        "zip": Format("a.zip", _zip(), lambda path: _source("icd10cm", path)),
        "mesh": Format("a.bin", MESH, lambda path: _source("codes", path, system="mesh")),
        "iob": Format("a.iob", IOB, _annotated),
        "brat": Format("a.ann", ANN, _annotated_beside_text),
        "pubtator": Format("a.pubtator", PUBTATOR, _annotated),
        "bioc": Format("a.xml", BIOC, _annotated),
        "bioc-json": Format("a.json", BIOC_JSON, _annotated),
        "i2b2": Format("a.xml", I2B2, _annotated),
        "i2b2-2010": Format("a.con", CONCEPTS, _annotated_beside_text),
        "label-studio": Format("a.json", LABEL_STUDIO, _annotated),
        "spans": Format("a.jsonl", SPANS, _annotated),
        "rtf": Format("a.rtf", RTF, _read_markup),
        "html": Format("a.html", HTML, _read_markup),
        "mds-index": Format("index.json", (shards / "index.json").read_bytes(), _read_shards),
        "mds-shard": Format("shard.00000.mds", (shards / "shard.00000.mds").read_bytes(), _read_resealed_shard),
        "tokenizer.json": Format("tokenizer.json", (tokenizer / "tokenizer.json").read_bytes(), _read_tokenizer),
        "tokenizer-config": Format(
            "tokenizer_config.json", (tokenizer / "tokenizer_config.json").read_bytes(), _read_tokenizer
        ),
    }


_TOKENS = [
    *(b"-1", b"0", b"4294967295", b"9223372036854775808", b"1e999", b"9" * 5000, b"null"),
    *(b"true", b"[]", b"{}", b'""', b"NaN", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n", b"\t", b"\xed\xa0\x80"),
    *(b"&a;", b"<![CDATA[", b"<!--", b"]]>", b"<![a[", b"*m", b"&m ", b"? ", b"!!python/name:x ", b"../../x"),
    *(b"\\u" + b"9" * 30, b"\\bin99999999 ", b"\xf0\x9f\x98\x80", b"\xcc\x81" * 50),
]
_NESTED = [
    *((b"[", b"]"), (b'{"a":', b"}"), (b"<p>", b"</p>"), (b"{\\b ", b"}"), (b"<table><tr><td>", b"")),
    *((b"- ", b""), (b"(", b")")),
]
_NUMBER = [bytes([character]) for character in b"0123456789"]


def mutate(content: bytes, seed: int) -> bytes:
    """A variation: one to four of bit flips, cuts, splices, copies, other types, nesting, huge numbers."""
    rng = random.Random(seed)
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, other = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)
        first, last = sorted((at, other))
        match rng.randrange(9):
            case 0:
                for _ in range(rng.choice((1, 1, 8))):
                    if data:
                        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            case 1:
                del data[at:]
            case 2:
                del data[first : min(last, first + rng.choice((1, 16, 4096)))]
            case 3:
                data[at:at] = data[first : first + rng.choice((8, 64, 1024))] * rng.choice((1, 2, 100))
            case 4:
                data[at:at] = rng.choice(_TOKENS)
            case 5:
                opening, closing = rng.choice(_NESTED)
                depth = rng.choice((3, 300, 20_000))
                data[at:at] = opening * depth + closing * rng.choice((0, depth))
            case 6 if digits := [position for position, byte in enumerate(data) if bytes([byte]) in _NUMBER]:
                position = rng.choice(digits)
                data[position : position + 1] = rng.choice(_TOKENS[:7])
            case 7 if len(data) >= 8:
                position = rng.randrange(len(data) - 7)
                data[position : position + 4] = rng.choice(
                    (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x80")
                )
            case _:
                data[at:at] = bytes(rng.choice((data[at : at + 1] or b"x", b" ", b"A"))) * rng.choice((100, 100_000))
    return bytes(data)


class Outcomes(NamedTuple):
    """What happened to the inputs of one worker."""

    read: int
    refused: int
    failures: list[dict[str, Any]]
    slowest: float
    bytes: int


def run(name: str, first: int, last: int, home: Path) -> Outcomes:
    """Read the inputs of the seeds; a failure is any exception but UserError, or MOST_SECONDS."""
    from clinical_modernbert.configs.errors import UserError

    form = formats(home)[name]
    work = home / "work"
    work.mkdir()
    beside = {
        path.name: path.read_bytes()
        for folder in ("notes/train", "tokenizer")
        for path in (home / "small" / folder).iterdir()
    }
    inside = {*beside, form.file, "shard.00000.mds"}

    def read(content: bytes) -> str:
        for other in {**beside, form.file: content}.items() if form.file in beside else [(form.file, content)]:
            (work / other[0]).write_bytes(other[1])
        try:
            form.read(work / form.file)
        except UserError:
            return "refused"
        return "read"

    if read(form.content) != "read":
        raise AssertionError(f"the valid file of {name} is refused")
    before = _memory()
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MOST_BYTES,) * 2)
    signal.signal(signal.SIGALRM, _too_slow)
    signal.signal(signal.SIGPROF, _too_slow)
    counts, failures, slowest = Counter[str](), list[dict[str, Any]](), 0.0
    for seed in range(first, last):
        content = mutate(form.content, seed)
        started = time.process_time()
        signal.alarm(MOST_WAITING)
        signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
        try:
            counts[read(content)] += 1
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            failures.append(
                {
                    "seed": seed,
                    "error": f"{type(error).__name__}: {error}"[:300],
                    "at": f"{where.filename}:{where.lineno}",
                }
            )
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        slowest = max(slowest, time.process_time() - started)
    if strange := {path.name for path in work.iterdir()} - inside:
        failures.append({"error": f"written: {sorted(strange)}"})
    return Outcomes(counts["read"], counts["refused"], failures, slowest, _memory() - before)


def _too_slow(number: int, frame: object) -> None:
    raise TimeoutError(f"longer than {MOST_SECONDS} s of processor time, or {MOST_WAITING} s")


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))._asdict()))
