"""English: the United States, Great Britain, Canada, Ireland and Australia."""

from .language import Country, Language, NationalNumber, words

ENGLISH = Language(
    months=words(
        "jan; january; feb; february; mar; march; apr; april; may; jun; june; jul; july; aug; august; sep; sept;"
        "september; oct; october; nov; november; dec; december"
    ),
    titles=words("mr.; mrs.; ms.; mx.; miss; mister; dr.; doctor; prof.; professor; sir; dame; reverend"),
    doubtful_titles=words("sister; nurse; rev.; lady; father; master"),
    names=words(
        "surname; last name; first name; given name; given names; forename; forenames; family name; middle name;"
        "maiden name"
    ),
    full_names=words(
        "name; names; patient name; patient's name; pt name; name of patient; full name; signed by;"
        "electronically signed by; dictated by; transcribed by; reported by; referred by; reviewed by;"
        "approved by; verified by"
    ),
    people=words(
        "patient; pt; next of kin; nok; guardian; contact; emergency contact; carer; gp; pcp; physician; surgeon;"
        "attending; attending physician; referring physician; primary care physician; consultant; provider;"
        "author; radiologist; pathologist; anesthesiologist; anaesthetist; cc; re; dear"
    ),
    numbers=words(
        "mrn; mr#; mr no; hospital no; hospital number; hospital id; hosp no; hosp. no; hospital no.; nhs no;"
        "nhs number; nhs; chi; chi no; chi number; h&c; h&c number; nhi; ihi; urn; ur no; ur number; ur;"
        "patient id; patient no; patient number; pt id; pt no; chart no; chart number; chart #; file no;"
        "file number; case no; case number; record no; record number; medical record; medical record number;"
        "medical record no; unit no; unit number; account; account no;"
        "account number; acct; acct no; visit no; visit number; visit id; encounter; encounter id; encounter no;"
        "encounter number; csn; accession; accession no; accession number; specimen no; specimen number; lab no;"
        "lab number; ssn; sin; social security; social security number; health card; health card no;"
        "health card number; ohip; hcn; phn; medicare no; medicare number; medicare; medicaid; dva no; ppsn;"
        "pps no; pps number; policy no; policy number; member id; insurance no; insurance number;"
        "national insurance; national insurance no; ni number; nino; licence no; license no; passport;"
        "passport no; passport number"
    ),
    phones=words(
        "tel; tel.; telephone; phone; ph; ph.; mobile; mob; mob.; cell; fax; pager; bleep; ext; home; work;"
        "contact no; contact number; call; phone no; phone number; tel no"
    ),
    ages=words("aged; age; age of; at the age of"),
    years_old=words(
        "year old; years old; year-old; years-old; yr old; yrs old; yr-old; yrs-old; y old; yo; y/o; y.o; y.o.; y-o;"
        "y o; years of age; year of age; yrs of age; yearold; yearsold; yrold; yrsold; years/old"
    ),
    boxes=words("p.o. box; po box; p o box; gpo box; locked bag; post office box"),
    since=words("on; dated; from; until; since; of; by"),
    abbreviations=words(
        "dr; mr; mrs; ms; prof; st; vs; e.g; i.e; cf; al; fig; figs; no; nos; approx; dept; est; pt; pts; hx; dx;"
        "rx; tx; sx; fx; vol; ed; eds; ref; refs; ca; resp; viz; temp; wt; ht; min; max; inc; jr; sr; rev; gen;"
        "tab; tabs; cap; inj; p.o; i.v; i.m; s.c; b.i.d; t.i.d; q.i.d; p.r.n; q.d; a.m; p.m; m.d; r.n; ph.d; u.s;"
        "u.k"
    ),
)

