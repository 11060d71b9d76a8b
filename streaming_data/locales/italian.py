"""Italian: Italy and Switzerland."""

from .language import Country, Language, NationalNumber, words

ITALIAN = Language(
    months=words(
        "gennaio; gen; genn; febbraio; feb; febbr; marzo; mar; aprile; apr; maggio; mag; giugno; giu; luglio;"
        "lug; agosto; ago; settembre; set; sett; ottobre; ott; novembre; nov; dicembre; dic"
    ),
    titles=words(
        "sig.; sig.ra.; sig.na.; sig.ri.; signor; signore; signora; signorina; dott.; dott.ssa.; dr.; dr.ssa.;"
        "dottor; dottore; dottoressa; prof.; prof.ssa.; professor; professore; professoressa; egr.; gent.mo.;"
        "gent.ma.; egr. sig.; gent.ma sig.ra."
    ),
    doubtful_titles=words("ing.; avv.; infermiera; infermiere; suor"),
    names=words("nome; cognome; nome del paziente; nome paziente; nome di battesimo"),
    full_names=words(
        "cognome e nome; nome e cognome; cognome nome; nome cognome; cognome/nome; nominativo; refertato da;"
        "firmato; firma; firmato da; inviato da; validato da"
    ),
    people=words(
        "paziente; assistito; assistita; contatto; persona di riferimento; caregiver; medico; medico curante;"
        "medico di base; medico di medicina generale; mmg; medico refertante; medico richiedente;"
        "medico responsabile; curante; richiedente; chirurgo; operatore; primo operatore; anestesista; radiologo;"
        "primario; direttore; infermiera; infermiere"
    ),
    numbers=words(
        "n. cartella; numero cartella; n° cartella; cartella clinica; cartella clinica n; cartella;"
        "n. cartella clinica; nosografico; n. nosografico; n° nosografico; nosologico; n. nosologico;"
        "numero nosologico; sdo; n. sdo; id paziente; codice paziente; codice assistito; codice sanitario;"
        "codice fiscale; c.f; cf; cod. fisc; cod. fiscale; tessera sanitaria; n. tessera; tessera sanitaria n;"
        "n. accesso; accesso; numero accesso; n. verbale; verbale; n. pratica; pratica; n. episodio; episodio;"
        "n. ricovero; ricovero n; n. esame; esame n; accession number; n. referto; referto n; n. richiesta;"
        "richiesta n; impegnativa; nre; n. campione; campione n; documento; carta d'identità; passaporto; polizza"
    ),
    phones=words(
        "tel; tel.; telefono; cell; cell.; cellulare; fax; recapito; recapito telefonico; numero di telefono;num. tel"
    ),
    ages=words("età; età di; all'età di; eta"),
    years_old=words("anni; enne"),
    streets=words(
        "via; viale; v.le; piazza; p.zza; p.za; piazzale; p.le; corso; c.so; largo; vicolo; strada; contrada;"
        "lungomare; lungotevere; salita; borgo; località; loc.; traversa; calle; fondamenta"
    ),
    boxes=words("casella postale"),
    since=words("il; dal; al; del; in data; il giorno; fino al"),
    abbreviations=words(
        "sig; sigg; sig.ra; dott; dott.ssa; dr; prof; prof.ssa; egr; gent; spett; ecc; es; p.es; ad es; ca;"
        "circa; n; nr; pag; pagg; fig; tab; vol; ed; cfr; cf; c.f; ns; vs; al; art; max; min; cp; cpr; cps; fl;"
        "gtt; inj; amp; i.v; e.v; i.m; s.c; os; p.o; die; tel; cell; dx; sx; bil; pz; paz; ric; ev; app; abd;"
        "add; ap; amb; osp; rep; u.o; u; dip; chir; med; gen; feb; mar; apr; mag; giu; lug; ago; set; sett; ott;"
        "nov; dic; v; v.le; p.zza; c.so; s; s.p.a; a.s.l; asl; ing; avv; tit; sup; inf"
    ),
)

ITALY = Country(
    postcodes=r"I-\d{5}(?=[ ])",
    doubtful_postcodes=r"\d{5}(?=[ ][A-ZÀ-Þ][\wÀ-ÿ']{2})",
    phones=r"(?:\(?(?:\+|00)39\)?[ .-]?)?"
    r"(?:0\d{1,3}[ ./-]{1,3}\d{3,4}[ .-]?\d{2,4}|3\d{2}[ ./-]?\d{3}[ .-]?\d{2}[ .-]?\d{2})",
    numbers=(
        NationalNumber(
            r"[A-Z]{3}[ ]?[A-Z]{3}[ ]?[\dL-NP-V]{2}[A-EHLMPRST][\dL-NP-V]{2}[ ]?[A-Z][\dL-NP-V]{3}[A-Z]",
            "codice_fiscale",
        ),
    ),
)
