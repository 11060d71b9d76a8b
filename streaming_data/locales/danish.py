"""Danish: Denmark."""

from .language import Country, Language, NationalNumber, words

DANISH = Language(
    months=words(
        "jan; januar; feb; febr; februar; mar; marts; apr; april; maj; jun; juni; jul; juli; aug; august; sep; sept;"
        "september; okt; oktober; nov; november; dec; december"
    ),
    titles=words(
        "hr.; herr; fru; frk.; frøken; dr.; doktor; prof.; professor; overlæge; ledende overlæge; afdelingslæge;"
        "reservelæge; speciallæge; læge; praktiserende læge; sygeplejerske; jordemoder; fysioterapeut; psykolog"
    ),
    doubtful_titles=words("fr.; spl.; sosu; søster; cand. med."),
    names=words("navn; efternavn; fornavn; fornavne; mellemnavn; patientnavn; patientens navn; pt. navn"),
    full_names=words("underskrevet af; dikteret af; godkendt af; signeret af; for- og efternavn; navn, efternavn"),
    people=words(
        "patient; pt; pårørende; nærmeste pårørende; kontaktperson; læge; egen læge; praktiserende læge;"
        "ansvarlig læge; behandlende læge; henvisende læge; henviser; overlæge; operatør; anæstesilæge; anæstesi;"
        "assistent; sygeplejerske; modtager; afsender; svarafgiver; beskrivende læge; underskrift"
    ),
    numbers=words(
        "cpr; cpr-nr; cpr.nr; cpr-nummer; cprnr; cpr nr; personnummer; patientnummer; patientnr; patient-id;"
        "journalnummer; journalnr; journal nr; sagsnummer; sagsnr; sags-id; rekvisitionsnummer; rekvisitionsnr;"
        "prøvenummer; prøvenr; undersøgelsesnummer; accessionsnummer; kontaktnummer; henvisningsnummer;"
        "sygesikringsnummer; sygesikringsnr; ydernummer; ydernr; autorisations-id; sks-kode id; forsikringsnummer;"
        "policenummer; policenr; løbenummer; id-nummer; id-nr"
    ),
    phones=words("tlf; tlf.; telefon; telefonnummer; tlf.nr; tlfnr; mobil; mobilnummer; mobiltlf; fax; træffes på"),
    ages=words("alder; i en alder af; alder på"),
    years_old=words("år; årig; årige; år gammel; år gammelt; års alderen"),
    street_ends=words("gade; vej; vejen; gaden; stræde; torv; pladsen; plads; vænget; parken; toften; bakken"),
    street_words=words("gade; vej; allé; plads; torv"),
    boxes=words("postboks"),
    since=words("den; d.; fra; til; siden; pr.; fra den; til den; siden den; født"),
    ordinal_dot=True,
    abbreviations=words(
        "bl.a; f.eks; fx; dvs; d.v.s; m.m; mm; m.v; mv; m.fl; osv; o.s.v; o.lign; evt; ca; pga; p.g.a; mht; m.h.t;"
        "ifm; i.f.m; iht; i.h.t; inkl; ekskl; maks; max; min; nr; tlf; dr; prof; hr; fr; frk; pt; p.t; afd; amb;"
        "beh; us; obj; stet; abd; bilat; dx; sin; hø; ve; tabl; tbl; inj; kaps; mg; ml; dgl; x; p.n; p.o; i.v; i.m;"
        "s.c; vs; al; fig; tab; jf; kl; jan; febr; feb; mar; apr; aug; sept; sep; okt; nov; dec; anm; obs; spl; udsk;"
        "indl; henv; kontr; kons; mdr; ugtl; gl; tidl; pos; neg; lab; rtg; udt; cand; med; cm; temp; bt; resp; ang;"
        "vedr; forts; sml; st; sv; u.a; i.a; iflg; d; s; bd; red; stk"
    ),
)

DENMARK = Country(
    postcodes=r"DK-\d{4}(?=[ ])",
    doubtful_postcodes=r"(?:(?!19|20)[1-9]\d{3}|(?<=[,\n][ ])(?:19|20)\d\d|(?<=\n)(?:19|20)\d\d)"
    r"(?=[ ]{1,2}[A-ZÆØÅ](?:[a-zæøåé]{2}|[A-ZÆØÅ]{3}))",
    phones=r"(?:\(?(?:\+|00)45\)?[ ]?)?[2-9]\d(?:(?:[ ]\d{2}){3}|(?:-\d{2}){3}|\d{6})"
    r"|[2-9]\d{3}[ ]\d{4}|[2-9]\d{2}[ ]\d{2}[ ]\d{3}",
    numbers=(NationalNumber(r"[0-36-9]\d(?:0[1-9]|1[0-2])\d{2}[ -]?\d{4}", "cpr"),),
)
