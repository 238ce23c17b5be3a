"""Files on disk that are no release, options that cannot be, pictures that are lost: one line each, of every loader."""

import json
from pathlib import Path
from typing import Any

import pytest
from answers import ROOT, build_example

from umed.errors import InputError
from umed.evaluation.benchmarks.base import check_benchmark

REAL = sorted(p.stem for p in (ROOT / "conf" / "data" / "benchmark").glob("*.yaml") if not p.stem.startswith("phantom"))


@pytest.mark.parametrize("name", REAL)
def test_a_place_is_needed(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"data.benchmark.{name}"):
        build_example(name, tmp_path, root=None)
    with pytest.raises(InputError, match="no file"):
        loader, _ = build_example(name, tmp_path, root=str(tmp_path / "elsewhere"))
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
        build_example(name, tmp_path, **options)


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
    benchmark, _ = build_example(name, tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(InputError, match=message) as told:
        benchmark.questions()
    assert file in str(told.value)


@pytest.mark.parametrize(
    ("image", "message"),
    [("../../secret.jpg", "leads out of"), ("/etc/passwd", "leads out of"), ("a\0b.jpg", "is no path of a file")],
)
def test_a_picture_outside_the_root_is_refused(tmp_path: Path, image: str, message: str) -> None:
    benchmark, _ = build_example("slake", tmp_path)
    (tmp_path / "test.json").write_text(json.dumps([{**SLAKE, "img_name": image}]))
    with pytest.raises(InputError, match=message):
        benchmark.picture(benchmark.questions()[0])


@pytest.mark.parametrize("name", ["vqa_rad", "slake", "pmc_vqa"])
def test_a_picture_that_is_gone_or_cut_is_told(name: str, tmp_path: Path) -> None:
    benchmark, _ = build_example(name, tmp_path)
    first = benchmark.questions()[0]
    path = tmp_path / first.image
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=f"{path.name}: not a readable picture"):
        benchmark.picture(first)
    path.unlink()
    with pytest.raises(InputError, match=f"no picture .*{path.name}"):
        benchmark.picture(first)


class Incomplete:
    scorers, splits = {}, {}

    def questions(self) -> list[Any]:
        raise AssertionError("no file is read")


def test_a_class_of_a_users_own_has_all_that_is_asked_of_it() -> None:
    told = "data.benchmark.mine: Incomplete has no picture, train, controls: derive it from umed.evaluation.benchmarks"
    with pytest.raises(InputError, match=told):
        check_benchmark("mine", Incomplete())
    whole = type("Whole", (Incomplete,), dict.fromkeys(("picture", "train", "controls")))()
    assert check_benchmark("mine", whole) is whole
