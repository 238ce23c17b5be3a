"""Prediction files: what cannot be scored is told by its line."""

import json
from pathlib import Path
from typing import Any

import pytest
from answers import SCORERS, diagnose, line, parse, predict, written

from umed.errors import InputError
from umed.evaluation.prediction import Prediction
from umed.evaluation.prediction_files import check_complete, read_answers, read_predictions
from umed.evaluation.question import BoxQuestion
from umed.evaluation.rules.labels import LABELS

VQA = {**line(1, "vqa_rad", "open", "left", "left"), "id": "1"}
CHOICE = {**VQA, "dataset": "pmc_vqa", "answer_type": "choice", "answer": "B", "choices": ["A:x", "B:y", "C:z", "D:w"]}
BREAST = list(LABELS["medmnist_breast"])
LABEL = {**VQA, "dataset": "medmnist_breast", "answer_type": "label", "answer": "malignant", "choices": BREAST}
MAU = {**diagnose(1, "s", "left").to_line(), "id": "1"}


def read(path: Path, dataset: str | None = None) -> list[Prediction]:
    return read_predictions(path, SCORERS, dataset)


def test_good_lines_are_read_as_they_are(tmp_path: Path) -> None:
    for good in (VQA, CHOICE, LABEL, MAU):
        more = [{**good, "id": "2", "answer": None if good is VQA else good["answer"]}, {**good, "id": "3"}]
        path = written(tmp_path / "p.jsonl", [good, *more])
        path.write_text(path.read_text().replace("\n", "\n \n", 1))  # a blank line is none
        assert [prediction.to_line() for prediction in read(path)] == [good, *more]


def without(of: dict, name: str) -> dict:
    return {k: v for k, v in of.items() if k != name}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (without(VQA, "id"), "no id: every item needs"),
        ({**VQA, "id": 7}, "7: id is 7: a text.* is expected"),
        ({**VQA, "id": " "}, "id is ' ': a text"),
        (without(VQA, "output"), "1: no output: the model's text, empty if it gave none, is expected"),
        ({**VQA, "output": None}, "1: output is None: the model's text, empty if it gave none, is expected"),
        ({**VQA, "answer": float("nan")}, "1: answer is nan: the gold answer"),
        ({**VQA, "choices": "left"}, "choices is 'left': a list of texts or null is expected"),
        ({**VQA, "boxes": [[1, 2, 3, float("inf")]]}, r"boxes is \[\[1, 2, 3, inf\]\]: a list of boxes of four num"),
        ({**VQA, "scores": {"a": "b"}}, "scores is {'a': 'b'}: an object label -> number"),
        ({**VQA, "dataset": "okvqa"}, "1: no data set 'okvqa' is known: use mau, medmnist_derma"),
        ({**VQA, "dataset": None}, "dataset is None"),
        ({**VQA, "answer_type": "choice"}, "answer_type 'choice' is not of vqa_rad, which has open or closed"),
        ({**VQA, "dataset": "pmc_vqa"}, "answer_type 'open' is not of pmc_vqa, which has choice or blank"),
        ({**VQA, "output": "\ud800"}, "half a character in it, which no file can hold"),
        ({**CHOICE, "choices": None}, "choices is None: the four strings"),
        ({**CHOICE, "choices": ["x", "y"]}, r"choices is \('x', 'y'\): the four strings"),
        ({**CHOICE, "answer": "E"}, "answer 'E' is neither a letter A-D nor one of the choices"),
        ({**CHOICE, "scores": {"A": 1.0}}, r"scores are of \['A'\]: those of A, B, C, D are expected"),
        ({**LABEL, "choices": BREAST[::-1]}, "choices are not the labels of medmnist_breast: malignant; normal, benig"),
        ({**LABEL, "scores": {"malignant": 1.0}}, "scores are not of the labels"),
        ({**LABEL, "answer": "pneumonia"}, "answer: pneumonia is no label: malignant, normal, benign"),
        (without(MAU, "category"), "1: no category: the name of the abnormality is expected"),
        ({**MAU, "gold_boxes": None}, "gold_boxes is None: a list of boxes of four numbers, at least one, is"),
        ({**MAU, "gold_boxes": []}, r"gold_boxes is \[\]: a list of boxes of four numbers, at least one, is"),
        ({**MAU, "gold_boxes": [[0, 0, 4, 4], [29, 0, 32, 4]]}, r"gold_boxes has .*'29', '0', '32', '4'.* of 20 x 20"),
        ({**MAU, "gold_boxes": [[4, 4, 0, 0]]}, "gold_boxes has .*'4', '4', '0', '0'.* in pixels is expected"),
        ({**MAU, "width": 0}, "width is 0: the picture's width in pixels"),
        ({**MAU, "width": 10**18}, "width is 1000000000000000000: the picture's width"),
        ({**VQA, "answer": 10**4000}, "a number of 4001 digits"),
        ({**MAU, "boxes": [[0, 0, 4, 10**400]]}, "a number of 401 digits"),
        ({**MAU, "categories": "stone"}, "categories is 'stone': a list of names"),
        ("[1]", "a JSON object is expected, found list"),
        ("[" * 100_000, "recursion|not JSON"),
        ('{"id": "1", "id": "2"}', "id stands twice in one object"),
        ("{]", r"not JSON \(.*\): one object a line is expected"),
    ],
)
def test_a_line_that_cannot_be_scored_is_told(tmp_path: Path, line: Any, message: str) -> None:
    texts = [x if isinstance(x, str) else json.dumps(x) for x in ({**VQA, "id": "0"}, line, {**VQA, "id": "9"})]
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(texts) + "\n")
    with pytest.raises(InputError, match=message) as told:
        read(path)
    assert str(told.value).startswith(f"{path}:2: ") and "\n" not in str(told.value)


