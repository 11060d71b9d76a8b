"""Portuguese: Portugal and Brazil."""

from .language import Country, Language, NationalNumber, words

PORTUGUESE = Language(
    months=words(
        "janeiro; jan; fevereiro; fev; março; marco; mar; abril; abr; maio; mai; junho; jun; julho; jul; agosto;"
        "ago; setembro; set; outubro; out; novembro; nov; dezembro; dez"
    ),
    titles=words(
        "sr.; sra.; srs.; srª; sr.ª.; senhor; senhora; dr.; dra.; drª; dr.ª.; doutor; doutora; prof.; profa.;"
        "prof.ª.; professor; professora; dona; d.ª.; enf.; enf.ª.; exmo. sr.; exma. sra."
    ),
    doubtful_titles=words("d.; eng.; engº; eng.º.; enfermeira; enfermeiro"),
    names=words(
        "nome; apelido; apelidos; sobrenome; nome próprio; nome do utente; nome do doente; nome do paciente;"
        "nome da mãe; nome do pai"
    ),
    full_names=words(
        "nome completo; filiação; assinado; assinado por; assinatura; elaborado por; validado por;referenciado por"
    ),
    people=words(
        "utente; doente; paciente; acompanhante; contacto; contato; pessoa de contacto; cuidador; cuidadora;"
        "médico; médica; médico assistente; médico de família; médico responsável; médico requisitante;"
        "cirurgião; cirurgiã; anestesista; radiologista; enfermeiro; enfermeira; responsável"
    ),
    numbers=words(
        "nº processo; n.º processo; nº de processo; n.º de processo; número de processo; processo;"
        "processo clínico; nº proc; proc; n.º utente; nº utente; nº de utente; n.º de utente; número de utente;"
        "utente; sns; n.º sns; nº sns; número sns; cartão sns; nif; contribuinte; nº contribuinte;"
        "n.º contribuinte; niss; cc; cartão de cidadão; cartão do cidadão; b.i; bilhete de identidade;"
        "nº beneficiário; n.º beneficiário; beneficiário; adse; episódio; nº episódio; n.º episódio;"
        "nº de episódio; nº doente; cédula; cédula profissional; ordem dos médicos; nº mecanográfico; nº exame;"
        "n.º exame; apólice; prontuário; nº prontuário; nº do prontuário; registro; nº registro; cpf; rg; cns;"
        "cartão sus; cartão nacional de saúde; crm; matrícula; atendimento; nº atendimento; passaporte"
    ),
    phones=words(
        "tel; tel.; telefone; telef; telef.; tlf; tlf.; telemóvel; tlm; tlm.; telm; celular; cel; cel.; fax;"
        "fone; contactos"
    ),
    ages=words("idade; idade de; de idade"),
    years_old=words("anos"),
    streets=words(
        "rua; r.; avenida; av; av.; travessa; praça; pç; pç.; largo; lg.; estrada; alameda; calçada; beco;"
        "praceta; rotunda; urbanização; bairro; rodovia; caminho; quinta"
    ),
    boxes=words("caixa postal"),
    since=words("em; no dia; a; desde; até; dia; de"),
    abbreviations=words(
        "sr; sra; srs; dr; dra; drs; prof; profa; eng; enf; exmo; exma; d; av; r; n; nº; núm; pág; págs; p; pp;"
        "ex; p.ex; etc; aprox; ca; cf; máx; mín; tel; telef; tlm; cp; comp; comps; cáps; amp; inj; i.v; e.v; i.m;"
        "s.c; v.o; p.o; vs; al; fig; tab; vol; ed; art; dto; dta; esq; dir; sup; inf; bilat; ant; post; méd;"
        "serv; hosp; cons; int; ext; jan; fev; mar; abr; mai; jun; jul; ago; set; out; nov; dez; sta; sto; s; rx;"
        "obs; ref; quant; rel; resp"
    ),
)

PORTUGAL = Country(
    doubtful_postcodes=r"\d{4}-\d{3}(?=[ ,])",
    phones=r"(?:\(?(?:\+|00)351\)?[ .-]?)?(?:[239]\d{2}[ .-]?\d{3}[ .-]?\d{3}|[29]\d[ .-]\d{3}[ .-]?\d{2}[ .-]?\d{2})",
    numbers=(
        NationalNumber(r"(?:[1235689]\d|45)\d(?:[ ]\d{3}[ ]\d{3}|\d{6})", "nif"),
        NationalNumber(r"[12]\d{2}[ ]\d{3}[ ]\d{3}[ ]\d{2}|[12]\d{10}", "niss"),
        NationalNumber(r"\d{8}[ -]?\d[ -]?[A-Z\d]{2}\d", "cartao_cidadao"),
    ),
)
BRAZIL = Country(
    postcodes=r"\d{5}-\d{3}(?![\d-])(?=[ ,]{1,2}[A-ZÀ-Þ])",
    doubtful_postcodes=r"\d{8}(?=[ ,]{1,2}[A-ZÀ-Þ])",
    phones=r"(?:\+?55[ ]?)?\(?[1-9]\d\)?[ ]?9?\d{4}[ -]\d{4}",
    numbers=(
        NationalNumber(r"\d{3}\.\d{3}\.\d{3}-\d{2}", "cpf"),
        NationalNumber(r"[1-2789]\d{2}[ ]\d{4}[ ]\d{4}[ ]\d{4}", "cns"),
    ),
)
