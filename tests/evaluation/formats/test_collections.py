"""PubTator, BioC, i2b2, Label Studio and tables: files as their tools write them."""

import json
from collections import Counter
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.formats.annotations import (
    AnnotatedText,
    Columns,
    Relation,
    Span,
    read_annotations,
    write_annotations,
)

PUBTATOR = """227508|t|Naloxone reverses the effect of clonidine.
227508|a|In rats, hypotension|fever returned.
227508\t0\t8\tNaloxone\tChemical\tD009270
227508\t32\t41\tclonidine\tChemical\tD003000
227508\t52\t63\thypotension\tDisease\tD007022|D000001\thypo|tension
227508\tCID\tD003000\tD000001
227508\tCID\tD003000\tD999999

7|t|No abstract
"""
BIOC = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE collection SYSTEM "BioC.dtd">
<collection><source>S</source><date>2026</date><key>k.key</key><infon key="a">b</infon>
<document><id>9</id><infon key="year">1999</infon>
<passage><infon key="type">title</infon><offset>0</offset><text>A &lt; B in é</text>
<annotation id="a1"><infon key="type">Gene</infon><location offset="4" length="1"/><text>B</text></annotation></passage>
<passage><offset>12</offset>
<sentence><offset>12</offset><text>Chest hurts.</text>
<annotation id="a2"><infon key="type">Problem</infon><location offset="12" length="5"/>
<location offset="18" length="5"/><text>Chest hurts</text></annotation></sentence>
<sentence><infon key="n">2</infon><offset>26</offset><text>End.</text></sentence>
</passage>
<relation id="r1"><infon key="type">In</infon><node refid="a1" role="x"/><node refid="a2" role="y"/></relation>
<relation id="r2"><infon key="type">One</infon><node refid="a1" role="x"/></relation>
</document></collection>
"""
I2B2 = """<?xml version="1.0" encoding="UTF-8" ?>
<deIdi2b2>
<TEXT><![CDATA[

Record date: 2067-05-03
<Dr.> Ann
Lee & co]]></TEXT>
<TAGS>
<DATE id="P0" start="15" end="25" text="2067-05-03" TYPE="DATE" comment="" />
<NAME id="P1" start="32" end="39" text="Ann Lee" TYPE="DOCTOR" comment="" />
<SMOKER id="DOC0" status="never" />
<TLINK id="L1" fromID="P0" toID="P1" type="BEFORE" />
<TLINK id="L2" fromID="P0" toID="DOC0" type="BEFORE" />
</TAGS>
</deIdi2b2>
"""


def read(path: Path, columns: Columns = Columns()) -> tuple[list[AnnotatedText], Counter[str]]:  # noqa: B008 - immutable
    counts = Counter[str]()
    return read_annotations(path, columns=columns, counts=counts), +counts


def covered(text: AnnotatedText) -> list[tuple[str, str]]:
    return [(text.text[span.start : span.end], span.type) for span in text.spans]


def test_pubtator(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(PUBTATOR.replace("\n", "\r\n"), newline="")
    (first, second), counts = read(path)
    assert covered(first) == [("Naloxone", "Chemical"), ("clonidine", "Chemical"), ("hypotension", "Disease")]
    assert (first.relations, second.text) == ([Relation("CID", 1, 2)], "No abstract")
    assert counts == {
        "concepts without a relation, left out": 2,
        "relations of concepts without a span, left out": 1,
        "parts of composite spans, left out": 1,
    }
    write_annotations([first, second], tmp_path / "b.txt", source=path)
    lines = (tmp_path / "b.txt").read_text().splitlines()
    assert lines[:3] == [*PUBTATOR.splitlines()[:2], "227508\t0\t8\tNaloxone\tChemical\t-"]
    assert read(tmp_path / "b.txt")[0][0].relations == first.relations


def test_bioc_keeps_all_but_the_annotations(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(BIOC)
    [text], counts = read(path)
    assert text.text == "A < B in é\n\nChest hurts.  End."
    assert covered(text) == [("B", "Gene"), ("Chest hurts", "Problem")]
    assert text.relations == [Relation("In", 0, 1)]
    assert sorted(counts.values()) == [1, 1]
    write_annotations([text], tmp_path / "b.json", source=path)
    value = json.loads((tmp_path / "b.json").read_text())
    assert (value["date"], value["infons"], value["documents"][0]["infons"]) == ("2026", {"a": "b"}, {"year": "1999"})
    assert value["documents"][0]["passages"][1]["sentences"][1]["infons"] == {"n": "2"}
    write_annotations([text], tmp_path / "c.xml", source=tmp_path / "b.json")
    for name in ("b.json", "c.xml"):
        assert read(tmp_path / name)[0] == [text._replace(where=f"{tmp_path / name}: document 1")]
    for wrapped in ({"PubTator3": value["documents"]}, [value, value["documents"][0] | {"id": 10}], value["documents"]):
        (tmp_path / "d.json").write_text(json.dumps(wrapped))
        texts, _ = read(tmp_path / "d.json")
        assert [covered(one) for one in texts] == [covered(text)] * len(texts)
    (tmp_path / "e.json").write_text("\n".join(json.dumps(value["documents"][0] | {"id": number}) for number in (1, 2)))
    assert [one.id for one in read(tmp_path / "e.json")[0]] == ["1", "2"]


def test_i2b2_of_2014(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/110-01.xml").write_text(I2B2)
    [text], counts = read(tmp_path / "in")
    assert covered(text) == [("2067-05-03", "DATE"), ("Ann\nLee", "DOCTOR")]
    assert (text.id, text.relations, sorted(counts.values())) == ("110-01", [Relation("BEFORE", 0, 1)], [1, 1])
    write_annotations([text._replace(relations=[])], tmp_path / "out", source=tmp_path / "in")
    content = (tmp_path / "out/110-01.xml").read_text()
    assert "<TEXT><![CDATA[\n\nRecord date: 2067-05-03\n<Dr.> Ann\nLee & co]]></TEXT>" in content
    assert '<NAME id="P1" start="32" end="39" text="Ann Lee" TYPE="DOCTOR" comment=""/>' in content


def test_i2b2_of_2010(tmp_path: Path) -> None:
    files = {
        "txt/1.txt": 'Chief  Complaint :\r\nHe has "Chest  Pain" .\r\n',
        "concept/1.con": 'c=""chest  pain"" 2:2 2:3||t="problem"\nc="chief complaint" 1:0 1:1||t="test"\n',
        "rel/1.rel": 'c="chief complaint" 1:0 1:1||r="TeRP"||c=""chest pain"" 2:2 2:3\n',
        "ast/1.ast": 'c="chest pain" 2:2 2:3||t="problem"||a="present"\n',
    }
    for name, content in files.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(content, newline="")
    [text], counts = read(tmp_path / "in")
    assert covered(text) == [('"Chest  Pain"', "problem"), ("Chief  Complaint", "test")]
    assert text.relations == [Relation("TeRP", 1, 0)]
    assert (text.words or [])[:2] == [(0, 5), (7, 16)]
    assert counts == {"files of assertions, left out": 1}
    write_annotations([text], tmp_path / "out", source=tmp_path / "in")
    assert (tmp_path / "out/txt/1.txt").read_bytes() == (tmp_path / "in/txt/1.txt").read_bytes()
    assert sorted(read(tmp_path / "out")[0][0].spans) == sorted(text.spans)
    # Some programs split at each space, so the second space has an empty token before the next.
    (tmp_path / "in/concept/1.con").write_text('c="complaint" 1:2 1:2||t="test"\n')
    (tmp_path / "in/rel/1.rel").unlink()
    assert covered(read(tmp_path / "in")[0][0]) == [("Complaint", "test")]


def test_label_studio_counts_in_utf16(tmp_path: Path) -> None:
    note = "😀 fever, é pain"
    region = {"start": 3, "end": 8, "text": "fever", "labels": ["Sign", "Problem"]}
    task = {
        "id": 5,
        "data": {"note": note, "mrn": 1},
        "annotations": [
            {"was_cancelled": True, "result": [{"broken": 1}]},
            {
                "result": [
                    {"id": "x", "type": "labels", "value": region},
                    {
                        "id": "y",
                        "type": "labels",
                        "value": {"start": 12, "end": 16, "text": "pain", "labels": ["Problem"]},
                    },
                    {"id": "z", "type": "choices", "value": {"choices": ["yes"]}},
                    {"type": "relation", "from_id": "y", "to_id": "x", "labels": ["with"]},
                    {"type": "relation", "from_id": "y", "to_id": "z"},
                ]
            },
            {"result": []},
        ],
    }
    path = tmp_path / "export.json"
    path.write_text(json.dumps([task]))
    columns = Columns(text="note")
    [text], counts = read(path, columns)
    assert covered(text) == [("fever", "Sign"), ("fever", "Problem"), ("pain", "Problem")]
    assert (text.id, text.relations, sorted(counts.values())) == ("5", [Relation("with", 2, 0)], [1, 1, 1])
    write_annotations([text], tmp_path / "b.json", source=path, columns=columns)
    [written] = json.loads((tmp_path / "b.json").read_text())
    assert written["data"] == task["data"]
    assert written["predictions"][0]["result"][0]["value"] == {**region, "labels": ["Sign"]}
    # Exports of programs that count characters are right too, as the text that they repeat shows.
    minimal = [{"id": 5, "note": note, "label": [{"start": 2, "end": 7, "text": "fever", "labels": ["Sign"]}], "by": 1}]
    path.write_text(json.dumps(minimal))
    [text], _ = read(path, columns)
    assert covered(text) == [("fever", "Sign")]
    write_annotations([text], tmp_path / "c.json", source=path, columns=columns)
    [written] = json.loads((tmp_path / "c.json").read_text())
    assert written == {**minimal[0], "label": [{**region, "labels": ["Sign"]}]}


def test_tables_and_doccano_keep_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [
        {"id": 1, "text": "fever 😀 pain", "label": [[0, 5, "Sign"]], "Comments": ["x"]},
        {"id": 2, "text": "no", "label": [], "Comments": []},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    texts, _ = read(path)
    assert [covered(text) for text in texts] == [[("fever", "Sign")], []]
    write_annotations([texts[0]._replace(spans=[Span(8, 12, "P")]), texts[1]], tmp_path / "b.jsonl", source=path)
    written = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert written == [{**lines[0], "label": [[8, 12, "P"]]}, lines[1]]
    related = {
        "text": "a b",
        "entities": [
            {"id": 70, "start_offset": 0, "end_offset": 1, "label": "A"},
            {"id": 71, "start_offset": 2, "end_offset": 3, "label": "B"},
        ],
        "relations": [{"id": 1, "from_id": 71, "to_id": 70, "type": "R"}],
    }
    path.write_text(json.dumps(related) + "\n")
    [text], _ = read(path)
    assert (covered(text), text.relations) == ([("a", "A"), ("b", "B")], [Relation("R", 1, 0)])

    table = tmp_path / "notes.csv"
    table.write_text('mrn;text;label\n007;"fever;\r\nand ""pain""";yes\n8;no;no\n', newline="")
    texts, _ = read(table, Columns(id="mrn"))
    assert [(text.id, text.spans) for text in texts] == [("007", []), ("8", [])], "a column of classes has no spans"
    write_annotations([texts[0]._replace(spans=[Span(13, 17, "P")]), texts[1]], tmp_path / "b.csv", source=table)
    expected = 'mrn,text,label,spans\n007,"fever;\r\nand ""pain""",yes,"[[13, 17, ""P""]]"\n8,no,no,[]\n'
    assert (tmp_path / "b.csv").read_bytes().decode() == expected
    assert covered(read(tmp_path / "b.csv")[0][0]) == [("pain", "P")]
    plain = AnnotatedText("7", 'said "no" pain', [Span(10, 14, "P")], relations=[])
    write_annotations([plain], tmp_path / "c.tsv")
    assert (tmp_path / "c.tsv").read_text() == 'id\ttext\tspans\n7\tsaid "no" pain\t[[10, 14, "P"]]\n'
    assert read(tmp_path / "c.tsv")[0] == [plain._replace(where=f"{tmp_path / 'c.tsv'}: line 2")]


def test_xml_does_not_read_other_files(tmp_path: Path) -> None:
    """An external DTD is never opened; one that cannot be read would be an error."""
    (tmp_path / "evil.dtd").write_text('<!ENTITY secret "x">')
    path = tmp_path / "a.xml"
    path.write_text(f'<!DOCTYPE x SYSTEM "{tmp_path}/evil.dtd"><x><TEXT>a &amp; b</TEXT></x>')
    assert read(path)[0][0].text == "a & b"
    path.write_text(f'<!DOCTYPE x SYSTEM "{tmp_path}/evil.dtd"><x><TEXT>&secret;</TEXT></x>')
    with pytest.raises(UserError, match="entit"):
        read(path)
    bomb = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 9))
    path.write_text(f'<!DOCTYPE x [<!ENTITY e0 "x">{bomb}]><x><TEXT>&e8;</TEXT></x>')
    with pytest.raises(UserError, match="entit"):  # libxml2 stops expanding them first
        read(path)
