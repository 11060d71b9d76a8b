"""The names from which surrogates are made: common surnames and given names of the US census, which are public."""

from ..locales.language import words

SURNAMES = words(
    "Adams; Allen; Anderson; Armstrong; Arnold; Bailey; Baker; Barnes; Barnett; Bates; Bennett; Bishop; Black; "
    "Boyd; Bradley; Brewer; Brooks; Bryant; Burke; Burns; Burton; Butler; Byrd; Caldwell; Campbell; Carlson; "
    "Carpenter; Carr; Carroll; Carter; Chambers; Chapman; Clark; Coleman; Collins; Cooper; Craig; Crawford; "
    "Cunningham; Curtis; Daniels; Davidson; Davis; Dawson; Dixon; Douglas; Duncan; Dunn; Edwards; Elliott; Ellis; "
    "Evans; Ferguson; Fields; Fisher; Fleming; Fletcher; Foster; Fowler; Franklin; Frazier; Freeman; Fuller; "
    "Gardner; Garrett; Gibson; Gilbert; Gordon; Graham; Grant; Graves; Greene; Gregory; Griffin; Hamilton; "
    "Hansen; Harper; Harris; Harrison; Harvey; Hawkins; Hayes; Henderson; Hicks; Hoffman; Holland; Holmes; "
    "Hopkins; Howard; Howell; Hudson; Hughes; Hunter; Jacobs; Jenkins; Jennings; Jensen; Johnson; Johnston; "
    "Keller; Kelley; Kennedy; Knight; Lambert; Larson; Lawrence; Lawson; Lewis; Little; Lynch; Marshall; Mason; "
    "Matthews; McCarthy; Meyer; Miller; Mitchell; Montgomery; Moore; Morgan; Morris; Morrison; Murphy; Murray; "
    "Myers; Nelson; Newman; Nichols; Obrien; Oliver; Olson; Owens; Palmer; Parker; Patterson; Payne; Perkins; "
    "Perry; Peters; Peterson; Phillips; Pierce; Porter; Powell; Price; Reed; Reynolds; Rhodes; Richards; "
    "Richardson; Riley; Roberts; Robertson; Robinson; Rogers; Russell; Sanders; Schmidt; Schneider; Schultz; "
    "Shaw; Simmons; Simpson; Snyder; Spencer; Stanley; Stephens; Stevens; Stewart; Sullivan; Sutton; Taylor; "
    "Terry; Thompson; Tucker; Turner; Vaughn; Wagner; Walker; Wallace; Walters; Warren; Watkins; Watson; Watts; "
    "Weaver; Webb; Weber; Welch; Wheeler; White; Wilkins; Williams; Williamson; Willis; Wilson; Woods; Wright"
)
GIVEN_NAMES = words(
    "Aaron; Adam; Alan; Albert; Alice; Amanda; Amy; Andrea; Andrew; Angela; Ann; Anna; Anthony; Arthur; Ashley; "
    "Barbara; Benjamin; Betty; Beverly; Brandon; Brenda; Brian; Bruce; Carl; Carol; Catherine; Charles; Cheryl; "
    "Christina; Christine; Cynthia; Daniel; David; Deborah; Debra; Denise; Dennis; Diana; Diane; Donald; Donna; "
    "Doris; Dorothy; Douglas; Edward; Elizabeth; Emily; Emma; Eric; Ethan; Eugene; Evelyn; Frances; Frank; Gary; "
    "George; Gerald; Gloria; Gregory; Hannah; Harold; Heather; Helen; Henry; Jack; Jacob; Jacqueline; James; "
    "Janet; Janice; Jason; Jean; Jeffrey; Jennifer; Jeremy; Jessica; Joan; Joe; John; Jonathan; Joseph; Joshua; "
    "Joyce; Juan; Judith; Judy; Julia; Julie; Justin; Karen; Katherine; Kathleen; Keith; Kelly; Kenneth; Kevin; "
    "Kimberly; Kyle; Larry; Laura; Lauren; Linda; Lisa; Lori; Louis; Margaret; Maria; Marie; Marilyn; Mark; "
    "Martha; Martin; Mary; Matthew; Megan; Melissa; Michael; Michelle; Mildred; Nancy; Nathan; Nicholas; Nicole; "
    "Olivia; Pamela; Patricia; Patrick; Paul; Peter; Philip; Rachel; Ralph; Raymond; Rebecca; Richard; Robert; "
    "Roger; Ronald; Rose; Ruth; Samuel; Sandra; Sara; Sarah; Scott; Sharon; Shirley; Stephanie; Stephen; Steven; "
    "Susan; Teresa; Thomas; Timothy; Tyler; Victoria; Vincent; Virginia; Walter; Wayne; William"
)
