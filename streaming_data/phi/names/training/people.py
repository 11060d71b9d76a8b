"""First and last names that Python packages ship: Faker's, by locale, and those of the census of the United States.

Both packages are MIT-licensed. Lists made from leaked data, such as those of `names-dataset`, are not used.
"""

import hashlib
import importlib
from collections.abc import Collection, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from random import Random
from typing import NamedTuple

from .....configs.errors import UserError
from ..words import fold

LOCALES = (
    *("en_US", "en_GB", "en_IE", "en_NZ", "en_PK", "en_KE", "en_NG", "de_DE", "de_AT", "de_CH", "de_LU", "fr_FR"),
    *("fr_CA", "fr_BE", "fr_CH", "fr_DZ", "es_ES", "es_CA", "es_MX", "es_AR", "es_CO", "es_CL", "it_IT", "nl_NL"),
    *("nl_BE", "sv_SE", "da_DK", "no_NO", "fi_FI", "is_IS", "pt_PT", "pt_BR", "ga_IE", "sl_SI", "az_AZ", "vi_VN"),
    *("tw_GH", "yo_NG", "ha_NG", "ig_NG", "zu_ZA"),
)
"""Locales whose names the finder's list has."""
UNSEEN = ("pl_PL", "cs_CZ", "tr_TR", "hu_HU", "ro_RO", "hr_HR", "sk_SK", "lt_LT", "lv_LV", "et_EE", "en_IN", "id_ID")
"""Locales of which nothing was looked at, for the benchmark."""
ALL_PARTS = {0, 1, 2, 3}
_CENSUS_SURNAMES = 20_000


class Pool(NamedTuple):
    """First and last names that go together."""

    first: Sequence[str]
    last: Sequence[str]


def faker_pool(locale: str) -> Pool:
    """The names of a locale of Faker in Latin letters.

    Raises:
        UserError: Faker is missing, or has none of its own for the locale (it would silently give American ones).
    """
    if not find_spec("faker") or not find_spec(f"faker.providers.person.{locale}"):
        raise UserError(f"names of {locale}: not found; pip install 'faker>=40'")
    provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
    lists = {
        kind: sorted(
            {
                name
                for attribute in dir(provider)
                if attribute.startswith(f"{kind}_names")
                and isinstance(values := getattr(provider, attribute), Collection)
                for name in values
                if isinstance(name, str) and _is_latin(name)
            }
        )
        for kind in ("first", "last")
    }
    return Pool(lists["first"], lists["last"])


def census_pool(rng: Random | None = None, count: int = 6000) -> Pool:
    """Names of the United States: the most frequent ones, or as many as drawn by their frequency."""
    folder = _census_folder()
    first = _census(folder / "dist.female.first") + _census(folder / "dist.male.first")
    last = _census(folder / "dist.all.last")
    if rng is None:
        return Pool([name for name, _ in first], [name for name, _ in islice(last, _CENSUS_SURNAMES)])
    lists = (
        rng.choices([n for n, _ in some], [max(share, 0.001) for _, share in some], k=count) for some in (first, last)
    )
    return Pool(*lists)


def _census_folder() -> Path:
    try:  # not the module `names`: a program of that name may be running
        folder = Path(str(distribution("names").locate_file("names")))
    except PackageNotFoundError:
        raise UserError("the names of the United States census are missing; pip install names") from None
    return folder


def _census(path: Path) -> list[tuple[str, float]]:
    """Names and their shares, the most frequent first."""
    rows = [line.split() for line in path.read_text().splitlines()]
    return [(row[0].capitalize(), float(row[1])) for row in rows if row]


def _is_latin(name: str) -> bool:
    return (
        len(name) > 1
        and name[0].isupper()
        and all(ord(letter) < 0x250 or 0x1E00 <= ord(letter) < 0x1F00 for letter in name)
    )


def part(name: str) -> int:
    """0 to 3, by a hash of the name: some parts are in the list that is trained with, others are not."""
    return hashlib.blake2b(fold(name).encode(), digest_size=1).digest()[0] & 3


def draw(pools: Sequence[Pool], rng: Random) -> tuple[str, str]:
    """A first and a last name of one pool, some of them double or with a particle."""
    pool = rng.choice(pools)
    first, last = rng.choice(pool.first), rng.choice(pool.last)
    form = rng.random()
    if form < 0.06:
        last = f"{last}-{rng.choice(pool.last)}"
    elif form < 0.09:
        first = f"{first}-{rng.choice(pool.first)}"
    elif form < 0.12:
        last = f"{rng.choice(('van', 'de', 'von', 'van der', 'da', 'del', 'De', 'El', 'Van'))} {last}"
    elif form < 0.135 and last.isascii():
        last = rng.choice(("Mc", "O'", "O’", "Mac", "D'")) + last
    return first, last


def listed(pools: Iterable[Pool], parts: Iterable[int]) -> tuple[set[str], set[str]]:
    """The folded words of first and of last names of these parts."""
    wanted, first, last = set(parts), set(), set()
    for pool in pools:
        first |= {word for name in pool.first if part(name) in wanted for word in fold(name).split() if len(word) > 1}
        last |= {word for name in pool.last if part(name) in wanted for word in fold(name).split() if len(word) > 2}
    return first, last
