"""Swedish: Sweden."""

from .language import Country, Language, NationalNumber, words

SWEDISH = Language(
    months=words(
        "jan; januari; feb; febr; februari; mar; mars; apr; april; maj; jun; juni; jul; juli; aug; augusti; sep;"
        "sept; september; okt; oktober; nov; november; dec; december"
    ),
    titles=words(
        "herr; fru; fröken; dr.; doktor; prof.; professor; docent; överläkare; specialistläkare;"
        "bitr. överläkare; leg. läkare; läkare; sjuksköterska; undersköterska; st-läkare; distriktsläkare;"
        "barnmorska; leg. psykolog"
    ),
    doubtful_titles=words("öl; ssk.; usk.; syster; kurator; handläggare"),
    names=words("namn; efternamn; förnamn; tilltalsnamn; mellannamn; patientens namn; patientnamn"),
    full_names=words("signerat av; signerad av; dikterat av; vidimerat av; för- och efternamn; namn, efternamn"),
    people=words(
        "patient; pat; anhörig; närstående; närmast anhörig; kontaktperson; läkare; ansvarig läkare;"
        "behandlande läkare; överläkare; operatör; narkosläkare; remittent; remitterande; remitterande läkare;"
        "signatur; sign; dikterande; svarande läkare; handläggare; vårdgivare; sjuksköterska; mottagare"
    ),
    numbers=words(
        "personnummer; personnr; pers.nr; persnr; pnr; p.nr; person-id; samordningsnummer; samordningsnr;"
        "reservnummer; reservnr; patientnummer; patientnr; patient-id; patientid; journalnummer; journalnr;"
        "ärendenummer; ärende; remissnummer; remissnr; remiss-id; rid; vårdkontakt; vårdtillfälle; labnummer;"
        "labnr; provnummer; provnr; preparatnummer; hsa-id; hsa-id:; försäkringsnummer; id-nr; id-nummer"
    ),
    phones=words("tel; tel.; telefon; tfn; tfn.; telefonnummer; telnr; mobil; mobilnummer; fax; hem; arbete; sökare"),
    ages=words("ålder; i en ålder av; vid en ålder av"),
    years_old=words("år; årig; årige; åriga; åring; år gammal"),
    street_ends=words("gatan; vägen; gränd; torget; allén; backen; esplanaden; kajen; stigen"),
    street_words=words("gata; väg; gränd; torg; plats; allé"),
    boxes=words("postbox"),
    since=words("den; från; till; sedan; fr.o.m; t.o.m; från den"),
    abbreviations=words(
        "t.ex; t; ex; bl.a; bl; a; d.v.s; dvs; m.m; m; osv; o.s.v; ev; eventuell; ca; c:a; fr.o.m; t.o.m; f.n;"
        "f.d; s.k; p.g.a; pga; m.a.o; m.fl; o.d; resp; inkl; exkl; max; min; nr; tel; tfn; dr; prof; doc; leg;"
        "pat; beh; us; inl; op; ua; u.a; st; vb; v.b; p.o; i.v; i.m; s.c; s; tabl; inj; kaps; mg; ml; vs; al;"
        "fig; tab; jfr; kl; jan; febr; feb; mar; apr; aug; sept; sep; okt; nov; dec; hö; vä; bil; bilat; dx; sin;"
        "anm; enl; obs; avd; mott; ssk; usk; öl; bitr; spec; sid; e.d; mkt; ngt; fg; föreg; ggr; ung; tidl; pos;"
        "neg"
    ),
)

SWEDEN = Country(
    postcodes=r"(?:SE|S)-\d{3}[ ]?\d{2}(?=[ ])",
    doubtful_postcodes=r"[1-9]\d{2}[ ]?\d{2}(?=[ ]{1,2}[A-ZÅÄÖ](?:[a-zåäöé]{2}|[A-ZÅÄÖ]{3}))",
    phones=r"(?:\(?(?:\+|00)46\)?[ ]?\(?0?\)?[ -]?|\(?0)[1-9]\d{0,2}\)?[ ]?[-/ ][ ]?\d{2,3}(?:[ ]?\d{2,3}){1,3}",
    numbers=(
        NationalNumber(r"(?:19|20)?\d{2}(?:0\d|1[0-2])(?:[0-2]\d|3[01]|[6-8]\d|9[01])[-+ ]?\d{4}", "personnummer"),
    ),
)
