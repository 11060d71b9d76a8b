"""French: France, Belgium, Switzerland and Canada."""

from .language import Country, Language, NationalNumber, words

FRENCH = Language(
    months=words(
        "jan; janv; janvier; fév; févr; février; fev; fevrier; mars; avr; avril; mai; juin; juil; juill; juillet;"
        "août; aout; sep; sept; septembre; oct; octobre; nov; novembre; déc; décembre; dec; decembre"
    ),
    titles=words(
        "monsieur; madame; mademoiselle; mr.; mme.; mmes.; mlle.; mlles.; docteur; docteure; dr.; drs.; pr.;"
        "prof.; professeur; professeure; veuve; le dr.; le pr."
    ),
    doubtful_titles=words("m.; me.; maître; sœur; vve."),
    names=words(
        "nom; noms; nom de famille; nom de naissance; nom d'usage; nom marital; nom de jeune fille; prénom;"
        "prénoms; prenom; prenoms; nom du patient; nom de la patiente; nom usuel"
    ),
    full_names=words(
        "nom et prénom; nom et prénoms; nom, prénom; nom prénom; nom/prénom; prénom nom; identité; signé;"
        "signature; rédigé par; dicté par; validé par; adressé par"
    ),
    people=words(
        "patient; patiente; assuré; assurée; personne de confiance; personne à prévenir; médecin;"
        "médecin traitant; médecin référent; médecin prescripteur; prescripteur; chirurgien; opérateur;"
        "anesthésiste; radiologue; interne; correspondant; destinataire; contact; infirmière; infirmier"
    ),
    numbers=words(
        "n° dossier; n° de dossier; no dossier; numéro de dossier; numero de dossier; dossier; dossier n°; ipp;"
        "nip; iep; nda; n° ipp; n° patient; numéro patient; numéro de patient; id patient; identifiant;"
        "identifiant patient; ins; nir; n° ss; n° sécu; n° de sécurité sociale; numéro de sécurité sociale;"
        "sécurité sociale; n° de sécu; n° séjour; numéro de séjour; séjour; n° de séjour; n° d'assuré;"
        "numéro d'assuré; n° assuré; n° adhérent; mutuelle; n° rpps; rpps; n° adeli; adeli; finess; n° d'examen;"
        "n° examen; n° de demande; n° demande; n° de prélèvement; n° de chambre; n° national; numéro national;"
        "niss; ramq; nam; n° ramq; no d'assurance maladie; numéro d'assurance maladie; n° avs; avs"
    ),
    phones=words(
        "tél; tél.; téléphone; tel; tel.; telephone; portable; mobile; port; fax; télécopie; n° de téléphone;"
        "gsm; standard"
    ),
    ages=words("âge; âgé de; âgée de; agé de; agée de; à l'âge de; age de"),
    years_old=words("ans"),
    streets=words(
        "rue; avenue; av; av.; boulevard; bd; bd.; blvd; place; pl; pl.; allée; allées; chemin; impasse; quai;"
        "cours; route; square; résidence; lotissement; passage; faubourg; sentier; villa; chaussée"
    ),
    boxes=words("boîte postale; case postale"),
    since=words("le; du; au; depuis le; jusqu'au; né le; née le; dès le"),
    abbreviations=words(
        "m; mm; mme; mlle; dr; pr; prof; me; st; ste; av; bd; bld; n; no; tél; tel; p; pp; ex; cf; env; etc;"
        "c.-à-d; p.ex; max; min; mg; cp; cpr; inj; gél; amp; j; h; i.v; i.m; s.c; per os; rdv; hosp; chir; cons;"
        "méd; trt; ttt; atcd; bilat; dte; gche; dt; vs; al; art; fig; tab; vol; éd; janv; févr; fév; avr; juil;"
        "sept; oct; nov; déc; adj; int; ext; sup; inf; réf"
    ),
)

FRANCE = Country(
    postcodes=r"F-\d{5}(?=[ ])",
    doubtful_postcodes=r"(?:0[1-9]|[1-8]\d|9[0-8])\d{3}(?=[ ][A-ZÀ-Þ])",
    phones=r"(?:\(?(?:\+|00)33\)?[ .]?(?:\(0\))?[ ]?|0)[1-9](?:[ .-]?\d{2}){4}",
    numbers=(
        NationalNumber(
            r"[1-478][ ]?\d{2}[ ]?(?:0[1-9]|1[0-2]|[2-9]\d)[ ]?(?:\d{2}|2[AB])[ ]?\d{3}[ ]?\d{3}[ ]?\d{2}", "nir"
        ),
    ),
)
BELGIUM = Country(
    postcodes=r"B-\d{4}(?=[ ])",
    doubtful_postcodes=r"[1-9]\d{3}(?=[ ][A-ZÀ-Þ](?:[a-zß-ÿ]{2}|[A-ZÀ-Þ]{3}))",
    phones=r"(?:\(?(?:\+|00)32\)?[ ]?\(?0?\)?[ ]?|\(?0)[1-9]\d{0,2}\)?[ /.-]{0,2}\d{2,3}(?:[ .]?\d{2}){2}",
    numbers=(NationalNumber(r"\d{2}\.?(?:[024]\d|[135][0-2])\.?[0-3]\d[ -]?\d{3}[. -]?\d{2}", "belgian"),),
)
