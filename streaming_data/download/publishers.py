"""Where public corpora are published. docs/corpora.md shows this table; a test compares the two.

No address is permanent. Each has the date on which it was compared with the pages of its publisher and with
programs that use it, and `--index` replaces it.
"""

from dataclasses import dataclass

PMC = "pmc"
CHECKED = "2026-11-28"
_CDC = "https://ftp.cdc.gov/pub/Health_Statistics/NCHS/Publications/ICD10CM/"
_CMS = "https://www.cms.gov/medicare/coding-billing"
_NCBI = "https://ftp.ncbi.nlm.nih.gov"


@dataclass(frozen=True)
class Publisher:
    """The published files of a corpus.

    Attributes:
        what: the corpus and its publisher.
        addresses: pages that list files, or files themselves; for PMC, the bucket.
        checked: the date of the last review of these addresses; empty for addresses of the user.
        pattern: matches the names of the files to download.
        folders: matches the names of folders on the pages; the files are in the last of them by name, such as the
            newest year.
        md5: whether the checksum of each file is in `<name>.md5` next to it.
        newest_only: download only the first file of each page; its publisher lists the newest first.
        elsewhere: another page that lists the files.
    """

    what: str
    addresses: tuple[str, ...]
    checked: str = CHECKED
    pattern: str = ""
    folders: str = ""
    md5: bool = False
    newest_only: bool = False
    elsewhere: str = ""

    @property
    def advice(self) -> str:
        """What to do if an address is not what it was."""
        if not self.checked:
            return "check the address that was given with --index"
        other = f", such as {self.elsewhere}," if self.elsewhere else ""
        return (
            f"the publisher may have moved it since {self.checked}, when this address was checked: find the new "
            f"address{other} and pass it with --index"
        )


PUBLISHERS = {
    "pubmed": Publisher(
        "PubMed: citations and abstracts (NLM)",
        (f"{_NCBI}/pubmed/baseline/", f"{_NCBI}/pubmed/updatefiles/"),
        pattern=r"pubmed\d+n\d+\.xml\.gz",
        md5=True,
    ),
    PMC: Publisher(
        "PMC: full text under open licences (NLM, in an open bucket of AWS)",
        ("https://pmc-oa-opendata.s3.amazonaws.com/",),
        elsewhere="https://pmc.ncbi.nlm.nih.gov/tools/pmcaws/",
    ),
    "icd10cm": Publisher(
        "ICD-10-CM: tabular list and index of the newest year (CDC's NCHS)",
        (_CDC,),
        pattern=r"(?i:icd10cm[-_ ]table[-_ ](?:and[-_ ])?index.*\.zip|.*code-tables-tabular-(?:and-)?index.*\.zip)",
        folders=r"20\d\d",
        newest_only=True,
        elsewhere=f"{_CMS}/icd-10-codes",
    ),
    "icd10pcs": Publisher(
        "ICD-10-PCS: codes of the newest year (CMS)",
        (f"{_CMS}/icd-10-codes",),
        pattern=r"(?i:.*icd-10-pcs-codes-file.*\.zip)",
        newest_only=True,
    ),
    "hcpcs": Publisher(
        "HCPCS: alpha-numeric file of the newest quarter (CMS)",
        (f"{_CMS}/healthcare-common-procedure-system/quarterly-update",),
        pattern=r"(?i:.*alpha-numeric-hcpcs-files?.*\.zip)",
        newest_only=True,
    ),
    "mesh": Publisher(
        "MeSH: the tree of headings (NLM)",
        ("https://nlmpubs.nlm.nih.gov/projects/mesh/MESH_FILES/meshtrees/",),
        pattern=r"mtrees\d{4}\.bin",
        elsewhere="https://nlmpubs.nlm.nih.gov/projects/mesh/2025/meshtrees/",
    ),
    "mesh_descriptors": Publisher(
        "MeSH: descriptors with entry terms and scope notes (NLM)",
        ("https://nlmpubs.nlm.nih.gov/projects/mesh/MESH_FILES/xmlmesh/",),
        pattern=r"desc\d{4}\.zip",
        elsewhere="https://www.nlm.nih.gov/databases/download/mesh.html",
    ),
    "hpo": Publisher(
        "Human Phenotype Ontology (Monarch Initiative)",
        ("https://github.com/obophenotype/human-phenotype-ontology/releases/latest/download/hp.obo",),
        pattern=r"hp\.obo",
        elsewhere="https://purl.obolibrary.org/obo/hp.obo",
    ),
    "gem": Publisher(
        "crosswalks between ICD-9-CM and ICD-10-CM: CMS's of 2018, the last ones (NBER's copy, as tables)",
        ("https://data.nber.org/gem/icd9toicd10cmgem.csv", "https://data.nber.org/gem/icd10cmtoicd9gem.csv"),
        pattern=r"icd9toicd10cmgem\.csv|icd10cmtoicd9gem\.csv",
        elsewhere=f"{_CMS}/icd-10-codes/2018-icd-10-cm-gem",
    ),
}
