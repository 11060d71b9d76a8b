"""Finnish: Finland."""

from .language import Country, Language, NationalNumber, words

_MONTHS = words("tammi; helmi; maalis; huhti; touko; kesä; heinä; elo; syys; loka; marras; joulu")

FINNISH = Language(
    months=tuple(month + end for month in _MONTHS for end in ("", "k", "kuu", "kuuta", "kuun", "kuussa", "kuusta")),
    titles=words(
        "herra; rouva; neiti; hra.; rva.; nti.; dr.; tohtori; prof.; professori; lääkäri; ylilääkäri;"
        "apulaisylilääkäri; osastonylilääkäri; erikoislääkäri; erikoistuva lääkäri; terveyskeskuslääkäri;"
        "sairaanhoitaja; osastonhoitaja; terveydenhoitaja; kätilö; psykologi; fysioterapeutti; hammaslääkäri"
    ),
    doubtful_titles=words("tri.; lt; ll; lkt; oyl; ayl; sh; th; hoitaja"),
    names=words("nimi; sukunimi; etunimi; etunimet; potilaan nimi; entinen nimi; kutsumanimi; potilaan sukunimi"),
    full_names=words("allekirjoittanut; sanellut; hyväksynyt; sukunimi ja etunimi; sukunimi, etunimi; allekirjoitus"),
    people=words(
        "potilas; pot; lähiomainen; omainen; yhteyshenkilö; huoltaja; lääkäri; hoitava lääkäri; vastuulääkäri;"
        "lähettävä lääkäri; lähettäjä; omalääkäri; erikoislääkäri; ylilääkäri; operatööri; leikkaava lääkäri;"
        "anestesialääkäri; anestesiologi; radiologi; patologi; lausuja; vastaanottaja; sairaanhoitaja; omahoitaja"
    ),
    numbers=words(
        "hetu; henkilötunnus; henkilötunnuksen; sotu; sosiaaliturvatunnus; potilasnumero; potilastunnus; potilas-id;"
        "potilasnro; potilaskertomusnumero; sairauskertomusnumero; asiakasnumero; asiakastunnus; lähetenumero;"
        "lähetenro; lähete nro; näytenumero; näytenro; näyte nro; tutkimusnumero; tutkimusnro;"
        "käyntinumero; käyntitunnus;"
        "hoitojakson numero; tunnistenumero; vakuutusnumero; vakuutustunnus; kela-tunnus; sv-numero; terhikki;"
        "terhikkinumero; rekisterinumero; oid; diaarinumero"
    ),
    phones=words("puh; puh.; puhelin; puhelinnumero; puhnro; gsm; matkapuhelin; matkapuh; faksi; fax; tel; tel."),
    ages=words("ikä; iältään; iässä"),
    years_old=words("vuotias; vuotiaan; vuotiaana; vuotta; vuoden ikäinen; vuoden ikäisenä"),
    street_ends=words(
        "katu; intie; antie; entie; äntie; ontie; yntie; utie; tatie; sätie; lätie; kuja; polku; kaari; raitti;"
        "bulevardi; puistikko; esplanadi; penger; rinne; väylä"
    ),
    street_words=words("tie; katu; kuja; polku; tori"),
    boxes=words("postilokero"),
    since=words("pvm; alkaen; synt; synt.; kontrolli; aika"),
    ordinal_dot=True,
    abbreviations=words(
        "esim; ym; yms; jne; mm; n; noin; ns; em; ko; ks; vrt; ts; eli; tms; jms; huom; nro; puh; dr; prof; tri; pot;"
        "os; pkl; pol; lääk; hoit; tutk; st; stat; auk; cor; abd; bil; dx; sin; oik; vas; tabl; tbl; inj; kaps; mg; ml;"
        "pv; vrk; vko; kk; v; min; max; p.o; i.v; i.m; s.c; vs; al; kuv; taul; klo; lab; rtg; temp; rr; tod; seur;"
        "kontr; jatk; aik; ent; synt; s; k; ao; so; po; ap; ip; kpl; lkm; mrk; sis; ulk; kir; gyn;"
        "ort; neur; psyk; tark;"
        "ohj; ilm; ed; hlö; milj; mrd; osoite; allek; erik; ylil"
    ),
)

FINLAND = Country(
    postcodes=r"FI(?:N)?-\d{5}(?=[ ])",
    doubtful_postcodes=r"\d{5}(?=[ ]{1,2}[A-ZÄÖÅ](?:[a-zäöå]{2}|[A-ZÄÖÅ]{2}))",
    phones=r"(?:\(?(?:\+|00)358\)?[ ]?\(?0?\)?|\(?0)"
    r"(?:(?:4\d|50)\d?\)?[ -]?\d{3,4}[ -]?\d{2,4}(?:[ ]?\d{2})?|(?:[235689]|1[3-9])\)?[ -]\d{2,4}(?:[ ]?\d{2,4}){1,2})",
    numbers=(NationalNumber(r"(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])\d{2}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]", "hetu"),),
)
