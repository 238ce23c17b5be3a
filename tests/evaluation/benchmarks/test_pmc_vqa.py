"""PMC-VQA: both versions, cells as in the file, pictures in the folder of their version."""

from pathlib import Path

import pytest
from answers import build_example

from umed.errors import InputError

PMC = "Figure_path,Question,Answer,Choice A,Choice B,Choice C,Choice D\n"


def test_the_misspelt_column_and_version_two_give_the_same(tmp_path: Path) -> None:
    first, _ = build_example("pmc_vqa", tmp_path, split_file="test.csv", modes=["blank"])
    assert [q.answer for q in first.questions()] == ["Focal uptake pattern", "C: difficile"]
    second, _ = build_example("pmc_vqa", tmp_path, split_file="test_2.csv")
    choice, blank = second.questions()
    assert (choice.answer, blank.answer) == ("C", "z") and choice.choices == (" A: x", " B: y", " C: z", " D: w")
    assert choice.image == "figures/b.jpg" and choice.extra == {"index": "7", "caption": "A caption, long"}
    assert second.picture(choice).size == (50, 40)  # the other b.jpg is of version 1
    old, _ = build_example("pmc_vqa", tmp_path)
    assert {q.image for q in old.questions() if "b.jpg" in q.image} == {"images/b.jpg"}
    (tmp_path / "figures" / "b.jpg").unlink()
    again = type(second)(str(tmp_path), split_file="test_2.csv").questions()
    assert again[0].image == "images/b.jpg"  # all pictures in one folder are fine


def test_cells_are_kept_as_in_the_file(tmp_path: Path) -> None:
    benchmark, _ = build_example("pmc_vqa", tmp_path)
    first, second = (benchmark.questions()[k] for k in (0, 2))
    assert first.choices and first.choices[1] == " B:Focal uptake pattern " and first.question.endswith("breast? ")
    assert second.question == 'What, "exactly",\nis shown?'


def test_a_name_that_is_too_long_is_a_picture_that_is_not_there(tmp_path: Path) -> None:
    benchmark, _ = build_example("pmc_vqa", tmp_path)
    (tmp_path / "test_clean.csv").write_text(f"{PMC}{'a' * 300}.jpg,q,A,a,b,c,d")
    with pytest.raises(InputError, match="aaa.jpg: not a readable picture"):
        benchmark.picture(benchmark.questions()[0])
