"""How far a denial reaches: a table of sentences as physicians write them, all about an effusion."""

import pytest

from umed.evaluation.rules.mentions import find_mentions, named

DENIED = [
    "no effusion", "There is no evidence of a large pleural effusion.", "Effusion is not seen.",
    "There isn't an effusion.", "There isn\u2019t an effusion", "No evidence of any acute or chronic effusion.",
    "No effusion, pneumothorax, or consolidation is seen.", "No pneumothorax, consolidation, or effusion is seen.",
    "No focal consolidation, effusion or fracture.", "No pneumothorax or effusion.", "Effusion is absent.",
    "The effusion previously seen is no longer visible.", "Denies effusion.",
    "Effusion is ruled out.", "Effusion has been excluded.", "Effusion not seen",
    "The effusion is no longer visible.", "without any sign of an effusion", "The lungs are clear without effusion.",
    "There is neither pneumothorax nor effusion.", "negative for effusion",
    "The image does not show any signs of effusion.", "The image doesn't show an effusion",
    "No sign of any effusion in the left lower lobe.", "Pleural effusion: none.", "Effusion: absent", "effusion - no",
    "Effusion: not seen", "Effusion and pneumothorax are absent.",
    "Effusion, pneumothorax and fracture are not seen.", "free of effusion", "I cannot see an effusion.",
    "There is no pneumothorax and no effusion.", "No abnormality is seen, no effusion.",
    "The finding is not an effusion but atelectasis.", "atelectasis rather than effusion",
    "The absence of effusion is noted", "It is unlikely to be an effusion.", "An effusion is unlikely.",
    "Effusion? No.", "effusion-free lungs", "nothing to suggest effusion", "fails to show effusion",
    "Neither lung has an effusion", "Lungs show no consolidation, effusion, or pneumothorax",
    "There is no\nevidence of effusion", "no (large) effusion", "No definite effusion",
    "no obvious pneumothorax nor effusion", "Effusion was not identified on this image.",
    "An effusion could not be detected.", "effusion cannot be seen",
    "No acute cardiopulmonary process such as effusion.", "No sign of the following: pneumothorax, effusion.",
    "Not present: effusion", "I do not believe this is an effusion", "There was never an effusion",
    "Effusion in the left lung is not seen.", "The previously seen effusion has resolved.", "a lack of effusion",
    "CT excludes effusion", "this rules out effusion", "Ruled out: effusion", "No effusion\nCardiomegaly is seen",
    "The heart is enlarged. No effusion.", "no pneumothorax (or effusion)", "effusion (absent)",
    "There are no findings of effusion", "no large, loculated effusion", "Devoid of effusion", "hasn't any effusion",
    "No radiographic evidence of acute effusion was found.", "does not have effusion",
    "There is not any evidence for effusion", "No effusion or consolidation, but the heart is large",
    "The scan is negative for pneumothorax, effusion, or fracture.", "There is no visible effusion",
    "No pleural effusion or pneumothorax is identified", "The chest X-ray is without evidence for effusion.",
    "no pneumonia nor effusion", "I see no effusion here but a mass", "effusion is not present",
    "effusion is not demonstrated", "There's no effusion", "Effusion: No", "w/o effusion", "The effusion isn't there",
    "effusion has been ruled out", "effusion is excluded", "effusion can be excluded", "No longer any effusion",
    "There is no suggestion of effusion", "Absent: effusion, mass", "There is no evidence that there is an effusion.",
    "I do not see that there is effusion", "no indication that effusion is present",
    "The answer is no. Effusion is not visible", "Mass is present without effusion", "This is certainly not effusion",
    "Effusion? Not seen.", "There is no lesion or effusion of the lung", "This is not an effusion.", "not effusion",
    "Not an effusion, a mass.", "Effusion, mass and nodule were not detected", "**No** effusion", "No *effusion*",
    "No evidence of effusion.\n\nMass is seen.", "Findings: no effusion; mass.",
    "The lungs are clear, with no effusion.", "Clear lungs, no effusion", "No effusion/pneumothorax",
    "No pneumothorax/effusion", "There is no obvious, large effusion.", "I found no effusion, no mass.",
    "NO EFFUSION", "No, there is no effusion", "effusion was never seen", "No apparent effusion [box]",
    "Heart normal, effusion absent", "effusion and mass not seen", "Effusion -- none",
    "The image shows no abnormality, such as effusion.", "there is a mass but not an effusion",
    "lack of any effusion", "it doesn't look like an effusion", "Effusion is nowhere seen",
    "Interval resolution of effusion.", "Resolved effusion.", "Effusion: false", "None of the images show effusion",
    "inconsistent with effusion", "low suspicion for effusion", "insufficient evidence of effusion",
    "The effusion has disappeared", "The effusion has cleared", "Effusion \u2013 none", "Effusion [absent]",
    "free from effusion", "without visible effusion", "lack of clearly visible effusion",
    "The effusion has completely resolved.", "absence of any detectable effusion",
]  # fmt: skip
NAMED = [
    "effusion", "No pneumothorax, but effusion on the left.", "No pneumothorax, effusion on the left.",
    "There is no pneumothorax, however effusion is seen.", "No pneumothorax; effusion.", "No pneumothorax. Effusion.",
    "No change in the effusion.", "No significant interval change in effusion",
    "not only atelectasis but also effusion", "not only effusion", "Effusion cannot be ruled out.",
    "cannot rule out effusion", "Cannot exclude effusion.", "effusion cannot be excluded",
    "An effusion can't be excluded", "Effusion is not excluded", "not without effusion", "Effusion is not absent",
    "No pneumothorax, although effusion is present.", "No pneumothorax, an effusion is seen.",
    "There is no pneumothorax and there is an effusion.", "No pneumothorax is seen, effusion is present.",
    "No doubt there is an effusion", "There is no doubt about the effusion.", "CT without contrast shows effusion",
    "Nothing but effusion", "No abnormality other than effusion.", "No abnormality except for effusion",
    "No finding apart from an effusion", "The image is not normal: effusion is seen.",
    "The image is not normal, with effusion", "Effusion is seen, no pneumothorax.",
    "An effusion without pneumothorax", "Effusion, pneumothorax is not seen.",
    "There is an effusion, pneumothorax is not seen.", "There is an effusion and pneumothorax is not seen.",
    "An effusion is present and pneumothorax is absent.", "The effusion is not large.",
    "The effusion has not changed", "effusion is not well seen", "Effusion; pneumothorax absent.",
    "No. Effusion is seen.", "No, effusion is seen.", "Is it benign? No; an effusion",
    "It is not pneumothorax, it is effusion", "Not pneumothorax but effusion", "Not a fracture, an effusion.",
    "No pneumothorax\nEffusion on the left", "No pneumothorax\n- Effusion",
    "No pneumothorax - effusion in the left lung", "(no pneumothorax) effusion",
    "The heart is not enlarged and effusion is present.", "The heart is not enlarged, effusion is present.",
    "negative for pneumothorax, positive for effusion", "There is effusion with no pneumothorax",
    "Without treatment, effusion may grow", "rather an effusion", "Although not large, an effusion is present",
    "Effusion should be ruled out.", "to rule out effusion", "Pneumothorax is absent, effusion is present.",
    "Pneumothorax absent, effusion present.", "It is not clear whether this is effusion",
    "No fracture, only effusion.", "An effusion is not uncommon here", "effusion is seen; not pneumothorax",
    "evidence of effusion", "note the effusion", "The pneumothorax has resolved, and there is an effusion",
    "It does not exclude effusion", "Effusion (not pneumothorax)", "The finding is an effusion, not a pneumothorax.",
    "An effusion, without a mass", "No evidence to rule out effusion", "It is not atelectasis, rather effusion",
    "There is no pneumothorax yet effusion is seen", "The lesion is no cyst; effusion",
    "Pneumothorax ruled out, effusion confirmed", "Diagnosis: effusion. No other abnormality.",
    "No cardiomegaly; effusion and mass are seen", "No cardiomegaly. There is effusion", "effusion (no mass)",
    "Although no pneumothorax is seen, effusion is present.", "While there is no mass, effusion is noted.",
    "No pneumothorax, with effusion on the left", "No pneumothorax, with effusion",
    "No pneumothorax, moderate effusion", "not pneumonia, but rather effusion",
    "Effusion is seen, which was not present before", "effusion not previously seen",
    "new effusion that was not seen on the prior study", "effusion with no change", "effusion, no change",
    "Effusion, not pneumothorax, is seen", "The finding is not pneumothorax: it is effusion",
    "without mass, effusion is seen", "with no mass, the effusion is seen",
    "Effusion in the right lung and no mass in the left", "There is effusion and no mass is seen",
    "effusion is not only present but large", "Is there an effusion? Yes.",
    "No lesion in the lung, but in the effusion", "Effusion is not the cause of death",
    "There is no mass, only effusion", "Yes, effusion. No mass.", "No finding other than effusion", "Effusion: yes",
    "Effusion: present, pneumothorax: absent", "Pneumothorax: absent, effusion: present",
    "Pneumothorax: no. Effusion: yes.", "Pneumothorax: none; effusion: small", "effusion - no pneumothorax",
    "It may be an effusion; a mass cannot be excluded", "No mass was found. However, effusion was",
    "An effusion is possible", "The absence of a mass suggests effusion",
    "There is no mass. The finding is effusion.", "The area does not look normal. This indicates effusion.",
    "not a mass, but an effusion", "instead of a mass there is effusion", "rather than mass, effusion is seen",
    "effusion rather than mass", "no mass nor nodule but effusion",
    "an effusion of the left lung, the right lung is not affected", "effusion without change",
    "a mass, not far from it an effusion",
    "Effusion not resolved", "The effusion hasn't resolved.", "No resolution of the effusion",
    "The effusion has partially resolved.", "Partial resolution of the effusion", "The effusion is nearly gone",
    "Effusion not seen on the prior study", "The pneumothorax has resolved, effusion is seen",
    "Pneumothorax has resolved, small effusion", "The absence of mass is visible, effusion is seen",
    "The effusion has not cleared", "The effusion is near-completely resolved.", "Resolved mass, new effusion",
    "Resolution of the pneumothorax with persistent effusion", "No pneumothorax, new effusion",
]  # fmt: skip


