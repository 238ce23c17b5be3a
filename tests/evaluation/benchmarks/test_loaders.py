"""Every loader on its example: a SYNTHETIC copy of the release with every trap in it."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from umed.errors import InputError
from umed.evaluation.benchmarks.base import Benchmark, Example
from umed.evaluation.question import ANSWER_TYPES, DATASETS, Question, kind
from umed.synthetic.examples import example_of

FOLDER = Path(__file__).parents[3] / "conf" / "data" / "benchmark"
REAL = sorted(p.stem for p in FOLDER.glob("*.yaml") if p.stem != "phantom")


def made(name: str, folder: Path, **options: Any) -> tuple[Any, Example]:
    """The loader of a yaml on its example."""
    [config] = OmegaConf.load(FOLDER / f"{name}.yaml").values()
    loader = get_class(config._target_)
    example = example_of(loader)(folder)
    own = {str(k): v for k, v in config.items() if k != "_target_"}
    return loader(**{**own, "root": str(folder), **dict(example.options), **options}), example


def key(question: Question) -> str:
    return f"{question.extra['set']}:{question.id}" if question.answer_type == "label" else question.id


@pytest.mark.parametrize("name", REAL)
def test_an_example_is_read_back(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark, example = made(name, tmp_path)
    questions = benchmark.questions()
    assert {key(q): (q.answer_type, q.answer) for q in questions} == example.items
    assert [key(q) for q in questions] == list(example.items)  # in file order
    assert len(benchmark.train()) == example.train
    told = capsys.readouterr().out.splitlines()
    assert len(told) == bool(example.lost) and all(f": {example.lost} of " in t and "left out" in t for t in told)


@pytest.mark.parametrize("name", REAL)
def test_what_every_benchmark_promises(name: str, tmp_path: Path) -> None:
    benchmark, _ = made(name, tmp_path)
    check(benchmark)


def check(benchmark: Benchmark) -> None:
    questions, train = benchmark.questions(), benchmark.train()
    for part in (questions, train):
        assert len({(q.dataset, q.id) for q in part}) == len(part)
    assert {q.dataset for q in questions} == set(benchmark.splits)
    for dataset, split in benchmark.splits.items():
        assert kind(dataset) in DATASETS and len(split.sha256) == 64 and split.origin
        assert {q.split_file for q in questions if q.dataset == dataset} == {split.file}
    for q in questions:
        assert q.answer_type in ANSWER_TYPES and q.question.strip() and isinstance(q.answer, str)
        if q.answer_type == "choice":
            assert q.answer in "ABCD" and q.choices is not None and len(q.choices) == 4
        if q.answer_type == "label":
            assert q.choices is not None and q.answer in q.choices
        assert benchmark.picture(q).mode == "RGB"
    for q in train[:5]:
        assert benchmark.picture(q).mode == "RGB"


# VQA-RAD


def test_two_meanings_of_closed(tmp_path: Path) -> None:
    by_type, _ = made("vqa_rad", tmp_path / "a")
    by_answer, _ = made("vqa_rad", tmp_path / "b", closed_by="yes_no")
    count = [Counter(q.answer_type for q in b.questions()) for b in (by_type, by_answer)]
    assert count == [{"closed": 4, "open": 4}, {"closed": 4, "open": 4}]
    assert {q.id for q in by_type.questions() if q.answer_type == "closed"} == {"1", "4", "8", "9"}
    assert {q.id for q in by_answer.questions() if q.answer_type == "closed"} == {"1", "8", "9", "11"}
    assert {q.extra["closed_by"] for q in by_answer.questions()} == {"yes_no"}


# SLAKE


def test_slake_asks_in_the_chosen_language_and_trains_in_all(tmp_path: Path) -> None:
    chinese, _ = made("slake", tmp_path, language="zh")
    both, _ = made("slake", tmp_path, language="both")
    assert [q.answer for q in chinese.questions()] == ["包含"] and len(both.questions()) == 6
    assert {q.extra["q_lang"] for q in chinese.train()} == {"en", "zh"}
    validation, _ = made("slake", tmp_path, split="validation")
    assert [q.id for q in validation.questions()] == ["11934"]  # of validate.json
    assert validation.splits["slake"].file == "validate.json"
    with pytest.raises(InputError, match="no question in data.benchmark.slake.language=zh"):
        made("slake", tmp_path, split="validation", language="zh")[0].questions()


# PMC-VQA


def test_the_misspelt_column_and_version_two_give_the_same(tmp_path: Path) -> None:
    first, _ = made("pmc_vqa", tmp_path, split_file="test.csv", modes=["blank"])
    assert [q.answer for q in first.questions()] == ["Focal uptake pattern", "C: difficile"]
    second, _ = made("pmc_vqa", tmp_path, split_file="test_2.csv")
    choice, blank = second.questions()
    assert (choice.answer, blank.answer) == ("C", "z") and choice.choices == (" A: x", " B: y", " C: z", " D: w")
    assert choice.image == "figures/b.jpg" and choice.extra == {"index": "7", "caption": "A caption, long"}
    assert second.picture(choice).size == (50, 40)  # the other b.jpg is of version 1
    old, _ = made("pmc_vqa", tmp_path)
    assert {q.image for q in old.questions() if "b.jpg" in q.image} == {"images/b.jpg"}
    (tmp_path / "figures" / "b.jpg").unlink()
    again = type(second)(str(tmp_path), split_file="test_2.csv").questions()
    assert again[0].image == "images/b.jpg"  # all pictures in one folder are fine


def test_cells_are_kept_as_in_the_file(tmp_path: Path) -> None:
    benchmark, _ = made("pmc_vqa", tmp_path)
    first, second = (benchmark.questions()[k] for k in (0, 2))
    assert first.choices and first.choices[1] == " B:Focal uptake pattern " and first.question.endswith("breast? ")
    assert second.question == 'What, "exactly",\nis shown?'


# MedMNIST


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    benchmark, _ = made("medmnist", tmp_path, checksums=None)
    with pytest.raises(
        InputError, match=r"dermamnist.npz: MD5 is \w{32}, 0744692d530f8e62ec473284d019b0c7 is published"
    ):
        benchmark.questions()
    with pytest.raises(InputError, match="MD5 is"):
        _ = benchmark.splits


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_labels": np.array([[7]] * 3, np.uint8)}, "labels 7 to 7: 0 to 6 are expected"),
        ({"test_labels": np.zeros((2, 1), np.uint8)}, r"labels \(2, 1\) of 3 pictures"),
        ({"test_images": np.zeros((3, 28, 28), np.float32)}, "pictures are float32"),
        (
            {"test_images": np.zeros((3, 64, 64), np.uint8)},
            r"are uint8 \(3, 64, 64\): uint8 \(N, 28, 28, 3\) is",
        ),
        ({"test_images": np.zeros((3, 28, 28), np.uint8)}, r"pictures are uint8 \(3, 28, 28\)"),
        ({"test_images": None}, "no readable test part"),
        ({"test_labels": np.array([{}] * 3)}, "no readable test part"),  # pickled: never loaded
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    import hashlib

    _, example = made("medmnist", tmp_path)
    path = tmp_path / "dermamnist.npz"
    with np.load(path) as file:
        arrays = {**file, **change}
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    checksums = {**dict(example.options)["checksums"], "derma": hashlib.md5(path.read_bytes()).hexdigest()}
    benchmark = get_class("umed.evaluation.benchmarks.medmnist.MedMnist")(str(tmp_path), checksums=checksums)
    with pytest.raises(InputError, match=message):
        benchmark.questions()


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    benchmark, _ = made("medmnist", tmp_path)
    (tmp_path / "breastmnist.npz").unlink()
    with pytest.raises(InputError, match="no file .*breastmnist.npz: download it"):
        benchmark.questions()


# bad input of all


@pytest.mark.parametrize("name", REAL)
def test_a_place_is_needed(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"data.benchmark.{name}"):
        made(name, tmp_path, root=None)
    with pytest.raises(InputError, match="no file"):
        loader, _ = made(name, tmp_path, root=str(tmp_path / "elsewhere"))
        loader.questions()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vqa_rad", {"closed_by": "gold"}, "closed_by=gold: choose answer_type or yes_no"),
        ("vqa_rad", {"hub": "x/y"}, "both are set of root and hub"),
        ("slake", {"language": "de"}, "language=de"),
        ("slake", {"split": "train"}, "split=train"),
        ("pmc_vqa", {"modes": ["guess"]}, "modes=guess"),
        ("pmc_vqa", {"modes": []}, "modes="),
        ("pmc_vqa", {"split_file": "../test.csv"}, "no path"),
        ("medmnist", {"size": 32}, "size=32"),
        ("medmnist", {"sets": ["organ"]}, "sets=organ"),
    ],
)
def test_an_option_that_cannot_be(tmp_path: Path, name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        made(name, tmp_path, **options)


SLAKE = {"qid": 1, "img_name": "a.jpg", "question": "a?", "answer": 2}
PMC = "Figure_path,Question,Answer,Choice A,Choice B,Choice C,Choice D\n"


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("vqa_rad", "VQA_RAD Dataset Public.json", "{}", "a list of questions is expected"),
        ("vqa_rad", "VQA_RAD Dataset Public.json", "[1]", "a list of questions is expected"),
        ("vqa_rad", "VQA_RAD Dataset Public.json", "[{", "not JSON"),
        ("vqa_rad", "VQA_RAD Dataset Public.json", "[]", "not one question in it"),
        ("slake", "test.json", " ", "empty"),
        ("slake", "test.json", json.dumps([SLAKE] * 2), "item 1 occurs twice"),
        ("slake", "test.json", json.dumps([{**SLAKE, "img_name": None}]), "not one of its 1 rows .*no picture"),
        ("slake", "test.json", json.dumps([{"qid": 1, "img_name": "a", "answer": "x"}]), "qid 1 has no question"),
        ("slake", "test.json", json.dumps([{**SLAKE, "question": "\ud800?"}]), "not JSON .*surrogates not allowed"),
        ("pmc_vqa", "test_clean.csv", "Figure_path,Question\na,b", "no column answer"),
        ("pmc_vqa", "test_clean.csv", "x", "no column figure path"),
        ("pmc_vqa", "test_clean.csv", PMC, "not one question"),
        ("pmc_vqa", "test_clean.csv", PMC + "a.jpg,q,A", "row 1 has no question, or an answer that is none of its"),
        ("pmc_vqa", "test_clean.csv", PMC + ",q,A,a,b,c,d", "row 1 has no picture"),
        ("pmc_vqa", "test_clean.csv", PMC + 'a.jpg,"q,A,a,b,c,d\nb.jpg,q,A,a,b,c,d', "not CSV"),
    ],
)  # fmt: skip
def test_files_that_are_not_the_release(tmp_path: Path, name: str, file: str, content: str, message: str) -> None:
    benchmark, _ = made(name, tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(InputError, match=message) as told:
        benchmark.questions()
    assert file in str(told.value)


@pytest.mark.parametrize(
    ("image", "message"),
    [("../../secret.jpg", "leads out of"), ("/etc/passwd", "leads out of"), ("a\0b.jpg", "is no path of a file")],
)
def test_a_picture_outside_the_root_is_refused(tmp_path: Path, image: str, message: str) -> None:
    benchmark, _ = made("slake", tmp_path)
    (tmp_path / "test.json").write_text(json.dumps([{**SLAKE, "img_name": image}]))
    with pytest.raises(InputError, match=message):
        benchmark.picture(benchmark.questions()[0])


def test_a_name_that_is_too_long_is_a_picture_that_is_not_there(tmp_path: Path) -> None:
    benchmark, _ = made("pmc_vqa", tmp_path)
    (tmp_path / "test_clean.csv").write_text(f"{PMC}{'a' * 300}.jpg,q,A,a,b,c,d")
    with pytest.raises(InputError, match="aaa.jpg: not a readable picture"):
        benchmark.picture(benchmark.questions()[0])


@pytest.mark.parametrize("name", ["vqa_rad", "slake", "pmc_vqa"])
def test_a_picture_that_is_gone_or_cut_is_told(name: str, tmp_path: Path) -> None:
    benchmark, _ = made(name, tmp_path)
    first = benchmark.questions()[0]
    path = tmp_path / first.image
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=f"{path.name}: not a readable picture"):
        benchmark.picture(first)
    path.unlink()
    with pytest.raises(InputError, match=f"no picture .*{path.name}"):
        benchmark.picture(first)


def test_a_language_with_spaces_and_a_row_without_qid(tmp_path: Path) -> None:
    benchmark, _ = made("slake", tmp_path)
    rows = [{**SLAKE, "qid": None, "q_lang": "EN "}, {**SLAKE, "qid": None, "q_lang": "zh"}, {**SLAKE, "q_lang": "en"}]
    (tmp_path / "test.json").write_text(json.dumps([rows[0], {**rows[1], "qid": "7"}, {**rows[2], "qid": "8"}]))
    assert [q.id for q in benchmark.questions()] == ["0", "8"]


def test_an_npz_that_is_damaged_inside(tmp_path: Path) -> None:
    import hashlib

    made("medmnist", tmp_path)
    path = tmp_path / "breastmnist.npz"
    for content in (_broken(path.read_bytes()), b"\x93NUMPY\x01\x00" + b"v\x00" + b" " * 118):
        path.write_bytes(content)
        digest = hashlib.md5(content).hexdigest()
        own = get_class("umed.evaluation.benchmarks.medmnist.MedMnist")
        with pytest.raises(InputError, match="no readable test part"):
            own(str(tmp_path), sets=["breast"], checksums={"breast": digest}).questions()


def _broken(content: bytes) -> bytes:
    """A zip whose test labels do not unpack."""
    place = content.index(b"test_labels") + 60
    return content[:place] + bytes(255 - byte for byte in content[place : place + 20]) + content[place + 20 :]
