"""The medical content of the synthetic notes, written by hand and not derived from any patient."""

from typing import NamedTuple


class Condition(NamedTuple):
    """A reason for admission with matching findings and treatment, so that a note is coherent.

    Attributes:
        labs: the abnormal analytes, with the range of their values on admission.
        imaging: a study, its findings and its impression.
        course: sentences of the hospital course, in order.
        drugs: started in hospital and continued.
    """

    name: str
    service: str
    complaint: str
    symptoms: tuple[str, ...]
    exam: tuple[tuple[str, str], ...]
    labs: dict[str, tuple[float, float]]
    imaging: tuple[str, str, str]
    procedure: str
    course: tuple[str, ...]
    drugs: tuple[str, ...]
    advice: str


class Comorbidity(NamedTuple):
    """A long-standing problem, its drug, and its line in the hospital course."""

    name: str
    drug: str
    course: str


CONDITIONS = (
    Condition(
        "Acute on chronic systolic heart failure",
        "MEDICINE",
        "Dyspnea on exertion",
        ("orthopnea", "paroxysmal nocturnal dyspnea", "bilateral leg swelling", "weight gain of ten pounds"),
        (("Neck", "JVP elevated to 12 cm."), ("Lungs", "Bibasilar crackles."), ("Extremities", "2+ pitting edema.")),
        {"proBNP": (2500, 19000), "CREAT": (1.2, 2.4), "SODIUM": (128, 136)},
        (
            "CHEST (PA AND LAT)",
            "The heart is enlarged. There is pulmonary vascular congestion with small bilateral effusions.",
            "Moderate pulmonary edema with small bilateral pleural effusions.",
        ),
        "None",
        (
            "The patient was diuresed with intravenous furosemide with good urine output.",
            "An echocardiogram showed a left ventricular ejection fraction of 30 percent with global hypokinesis.",
            "Weight at discharge was below the weight at admission and diuretics were changed to an oral regimen.",
        ),
        ("Torsemide 40 mg PO DAILY", "Metoprolol Succinate XL 50 mg PO DAILY", "Spironolactone 25 mg PO DAILY"),
        "Please weigh yourself every morning and call your doctor if your weight goes up by more than three pounds.",
    ),
    Condition(
        "Community acquired pneumonia",
        "MEDICINE",
        "Fever and cough",
        ("productive cough with yellow sputum", "subjective fevers", "pleuritic chest pain", "shaking chills"),
        (("Lungs", "Rhonchi and egophony at the right base."), ("General", "Tired, speaking in full sentences.")),
        {"WBC": (12.5, 23.0), "LACTATE": (1.6, 3.4)},
        (
            "CHEST (PORTABLE AP)",
            "There is a focal consolidation in the right lower lobe. No pneumothorax or pleural effusion is seen.",
            "Right lower lobe pneumonia.",
        ),
        "None",
        (
            "The patient was started on ceftriaxone and azithromycin for community acquired pneumonia.",
            "Sputum cultures grew Streptococcus pneumoniae and blood cultures had no growth.",
            "Oxygen was weaned to room air and ambulatory saturation was normal before discharge.",
        ),
        ("Cefpodoxime Proxetil 200 mg PO Q12H", "Azithromycin 250 mg PO DAILY"),
        "Please finish all of your antibiotics even if you feel better, and return if you have fevers.",
    ),
    Condition(
        "Acute cholecystitis",
        "SURGERY",
        "Right upper quadrant pain",
        ("pain after fatty meals", "nausea", "vomiting", "radiation of the pain to the right shoulder"),
        (("Abdomen", "Tender in the right upper quadrant with a positive Murphy sign."), ("Skin", "No jaundice.")),
        {"WBC": (11.0, 19.0), "ALT": (60, 190), "ALK PHOS": (120, 260), "TOT BILI": (0.9, 2.6)},
        (
            "LIVER OR GALLBLADDER US",
            "The gallbladder is distended and contains stones. The wall is thickened with pericholecystic fluid.",
            "Cholelithiasis with findings of acute cholecystitis.",
        ),
        "Laparoscopic cholecystectomy",
        (
            "The patient was made NPO, given intravenous fluids and started on ampicillin-sulbactam.",
            "The patient was taken to the operating room for a laparoscopic cholecystectomy without complication.",
            "The diet was advanced as tolerated and pain was controlled with oral medication.",
        ),
        ("Acetaminophen 650 mg PO Q6H", "Oxycodone 5 mg PO Q4H:PRN pain", "Docusate Sodium 100 mg PO BID"),
        "Do not lift anything heavier than ten pounds for four weeks and keep your incisions clean and dry.",
    ),
    Condition(
        "Decompensated cirrhosis with ascites",
        "MEDICINE",
        "Abdominal distension",
        ("increasing abdominal girth", "early satiety", "confusion noted by family", "poor appetite"),
        (("Abdomen", "Distended with a fluid wave and shifting dullness."), ("Skin", "Spider angiomata, jaundice.")),
        {"TOT BILI": (2.4, 9.0), "ALBUMIN": (1.9, 2.9), "INR": (1.5, 2.6), "PLT": (42, 110), "SODIUM": (124, 133)},
        (
            "ABDOMEN US (COMPLETE STUDY)",
            "The liver is shrunken and nodular. There is large volume ascites. The main portal vein is patent.",
            "Cirrhotic liver with large volume ascites and splenomegaly.",
        ),
        "Diagnostic and therapeutic paracentesis",
        (
            "A paracentesis removed five liters of fluid, without evidence of spontaneous bacterial peritonitis.",
            "Lactulose and rifaximin were given for hepatic encephalopathy and mental status improved.",
            "Diuretics were restarted at a low dose once the creatinine was stable.",
        ),
        ("Lactulose 30 mL PO TID", "Rifaximin 550 mg PO BID", "Spironolactone 100 mg PO DAILY"),
        "Please follow a low salt diet and take enough lactulose to have three bowel movements each day.",
    ),
    Condition(
        "Non-ST elevation myocardial infarction",
        "MEDICINE",
        "Chest pain",
        ("substernal chest pressure", "radiation to the left arm", "diaphoresis", "shortness of breath"),
        (("Heart", "Regular rate and rhythm, no murmurs."), ("Lungs", "Clear to auscultation bilaterally.")),
        {"cTropnT": (0.12, 2.8), "CK-MB": (9, 64)},
        (
            "CHEST (PA AND LAT)",
            "The lungs are clear. The cardiomediastinal silhouette is within normal limits.",
            "No acute cardiopulmonary process.",
        ),
        "Cardiac catheterization with a drug eluting stent to the left anterior descending artery",
        (
            "The patient was loaded with aspirin and ticagrelor and started on a heparin infusion.",
            "Catheterization showed a 90 percent stenosis of the left anterior descending artery, which was stented.",
            "The patient remained free of chest pain and was started on a high intensity statin.",
        ),
        ("Aspirin 81 mg PO DAILY", "Ticagrelor 90 mg PO BID", "Atorvastatin 80 mg PO QPM"),
        "It is very important that you do not stop aspirin and ticagrelor unless your cardiologist tells you to.",
    ),
    Condition(
        "Acute ischemic stroke",
        "NEUROLOGY",
        "Right sided weakness",
        ("slurred speech", "facial droop", "difficulty finding words", "sudden onset while at breakfast"),
        (("Neuro", "Right facial droop, right arm drift, expressive aphasia."), ("Heart", "Irregularly irregular.")),
        {"INR": (0.9, 1.3), "GLUCOSE": (110, 220)},
        (
            "CT HEAD W/O CONTRAST",
            "There is loss of gray-white differentiation in the left insula. There is no hemorrhage or mass effect.",
            "Evolving infarct in the territory of the left middle cerebral artery without hemorrhage.",
        ),
        "Mechanical thrombectomy",
        (
            "The patient received tissue plasminogen activator and underwent thrombectomy with good reperfusion.",
            "Telemetry showed atrial fibrillation, the presumed source of the embolus.",
            "Speech and strength improved with therapy, and anticoagulation was started before discharge.",
        ),
        ("Apixaban 5 mg PO BID", "Atorvastatin 80 mg PO QPM"),
        "Please call 911 at once if you have new weakness, numbness, trouble speaking or a severe headache.",
    ),
    Condition(
        "Diabetic ketoacidosis",
        "MEDICINE",
        "Nausea and vomiting",
        ("polyuria", "polydipsia", "abdominal pain", "missed doses of insulin"),
        (("General", "Ill appearing, dry mucous membranes, Kussmaul breathing."), ("Abdomen", "Soft, mildly tender.")),
        {"GLUCOSE": (380, 720), "TOTAL CO2": (6, 14), "POTASSIUM": (4.8, 6.1), "ANION GAP": (20, 31)},
        (
            "CHEST (PORTABLE AP)",
            "The lungs are clear without focal consolidation. The heart size is normal.",
            "No acute cardiopulmonary process.",
        ),
        "None",
        (
            "The patient was given intravenous fluids and an insulin infusion until the anion gap closed.",
            "The patient was then bridged to subcutaneous glargine and the diet was advanced.",
            "Diabetes education was given and the hemoglobin A1c was 11 percent.",
        ),
        ("Glargine 24 Units Bedtime", "Humalog 8 Units with meals"),
        "Please check your blood sugar before every meal and never skip your long acting insulin.",
    ),
    Condition(
        "Upper gastrointestinal bleed",
        "MEDICINE",
        "Melena",
        ("black tarry stools", "lightheadedness on standing", "use of ibuprofen for back pain", "fatigue"),
        (
            ("Rectal", "Guaiac positive black stool."),
            ("Skin", "Pale conjunctivae."),
            ("Abdomen", "Mild epigastric pain."),
        ),
        {"HGB": (5.9, 8.4), "UREA N": (34, 68), "INR": (1.0, 1.4)},
        (
            "CT ABD & PELVIS WITH CONTRAST",
            "There is no active extravasation. The stomach wall is mildly thickened at the antrum.",
            "No evidence of active bleeding. Antral wall thickening may represent gastritis.",
        ),
        "Esophagogastroduodenoscopy with clipping of a duodenal ulcer",
        (
            "The patient received two units of packed red blood cells and an intravenous proton pump inhibitor.",
            "Endoscopy showed a duodenal ulcer with a visible vessel, which was clipped and injected with epinephrine.",
            "The hemoglobin remained stable for 48 hours and biopsies for Helicobacter pylori were sent.",
        ),
        ("Pantoprazole 40 mg PO Q12H",),
        "Please do not take ibuprofen, naproxen or similar drugs, and return if your stools turn black again.",
    ),
    Condition(
        "Urosepsis due to Escherichia coli",
        "MEDICINE",
        "Altered mental status",
        ("dysuria", "flank pain", "rigors", "decreased urine output"),
        (("Back", "Left costovertebral angle tenderness."), ("General", "Drowsy but arousable, febrile.")),
        {"WBC": (14.0, 28.0), "LACTATE": (2.2, 5.6), "CREAT": (1.4, 3.1)},
        (
            "RENAL U.S.",
            "There is mild left hydronephrosis. No stones or perinephric collections are identified.",
            "Mild left hydronephrosis without abscess.",
        ),
        "None",
        (
            "The patient received thirty mL per kg of crystalloid and cefepime for septic shock of urinary source.",
            "Blood and urine cultures grew Escherichia coli, and antibiotics were narrowed to ceftriaxone.",
            "Norepinephrine was weaned on the second day and mental status returned to baseline.",
        ),
        ("Ciprofloxacin HCl 500 mg PO Q12H",),
        "Please drink plenty of fluids and complete your course of antibiotics.",
    ),
    Condition(
        "Acute exacerbation of chronic obstructive pulmonary disease",
        "MEDICINE",
        "Shortness of breath",
        ("wheezing", "increased sputum", "use of rescue inhaler every two hours", "recent upper respiratory infection"),
        (
            ("Lungs", "Diffuse expiratory wheezes with a prolonged expiratory phase."),
            ("General", "Using accessory muscles."),
        ),
        {"PCO2": (52, 78), "TOTAL CO2": (29, 38)},
        (
            "CHEST (PORTABLE AP)",
            "The lungs are hyperinflated with flattened diaphragms. There is no focal consolidation.",
            "Hyperinflated lungs without evidence of pneumonia.",
        ),
        "None",
        (
            "The patient was treated with prednisone, azithromycin and scheduled nebulizers.",
            "Noninvasive ventilation was needed on the first night for hypercarbia and then weaned.",
            "Smoking cessation was discussed and nicotine replacement was offered.",
        ),
        (
            "PredniSONE 40 mg PO DAILY",
            "Tiotropium Bromide 1 CAP IH DAILY",
            "Albuterol Inhaler 2 PUFF IH Q4H:PRN wheezing",
        ),
        "Please stop smoking, use your inhalers as directed and finish the prednisone taper.",
    ),
    Condition(
        "Left femoral neck fracture",
        "ORTHOPAEDICS",
        "Left hip pain after a fall",
        ("inability to bear weight", "a mechanical fall from standing", "no loss of consciousness", "groin pain"),
        (
            ("Extremities", "Left leg shortened and externally rotated, distal pulses intact."),
            ("Neuro", "Sensation intact."),
        ),
        {"HGB": (8.2, 11.0), "INR": (0.9, 1.2)},
        (
            "HIP UNILAT MIN 2 VIEWS LEFT",
            "There is a displaced fracture of the left femoral neck. No dislocation is seen.",
            "Displaced left femoral neck fracture.",
        ),
        "Left hip hemiarthroplasty",
        (
            "The patient was taken to the operating room for a left hip hemiarthroplasty and tolerated it well.",
            "The patient worked with physical therapy and is weight bearing as tolerated on the left leg.",
            "Enoxaparin was given to prevent deep vein thrombosis and hemoglobin was stable.",
        ),
        ("Enoxaparin Sodium 40 mg SC DAILY", "Acetaminophen 1000 mg PO Q8H", "Calcium Carbonate 500 mg PO TID"),
        "Weight bearing as tolerated on the left leg. Please take enoxaparin for four weeks to prevent blood clots.",
    ),
    Condition(
        "Acute pulmonary embolism",
        "MEDICINE",
        "Pleuritic chest pain",
        ("sudden shortness of breath", "calf swelling", "a recent long flight", "palpitations"),
        (("Heart", "Tachycardic, regular."), ("Extremities", "Right calf swollen and tender."), ("Lungs", "Clear.")),
        {"D-DIMER": (1900, 8200), "cTropnT": (0.01, 0.09)},
        (
            "CTA CHEST WITH CONTRAST",
            "There are filling defects in the right main and segmental pulmonary arteries. No right heart strain.",
            "Acute pulmonary emboli in the right main and segmental pulmonary arteries.",
        ),
        "None",
        (
            "The patient was started on a heparin infusion and was hemodynamically stable throughout.",
            "Lower extremity ultrasound showed a deep vein thrombosis of the right popliteal vein.",
            "The patient was transitioned to rivaroxaban for at least three months.",
        ),
        ("Rivaroxaban 15 mg PO BID",),
        "Please take your blood thinner every day with food and watch for signs of bleeding.",
    ),
    Condition(
        "Acute pancreatitis due to gallstones",
        "MEDICINE",
        "Epigastric pain",
        ("pain radiating to the back", "vomiting", "anorexia", "relief when leaning forward"),
        (("Abdomen", "Tender in the epigastrium without rebound or guarding."), ("General", "Uncomfortable.")),
        {"LIPASE": (900, 4200), "WBC": (11.0, 17.5), "CALCIUM": (7.4, 8.3), "ALT": (90, 310)},
        (
            "CT ABD & PELVIS WITH CONTRAST",
            "The pancreas is edematous with peripancreatic fat stranding. There is no necrosis or collection.",
            "Acute interstitial pancreatitis without necrosis.",
        ),
        "Endoscopic retrograde cholangiopancreatography with sphincterotomy",
        (
            "The patient was given aggressive intravenous fluids and kept NPO until pain improved.",
            "ERCP removed a stone from the common bile duct, and liver tests fell afterwards.",
            "The patient tolerated a low fat diet and surgery will arrange an interval cholecystectomy.",
        ),
        ("Oxycodone 5 mg PO Q6H:PRN pain", "Ondansetron 4 mg PO Q8H:PRN nausea"),
        "Please eat a low fat diet and avoid alcohol.",
    ),
    Condition(
        "Acute kidney injury due to volume depletion",
        "MEDICINE",
        "Decreased urine output",
        ("diarrhea for four days", "poor oral intake", "dizziness", "cramps"),
        (("General", "Dry mucous membranes, poor skin turgor."), ("Abdomen", "Soft, nontender.")),
        {"CREAT": (2.4, 6.8), "UREA N": (52, 118), "POTASSIUM": (5.1, 6.3), "TOTAL CO2": (14, 20)},
        (
            "RENAL U.S.",
            "Both kidneys are normal in size and echogenicity. There is no hydronephrosis.",
            "Normal renal ultrasound.",
        ),
        "None",
        (
            "Creatinine improved with intravenous fluids, and lisinopril was held.",
            "Urine electrolytes showed a fractional excretion of sodium below one percent.",
            "Stool studies including Clostridium difficile were negative and diarrhea resolved.",
        ),
        ("Loperamide 2 mg PO QID:PRN diarrhea",),
        "Please have your kidney tests checked within one week and do not take lisinopril until then.",
    ),
    Condition(
        "Small bowel obstruction",
        "SURGERY",
        "Abdominal pain and vomiting",
        ("no flatus for two days", "bilious emesis", "crampy pain", "a prior laparotomy"),
        (
            ("Abdomen", "Distended, tympanitic, high pitched bowel sounds, well healed midline scar."),
            ("Heart", "Regular."),
        ),
        {"LACTATE": (1.1, 2.6), "WBC": (9.5, 15.5), "CREAT": (1.1, 1.9)},
        (
            "CT ABD & PELVIS WITH CONTRAST",
            "There are dilated loops of small bowel with a transition point in the right lower quadrant.",
            "Small bowel obstruction with a transition point in the right lower quadrant, likely from adhesions.",
        ),
        "None",
        (
            "A nasogastric tube was placed to suction and the patient was given intravenous fluids.",
            "The obstruction resolved without an operation; flatus returned on the third day.",
            "The tube was removed and the diet was advanced to regular.",
        ),
        ("Polyethylene Glycol 17 g PO DAILY",),
        "Please return if you have vomiting, bloating or cannot pass gas.",
    ),
)

