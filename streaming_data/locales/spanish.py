"""Spanish: Spain."""

from .language import Country, Language, NationalNumber, words

SPANISH = Language(
    months=words(
        "enero; ene; febrero; feb; marzo; mar; abril; abr; mayo; may; junio; jun; julio; jul; agosto; ago;"
        "septiembre; setiembre; sep; sept; set; octubre; oct; noviembre; nov; diciembre; dic"
    ),
    titles=words(
        "sr.; sra.; srta.; sres.; señor; señora; señorita; dr.; dra.; dres.; doctor; doctora; prof.; profesor;"
        "profesora; doña; dña.; d.ª.; sr. d.; sra. dña.; sra. d.ª."
    ),
    doubtful_titles=words("d.; don; enfermera; enfermero"),
    names=words(
        "nombre; nombres; apellido; apellidos; primer apellido; segundo apellido; nombre del paciente;"
        "nombre de la paciente; 1er apellido; 2º apellido"
    ),
    full_names=words(
        "nombre y apellidos; apellidos y nombre; apellidos, nombre; nombre completo; firmado; firmado por; fdo;"
        "fdo.; firma; remitido por; informado por; validado por"
    ),
    people=words(
        "paciente; titular; tutor; tutora; persona de contacto; contacto; médico; médica; médico responsable;"
        "médico de familia; médico de cabecera; facultativo; facultativo responsable; cirujano; cirujana;"
        "anestesista; remitente; radiólogo; dirigido a; responsable; enfermera; enfermero; remite"
    ),
    numbers=words(
        "nhc; n.h.c; nº hc; nº historia; nº de historia; nº de historia clínica; nº historia clínica;"
        "número de historia; número de historia clínica; num. historia; historia; historia clínica; hc; episodio;"
        "nº episodio; nº de episodio; número de episodio; cip; cipa; sip; nuhsa; cip-sns; cip sns; tis;"
        "tarjeta sanitaria; nº tarjeta sanitaria; nass; nuss; nss; nº ss; nº seguridad social;"
        "nº de la seguridad social; número de la seguridad social; seguridad social; afiliación; nº afiliación;"
        "nº de afiliación; dni; nif; nie; d.n.i; documento; pasaporte; nº colegiado; nº nº de colegiado; col;"
        "colegiado; num. colegiado; nº petición; petición; nº muestra; nº registro; registro; nº paciente;"
        "id paciente; identificador; póliza; nº póliza; nºcol; nº col; n.º col; nhc/"
    ),
    phones=words("tel; tel.; teléfono; telf; telf.; tfno; tfno.; tlf; tlf.; móvil; fax; telefono; movil; teléfonos"),
    ages=words("edad; edad de; de edad"),
    years_old=words("años; anos"),
    streets=words(
        "calle; c/; avenida; avda; avda.; av; av.; plaza; pza; pza.; pl; pl.; paseo; p.º; pº; camino; carretera;"
        "ctra; ctra.; ronda; travesía; glorieta; urbanización; urb; urb.; pasaje; vía; rambla; callejón; carrer;"
        "passeig; pz; pz.; plaça; avinguda; rúa; polígono; barrio"
    ),
    boxes=words("apartado de correos; apdo.; apartado postal"),
    since=words("el; del; desde el; hasta el; al; día; el día"),
    abbreviations=words(
        "sr; sra; srta; sres; dr; dra; dres; d; dña; d.ª; prof; pág; págs; p; pp; ej; p.ej; aprox; etc; av; avda;"
        "c; pza; n; núm; nº; tel; tfno; telf; tlf; máx; mín; comp; cáps; caps; amp; inj; iny; vs; al; fig; tab;"
        "vol; ed; art; hab; ant; ants; pac; dcha; dcho; izq; izda; izdo; i.v; i.m; s.c; v.o; e.v; a.p; ag; col;"
        "fdo; ene; feb; abr; ago; sept; oct; nov; dic; ntra; ee.uu; ee; uu; s.a; ud; uds; vd; sta; sto"
    ),
)

SPAIN = Country(
    postcodes=r"E-\d{5}(?=[ ])",
    doubtful_postcodes=r"(?:0[1-9]|[1-4]\d|5[0-2])\d{3}(?=[ ,-]{1,3}[A-ZÀ-Þ])",
    phones=r"(?:\(?(?:\+|00)34\)?[ .-]?)?[6789]\d{2}[ .-]?\d{3}[ .-]?\d{3}"
    r"|(?:\(?(?:\+|00)34\)?[ .-]?)?[6789]\d{1,2}[ .-]\d{2,3}[ .-]\d{2}[ .-]\d{2}",
    numbers=(
        NationalNumber(r"\d{2}\.?\d{3}\.?\d{3}[ -]?[A-HJ-NP-TV-Z]", "dni"),
        NationalNumber(r"[XYZ][ -]?\d{7}[ -]?[A-HJ-NP-TV-Z]", "dni"),
        NationalNumber(r"[A-Z]{4}[ ]?\d[ ]?\d{6}[ ]?\d{2}[ ]?\d", "cip"),
        NationalNumber(r"\d{2}[/ -]\d{8}[/ -]\d{2}", "nass"),
    ),
)
