"""Recall of the PHI audit on planted identifiers, by kind. Faker generates them, independently of the patterns.

    python benchmarks/audit.py [--notes 500]

`cmbert data audit RECIPE` counts the identifiers found in your own text; on public text nearly all are false.
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import islice

from faker import Faker

from clinical_modernbert.streaming_data.phi.patterns import find_identifiers
from clinical_modernbert.streaming_data.synthetic.notes import generate

DATES = ("%m/%d/%Y", "%m/%d/%y", "%Y-%m-%d", "%B %d, %Y", "%b %d %Y", "%d %B %Y")

STREETS = ("Street", "St", "Ave", "Road", "Rd", "Drive", "Dr", "Lane", "Court", "Way", "Circle", "Blvd", "Trail")


def identifiers(fake: Faker) -> dict[str, Callable[[], str]]:
    """Generators of the planted identifiers, by kind; the last three have no form that a pattern can detect."""
    name, any_of = fake.last_name, fake.random_element
    return {
        "name with a title or degree": lambda: any_of((f"Dr. {name()}", f"Mrs. {name()}", f"{fake.name_male()}, MD")),
        "date with a year": lambda: fake.date(any_of(DATES)),
        "phone": lambda: fake.numerify(any_of(("(###) ###-####", "###-###-####", "###.###.####", "+1-###-###-####"))),
        "e-mail": fake.email,
        "web address": fake.url,
        "social security number": fake.ssn,
        "record number": lambda: any_of(("MRN: ", "Unit No: ", "Medical record number ")) + fake.numerify("%#######"),
        "street address": lambda: f"{fake.building_number()} {name()} {any_of(STREETS)}",
        "state and ZIP code": lambda: f"{fake.state_abbr(include_territories=False)} {fake.zipcode()}",
        "IP address": fake.ipv4,
        "age over 89": lambda: f"{fake.random_int(90, 109)} {any_of(('year old', 'years old', 'y/o', 'yo'))}",
        "phone with an extension": lambda: fake.numerify("###-###-####x####"),
        "bare name": lambda: f"{fake.first_name()} {name()}",
        "date without a year": lambda: fake.date("%m/%d"),
        "city": fake.city,
    }


def planted(notes: list[str], identifier: Callable[[], str], fake: Faker) -> Iterator[tuple[str, int, int]]:
    """Each note with an identifier between two of its words, and the start and end of the identifier."""
    for note in notes:
        words = note.split(" ")
        position = fake.random_int(1, len(words) - 1)
        before, text = " ".join([*words[:position], ""]), identifier()
        yield f"{before}{text} {' '.join(words[position:])}", len(before), len(before) + len(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--notes", type=int, default=500, help="notes per kind of identifier")
    count = parser.parse_args().notes
    fake = Faker("en_US")
    fake.seed_instance(0)
    notes = [row["text"] for row in islice(generate(3), count)]
    print(f"{'planted':30}{'found':>8}   an example")
    for kind, identifier in identifiers(fake).items():
        detected = sum(
            any(found.start < end and found.end > start for found in find_identifiers(text))
            for text, start, end in planted(notes, identifier, fake)
        )
        print(f"{kind:30}{detected / count:8.1%}   {identifier()}")


if __name__ == "__main__":
    main()