STREET_SUFFIXES = words(  # of the United States' Postal Service, publication 28, and of other countries
    "Street; St; Avenue; Ave; Road; Rd; Boulevard; Blvd; Lane; Ln; Drive; Dr; Court; Ct; Place; Pl; Terrace; Ter; "
    "Highway; Hwy; Way; Circle; Cir; Square; Sq; Parkway; Pkwy; Plaza; Trail; Trl; Turnpike; Tpke; Crescent; Alley; "
    "Loop; Pike; Expressway; Crossing; Glen; Grove; Heights; Hollow; Knoll; Landing; Manor; Meadow; Meadows; Mews; "
    "Ridge; Spring; Springs; Valley; Village; Vista; Arcade; Bayou; Bend; Bluff; Bluffs; Bottom; Branch; Bridge; "
    "Brook; Brooks; Burg; Bypass; Camp; Canyon; Cape; Causeway; Circles; Cliff; Cliffs; Club; Common; Commons; "
    "Corner; Corners; Course; Courts; Cove; Coves; Creek; Crest; Crossroad; Curve; Dale; Dam; Divide; Drives; Estate; "
    "Estates; Extension; Fall; Falls; Ferry; Field; Fields; Flat; Flats; Ford; Fords; Forest; Forge; Forges; Fork; "
    "Forks; Fort; Freeway; Garden; Gardens; Gateway; Glens; Green; Greens; Groves; Harbor; Harbors; Haven; Hill; "
    "Hills; Inlet; Island; Islands; Isle; Junction; Junctions; Key; Keys; Knolls; Lake; Lakes; Land; Light; Lights; "
    "Loaf; Locks; Lodge; Mall; Mill; Mills; Mission; Motorway; Mount; Mountain; Mountains; Neck; Orchard; Oval; "
    "Overpass; Park; Parks; Parkways; Pass; Passage; Path; Pine; Pines; Plain; Plains; Plazas; Point; Points; Port; "
    "Ports; Prairie; Radial; Ramp; Ranch; Rapid; Rapids; Rest; Ridges; River; Roads; Route; Row; Rue; Run; Shoal; "
    "Shoals; Shore; Shores; Skyway; Spur; Spurs; Squares; Station; Stravenue; Stream; Streets; Summit; Throughway; "
    "Trace; Track; Trafficway; Tunnel; Underpass; Union; Unions; Valleys; Viaduct; View; Views; Villages; Ville; "
    "Walk; Walks; Wall; Ways; Well; Wells"
)
UNITED_STATES = Country(
    phones=r"(?:\+?1[-. ]?)?\(?[2-9]\d{2}\)?[-. /]{1,2}[2-9]\d{2}[-. ]\d{4}",
)
_POST_AREAS = (
    "A[BL]|B[ABDHLNRST]?|C[ABFHMORTVW]|D[ADEGHLNTY]|E[CHNX]?|F[KY]|G[LUY]?|H[ADGPRSUX]|I[GMPV]|"
    "J[E]|K[ATWY]|L[ADELNSU]?|M[EKL]?|N[EGNPRW]?|O[LX]|P[AEHLOR]|R[GHM]|S[AEGKLMNOPRSTWY]?|"
    "T[ADFNQRSW]|U[B]|W[ACDFNRSV]?|Y[O]|Z[E]"
)
GREAT_BRITAIN = Country(
    postcodes=rf"(?:{_POST_AREAS})\d[\dA-HJKMNPR-Y]?[ ]\d[ABD-HJLNP-UW-Z]{{2}}",
    phones=r"(?:\(?(?:\+|00)44\)?[ ]?\(?0?\)?|\(?0)[1-37]\d{1,4}\)?[ -]?\d{3,4}[ -]?\d{3,4}",
    numbers=(
        NationalNumber(r"\d{3}[ -]\d{3}[ -]\d{4}|\d{10}", "nhs"),
        NationalNumber(r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][ ]?\d{2}[ ]?\d{2}[ ]?\d{2}[ ]?[A-D]", None),
    ),
)
CANADA = Country(
    postcodes=r"[ABCEGHJ-NPRSTVXY](?!(?<=T)\d[ABN]\d|(?<=[GM])\d[GPTARL]\d)\d[ABCEGHJ-NPRSTV-Z]"  # not T2N1M0, G2P1A0
    r"\d[ABCEGHJ-NPRSTV-Z]\d"
    r"|[ABCEGHJ-NPRSTVXY]\d[ABCEGHJ-NPRSTV-Z][ -]\d[ABCEGHJ-NPRSTV-Z]\d",
    phones=UNITED_STATES.phones,
    numbers=(
        NationalNumber(r"\d{3}[ -]\d{3}[ -]\d{3}|\d{9}", "luhn"),
        NationalNumber(r"(?:\d{4}[ -]\d{3}[ -]\d{3}|\d{10})(?:[ -]?[A-Z]{2})?", "luhn_or_phn"),
        NationalNumber(r"[A-Z]{4}[ ]?\d{4}[ ]?\d{4}", "ramq"),
    ),
)
IRELAND = Country(
    postcodes=r"(?:[AC-FHKNPRTV-Y]\d{2}|D6W)[ ][\dAC-FHKNPRTV-Y]{4}",
    doubtful_postcodes=r"(?:[AC-FHKNPRTV-Y]\d{2}|D6W)[\dAC-FHKNPRTV-Y]{4}",
    phones=r"(?:\(?(?:\+|00)353\)?[ ]?\(?0?\)?|\(?0)[1-9]\d?\)?[ -]?(?:\d{5}|\d{3,4}[ -]?\d{3,4})",
    numbers=(NationalNumber(r"\d{7}[A-W][A-IW]?", "pps"),),
)
AUSTRALIA = Country(
    doubtful_postcodes=r"(?:NSW|VIC|QLD|TAS|ACT|NT|SA|WA)[ ]{1,2}\d{4}",
    phones=r"(?:\(?\+?61\)?[ ]?\(?0?\)?|\(?0)[2-478]\)?[ -]?\d{2,4}[ -]?\d{2,4}[ -]?\d{2,4}",
    numbers=(NationalNumber(r"[2-6]\d{3}(?:[ ]\d{5}[ ]\d|\d{6})(?:[ /-]\d)?", "medicare"),),
)
