"""German: Germany, Austria and Switzerland."""

from .language import Country, Language, NationalNumber, words

GERMAN = Language(
    months=words(
        "jan; januar; jän; jänner; jaenner; feb; februar; feber; mär; märz; maerz; mrz; apr; april; mai; jun;"
        "juni; jul; juli; aug; august; sep; sept; september; okt; oktober; nov; november; dez; dezember"
    ),
    titles=words(
        "herr; herrn; hr.; hrn.; frau; fräulein; dr.; dres.; doktor; prof.; professor; oberarzt; oberärztin;"
        "chefarzt; chefärztin; assistenzarzt; assistenzärztin; stationsarzt; hausarzt; hausärztin; dr. med.;"
        "prof. dr.; pd dr.; prof. dr. med.; dipl.-med.; dipl.-ing.; ing.; mag."
    ),
    doubtful_titles=words("fr.; oa.; oä; schwester; pfleger; familie; pat."),
    names=words(
        "nachname; familienname; zuname; vorname; vornamen; rufname; geburtsname; mädchenname; patientenname;"
        "name des patienten; name der patientin"
    ),
    full_names=words(
        "name; name, vorname; nachname, vorname; name/vorname; name und vorname; vor- und nachname; gezeichnet;"
        "gez; gez.; unterschrift"
    ),
    people=words(
        "patient; patientin; pat; pat.; versicherter; angehörige; betreuer; betreuerin; hausarzt; hausärztin;"
        "arzt; ärztin; behandelnder arzt; überweiser; einweiser; einweisender arzt; stationsarzt; oberarzt;"
        "chefarzt; verfasser; befunder; untersucher; operateur; assistenz; anästhesist; ansprechpartner;"
        "kontaktperson"
    ),
    numbers=words(
        "pat.-nr; pat-nr; pat.nr; pat. nr; patnr; patientennummer; patienten-nr; patientennr; patienten-id;"
        "piz; fallzahl; sv nr; sv; e-nr; hnr; h-nr; histo-nr; histologie; fn; vorgangs-nr; vorgangsnummer;"
        "patienten-nummer; pid; fallnummer; fall-nr; fallnr; fall-nummer; aufnahmenummer; aufnahme-nr;"
        "aufnahmenr; krankenhausnummer; versichertennummer; versicherten-nr; versichertennr; vers.-nr; vers-nr;"
        "versicherungsnummer; krankenversichertennummer; kvnr; kv-nummer; kv-nr; sozialversicherungsnummer;"
        "sv-nummer; sv-nr; svnr; vsnr; rentenversicherungsnummer; ahv-nr; ahv-nummer; ahv; steuer-id;"
        "steueridentifikationsnummer; idnr; ausweisnummer; personalausweisnummer; auftragsnummer; auftrags-nr;"
        "befundnummer; befund-nr; labornummer; labor-nr; eingangsnummer; eingangs-nr; journalnummer;"
        "aktenzeichen; akten-nr; lanr; bsnr; arztnummer; betriebsstättennummer; kontonummer"
    ),
    phones=words(
        "tel; tel.; telefon; fon; mobil; handy; mobiltelefon; fax; telefax; rufnummer; telefonnummer; tel.-nr;durchwahl"
    ),
    ages=words("alter; alter von; im alter von"),
    years_old=words(
        "jahre; jahren; jährig; jährige; jähriger; jährigen; jähriges; jaehrige; jaehriger; jahre alt; lebensjahr"
    ),
    street_ends=words(
        "straße; strasse; str.; weg; platz; allee; gasse; ufer; chaussee; promenade; -ring; -damm; -markt; -park"
    ),
    boxes=words("postfach; postfach nr"),
    since=words("am; vom; ab; bis; bis zum; seit; seit dem; den; der; zum; nach dem; von; um den"),
    ordinal_dot=True,
    abbreviations=words(
        "z.b; b; bzw; dr; dres; prof; pat; pt; ca; evtl; ggf; inkl; exkl; sog; usw; u.a; u; a; d.h; d; h; o.g; o;"
        "g; s.o; s.u; s; i.v; i.m; s.c; p.o; med; dipl; hr; hrn; fr; st; str; nr; tel; geb; verh; led; gest; re;"
        "li; bds; v.a; v; z.n; z; n; v.d; dd; diagn; ther; tgl; tägl; wö; wöch; mtl; std; min; max; sek; jhd; jh;"
        "lj; mg; ml; tbl; tabl; kps; amp; inj; supp; spp; abd; abdom; art; aa; vv; lig; m; mm; nn; proc; r; rr;"
        "o.b; unauff; pathol; klin; neurol; rad; radiol; lab; bes; bez; bezgl; bzgl; betr; entspr; gem; insb;"
        "insbes; jew; lt; mind; möglw; vgl; vorauss; wahrsch; zus; zw; zzt; z.zt; zt; abs; anm; aufl; bd; hrsg;"
        "abb; tab; kap; vs; et; al; jan; feb; apr; aug; sept; sep; okt; nov; dez; o.ä; ä; u.ä; i.d.r; i; i.r;"
        "stat; amb; aufn; entl; gyn; urol; chir; int; päd; psych; hno; mio; mrd; tsd; ehem"
    ),
)

GERMANY = Country(
    postcodes=r"D-\d{5}(?=[ ])",
    doubtful_postcodes=r"\d{5}(?=[ ][A-ZÄÖÜ](?:[a-zäöüß]{2}|[A-ZÄÖÜ]{3}))",
    phones=r"(?:\(?(?:\+|00)49\)?[ ]?\(?0?\)?[ ]?|\(?0)[1-9]\d{1,4}\)?[ /-]{1,3}\d{2,4}(?:[ -]?\d{2,4}){0,3}",
    numbers=(
        NationalNumber(r"[A-Z][ ]?\d{3}[ ]?\d{3}[ ]?\d{3}", "kvnr"),
        NationalNumber(r"\d{2}[ ]?\d{6}[ ]?[A-Z][ ]?\d{3}", "rvnr"),
        NationalNumber(r"\d{2}[ ]\d{3}[ ]\d{3}[ ]\d{3}|\d{11}", "idnr"),
    ),
)
AUSTRIA = Country(
    postcodes=r"A-\d{4}(?=[ ])",
    doubtful_postcodes=r"[1-9]\d{3}(?=[ ][A-ZÄÖÜ](?:[a-zäöüß]{2}|[A-ZÄÖÜ]{3}))",
    phones=r"(?:\(?(?:\+|00)43\)?[ ]?\(?0?\)?[ ]?|\(?0)[1-9]\d{0,3}\)?[ /-]{1,3}\d{2,4}(?:[ -]?\d{2,4}){0,3}",
    numbers=(NationalNumber(r"\d{4}[ -]?(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-5])\d{2}", "svnr"),),
)
SWITZERLAND = Country(
    postcodes=r"CH-\d{4}(?=[ ])",
    doubtful_postcodes=AUSTRIA.doubtful_postcodes,
    phones=r"(?:\(?(?:\+|00)41\)?[ ]?\(?0?\)?[ ]?|\(?0)[1-9]\d\)?[ /]?\d{3}[ ]?\d{2}[ ]?\d{2}",
    numbers=(NationalNumber(r"756\.?\d{4}\.?\d{4}\.?\d{2}", "ean"),),
)
