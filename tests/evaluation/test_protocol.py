"""Prompt texts: ours, and MedVInT's letter by letter."""

from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from umed.errors import InputError
from umed.evaluation.protocol import Protocol
from umed.evaluation.question import Question

FOLDER = Path(__file__).parents[2] / "conf" / "data" / "protocol"
CHOICES = (" A:Diffuse uptake pattern ", " B:Focal uptake pattern ", " C: A: no {x} ", " D:Cannot determine ")
TEXT = "What is the uptake pattern in the breast? "


def protocol(name: str) -> Protocol:
    return instantiate(OmegaConf.load(FOLDER / f"{name}.yaml"))


def question(answer_type: str, choices: tuple[str, ...] | None = None, text: str = TEXT) -> Question:
    return Question(id="1", dataset="pmc_vqa", question=text, answer="B", answer_type=answer_type, choices=choices)


def test_medvint_asks_with_the_raw_strings() -> None:
    made = protocol("medvint")
    assert made.query(question("choice", CHOICES)) == (
        "Question: What is the uptake pattern in the breast? Choices: A:Diffuse uptake pattern  B:Focal uptake pattern "
        " C: A: no {x}  D:Cannot determine The Answer is:"
    )
    for kind in ("blank", "open", "closed"):
        assert made.query(question(kind, CHOICES if kind == "blank" else None)) == f"Question: {TEXT}The Answer is:"
    assert made.candidates(question("choice", CHOICES))["B"] == " B:Focal uptake pattern"


def test_ours_shows_choices_without_their_prefix() -> None:
    made = protocol("ours")
    text = made.query(question("choice", CHOICES))
    assert "\nB: Focal uptake pattern\nC: A: no {x}\nD: Cannot determine\n" in text and text.startswith(TEXT)
    assert made.candidates(question("choice", CHOICES)) == {k: k for k in "ABCD"}
    label = question("label", ("malignant", "normal, benign"))
    assert "malignant, normal, benign" in made.query(label)
    assert made.candidates(label) == {"malignant": "malignant", "normal, benign": "normal, benign"}
    assert made.candidates(question("open")) == {} == made.candidates(question("blank", CHOICES))


def test_braces_in_a_question_are_only_text() -> None:
    text = "Is {0} {labels} {question.__class__} seen?"
    assert protocol("ours").query(question("open", text=text)).startswith(text)


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("open", "{query}", "data.protocol.open has .query.: it may have .question."),
        ("label", "{", "data.protocol.label"),
    ],
)
def test_a_field_that_is_not_known_is_told(option: str, text: str, message: str) -> None:
    config = {**OmegaConf.load(FOLDER / "ours.yaml"), option: text}
    with pytest.raises(InputError, match=message):
        Protocol(**{k: v for k, v in config.items() if k != "_target_"})
