"""Prediction files: what cannot be scored is told by its line."""

import json
from pathlib import Path
from typing import Any

import pytest
from umed.evaluation.predictions import read_predictions

from umed.errors import InputError
from umed.evaluation.rules.labels import LABELS

VQA = {
    "id": "1", "dataset": "vqa_rad", "split_file": "test.json", "question": "Where?", "answer": "left",
    "answer_type": "open", "choices": None, "output": "left", "boxes": None, "scores": None, "image": "a.jpg",
}  # fmt: skip
CHOICE = {**VQA, "dataset": "pmc_vqa", "answer_type": "choice", "answer": "B", "choices": ["A:x", "B:y", "C:z", "D:w"]}
BREAST = list(LABELS["medmnist_breast"])
LABEL = {**VQA, "dataset": "medmnist_breast", "answer_type": "label", "answer": "malignant", "choices": BREAST}
MAU = {
    **VQA, "dataset": "mau", "answer_type": "diagnosis", "source": "s", "category": "stone",
    "gold_boxes": [[0, 0, 4, 4]], "width": 8, "height": 8,
}  # fmt: skip


def written(path: Path, *lines: Any) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("line", [VQA, CHOICE, LABEL, MAU], ids=["vqa", "choice", "label", "mau"])
def test_good_lines_are_read_as_they_are(tmp_path: Path, line: dict) -> None:
    more = [{**line, "id": "2", "answer": None if line is VQA else line["answer"]}, {**line, "id": "3"}]
    assert read_predictions(written(tmp_path / "p.jsonl", line, "", *more)) == [line, *more]


def test_what_may_be_left_out_is_filled_in(tmp_path: Path) -> None:
    short = {k: VQA[k] for k in ("id", "dataset", "answer", "answer_type", "output")}
    [line] = read_predictions(written(tmp_path / "p.jsonl", short))
    assert {k: line[k] for k in ("choices", "scores", "boxes", "image", "split_file", "question")} == {
        **dict.fromkeys(("choices", "scores", "boxes", "image", "split_file")),
        "question": "",
    }


def test_an_empty_list_of_candidates_is_none(tmp_path: Path) -> None:
    assert read_predictions(written(tmp_path / "p.jsonl", {**VQA, "choices": []}))[0]["choices"] is None


@pytest.mark.parametrize("answer", [2, 10**20, 1.5, None, " left ", ""])
def test_a_gold_may_be_a_number_or_none(tmp_path: Path, answer: Any) -> None:
    assert read_predictions(written(tmp_path / "p.jsonl", {**VQA, "answer": answer}))[0]["answer"] == answer


def without(line: dict, name: str) -> dict:
    return {k: v for k, v in line.items() if k != name}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (without(VQA, "id"), "no id: every item needs"),
        ({**VQA, "id": 7}, "id is 7: a text is expected"),
        ({**VQA, "id": " "}, "id is ' '"),
        (without(VQA, "output"), "1: no output"),
        ({**VQA, "output": None}, "output is None: the model's text, empty if it gave none"),
        ({**VQA, "output": ["left"]}, r"output is \['left'\]"),
        (without(VQA, "answer"), "no answer: the gold answer"),
        ({**VQA, "answer": True}, "answer is True"),
        ({**VQA, "answer": ["left"]}, r"answer is \['left'\]"),
        ({**VQA, "answer": float("nan")}, "answer is nan"),
        ({**VQA, "choices": "left"}, "choices is 'left': a list of texts or null"),
        ({**VQA, "choices": [1]}, r"choices is \[1\]"),
        ({**VQA, "boxes": [[1, 2, 3]]}, "boxes is .*: a list of boxes of four numbers"),
        ({**VQA, "boxes": [[1, 2, 3, float("inf")]]}, "boxes is"),
        ({**VQA, "scores": {"a": "b"}}, "scores is .*: an object label -> number"),
        ({**VQA, "scores": [0.1]}, "scores is"),
        ({**VQA, "dataset": "okvqa"}, "no data set 'okvqa' is known: use mau, vqa_rad"),
        ({**VQA, "dataset": None}, "dataset is None"),
        ({**VQA, "answer_type": "choice"}, "answer_type 'choice' is not of vqa_rad, which has open or closed"),
        ({**VQA, "dataset": "pmc_vqa"}, "answer_type 'open' is not of pmc_vqa"),
        ({**VQA, "image": 3}, "image is 3"),
        ({**VQA, "output": "\ud800"}, "which no file can hold"),
        ({**CHOICE, "choices": None}, "choices is None: the four strings"),
        ({**CHOICE, "choices": ["x", "y"]}, "choices is .*: the four strings"),
        ({**CHOICE, "answer": "E"}, "answer 'E' is neither a letter A-D nor one of the choices"),
        ({**CHOICE, "scores": {"A": 1.0}}, "scores are of .*: those of A, B, C, D"),
        (
            {**LABEL, "choices": BREAST[::-1]},
            "choices are not the labels of medmnist_breast: malignant; normal, benign",
        ),
        ({**LABEL, "scores": {"malignant": 1.0}}, "scores are not of the labels"),
        ({**LABEL, "answer": "pneumonia"}, "answer: pneumonia is no label"),
        (without(MAU, "category"), "no category: the name of the abnormality is expected in a line of mau"),
        ({**MAU, "gold_boxes": None}, "gold_boxes is None"),
        ({**MAU, "gold_boxes": []}, r"gold_boxes is \[\]: a list of boxes of four numbers, at least one, is"),
        ({**MAU, "gold_boxes": [[0, 0, 4, 4], [9, 0, 12, 4]]}, r"gold_boxes has \[9, 0, 12, 4\] in a picture of 8 x 8"),
        ({**MAU, "gold_boxes": [[4, 4, 0, 0]]}, r"gold_boxes has \[4, 4, 0, 0\] .* in pixels is expected"),
        ({**MAU, "width": 0}, "width is 0"),
        ({**MAU, "width": 10**18}, "width is 1000000000000000000: the picture's width"),
        ({**VQA, "answer": 10**4000}, "a number of 4001 digits"),
        ({**MAU, "boxes": [[0, 0, 4, 10**400]]}, "a number of 401 digits"),
        ({**MAU, "categories": "stone"}, "categories is 'stone'"),
        ("[1]", "a JSON object is expected, found list"),
        ('{"id": "1", "id": "2"}', "id stands twice in one object"),
        ("{]", "not JSON"),
    ],
)
def test_a_line_that_cannot_be_scored_is_told(tmp_path: Path, line: Any, message: str) -> None:
    path = written(tmp_path / "p.jsonl", {**VQA, "id": "first"}, line, {**VQA, "id": "last"})
    with pytest.raises(InputError, match=message) as told:
        read_predictions(path)
    assert str(told.value).startswith(f"{path}:2: ") and "\n" not in str(told.value)