@pytest.mark.parametrize(("sentences", "is_named"), [(DENIED, False), (NAMED, True)], ids=["denied", "named"])
def test_a_name_counts_unless_its_own_statement_denies_it(sentences: list[str], is_named: bool) -> None:
    assert [s for s in sentences if (named(s, ["effusion"]) == {"effusion"}) != is_named] == []
    assert [s for s in sentences if bool(find_mentions(s, "effusion")) != is_named] == []


def test_a_sentence_denies_one_thing_and_names_another() -> None:
    names = ["effusion", "mass", "pneumonia", "liver"]
    assert named("No effusion or pneumonia, but a mass of the liver.", names) == {"mass", "liver"}
    assert named("A mass without effusion; pneumonia is ruled out.", names) == {"mass"}
    assert named("Effusion: none. Mass: 3 cm. Pneumonia: cannot be excluded.", names) == {"mass", "pneumonia"}
    assert named("No mass is seen in the liver.", names) == set()


@pytest.mark.parametrize("unit", ["no ", "no, ", "not yet ", "effusion ", "no effusion. ", "is ", "( ", "\n "])
def test_long_repetitions_are_read_at_once(unit: str) -> None:
    """A pattern whose time grows with the square of the length would take minutes."""
    find_mentions("no " + unit * (2_000 // len(unit)) + "effusion", "effusion")
    find_mentions("effusion " + unit * (2_000 // len(unit)), "effusion")
