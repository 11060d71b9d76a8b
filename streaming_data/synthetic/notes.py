"""Synthetic notes in MIMIC-IV-Note's columns and layout, for demonstrations and tests.

A note is a pure function of (seed, number of its admission): a reason for admission, comorbidities and a length of stay
are sampled, and the discharge summary and radiology reports are consistent with them. Subject ids start at 90,000,000,
outside MIMIC's range, and every text begins with `MARK`.
"""

import csv
import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import NamedTuple

from ...configs.errors import UserError
from ...storage.files import stage_file
from ..corpora.mimic_notes import COLUMNS
from .vocabulary import COMORBIDITIES, CONDITIONS, Comorbidity, Condition

MARK = "SYNTHETIC NOTE, written by a program; no patient"
_FIRST_SUBJECT = 90_000_000
_FIRST_ADMISSION = 80_000_000
_LONG_STAYS = 0.02
_FILES = {"DS": "discharge.csv", "RR": "radiology.csv"}

ALLERGIES = ("No Known Allergies / Adverse Drug Reactions", "Penicillins", "Sulfa (Sulfonamide Antibiotics)", "Codeine")
FAMILY = (
    "Father with myocardial infarction at age ___. Mother with hypertension.",
    "No family history of early coronary disease or sudden cardiac death.",
    "Mother with breast cancer. Sister with type 2 diabetes mellitus.",
    "Brother with colon cancer. No family history of bleeding disorders.",
    "Noncontributory.",
)
NORMAL_EXAM = (
    ("General", "Alert, oriented, no acute distress."),
    ("HEENT", "Sclera anicteric, MMM, oropharynx clear."),
    ("Neck", "Supple, JVP not elevated, no LAD."),
    ("Heart", "Regular rate and rhythm, normal S1 + S2, no murmurs, rubs, gallops."),
    ("Lungs", "Clear to auscultation bilaterally, no wheezes, rales, rhonchi."),
    ("Abdomen", "Soft, non-tender, non-distended, bowel sounds present."),
    ("Extremities", "Warm, well perfused, 2+ pulses, no clubbing, cyanosis or edema."),
    ("Neuro", "CNs II-XII intact, moving all extremities spontaneously."),
)
# analyte: normal low, normal high, decimals
LABS = {
    "WBC": (4.0, 10.0, 1),
    "HGB": (12.0, 15.5, 1),
    "PLT": (150, 400, 0),
    "GLUCOSE": (70, 105, 0),
    "UREA N": (6, 20, 0),
    "CREAT": (0.4, 1.1, 1),
    "SODIUM": (133, 145, 0),
    "POTASSIUM": (3.3, 5.1, 1),
    "CHLORIDE": (96, 108, 0),
    "TOTAL CO2": (22, 32, 0),
    "ANION GAP": (8, 20, 0),
    "CALCIUM": (8.4, 10.3, 1),
    "ALT": (0, 40, 0),
    "ALK PHOS": (35, 105, 0),
    "TOT BILI": (0.0, 1.5, 1),
    "LIPASE": (0, 60, 0),
    "ALBUMIN": (3.5, 5.2, 1),
    "INR": (0.9, 1.1, 1),
    "LACTATE": (0.5, 2.0, 1),
    "cTropnT": (0.0, 0.01, 2),
    "CK-MB": (0, 10, 0),
    "proBNP": (0, 300, 0),
    "D-DIMER": (0, 500, 0),
    "CRP": (0, 5, 0),
    "PCO2": (35, 45, 0),
}
PANEL = tuple(LABS)[:12]

