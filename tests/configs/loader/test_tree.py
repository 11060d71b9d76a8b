"""YAML 1.2 scalars, compared with the tables of the specification and with JSON, a subset of YAML 1.2."""

import json
import math
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_modernbert.configs.loader.tree import Location, Node, Problem, merge, parse, to_values, to_yaml


def documents(alphabet: str) -> st.SearchStrategy:
    text = st.text(alphabet=alphabet, max_size=12)
    scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text
    return st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=6)


LETTERS = string.printable.replace("~", "") + "äßπ中😀"
"""Without `~`: at the start of a text it is the home directory, in YAML only."""
DOCUMENTS = documents(LETTERS + "\x00\x85\u2028\ufeff")


def read(text: str) -> tuple[object, list[Problem]]:
    problems: list[Problem] = []
    node = parse(text, lambda line: Location("a.yaml", line), problems)
    return (to_values(node) if node else None), problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # YAML 1.2.2, 10.3.2: the examples of the core schema
        ("", None),
        ("null", None),
        ("Null", None),
        ("NULL", None),
        ("~", None),
        ("true", True),
        ("True", True),
        ("TRUE", True),
        ("false", False),
        ("FALSE", False),
        ("0", 0),
        ("0o7", 7),
        ("0o17", 15),
        ("0x3A", 58),
        ("-19", -19),
        ("0.", 0.0),
        ("-0.0", -0.0),
        (".5", 0.5),
        ("+12e03", 12000.0),
        ("-2E+05", -200000.0),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("+.INF", math.inf),
        # numbers that YAML 1.1 reads as text
        ("5e-4", 5e-4),
        ("1E3", 1000.0),
        ("1e+3", 1000.0),
        ("13e9", 13e9),
        # text that YAML 1.1 reads as booleans, numbers, times and dates
        ("yes", "yes"),
        ("No", "No"),
        ("on", "on"),
        ("OFF", "OFF"),
        ("y", "y"),
        ("1:30", "1:30"),
        ("12:30:45", "12:30:45"),
        ("2024-01-31", "2024-01-31"),
        ("0b101", "0b101"),
        ("1_000.5", "1_000.5"),
        ("tRUE", "tRUE"),
        ("nULL", "nULL"),
        ("1e", "1e"),
        (".", "."),
        ("0o8", "0o8"),
        ("1__0", "1__0"),
        ("_1", "_1"),
        # octal numbers need the prefix 0o
        ("017", 17),
        # extension: underscores in decimal integers
        ("1_000_000", 1_000_000),
        ("-1_0", -10),
        # quotes and tags determine the type
        ("'5'", "5"),
        ('"true"', "true"),
        ("''", ""),
        ("!!str 12", "12"),
        ("!!float 3", 3.0),
        ("!!int '3'", 3),
        ("{a: 1, b: [x, ~]}", {"a": 1, "b": ["x", None]}),
        ("{1: a, 250.00: b, no: c}", {"1": "a", "250.00": "b", "no": "c"}),
        ("[&a {x: 1}, *a]", [{"x": 1}, {"x": 1}]),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    got, problems = read(text)
    assert not problems
    assert got == value
    assert type(got) is type(value)


def test_nan_is_a_number() -> None:
    value, problems = read(".nan")
    assert not problems
    assert isinstance(value, float)
    assert math.isnan(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "a.yaml:3: a: duplicate key, first given at a.yaml:1"),
        ("x:\n  - a: 1\n    a: 2", "a.yaml:3: x.0.a: duplicate key, first given at a.yaml:2"),
        ("a: !!int x", "a.yaml:1: a: 'x' is not a valid int"),
        (
            "a: 1\nb: !!python/name:os.system",
            "a.yaml:2: b: the tag tag:yaml.org,2002:python/name:os.system is not supported",
        ),
        ("a: !!set {x}", "a.yaml:1: a: the tag tag:yaml.org,2002:set is not supported"),
        ("a: 1\n<<: {b: 1}", "a.yaml:2: <<: merge keys are not in YAML 1.2"),
        ("? [a]\n: 1", "a.yaml:1: a key must be a single word or number"),
        ("a: &x [*x]", "a.yaml:1: a.0: an anchor cannot contain itself"),
        ('a: "\\ud800"', "a.yaml:1: a: 'utf-8' codec can't encode"),
        ("a: 1\nb: [1, 2", "a.yaml:2: not valid YAML: while parsing a flow sequence"),
        ("a: 1\n\tb: 2", "a.yaml:2: not valid YAML: while scanning for the next token, found character '\\t'"),
        ("a: 1\nb: \x00", "a.yaml:2: not valid YAML: character 0x0"),
        ("a: 1\n---\na: 2", "a.yaml:2: not valid YAML: expected a single document"),
    ],
)
def test_unreadable_values_are_reported_with_their_line(text: str, message: str) -> None:
    _, problems = read(text)
    assert len(problems) == 1
    assert str(problems[0]).startswith(message)


@given(documents(LETTERS))
def test_json_documents_are_read_like_json(value: object) -> None:
    # JSON has no infinity; a number that overflows is one. Texts and keys may contain the word.
    text = re.sub(r'("(?:[^"\\]|\\.)*")|Infinity', lambda m: m[1] or "1e999", json.dumps(value, ensure_ascii=False))
    assert read(text) == (value, [])


@given(DOCUMENTS)
def test_written_values_are_read_back_unchanged(value: object) -> None:
    assert read(to_yaml(value)) == (value, [])


@given(st.dictionaries(st.sampled_from("abc"), DOCUMENTS), st.dictionaries(st.sampled_from("abc"), DOCUMENTS))
def test_merging_keeps_keys_that_are_not_overridden(base: dict, over: dict) -> None:
    def tree(value: dict, source: str) -> Node:
        node = parse(to_yaml(value), lambda line: Location(source, line), [])
        assert node is not None
        return node

    merged = merge(tree(base, "base"), tree(over, "over"), lambda path: True)
    assert isinstance(merged.value, dict)
    values = to_values(merged)
    assert isinstance(values, dict)
    for key in base.keys() | over.keys():
        if key not in over:
            assert values[key] == base[key]
            assert merged.value[key].location.source == "base"
        elif not (isinstance(base.get(key), dict) and isinstance(over[key], dict)):
            assert values[key] == over[key]
            assert merged.value[key].location.source == "over"
        else:
            assert values[key].keys() == base[key].keys() | over[key].keys()
