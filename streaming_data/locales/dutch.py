"""Dutch: the Netherlands and Belgium."""

from .language import Country, Language, NationalNumber, words

DUTCH = Language(
    months=words(
        "jan; januari; feb; februari; mrt; maart; apr; april; mei; jun; juni; jul; juli; aug; augustus; sep;"
        "sept; september; okt; oktober; nov; november; dec; december"
    ),
    titles=words(
        "dhr.; de heer; heer; meneer; mijnheer; mevr.; mw.; mevrouw; mej.; mejuffrouw; dr.; drs.; dokter; prof.;"
        "professor; mr.; huisarts"
    ),
    doubtful_titles=words("fam.; zr.; zuster; broeder; verpleegkundige; arts"),
    names=words(
        "naam; achternaam; voornaam; voornamen; voorletters; meisjesnaam; geboortenaam; roepnaam; familienaam;"
        "naam patiënt; naam patient; naam van de patiënt"
    ),
    full_names=words("ondertekend; getekend; ondertekend door; naam en voornaam; naam en voorletters"),
    people=words(
        "patiënt; patiënte; patient; pt; cliënt; cliënte; contactpersoon; eerste contactpersoon; mantelzorger;"
        "huisarts; arts; behandelaar; behandelend arts; hoofdbehandelaar; specialist; operateur; anesthesist;"
        "anesthesioloog; radioloog; patholoog; verwijzer; aanvrager; supervisor; betreft; inzake; geachte collega"
    ),
    numbers=words(
        "patiëntnummer; patientnummer; patiëntnr; patientnr; patiënt nr; patnr; pat.nr; patiënt-id; patiënten id;"
        "patid; bsn; burgerservicenummer; bsn-nummer; sofinummer; sofi; dossiernummer; dossiernr; dossier;"
        "opnamenummer; opnamenr; zorgnummer; ziekenhuisnummer; polisnummer; polisnr; verzekeringsnummer;"
        "verzekerdennummer; verzekerdenummer; relatienummer; klantnummer; uzovi; agb; agb-code; big-nummer;"
        "big-nr; labnummer; labnr; aanvraagnummer; ordernummer; t-nummer; onderzoeksnummer; rijksregisternummer;"
        "rijksregisternr; rrn; insz; riziv; riziv-nr"
    ),
    phones=words("tel; tel.; telefoon; telefoonnummer; telnr; tel.nr; mobiel; mob; mob.; gsm; fax; sein"),
    ages=words("leeftijd; leeftijd van; op de leeftijd van"),
    years_old=words("jaar; jarige; jarig; jr; jr.; jaar oud; jaar oude"),
    street_ends=words("straat; laan; weg; plein; gracht; kade; singel; dreef; dijk; baan; boulevard; plantsoen; steeg"),
    boxes=words("postbus"),
    since=words("op; van; sinds; per; tot; d.d.; dd; vanaf; de"),
    abbreviations=words(
        "dhr; mevr; mw; mej; dr; drs; prof; ir; mr; fam; bijv; bv; b.v; nl; n.l; m.n; t.g.v; i.v.m; o.b.v; m.b.t;"
        "t.o.v; d.m.v; a.g.v; i.p.v; o.a; e.d; d.d; d.w.z; z.n; m.i; m.a.w; i.h.k.v; n.a.v; ca; ong; resp; evt;"
        "incl; excl; max; min; nr; nrs; tel; blz; pag; pat; pt; pte; vgl; vs; al; fig; tab; mg; caps; tabl; inj;"
        "amp; i.v; i.m; s.c; p.o; re; li; rechts; aanw; afw; onderz; beh; opn; ontsl; st; str; jan; feb; mrt;"
        "apr; aug; sept; sep; okt; nov; dec; jl; a.s; zgn; enz; etc; wv; w.v; gg; y; a; lab; med; int; chir; vlg;"
        "volg; dgs; gem; afd; geb; wo; cf; ivm; mbt; tgv"
    ),
)

NETHERLANDS = Country(
    postcodes=r"[1-9]\d{3}[ ](?!S[ADS](?!\w))[A-Z]{2}(?=[ ]{1,2}[A-Z'][\w-]{2})",
    doubtful_postcodes=r"[1-9]\d{3}[ ]?(?!S[ADS](?!\w))[A-Z]{2}",
    phones=r"(?:\(?(?:\+|00)31\)?[ -]?\(?0?\)?[ ]?|\(?0)[1-9]\d{0,3}\)?[ -]{0,3}\d{2,4}(?:[ -]?\d{2,4}){1,3}",
    numbers=(NationalNumber(r"\d{4}[. ]\d{2}[. ]\d{3}|\d{9}", "bsn"),),
)