EVENTS = (
    "the patient was afebrile and {name} improved",
    "the patient worked with physical therapy and walked {feet} feet",
    "the {analyte} was {value} and no change was made",
    "the patient reported {symptom}, which resolved without treatment",
    "the diet was advanced and the patient ate {share} percent of meals",
    "a family meeting was held and goals of care were reviewed",
    "oxygen was weaned to {liters} liters by nasal cannula",
    "{drug} was continued without adverse effects",
)
OPENINGS = (
    "___ year old {person} with a history of {history} who presents with {complaint}.",
    "{title} ___ is a ___ {person} with {history} presenting with {complaint} for {days} days.",
    "This is a ___ year old {person} with past medical history of {history} admitted with {complaint}.",
    "___ {person} with {history}, who was in the usual state of health until {days} days ago, when {complaint} began.",
)


class Admission(NamedTuple):
    """The sampled facts of an admission; `analytes` are those in the daily panel."""

    number: int
    female: bool
    condition: Condition
    comorbidities: list[Comorbidity]
    days: int
    analytes: list[str]


def write(directory: Path, notes: int, seed: int = 0) -> list[Path]:
    """Write discharge.csv and radiology.csv with `notes` notes in total, and return their paths.

    Raises:
        UserError: one of the files exists; it may be MIMIC's own, which has the same name.
    """
    paths = {kind: directory / name for kind, name in _FILES.items()}
    for path in paths.values():
        if path.exists():
            raise UserError(f"{path}: exists already, and notes are never overwritten; choose another directory")
    directory.mkdir(parents=True, exist_ok=True)
    rows = list(itertools.islice(generate(seed), notes))
    with ExitStack() as staged:  # an error while writing leaves neither file
        for kind, path in paths.items():
            staging = staged.enter_context(stage_file(path))
            with staging.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(row for row in rows if row["note_type"] == kind)
    return list(paths.values())


