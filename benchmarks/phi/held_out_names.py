"""Text with names that the finder was not made from: other phrases, other layouts, other orders than its training's.

`{f}` is a first name, `{l}` a last name, `{F}` and `{L}` in capitals, `{x}` and `{y}` in small letters, `{t}` and `{u}`
as a bad scan or a hurried writer has them, `{i}` an initial, `{n}` a number, `{d}` a date.
"""

import re
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

TEMPLATES = {
    "headers in capitals": (
        "PATIENT ID {n}  {L} {F}  WARD 7B",
        "*** FINAL REPORT ***\nPT: {L}, {F} {i}\nEXAM DATE {d}",
        "ADMITTED UNDER {F} {L} ON {d}\nLOCATION: 5 EAST",
        "CLIENT SURNAME {L}\nGIVEN {F}\nDOB {d}",
        "{L} {F}  {d}  M  {n}",
    ),
    "Last, First": (
        "{l}, {f} ({d})",
        "Re: {l}, {f}",
        "1. {l}, {f}  bed 4  stable\n2. {l}, {f}  bed 5  for discharge",
        "Consultant {l}, {f} informed at 18:40",
        "Account holder {l}, {f} {i}",
    ),
    "signatures": (
        "Electronically authenticated {d} by {f} {l}",
        "Transcribed: {f} {l} / reviewed: {i}. {l}",
        "Yours sincerely,\n\n{f} {l}\nConsultant Cardiologist",
        "--- {f} {l}, Pharmacist ---",
        "Verified by {f} {i} {l} at 10:32",
    ),
    "full name in a sentence": (
        "I met {f} {l} in clinic together with the interpreter.",
        "After theatre {f} {l} went to recovery.",
        "The neighbour, {f} {l}, found the patient on the floor.",
        "We reviewed the scans of {f} {l} at the tumour board.",
        "Care was handed over to {f} {l} in the evening.",
    ),
    "German letter": (
        "Betr.: {l}, {f}, *{d}\nDiagnosen: Arterielle Hypertonie, Zustand nach Appendektomie",
        "wir bedanken uns für die Zuweisung von {f} {l}, wohnhaft in der Gartenstraße.",
        "Die Tochter der Patientin, {f} {l}, berichtet über zunehmende Verwirrtheit.",
        "gez. {f} {l}, Assistenzärztin",
    ),
    "French letter": (
        "Concerne : {f} {l}, née le {d}",
        "Compte rendu d'hospitalisation de {l} {f} du {d}",
        "Avec mes salutations confraternelles,\n{f} {l}",
        "Consultation réalisée par {f} {l}, interne",
    ),
    "Spanish, Dutch, Italian, Swedish": (
        "Paciente {f} {l} ingresa por dolor torácico.",
        "Médico responsable: {f} {l}. Servicio de Urgencias",
        "Geachte collega, op de polikliniek zag ik {f} {l} wegens koorts.",
        "Met vriendelijke groet, {f} {l}, internist",
        "Gentile collega, ho visitato {f} {l} per dispnea.",
        "Firmato {f} {l}, medico di guardia",
        "Patienten {f} {l} inkom akut med bröstsmärta.",
        "Med vänlig hälsning {f} {l}, överläkare",
    ),
    "last name alone": (
        "Overnight {l} spiked to 39 and was cultured.",
        "I explained the findings to {l}, who understood.",
        "We agree with {l} that surgery should wait.",
        "Family of {l} arrived from abroad.",
        "On rounds {l} looked comfortable.",
        "Bei {l} zeigte sich sonographisch ein unauffälliger Befund.",
    ),
    "first name alone": (
        "{f} has been sleeping poorly since the fall.",
        "When I called, {f} said the pain was gone.",
        "The twins, {f} and {f}, are healthy.",
        "Her brother {f} will drive her home.",
        "It was nice to meet {f} today.",
        "L'épouse du patient, {f}, signale une perte d'appétit.",
    ),
    "typos and scans": (
        "Pateint narne: {t} {u}",
        "pt {t} {u} c/o SOB",
        "seen by dr{t} {u} on ward",
        "Name:{t}{u}  D0B {d}",
        "{t} {u} WAS RE VIEWED BY ME",
    ),
    "small letters": (
        "spoke with {x} {y} about results",
        "mr {y} ambulating in hall",
        "pt {x} {y} alert and oriented",
        "{x} says nausea better",
    ),
}
GOALS = {
    "bare full name in a note": 0.97,
    **dict.fromkeys(("headers in capitals", "Last, First", "signatures", "German letter", "French letter"), 0.95),
}
"""The recall that issue 20 asks for."""


class Planted(NamedTuple):
    """A text, and where its names are: pairs of start and end in characters."""

    text: str
    names: list[tuple[int, int]]


def fill(template: str, people: Sequence[tuple[str, str]], rng: Random) -> Planted:
    """The template with the names of people, in turn; every name is one of the first and the last name next to it."""
    waiting = iter(people)
    first, last = next(waiting)
    used: set[str] = set()
    text, names = "", []
    for part in re.split(r"(\{\w\})", template):
        mark = part[1:-1] if re.fullmatch(r"\{\w\}", part) else None
        if mark is None or mark in "nd":
            text += {"n": str(rng.randrange(10**5, 10**8)), "d": _date(rng)}[mark] if mark else part
            continue
        if mark.lower() in used:
            first, last = next(waiting, (first, last))
            used = set()
        used.add(mark.lower())
        word = {"f": first, "l": last, "F": first.upper(), "L": last.upper(), "i": first[0]}
        word |= {"x": first.lower(), "y": last.lower(), "t": _damaged(first, rng), "u": _damaged(last, rng)}
        if mark != "i":
            names.append((len(text), len(text) + len(word[mark])))
        text += word[mark]
    return Planted(text, names)


def _date(rng: Random) -> str:
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(1930, 2023)
    return rng.choice((f"{month:02}/{day:02}/{year}", f"{day}.{month}.{year}", f"{year}-{month:02}-{day:02}"))


def _damaged(name: str, rng: Random) -> str:
    at = rng.randrange(len(name))
    forms = (
        name[:at] + name[at + 1 :],
        name[:at] + name[at : at + 1] + name[at:],
        name.replace("o", "0").replace("l", "1"),
        f"{name[:at]} {name[at:]}",
        name.upper(),
        name.swapcase(),
    )
    return rng.choice(forms) or name
