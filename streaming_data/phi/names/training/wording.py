"""Phrases around names in clinical text, by language. The benchmark's are other ones, which must not be added here.

`{n}` is a number, `{d}` a date, `{a}` an age, `{c}` a complaint.
"""

from typing import NamedTuple


def _list(text: str) -> tuple[str, ...]:
    return tuple(" ".join(part.split()).replace("\\n", "\n") for part in text.split(";"))


class Wording(NamedTuple):
    """Phrases of a language.

    Attributes:
        labels: of fields that hold a name.
        fields: complete fields that hold something else.
        titles: words before a name.
        people: what a person is to the patient or to the ward, before the name.
        before: the beginning of a sentence that goes on with a name.
        after: the rest of a sentence that begins with a name.
        ends: the rest of a sentence after a name in its middle.
        closings: what comes before a signature.
        jobs: what comes after a name in a signature.
        complaints: what a patient has.
    """

    labels: tuple[str, ...]
    fields: tuple[str, ...]
    titles: tuple[str, ...]
    people: tuple[str, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    ends: tuple[str, ...]
    closings: tuple[str, ...]
    jobs: tuple[str, ...]
    complaints: tuple[str, ...]


WORDINGS = {
    "en": Wording(
        labels=_list(
            "Name; Patient; Patient Name; Pt Name; Pt; Full Name; Surname; First Name; Last Name; Forename; "
            "Attending; Attending Physician; Physician; Referring Physician; Primary Care Physician; PCP; "
            "Provider; Surgeon; Assistant; Anesthesiologist; Author; Dictated by; Signed; Signed by; cc; To; "
            "From; Requested by; Ordered by; Next of kin; Emergency contact; Guardian; Mother; Father; "
            "Spouse; Contact; Nurse; Resident; Fellow; GP; Social worker; Case manager; Therapist; "
            "Interpreter; Radiologist; Reported by; Reviewed by; Read by; Interpreted by; Entered by; "
            "Prepared by; Seen by; Team; Health care proxy; Employer contact; Subscriber"
        ),
        fields=_list(
            "Diagnosis: Acute Pancreatitis; Service: Medicine; Location: West Wing; Sex: Female; Allergies: "
            "Penicillin; Admission Date: {d}; DOB: {d}; MRN: {n}; Age: {a}; Unit: Cardiac Intensive Care; "
            "Medications: Lisinopril; Religion: Catholic; Language: Spanish; Insurance: Blue Cross; Hospital: "
            "General Hospital; Status: Final; Procedure: Left Heart Catheterization; Department: Internal "
            "Medicine; Exam: CT Abdomen; Visit: {n}; EXAMINATION: CHEST RADIOGRAPH; INDICATION: CHEST PAIN; "
            "COMPARISON: NONE; FINDINGS: No Acute Process; Disposition: Home With Services; Past Medical "
            "History: Hypertension; Room: {n}; Code Status: Full Code; Race: White; Country: Portugal; City: "
            "Oxford; Ward: Nightingale; Occupation: Teacher; Drug: Metoprolol"
        ),
        titles=_list("Mr.; Mrs.; Ms.; Miss; Dr.; Dr; Mr; Mrs; Ms; Professor; Prof.; Sister; Nurse"),
        people=_list(
            "daughter; son; wife; husband; sister; mother; father; niece; partner; friend; roommate; nurse; "
            "resident; intern; fellow; surgeon; colleague; the patient; physical therapist; case manager; "
            "son-in-law; grandson"
        ),
        before=_list(
            "I spoke with; Discussed with; Seen by; Seen with; Reviewed by; Plan was made with; She was "
            "referred by; Thank you for referring; Message left for; Paged; The case was presented to; Follow "
            "up with; Per; According to; He lives with; She lives with; Consent was obtained from; Asked; "
            "Called; Reported to; Signed out to; Appointment with; Accompanied by; Cared for by; Today I saw; "
            "Copies to; We thank; Saw; Results were called to; Under the care of; Please contact; He was "
            "brought in by; Attended by; Spoke to; Our patient; Operation by; Assisted by; Consultation with; "
            "Letter from; Received a call from; Notified"
        ),
        after=_list(
            "was admitted with {c}.; is a {a} year old man with {c}.; is a {a}-year-old woman.; denies {c}.; "
            "was seen today.; reports {c}.; reports {c} for three days.; underwent surgery without "
            "complications.; was discharged home.; was started on heparin.; is doing well and will return in "
            "two weeks.; tolerates a regular diet.; is resting.; was consulted and agreed.; presented with "
            "{c}.; has a history of {c}.; complains of {c}.; lives alone.; was updated by phone.; remains "
            "intubated.; did not take the tablets.; came for follow-up.; died on {d}.; feels better.; was "
            "informed of the results.; recommends further imaging.; asked about discharge.; will be followed "
            "in clinic.; had {c} last year.; is aware.; visited.; signed the consent form.; returned."
        ),
        ends=_list(
            "today.; in the morning.; at bedside.; by phone.; about the results.; on {d}.; for {c}.; and "
            "agreed.; whoagreed with the plan.; regarding {c}.; this afternoon.; at {n}.; before discharge.; "
            ", who was present.; ."
        ),
        closings=_list(
            "Sincerely,; Best regards,; Kind regards,; With thanks,; Respectfully,; Signed,; Dictated but not read,"
        ),
        jobs=_list(
            "MD; M.D.; RN; PA-C; NP; Resident physician; Attending Physician; Staff Nurse; Medical Student; "
            "Specialist Registrar; Department of Surgery; Social Worker; PhD; FRCP; Chief of Service; DO; "
            "LCSW; PT"
        ),
        complaints=_list(
            "chest pain; shortness of breath; type 2 diabetes; Crohn's disease; Parkinson's disease; fever; "
            "atrial fibrillation; Hodgkin lymphoma; abdominal pain; a fall; Alzheimer disease; Graves "
            "disease; nausea"
        ),
    ),
    "de": Wording(
        labels=_list(
            "Name; Patient; Patientin; Nachname; Vorname; Familienname; Hausarzt; Arzt; Behandelnder Arzt; "
            "Chefarzt; Oberarzt; Operateur; Assistenz; Überweiser; Ansprechpartner; Angehörige; Unterschrift; "
            "Befundet von; Anästhesist; Verfasser; Pflege; Untersucher; Station Arzt; Kostenträger "
            "Versicherter; An; Von"
        ),
        fields=_list(
            "Diagnose: Akute Pankreatitis; Station: Innere Medizin; Geschlecht: weiblich; Aufnahme: {d}; "
            "Alter: {a}; Therapie: Konservativ; Anamnese: Bekannte Hypertonie; Befund: Unauffällig; Klinik: "
            "Universitätsklinikum; Medikation: Ramipril; Untersuchung: Sonographie Abdomen; Größe: {a}; "
            "Fallnummer: {n}; Sozialanamnese: Rentner; Verlauf: Komplikationslose Wundheilung; Beurteilung: "
            "Kein Nachweis; Labor: Leukozyten, Kreatinin; Hauptdiagnose: Chronische Niereninsuffizienz; Ort: "
            "Hamburg; Beruf: Lehrer; Procedere: Wiedervorstellung"
        ),
        titles=_list("Herr; Frau; Herrn; Dr.; Dr. med.; Prof. Dr.; Fr.; Hr.; PD Dr.; OA; Schwester; Pfleger"),
        people=_list(
            "Ehefrau; Ehemann; Sohn; Tochter; Schwester; Mutter; Vater; Patient; Patientin; Kollege; Hausarzt"
        ),
        before=_list(
            "Rücksprache mit; Wir berichten über; Gespräch mit; Vorstellung bei; Überweisung durch; Operation "
            "durch; Telefonat mit; In Begleitung von; Aufklärung durch; Vielen Dank für die Überweisung von; "
            "Visite mit; wir berichten über Ihren Patienten; Der Patient; Die Patientin; Befunde an; Konsil "
            "durch; Betreut von"
        ),
        after=_list(
            "stellte sich mit {c} vor.; wurde am {d} entlassen.; klagt über {c}.; wurde informiert.; leidet "
            "an {c}.; ist beschwerdefrei.; wurde operiert.; berichtet über {c}.; lebt allein.; kommt zur "
            "Kontrolle.; verstarb.; geboren am {d}, befand sich in unserer Behandlung.; , geb. {d}, kam mit "
            "{c}.; hat zugestimmt.; , {a} Jahre"
        ),
        ends=_list("heute.; am {d}.; wegen {c}.; besprochen.; erfolgt.; telefonisch informiert.; und Angehörigen.; ."),
        closings=_list("Mit freundlichen Grüßen; Mit freundlichem Gruß; Hochachtungsvoll; Freundliche Grüße"),
        jobs=_list("Oberarzt; Chefarzt; Assistenzarzt; Facharzt für Innere Medizin; Ärztin; Stationsarzt; Hausärztin"),
        complaints=_list("Dyspnoe; Brustschmerzen; Morbus Crohn; Bauchschmerzen; Fieber; Diabetes mellitus; Übelkeit"),
    ),
    "fr": Wording(
        labels=_list(
            "Nom; Prénom; Patient; Patiente; Médecin; Médecin traitant; Chirurgien; Infirmière; Signé; Nom de "
            "naissance; Destinataire; Correspondant; Opérateur; Anesthésiste; Interne; Personne de confiance; "
            "Rédacteur; Validé par"
        ),
        fields=_list(
            "Diagnostic : Pancréatite Aiguë; Service : Cardiologie; Sexe : F; Date : {d}; Antécédents : "
            "Hypertension; Traitement : Ramipril; Motif : Douleur Thoracique; Hôpital : Centre Hospitalier; "
            "Unité : {n}; Ville : Lyon; Examen : Scanner Abdominal; Conclusion : Absence de lésion; Allergies "
            ": Pénicilline; Profession : Retraité"
        ),
        titles=_list("Monsieur; Madame; M.; Mme; Mlle; Dr; Docteur; Pr; Professeur; Mr"),
        people=_list(
            "sa fille; son fils; sa femme; son mari; sa mère; le patient; la patiente; son frère; l'infirmière"
        ),
        before=_list(
            "J'ai revu; Je vous remercie de m'avoir adressé; Vu avec; Discuté avec; Avis du; Adressé par; "
            "Suivi par; Entretien avec; J'ai examiné; Votre patient; Opéré par; Appel de; Accompagné de; "
            "Courrier à; Je vois ce jour"
        ),
        after=_list(
            "présente {c}.; est sorti le {d}.; a été hospitalisé pour {c}.; est suivi pour {c}.; , né le {d}; "
            ", {a} ans; se plaint de {c}.; va bien.; a été informé.; vit seul.; est décédé le {d}.; a été "
            "opéré.; consulte pour {c}."
        ),
        ends=_list(
            "ce jour.; le {d}.; pour {c}.; par téléphone.; et sa famille.; qui est d'accord.; , en consultation.; ."
        ),
        closings=_list("Bien confraternellement,; Cordialement,; Bien à vous,; Veuillez agréer mes salutations,"),
        jobs=_list("Médecin traitant; Chef de service; Praticien hospitalier; Cardiologue; Infirmière; Chirurgien"),
        complaints=_list("une dyspnée; des douleurs thoraciques; une maladie de Crohn; de la fièvre; un diabète"),
    ),
    "es": Wording(
        labels=_list(
            "Nombre; Apellidos; Paciente; Médico; Cirujano; Enfermera; Firmado por; Remitido por; Médico de "
            "cabecera; Familiar; Contacto; Nombre y apellidos; Facultativo; Madre; Padre; Remitente; "
            "Informado por; Anestesista"
        ),
        fields=_list(
            "Diagnóstico: Pancreatitis Aguda; Servicio: Cardiología; Sexo: Mujer; Fecha: {d}; Edad: {a}; "
            "Alergias: Penicilina; País: España; Hospital: Hospital General; Tratamiento: Ramipril; Motivo: "
            "Dolor Abdominal; Ciudad: Sevilla; Exploración: Abdomen Blando; Evolución: Favorable; Informe: "
            "{n}; Domicilio: Calle Mayor; Unidad: Cuidados"
        ),
        titles=_list("Sr.; Sra.; Don; Doña; Dr.; Dra.; D.; Dña.; Prof."),
        people=_list(
            "su hija; su hijo; su esposa; su marido; su madre; el paciente; la paciente; la enfermera; su hermano"
        ),
        before=_list(
            "Hablé con; Visto por; Comentado con; Derivado por; Acompañado de; Operado por; Acude; Llamada "
            "de; Valorado por"
        ),
        after=_list(
            "acude por {c}.; refiere {c}.; fue dado de alta el {d}.; presenta {c}.; vive solo.; , de {a} "
            "años; niega {c}.; está estable.; fue operado."
        ),
        ends=_list("hoy.; el {d}.; por {c}.; por teléfono.; y familia.; en consulta.; ."),
        closings=_list("Atentamente,; Un saludo,; Un cordial saludo,; Fdo."),
        jobs=_list("Médico adjunto; Jefe de servicio; Enfermera; Cardiólogo; Residente; Cirujana"),
        complaints=_list("fiebre; dolor abdominal; disnea; enfermedad de Crohn; diabetes"),
    ),
    "nl": Wording(
        labels=_list(
            "Naam; Achternaam; Voornaam; Patiënt; Huisarts; Arts; Behandelaar; Verwijzer; Contactpersoon; "
            "Chirurg; Aan; Van"
        ),
        fields=_list(
            "Diagnose: Acute Pancreatitis; Afdeling: Interne Geneeskunde; Geslacht: Vrouw; Datum: {d}; "
            "Leeftijd: {a}; Beloop: Ongecompliceerd; Plaats: Utrecht; Medicatie: Ramipril"
        ),
        titles=_list("Dhr.; Mevr.; Mw.; De heer; Mevrouw; Dr.; Drs.; Prof."),
        people=_list(
            "haar dochter; zijn zoon; echtgenote; echtgenoot; moeder; patiënt; zijn vrouw; de verpleegkundige"
        ),
        before=_list(
            "Overleg met; Gesproken met; Gezien door; Verwezen door; In consult bij; Geopereerd door; Brief "
            "aan; Bovengenoemde patiënt"
        ),
        after=_list(
            "werd opgenomen met {c}.; meldt {c}.; ging op {d} naar huis.; heeft {c}.; woont alleen.; , "
            "geboren {d}; is akkoord."
        ),
        ends=_list("vandaag.; op {d}.; wegens {c}.; telefonisch.; besproken.; ."),
        closings=_list("Hoogachtend,; Met collegiale groet,; Groeten,"),
        jobs=_list("Huisarts; Cardioloog; Arts-assistent; Verpleegkundige; Chirurg"),
        complaints=_list("koorts; buikpijn; kortademigheid; ziekte van Crohn"),
    ),
    "sv": Wording(
        labels=_list(
            "Namn; Efternamn; Förnamn; Patient; Läkare; Remittent; Ansvarig läkare; Sjuksköterska; Anhörig; "
            "Operatör; Till; Från"
        ),
        fields=_list(
            "Diagnos: Akut Pankreatit; Avdelning: Medicin; Kön: Kvinna; Datum: {d}; Ålder: {a}; Status: "
            "Opåverkad; Ort: Uppsala; Bedömning: Förbättrad"
        ),
        titles=_list("Herr; Fru; Dr; Doktor; Överläkare; Prof."),
        people=_list("hans dotter; hennes son; maken; hustrun; modern; patienten; sjuksköterskan"),
        before=_list("Samtal med; Undersökt av; Diskuterat med; Remiss från; Träffar; Opererad av; Ring; Brev till"),
        after=_list("söker för {c}.; mår bättre.; skrevs ut {d}.; uppger {c}.; bor ensam.; , född {d}; har {c}."),
        ends=_list("idag.; den {d}.; angående {c}.; per telefon.; ."),
        closings=_list("Vänliga hälsningar; Hälsningar; Högaktningsfullt"),
        jobs=_list("Specialistläkare; Sjuksköterska; ST-läkare; Kirurg"),
        complaints=_list("feber; buksmärta; andnöd; Crohns sjukdom"),
    ),
    "it": Wording(
        labels=_list(
            "Nome; Cognome; Paziente; Medico; Medico curante; Chirurgo; Infermiera; Inviato da; Contatto; "
            "Anestesista; Al; Referente"
        ),
        fields=_list(
            "Diagnosi: Pancreatite Acuta; Reparto: Cardiologia; Sesso: F; Data: {d}; Età: {a}; Terapia: "
            "Ramipril; Città: Torino; Decorso: Regolare"
        ),
        titles=_list("Sig.; Sig.ra; Signor; Signora; Dott.; Dott.ssa; Prof."),
        people=_list("la figlia; il figlio; la moglie; il marito; la madre; il paziente; l'infermiera"),
        before=_list(
            "Colloquio con; Visto da; Discusso con; Inviata da; Operato da; Accompagnata da; Lettera a; Il paziente"
        ),
        after=_list(
            "riferisce {c}.; è stato dimesso il {d}.; presenta {c}.; vive da solo.; , nato il {d}; nega {c}.; "
            "sta meglio."
        ),
        ends=_list("oggi.; il {d}.; per {c}.; al telefono.; ."),
        closings=_list("Cordiali saluti,; Distinti saluti,; In fede,"),
        jobs=_list("Cardiologo; Primario; Infermiera; Specializzando; Chirurgo"),
        complaints=_list("febbre; dolore addominale; dispnea; morbo di Crohn"),
    ),
    "pt": Wording(
        labels=_list(
            "Nome; Apelido; Utente; Paciente; Médico; Enfermeira; Cirurgião; Médico de família; Contacto; Remetente"
        ),
        fields=_list(
            "Diagnóstico: Pancreatite Aguda; Serviço: Cardiologia; Sexo: Feminino; Data: {d}; Idade: {a}; "
            "Cidade: Coimbra; Evolução: Favorável"
        ),
        titles=_list("Sr.; Sra.; Dr.; Dra.; D.; Dona; Prof.; Enf."),
        people=_list("a filha; o filho; a esposa; o marido; a mãe; o doente; a enfermeira"),
        before=_list("Falei com; Observado por; Discutido com; Referenciado por; Acompanhado de; Operado por; Carta a"),
        after=_list(
            "refere {c}.; teve alta a {d}.; apresenta {c}.; vive sozinho.; , nascido a {d}; nega {c}.; está melhor."
        ),
        ends=_list("hoje.; a {d}.; por {c}.; por telefone.; ."),
        closings=_list("Atenciosamente,; Com os melhores cumprimentos,; Cumprimentos,"),
        jobs=_list("Médica assistente; Cardiologista; Enfermeiro; Cirurgiã"),
        complaints=_list("febre; dor abdominal; dispneia; doença de Crohn"),
    ),
}
