"""Synthetic text with names at known positions, to train on: fields, headers, sentences, letters, signatures, lists."""

import re
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import NamedTuple

from .people import Pool, draw
from .wording import WORDINGS, Wording

_CITIES = (
    *("Boston", "Springfield", "Leeds", "Hamburg", "Graz", "Lyon", "Sevilla", "Torino", "Utrecht", "Uppsala", "Porto"),
    *("Dublin", "Toronto", "Basel", "Aarhus", "Bergen", "Tampere", "Melbourne", "Gent", "Nantes", "Bari", "Chicago"),
)
_PLACES = (
    "{} Hospital",
    "{} General Hospital",
    "University of {}",
    "{} Medical Center",
    "Klinikum {}",
    "{} Clinic",
    "{}",
)
_SEPARATORS = (": ", ": ", ":", ":  ", " : ", "  ", " - ", "\t", ":\n")


class Labelled(NamedTuple):
    """A text, and where its names are: pairs of start and end in characters."""

    text: str
    names: list[tuple[int, int]]


class Writer:
    """Puts a document together from text and names."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self.names: list[tuple[int, int]] = []

    def add(self, text: str, is_name: bool = False) -> None:
        if is_name:
            self.names.append((self._length, self._length + len(text)))
        self._parts.append(text)
        self._length += len(text)

    def done(self) -> Labelled:
        return Labelled("".join(self._parts), self.names)


Form = Callable[[str, str, str], str]
FULL: tuple[Form, ...] = (
    *[lambda first, last, initial: f"{first} {last}"] * 6,
    *[lambda first, last, initial: f"{last}, {first}"] * 3,
    lambda first, last, initial: f"{last}, {first} {initial}.",
    lambda first, last, initial: f"{first} {initial}. {last}",
    lambda first, last, initial: f"{first} {initial} {last}",
    lambda first, last, initial: f"{initial}. {last}",
    lambda first, last, initial: f"{last.upper()} {first}",
    lambda first, last, initial: f"{last} {first}",
    *[lambda first, last, initial: f"{first} {last}".upper()] * 2,
    lambda first, last, initial: f"{last}, {first}".upper(),
    lambda first, last, initial: f"{last},{first}".upper(),
    lambda first, last, initial: f"{last} {first}".upper(),
    lambda first, last, initial: f"{last}, {first} {initial}".upper(),
)
ONE: tuple[Form, ...] = (
    *[lambda first, last, initial: last] * 3,
    *[lambda first, last, initial: first] * 3,
    lambda first, last, initial: last.upper(),
)


class Synthesizer:
    """Writes documents of all kinds and languages, with names from some pools, between lines of ordinary text."""

    def __init__(self, pools: Sequence[Pool], background: Sequence[str], rng: Random) -> None:
        self._pools, self._background, self._rng = pools, background, rng

    def documents(self, count: int) -> Iterator[Labelled]:
        kinds = (self._header, self._sentences, self._sentences, self._letter, self._list, self._capitals, self._fields)
        for _ in range(count):
            language = self._rng.choice(("en", "en", "en", "en", "de", "de", "fr", "fr", "es", "nl", "sv", "it", "pt"))
            writer = Writer()
            self._line(writer, 0.4)
            self._rng.choice(kinds)(writer, WORDINGS[language])
            self._line(writer, 0.5)
            yield writer.done()

    def inserted(self, text: str, share: float) -> Labelled:
        """The text, with one or two names between its words with this probability."""
        writer, at = Writer(), 0
        spaces = [match.start() for match in re.finditer(" ", text)]
        if spaces and self._rng.random() < share:
            for place in sorted(self._rng.sample(spaces, min(len(spaces), self._rng.choice((1, 1, 2))))):
                writer.add(text[at : place + 1])
                self._name(writer, ONE if self._rng.random() < 0.2 else FULL)
                writer.add(" ")
                at = place + 1
        writer.add(text[at:])
        return _upper(writer.done()) if self._rng.random() < 0.05 else writer.done()

    def _name(self, writer: Writer, forms: Sequence[Form]) -> None:
        rng = self._rng
        first, last = draw(self._pools, rng)
        name = rng.choice(forms)(first, last, rng.choice("ABCDEFGHJKLMNPRSTVW"))
        if rng.random() < 0.04:
            at = rng.randrange(1, len(name))
            name = rng.choice((name[:at] + name[at + 1 :], name[:at] + name[at - 1] + name[at:]))
        writer.add(name, is_name=True)

    def _fill(self, text: str, wording: Wording) -> str:
        rng = self._rng
        day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(1930, 2025)
        dates = (
            f"{month:02}/{day:02}/{year}",
            f"{day}.{month}.{year}",
            f"{year}-{month:02}-{day:02}",
            f"{day}/{month}/{year % 100:02}",
        )
        for mark, value in (
            ("{n}", str(rng.randrange(10 ** rng.randint(1, 8)))),
            ("{d}", rng.choice(dates)),
            ("{a}", str(rng.randint(18, 99))),
            ("{c}", rng.choice(wording.complaints)),
        ):
            text = text.replace(mark, value)
        return text

    def _line(self, writer: Writer, share: float) -> None:
        if self._rng.random() < share:
            mark = self._rng.choice((" ", "\n", "\n", "\n\n"))
            line = self._rng.choice(self._background)
            writer.add(f"{mark}{line}" if writer.names else f"{line}{mark}")

    def _field(self, writer: Writer, wording: Wording) -> None:
        rng = self._rng
        if rng.random() < 0.45:
            field = self._fill(rng.choice(wording.fields), wording)
            writer.add(field.upper() if rng.random() < 0.2 else field)
            return
        label = rng.choice(wording.labels)
        writer.add((label.upper() if rng.random() < 0.25 else label) + rng.choice(_SEPARATORS))
        if rng.random() < 0.2:
            writer.add(rng.choice(wording.titles) + " ")
        self._name(writer, ONE if rng.random() < 0.12 else FULL)
        if rng.random() < 0.25:
            writer.add(rng.choice((", ", " ", ",\n")) + rng.choice(wording.jobs))
        elif rng.random() < 0.2:
            writer.add(self._fill(rng.choice((" ({d})", " {n}", ", {a}", " *{d}", "  {d}")), wording))

    def _fields(self, writer: Writer, wording: Wording) -> None:
        mark = self._rng.choice(("\n", "\n", "   ", "\t", " | ", "; "))
        for number in range(self._rng.randint(1, 5)):
            writer.add(mark if number else "")
            self._field(writer, wording)

    def _header(self, writer: Writer, wording: Wording) -> None:
        """A line of fields without labels."""
        rng = self._rng
        for number in range(rng.randint(2, 5)):
            writer.add(rng.choice((" ", "  ", "\n", ", ", " / ")) if number else "")
            if number == 1 or rng.random() < 0.25:
                self._name(writer, FULL)
            else:
                writer.add(
                    self._fill(rng.choice(("{d}", "{n}", "{n}", "M", "F", "{a}", rng.choice(wording.fields))), wording)
                )

    def _capitals(self, writer: Writer, wording: Wording) -> None:
        inner = Writer()
        self._rng.choice((self._fields, self._header, self._sentences))(inner, wording)
        upper = _upper(inner.done())
        at = 0
        for start, end in upper.names:
            writer.add(upper.text[at:start])
            writer.add(upper.text[start:end], is_name=True)
            at = end
        writer.add(upper.text[at:])

    def _sentences(self, writer: Writer, wording: Wording) -> None:
        rng = self._rng
        for number in range(rng.randint(1, 3)):
            writer.add(rng.choice((" ", "\n")) if number else "")
            forms = ONE if rng.random() < 0.3 else FULL[:13]
            title = rng.choice(wording.titles) + " " if rng.random() < 0.2 else ""
            kind = rng.random()
            if kind < 0.35:  # a name begins the sentence
                writer.add(title)
                self._name(writer, forms)
                writer.add(self._tail(rng.choice(wording.after), wording))
            elif kind < 0.6:
                writer.add(f"{rng.choice(wording.before)} {title}")
                self._name(writer, forms)
                writer.add(self._tail(rng.choice(wording.ends), wording))
            elif kind < 0.8:
                person = rng.choice(wording.people)
                start = rng.choice((f"{person.capitalize()}", f"{rng.choice(wording.before)} {person}"))
                writer.add(f"{start}{rng.choice((' ', ', '))}{title}")
                self._name(writer, forms)
                writer.add(self._tail(rng.choice(wording.after + wording.ends), wording))
            else:  # the same without a name
                place = rng.choice(_PLACES).format(rng.choice(_CITIES))
                what = rng.choice(
                    (place, rng.choice(wording.people), rng.choice(wording.fields).split(":")[-1].strip(" {}dna"))
                )
                writer.add(f"{rng.choice(wording.before)} {what}{self._tail(rng.choice(wording.ends), wording)}")

    def _tail(self, text: str, wording: Wording) -> str:
        return self._fill(text if text[0] in ",." else f" {text}", wording)

    def _letter(self, writer: Writer, wording: Wording) -> None:
        rng = self._rng
        if rng.random() < 0.5:
            writer.add(
                rng.choice(("Dear ", "To ", "", "Lieber ", "Cher ", "Estimado ", "Beste ", "Caro ", "Hej "))
                + rng.choice(wording.titles)
                + " "
            )
            self._name(writer, ONE[:3] if rng.random() < 0.6 else FULL[:6])
            writer.add(rng.choice((",\n", ",\n\n", ":\n")))
            self._sentences(writer, wording)
            writer.add("\n")
        if rng.random() < 0.8:
            writer.add(rng.choice(wording.closings) + rng.choice(("\n", "\n\n", " ", "\n\n\n")))
        self._name(writer, FULL if rng.random() < 0.85 else ONE)
        if rng.random() < 0.7:
            writer.add(rng.choice((", ", "\n", " ", " - ")) + rng.choice(wording.jobs))

    def _list(self, writer: Writer, wording: Wording) -> None:
        rng = self._rng
        mark, forms = rng.choice(("\n", ", ", "; ", " and ", "\n- ")), ONE if rng.random() < 0.4 else FULL
        writer.add(rng.choice((f"{rng.choice(wording.labels)}: ", "Present: ", "1. ", "- ", "")))
        for number in range(rng.randint(1, 4)):
            writer.add(mark if number else "")
            self._name(writer, forms)
            if rng.random() < 0.3:
                writer.add(
                    self._fill(
                        rng.choice((" {n}", " ({a})", " bed {n}", " ({d})", f" ({rng.choice(wording.people)})")),
                        wording,
                    )
                )


def _upper(document: Labelled) -> Labelled:
    """In capitals, unless that changes positions."""
    upper = document.text.upper()
    return Labelled(upper, document.names) if len(upper) == len(document.text) else document