COMORBIDITIES = (
    Comorbidity("Hypertension", "Amlodipine 5 mg PO DAILY", "Continued home amlodipine."),
    Comorbidity("Hyperlipidemia", "Simvastatin 20 mg PO QPM", "Continued home simvastatin."),
    Comorbidity(
        "Type 2 diabetes mellitus", "MetFORMIN 1000 mg PO BID", "Metformin was held; insulin sliding scale given."
    ),
    Comorbidity("Hypothyroidism", "Levothyroxine Sodium 75 mcg PO DAILY", "Continued home levothyroxine."),
    Comorbidity("Depression", "Sertraline 50 mg PO DAILY", "Mood was stable on home sertraline."),
    Comorbidity("Gastroesophageal reflux disease", "Omeprazole 20 mg PO DAILY", "Continued home omeprazole."),
    Comorbidity(
        "Atrial fibrillation", "Warfarin 5 mg PO DAILY", "Rate controlled; INR was followed daily on warfarin."
    ),
    Comorbidity("Asthma", "Fluticasone Propionate 110mcg 2 PUFF IH BID", "No wheezing; continued inhaled fluticasone."),
    Comorbidity(
        "Chronic kidney disease stage 3", "Sodium Bicarbonate 650 mg PO TID", "Creatinine was at its baseline."
    ),
    Comorbidity("Osteoarthritis", "Acetaminophen 500 mg PO Q6H:PRN pain", "Joint pain was treated with acetaminophen."),
    Comorbidity("Benign prostatic hyperplasia", "Tamsulosin 0.4 mg PO QHS", "Continued home tamsulosin, no retention."),
    Comorbidity("Gout", "Allopurinol 100 mg PO DAILY", "No flare; continued allopurinol."),
    Comorbidity("Seizure disorder", "LevETIRAcetam 500 mg PO BID", "No seizures; continued levetiracetam."),
    Comorbidity("Anxiety", "LORazepam 0.5 mg PO QHS:PRN anxiety", "Lorazepam was used sparingly."),
    Comorbidity("Coronary artery disease", "Aspirin 81 mg PO DAILY", "No angina; continued aspirin and beta blocker."),
    Comorbidity("Obstructive sleep apnea", "CPAP at night", "Continued CPAP at night."),
)
