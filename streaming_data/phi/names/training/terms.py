"""Words of notes that look like names of persons: brands, instruments and signs that are called after somebody.

Citations, in which words are counted, have few of them. They are written into the text that is trained with.
"""

TERMS = (
    "Tylenol; Advil; Motrin; Aleve; Lovenox; Coumadin; Lasix; Zosyn; Flagyl; Cipro; Levaquin; Bactrim; Keflex; "
    "Ancef; Rocephin; Zithromax; Augmentin; Colace; Senna; Dulcolax; Miralax; Reglan; Zofran; Phenergan; "
    "Compazine; Ativan; Valium; Xanax; Klonopin; Haldol; Seroquel; Zyprexa; Risperdal; Abilify; Prozac; Zoloft; "
    "Paxil; Celexa; Lexapro; Effexor; Wellbutrin; Cymbalta; Neurontin; Lyrica; Keppra; Dilantin; Depakote; "
    "Tegretol; Lamictal; Topamax; Sinemet; Aricept; Namenda; Norvasc; Toprol; Lopressor; Coreg; Zestril; Cozaar; "
    "Diovan; Lipitor; Crestor; Zocor; Pravachol; Zetia; Plavix; Brilinta; Eliquis; Xarelto; Pradaxa; Glucophage; "
    "Lantus; Humalog; Novolog; Januvia; Synthroid; Prilosec; Nexium; Protonix; Pepcid; Zantac; Singulair; Advair; "
    "Spiriva; Combivent; Albuterol; Atrovent; Flonase; Claritin; Zyrtec; Benadryl; Flomax; Proscar; Viagra; "
    "Cialis; Percocet; Vicodin; Norco; Lortab; Dilaudid; Demerol; Ultram; Flexeril; Soma; Robaxin; Decadron; "
    "Medrol; Humira; Enbrel; Remicade; Rituxan; Avastin; Herceptin; Gleevec; Neulasta; Epogen; Vicryl; Monocryl; "
    "Prolene; Marcaine; Xylocaine; Betadine; Dermabond; Gelfoam; Surgicel; Surgiflo; Foley; Bovie; Allis; Kocher; "
    "Babcock; Balfour; Bookwalter; Richardson; Deaver; Army-Navy; Penrose; Jackson-Pratt; Blake; Hemovac; "
    "Bard-Parker; Metzenbaum; Mayo; Kelly; Kerrison; Weitlaner; Gelpi; Adson; DeBakey; Fogarty; Swan-Ganz; "
    "Hickman; Port-A-Cath; Shiley; Passy-Muir; Ommaya; Judkins; Amplatz; Seldinger; Trendelenburg; Pfannenstiel; "
    "Lahey; Roux; Roux-en-Y; Whipple; Nissen; Hartmann; Billroth; Heller; Veress; Hasson; Verres; Steri-Strips; "
    "Kirschner; Steinmann; Ilizarov; Bankart; Lachman; McMurray; Phalen; Tinel; Finkelstein; Romberg; Babinski; "
    "Murphy; McBurney; Rovsing; Homans; Kernig; Brudzinski; Spurling; Hoffmann; Guillain-Barre; Mallory-Weiss; "
    "Marshall-Marchetti-Krantz; Charcot-Marie-Tooth; Wolff-Parkinson-White; Stevens-Johnson; Sjogren; Raynaud; "
    "Dupuytren; Baker; Bartholin; Meckel; Barrett; Schatzki; Zenker; Wernicke; Korsakoff; Cushing; Addison; "
    "Hashimoto; Basedow; Paget; Kaposi; Wilms; Ewing; Burkitt; Gleason; Breslow; Clark; Papanicolaou; Doppler; "
    "Holter; Apgar; Glasgow; Braden; Norton; Hounsfield; Fowler; Sims; Valsalva; Kegel; Epley; Heimlich; "
    "Kussmaul; Cheyne-Stokes; Broca; Willis; Hodgkin; Bell; Horner; Bence-Jones; Gram; Giemsa; Wright; Coombs; "
    "Mantoux; Allen; Doptone; Sunday; Monday; Tuesday; Wednesday; Thursday; Friday; Saturday; Christmas; "
    "Medicare; Medicaid; Alexa Fluor; Becton Dickinson"
)
SENTENCES = (
    "The patient was given {}.; Continue {} as before.; {} was used to close the skin.; Positive {} sign.; {} 20 "
    "mg daily.; She takes {} and {}.; A {} retractor was placed.; The {} clamp was removed.; Allergies: {}; "
    "History of {} disease.; Status post {} procedure.; {} sutures were placed.; Medications: {}, {}, {}; 1. "
    "{}\n2. {}; A {} catheter was inserted.; {} test was negative.; Stop {} on discharge.; He was placed in {} "
    "position.; {} maneuver; Return on {}."
)