def test_an_item_that_stands_twice_names_both_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "p.jsonl", {**VQA, "dataset": "slake"}, VQA, {**VQA, "output": "right"})
    with pytest.raises(InputError, match=r"p.jsonl:3: id 1 of vqa_rad stands in line 2 too"):
        read_predictions(path)


def test_a_file_holds_no_stray_item_of_another_data_set(tmp_path: Path) -> None:
    other = {**VQA, "id": "2", "dataset": "slake"}
    with pytest.raises(InputError, match=r"vqa_rad.jsonl:2: 2 is of slake, vqa_rad is expected here"):
        read_predictions(written(tmp_path / "vqa_rad.jsonl", VQA, other))
    mixed = written(tmp_path / "all.jsonl", VQA, other)
    assert len(read_predictions(mixed)) == 2
    with pytest.raises(InputError, match=r"all.jsonl:1: 1 is of vqa_rad, slake is expected"):
        read_predictions(mixed, "slake")
    with pytest.raises(InputError, match=r"all.jsonl:2: 2 is the only item of slake among 2 of vqa_rad: remove it"):
        read_predictions(written(tmp_path / "all.jsonl", VQA, other, {**VQA, "id": "3"}))
    each = written(tmp_path / "all.jsonl", VQA, other, {**VQA, "id": "3"}, {**CHOICE, "id": "4"})
    assert len(read_predictions(each)) == 4  # a file of several data sets


def test_a_last_line_that_was_cut_off(tmp_path: Path) -> None:
    path = written(tmp_path / "p.jsonl", VQA, {**VQA, "id": "2", "output": "Größe"})
    whole = path.read_bytes()
    for cut in range(len(whole) - 2, whole.index(b"\n") + 1, -7):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"p.jsonl:2: the last line is cut off"):
            read_predictions(path)
    path.write_bytes(whole.rstrip(b"\n"))  # whole, only its line end is missing
    assert len(read_predictions(path)) == 2


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file .*nothing.jsonl"):
        read_predictions(tmp_path / "nothing.jsonl")
    with pytest.raises(InputError, match=r"empty.jsonl: empty"):
        read_predictions(written(tmp_path / "empty.jsonl", ""))
    (tmp_path / "latin.jsonl").write_bytes(json.dumps(VQA, ensure_ascii=False).encode()[:-1] + b', "x": "\xfc"}\n')
    with pytest.raises(InputError, match="latin.jsonl:1: not UTF-8"):
        read_predictions(tmp_path / "latin.jsonl")
    with pytest.raises(InputError, match="no <dataset>.jsonl there"):
        read_predictions(tmp_path)


def test_a_folder_gives_its_data_sets(tmp_path: Path) -> None:
    written(tmp_path / "slake.jsonl", {**VQA, "dataset": "slake"})
    written(tmp_path / "phantom_vqa_rad.jsonl", {**VQA, "dataset": "phantom_vqa_rad"})
    written(tmp_path / "mau_sampled.jsonl", MAU, MAU)
    assert [line["dataset"] for line in read_predictions(tmp_path)] == ["phantom_vqa_rad", "slake"]