def test_an_item_that_stands_twice_names_both_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "p.jsonl", [{**VQA, "dataset": "slake"}, VQA, {**VQA, "output": "right"}])
    with pytest.raises(InputError, match=r"p.jsonl:3: id 1 of vqa_rad stands in line 2 too"):
        read(path)


def test_a_file_holds_no_stray_item_of_another_data_set(tmp_path: Path) -> None:
    other, third = {**VQA, "id": "2", "dataset": "slake"}, {**VQA, "id": "3"}
    with pytest.raises(InputError, match=r"vqa_rad.jsonl:2: 2 is of slake, vqa_rad is expected here"):
        read(written(tmp_path / "vqa_rad.jsonl", [VQA, other]))
    mixed = written(tmp_path / "all.jsonl", [VQA, other])
    assert len(read(mixed)) == 2
    with pytest.raises(InputError, match=r"all.jsonl:1: 1 is of vqa_rad, slake is expected"):
        read(mixed, "slake")
    with pytest.raises(InputError, match=r"all.jsonl:2: 2 is the only item of slake among 2 of vqa_rad: remove it"):
        read(written(mixed, [VQA, other, third]))
    assert len(read(written(mixed, [VQA, other, third, {**CHOICE, "id": "4"}]))) == 4  # a file of several data sets


def test_a_last_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    lines = [VQA, {**VQA, "id": "2", "output": "Größe"}]
    path.write_text("".join(json.dumps(x, ensure_ascii=False) + "\n" for x in lines), encoding="utf-8")
    whole = path.read_bytes()
    for cut in range(whole.index(b"\n") + 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"p.jsonl:2: the last line is cut off"):
            read(path)
    path.write_bytes(whole.rstrip(b"\n"))  # whole, only its line end is missing
    assert len(read(path)) == 2


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file .*nothing.jsonl"):
        read(tmp_path / "nothing.jsonl")
    with pytest.raises(InputError, match=r"empty.jsonl: empty"):
        read(written(tmp_path / "empty.jsonl", []))
    (tmp_path / "latin.jsonl").write_bytes(json.dumps(VQA, ensure_ascii=False).encode()[:-1] + b', "x": "\xfc"}\n')
    with pytest.raises(InputError, match="latin.jsonl:1: not UTF-8"):
        read(tmp_path / "latin.jsonl")
    with pytest.raises(InputError, match="no <dataset>.jsonl there"):
        read(tmp_path)


def test_a_folder_gives_its_data_sets(tmp_path: Path) -> None:
    written(tmp_path / "slake.jsonl", [{**VQA, "dataset": "slake"}])
    written(tmp_path / "phantom_vqa_rad.jsonl", [{**VQA, "dataset": "phantom_vqa_rad"}])
    written(tmp_path / "mau_sampled.jsonl", [MAU, MAU])
    assert [prediction.question.dataset for prediction in read(tmp_path)] == ["phantom_vqa_rad", "slake"]


def test_answers_beside_a_stage_may_repeat_an_item(tmp_path: Path) -> None:
    path = written(tmp_path / "mau_sampled.jsonl", [MAU, MAU])
    assert read_answers(path, BoxQuestion) == [parse(MAU)] * 2
    assert read_answers(tmp_path / "none.jsonl", BoxQuestion) == []
    written(path, [MAU, without(MAU, "source")])
    with pytest.raises(InputError, match="mau_sampled.jsonl: line 2: no source: .*: evaluate the stage anew"):
        read_answers(path, BoxQuestion)


def test_a_whole_data_set_is_every_item_and_no_other() -> None:
    given = [predict(k, "slake", "open", "CT", "") for k in range(3)]
    questions = [prediction.question for prediction in given]
    check_complete(given, questions)
    with pytest.raises(InputError, match="slake: 1 of 3 items have no answer, item 1 among them"):
        check_complete([given[0], given[2]], questions)
    with pytest.raises(InputError, match="slake: 1 answers are to no item of it, item 2 among them"):
        check_complete(given, questions[:2])
    with pytest.raises(InputError, match="vqa_rad: its items are not known: choose its benchmark"):
        check_complete([*given, predict(0, "vqa_rad", "open", "CT", "")], questions)
