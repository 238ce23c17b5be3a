"""Other people's rules, defect by defect."""

import pytest

from umed.evaluation.rules.compat import VARIANTS


@pytest.mark.parametrize(
    ("name", "output", "gold", "verdict"),
    [
        ("closed_contains@llavamed", "It is on the left", "left", False),  # no yes or no in it
        ("closed_contains@llavamed", "No, it is on the left", "left", True),
        ("closed_contains@llavamed", "normal left lung", "left", True),  # "no" is inside "normal"
        ("closed_contains@llavamed", "Yes", "yes", True),
        ("closed_contains@llavamed", "yes", "", False),
        ("open_exact@llavamed", "left lung lobe left", "left lung", 2 / 4),
        ("open_exact@llavamed", "left", "left left lung", 1),
        ("open_exact@llavamed", "", "left", 0),
        ("open_recall75@multimedeval", "lung lung lung lung", "left lung", False),  # sets, where open_recall gives .8
        ("open_recall75@multimedeval", "left upper lung", "left upper lung lobe", True),
        ("open_recall75@multimedeval", "", "left", False),
        ("closed@multimedeval", "not seen", "no", True),  # half of {no, not} is more than .4
        ("closed@multimedeval", "No.", "no", True),
        ("closed@multimedeval", "normal", "no", False),
        ("closed@multimedeval", "it is yes", "Yes ", True),
        ("closed@multimedeval", "left", "left", None),
        ("closed@medevalkit", "Yes, it is", "yes", True),
        ("closed@medevalkit", "yes or no", "yes", False),
        ("closed@medevalkit", "normal", "no", True),
        ("closed@medevalkit", "yes or no: the answer is no", "no", True),  # what follows the last mark
        ("closed@medevalkit", "yes \\boxed{no}", "no", True),
        ("closed@medevalkit", "no boxed thing", "no", False),  # then it reads "None"
        ("closed@medevalkit", "yes <answer>no</answer>", "No", True),
        ("closed@medevalkit", "<answer></answer> no", "no", True),
        ("closed@medevalkit", "left", "left", False),
    ],
)
def test_each_defect_has_its_own_name(name: str, output: str, gold: str, verdict: bool | float | None) -> None:
    found = VARIANTS[name].rule(output, gold)
    assert found is None if verdict is None else found == pytest.approx(verdict)


def test_the_names_are_those_of_the_readme() -> None:
    assert {v.answer_type for v in VARIANTS.values()} == {"open", "closed"} and all("@" in name for name in VARIANTS)
