"""Norwegian: Norway."""

from .language import Country, Language, NationalNumber, words

NORWEGIAN = Language(
    months=words(
        "jan; januar; feb; febr; februar; mar; mars; apr; april; mai; jun; juni; jul; juli; aug; august; sep; sept;"
        "september; okt; oktober; nov; november; des; desember"
    ),
    titles=words(
        "hr.; herr; fru; frøken; dr.; doktor; prof.; professor; overlege; avdelingsoverlege; seksjonsoverlege;"
        "lege; fastlege; assistentlege; turnuslege; spesiallege; tannlege; sykepleier; jordmor; fysioterapeut;"
        "psykolog; psykologspesialist"
    ),
    doubtful_titles=words("fr.; lis; spl.; søster; ass.lege; avd.overlege"),
    names=words("navn; etternavn; fornavn; mellomnavn; pasientnavn; pasientens navn; slektsnavn"),
    full_names=words("signert av; diktert av; godkjent av; underskrevet av; for- og etternavn; elektronisk signert av"),
    people=words(
        "pasient; pas; pårørende; nærmeste pårørende; kontaktperson; lege; fastlege; ansvarlig lege;"
        "behandlende lege; henvisende lege; henviser; overlege; operatør; anestesilege; anestesi; assistent;"
        "sykepleier; mottaker; avsender; rekvirent; tolkende lege; radiolog; patolog; underskrift; signatur"
    ),
    numbers=words(
        "fødselsnummer; fødselsnr; f.nr; fnr; personnummer; personnr; pnr; d-nummer; d-nr; dnr; hjelpenummer;"
        "pasientnummer; pasientnr; pasient-id; npr-id; journalnummer; journalnr; saksnummer; saksnr;"
        "rekvisisjonsnummer; rekvisisjonsnr; prøvenummer; prøvenr; remissenummer; undersøkelsesnummer;"
        "henvisningsnummer; henvisnings-id;"
        "oppholdsnummer; hpr-nummer; hpr-nr; hpr; her-id; forsikringsnummer; polisenummer; id-nummer; id-nr"
    ),
    phones=words("tlf; tlf.; telefon; telefonnummer; tlf.nr; tlfnr; mobil; mobilnummer; mob; mob.; faks; fax"),
    ages=words("alder; i en alder av; alder på"),
    years_old=words("år; åring; årig; årige; år gammel; år gammelt"),
    street_ends=words("sgate; gata; gaten; vei; veien; vegen; plassen; torget; bakken; stien; tunet; svingen"),
    street_words=words("gate; gata; vei; veg; allé; plass; torg"),
    boxes=words("postboks"),
    since=words("den; d.; fra; til; siden; pr.; fra den; til den; siden den; født"),
    ordinal_dot=True,
    abbreviations=words(
        "bl.a; f.eks; dvs; d.v.s; m.m; m.v; mv; m.fl; osv; o.s.v; o.l; evt; ca; pga; p.g.a; mtp; m.t.p; mht; m.h.t;"
        "ifm; i.f.m; iht; i.h.t; inkl; ekskl; maks; max; min; nr; tlf; dr; prof; hr; fr; pas; avd; pol; beh; us; obj;"
        "stet; abd; bilat; dx; sin; hø; ve; tabl; tbl; inj; kaps; mg; ml; dgl; x; p.o; i.v; i.m; s.c; vs; al; fig; tab;"
        "jf; kl; jan; febr; feb; mar; apr; aug; sept; sep; okt; nov; des; anm; obs; spl; utskr; innl; henv; kontr;"
        "kons; mnd; tidl; pos; neg; lab; rtg; temp; bt; resp; ang; vedr; forts; sml; st; sv; u.a; i.a;"
        "ift; d; s; bd; red;"
        "stk; ass; spes; med; vha; v.h.a; gj.sn; gml"
    ),
)

NORWAY = Country(
    postcodes=r"(?:N|NO)-\d{4}(?=[ ])",
    doubtful_postcodes=r"(?:(?!19|20)\d{4}|(?<=[,\n][ ])(?:19|20)\d\d|(?<=\n)(?:19|20)\d\d)"
    r"(?=[ ]{1,2}[A-ZÆØÅ](?:[a-zæøåé]{1,2}|[A-ZÆØÅ]{2}))",
    phones=r"(?:\(?(?:\+|00)47\)?[ ]?)?(?:[2-9]\d(?:[ ]?\d{2}){3}|[489]\d{2}[ ]\d{2}[ ]\d{3})",
    numbers=(NationalNumber(r"[0-7]\d[0-9]\d{3}[ ]?\d{5}", "fodselsnummer"),),
)