def generate(seed: int = 0) -> Iterator[dict[str, str]]:
    """An endless stream of rows, per admission its radiology reports and then its discharge summary."""
    for number in itertools.count():
        rng = Random(f"{seed}/{number}")
        admission = _admit(number, rng)
        reports = 1 + min(admission.days // 6, 4)
        texts = [("RR", _radiology(admission, day, rng)) for day in range(reports)]
        texts.append(("DS", _discharge(admission, rng)))
        for sequence, (kind, text) in enumerate(texts, start=1):
            yield _row(admission, kind, sequence, text)


def _row(admission: Admission, kind: str, sequence: int, text: str) -> dict[str, str]:
    subject = str(_FIRST_SUBJECT + admission.number * 2 // 3)
    time = f"21{admission.number % 90 + 10}-{sequence:02d}-{admission.number % 28 + 1:02d} 00:00:00"
    return {
        "note_id": f"{subject}-{kind}-{admission.number * 10 + sequence}",
        "subject_id": subject,
        "hadm_id": str(_FIRST_ADMISSION + admission.number),
        "note_type": kind,
        "note_seq": str(sequence),
        "charttime": time,
        "storetime": time,
        "text": f"{MARK}\n{text}",
    }


def _admit(number: int, rng: Random) -> Admission:
    condition = rng.choice(CONDITIONS)
    comorbidities = rng.sample(COMORBIDITIES, rng.randint(1, 5))
    days = rng.randint(60, 110) if rng.random() < _LONG_STAYS else 2 + int(rng.lognormvariate(1.0, 0.7))
    analytes = [*PANEL, *(name for name in condition.labs if name not in PANEL)]
    return Admission(number, rng.random() < 0.5, condition, comorbidities, days, analytes)


def _radiology(admission: Admission, day: int, rng: Random) -> str:
    study, findings, impression = admission.condition.imaging
    if day:
        change = rng.choice(("improved", "unchanged", "slightly decreased", "resolving"))
        impression = f"{impression[:-1]}, {change} since the prior study."
    person = _person(admission)
    lines = [
        f"EXAMINATION:  {study}",
        f"INDICATION:  ___ year old {person} with {admission.condition.complaint.lower()}  // evaluate for "
        f"{rng.choice(('acute process', 'interval change', admission.condition.name.lower()))}",
        f"TECHNIQUE:  {rng.choice(('Standard protocol.', 'Images were reviewed on a separate workstation.'))}",
        f"COMPARISON:  {'Prior study from ___.' if day else 'None.'}",
        f"FINDINGS: \n\n{findings} {_incidental(rng)}",
        f"IMPRESSION: \n\n{impression}",
    ]
    return "\n\n".join(lines)


def _incidental(rng: Random) -> str:
    return rng.choice(
        (
            "Degenerative changes of the spine are noted.",
            "Surgical clips project over the right upper quadrant.",
            "A right internal jugular catheter terminates in the superior vena cava.",
            "Mild atherosclerotic calcification is present.",
            "No suspicious osseous lesion is identified.",
            "A simple renal cyst measures ___ cm.",
        )
    )


def _discharge(admission: Admission, rng: Random) -> str:
    condition, home = admission.condition, [problem.drug for problem in admission.comorbidities]
    title, person = ("Ms.", "F") if admission.female else ("Mr.", "M")
    history = "\n".join(f"- {problem.name}" for problem in admission.comorbidities)
    diagnoses = "\n".join(["Primary:", condition.name, "", "Secondary:", *(c.name for c in admission.comorbidities)])
    parts = [
        f"Name:  ___                     Unit No:   ___\n \nAdmission Date:  ___              Discharge Date:   ___\n"
        f" \nDate of Birth:  ___             Sex:   {person}\n \nService: {condition.service}",
        f"Allergies: \n{rng.choice(ALLERGIES)}",
        "Attending: ___.",
        f"Chief Complaint:\n{condition.complaint}",
        f"Major Surgical or Invasive Procedure:\n{condition.procedure}",
        f"History of Present Illness:\n{_history(admission, rng)}",
        f"Past Medical History:\n{history}",
        "Social History:\n___",
        f"Family History:\n{rng.choice(FAMILY)}",
        f"Physical Exam:\nADMISSION PHYSICAL EXAM:\n{_exam(condition, rng)}\n\n"
        f"DISCHARGE PHYSICAL EXAM:\n{_exam(None, rng)}",
        f"Pertinent Results:\n{_results(admission, rng)}",
        f"Brief Hospital Course:\n{_course(admission, rng)}",
        f"Medications on Admission:\nThe Preadmission Medication list is accurate and complete.\n{_numbered(home)}",
        f"Discharge Medications:\n{_numbered([*condition.drugs, *home])}",
        f"Discharge Disposition:\n{rng.choice(('Home', 'Home With Service', 'Extended Care'))}\n \nFacility:\n___",
        f"Discharge Diagnosis:\n{diagnoses}",
        "Discharge Condition:\nMental Status: Clear and coherent.\nLevel of Consciousness: Alert and interactive.\n"
        f"Activity Status: Ambulatory - {rng.choice(('Independent.', 'requires assistance or aid (walker or cane).'))}",
        f"Discharge Instructions:\nDear {title} ___,\n\nIt was a pleasure taking care of you. You were admitted with "
        f"{condition.complaint.lower()} and treated for {condition.name.lower()}. {condition.advice}\n\n"
        "Sincerely,\nYour care team",
        "Followup Instructions:\n___",
    ]
    return "\n \n".join(parts)


def _person(admission: Admission) -> str:
    return "woman" if admission.female else "man"


def _numbered(lines: list[str]) -> str:
    return "\n".join(f"{number}. {line} " for number, line in enumerate(lines, start=1))


def _history(admission: Admission, rng: Random) -> str:
    condition = admission.condition
    opening = rng.choice(OPENINGS).format(
        title="Ms." if admission.female else "Mr.",
        person=_person(admission),
        history=", ".join(problem.name.lower() for problem in admission.comorbidities),
        complaint=condition.complaint.lower(),
        days=rng.randint(2, 9),
    )
    present = rng.sample(condition.symptoms, rng.randint(2, len(condition.symptoms)))
    others = [symptom for other in CONDITIONS if other is not condition for symptom in other.symptoms]
    absent = rng.sample(sorted(set(others) - set(condition.symptoms)), 3)
    vitals = f"T {rng.uniform(97.2, 101.9):.1f} HR {rng.randint(62, 124)} BP {_pressure(rng)} RR {rng.randint(14, 28)}"
    return (
        f"{opening} The patient describes {', '.join(present[:-1])} and {present[-1]}. "
        f"The patient denies {', '.join(absent[:-1])} or {absent[-1]}.\n\n"
        f"In the ED, initial vitals were: {vitals} {rng.randint(88, 99)}% RA. Labs were notable for "
        f"{', '.join(f'{name} {_value(name, *bounds, rng)}' for name, bounds in condition.labs.items())}. "
        f"Imaging showed: {condition.imaging[2].lower()} The patient was admitted to {condition.service.lower()}."
    )


def _pressure(rng: Random) -> str:
    return f"{rng.randint(92, 178)}/{rng.randint(48, 99)}"


def _exam(condition: Condition | None, rng: Random) -> str:
    exam = dict(NORMAL_EXAM) | (dict(condition.exam) if condition else {})
    vitals = f"VS: {rng.uniform(97.0, 99.4):.1f} {_pressure(rng)} {rng.randint(58, 110)} 18 {rng.randint(92, 99)}RA"
    return "\n".join([vitals, *(f"{system}: {finding}" for system, finding in exam.items())])


def _value(name: str, low: float, high: float, rng: Random) -> str:
    value = round(rng.uniform(low, high), LABS[name][2])
    normal_low, normal_high, decimals = LABS[name]
    return f"{value:.{decimals}f}" + ("" if normal_low <= value <= normal_high else "*")


def _results(admission: Admission, rng: Random) -> str:
    lines = ["ADMISSION LABS:"]
    for day in range(admission.days):
        recovery = day / max(admission.days - 1, 1)
        values = [f"{name}-{_on_day(admission.condition, name, recovery, rng)}" for name in admission.analytes]
        lines.append(f"___ 0{rng.randint(4, 7)}:{rng.randint(10, 59)}AM BLOOD {' '.join(values)}")
    study, findings, impression = admission.condition.imaging
    return "\n".join([*lines, "", "IMAGING:", f"{study}: {findings} {impression}"])


def _on_day(condition: Condition, name: str, recovery: float, rng: Random) -> str:
    """The analyte's value: in its range on admission at recovery 0, in the normal range at 1."""
    low, high, _ = LABS[name]
    start = condition.labs.get(name, (low, high))
    bounds = [first + (last - first) * recovery for first, last in zip(start, (low, high), strict=True)]
    return _value(name, bounds[0], bounds[1], rng)


def _course(admission: Admission, rng: Random) -> str:
    condition = admission.condition
    problems = [f"# {condition.name}: {' '.join(condition.course)}"]
    problems += [f"# {problem.name}: {problem.course}" for problem in admission.comorbidities]
    days = sorted(rng.sample(range(2, admission.days + 1), (admission.days - 1) * 2 // 3))
    events = [f"On hospital day {day}, {_event(admission, rng)}." for day in days]
    return "\n\n".join([*problems, " ".join(events)] if events else problems)


def _event(admission: Admission, rng: Random) -> str:
    analyte = rng.choice(admission.analytes)
    low, high, _ = LABS[analyte]
    return rng.choice(EVENTS).format(
        name=admission.condition.name.lower(),
        feet=rng.randrange(50, 400, 25),
        analyte=analyte,
        value=_value(analyte, low, high, rng),
        symptom=rng.choice(admission.condition.symptoms),
        share=rng.randrange(25, 101, 25),
        liters=rng.randint(1, 5),
        drug=rng.choice(admission.condition.drugs),
    )
