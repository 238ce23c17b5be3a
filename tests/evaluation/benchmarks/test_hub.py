"""Both hub forms of VQA-RAD and those of SLAKE and PMC-VQA, from a local folder that `datasets` reads."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from umed.errors import InputError
from umed.evaluation.benchmarks.pmc_vqa import PmcVqa
from umed.evaluation.benchmarks.slake import Slake
from umed.evaluation.benchmarks.vqa_rad import VqaRad

Write = Callable[..., str]


def png(shade: int) -> dict[str, Any]:
    content = io.BytesIO()
    Image.new("RGB", (9, 7), (shade, 0, 0)).save(content, "PNG")
    return {"bytes": content.getvalue(), "path": None}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """`write(test=rows, train=rows)`: a folder of parquet files, as a hub id gives them; `image` is a shade of red."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    count = iter(range(99))

    def to_folder(**parts: list[dict[str, Any]]) -> str:
        folder = tmp_path / f"hub{next(count)}"
        for part, rows in parts.items():
            made = datasets.Dataset.from_list([{k: png(v) if k == "image" else v for k, v in r.items()} for r in rows])
            if "image" in made.column_names:
                made = made.cast_column("image", datasets.Image())
            (folder / "data").mkdir(parents=True, exist_ok=True)
            made.to_parquet(folder / "data" / f"{part}-00000-of-00001.parquet")
        return str(folder)

    return to_folder


def test_a_form_without_answer_type_has_closed_by_yes_and_no(write: Write) -> None:
    rows = [{"image": 9, "question": "Is it?", "answer": "yes"}, {"image": 9, "question": "Where?", "answer": "left"}]
    benchmark = VqaRad(hub=write(test=rows, train=rows[:1]))
    questions = benchmark.questions()
    assert [(q.answer_type, q.answer, q.closed_by) for q in questions] == [
        ("closed", "yes", "yes_no"),
        ("open", "left", "yes_no"),
    ]
    assert questions[0].image == questions[1].image  # one picture
    assert benchmark.picture(questions[1]).getpixel((0, 0)) == (9, 0, 0)
    assert [q.answer for q in benchmark.train()] == ["yes"]
    split = benchmark.splits["vqa_rad"]
    assert split.file == "test" and split.origin.endswith(", test") and len(split.sha256) == 64
    other = VqaRad(hub=write(test=[{**rows[0], "answer": "no"}, rows[1]])).splits["vqa_rad"]
    assert other.sha256 != split.sha256  # of the rows


def test_a_form_with_answer_type_says_what_it_means(write: Write) -> None:
    own = {"qid": "17", "image_name": "synpic1.jpg", "image_organ": "CHEST", "phrase_type": "test_para"}
    rows = [{**own, "image": 3, "question": "Left or right?", "answer": "left", "answer_type": "CLOSED"}]
    questions = VqaRad(hub=write(test=rows)).questions()
    assert [(q.id, q.answer_type, q.closed_by) for q in questions] == [("17", "closed", "answer_type")]
    assert VqaRad(hub=write(test=rows)).train() == []


def test_pmc_vqa_in_lower_case(write: Write) -> None:
    choices = {f"choice {letter}": f" {letter.upper()}: {text}" for letter, text in zip("abcd", "xyzw", strict=True)}
    rows = [{"image": 5, "caption": "c", "question": "What?", **choices, "answer": " B: y", "answer label": "B"}]
    choice, blank = PmcVqa(hub=write(test=rows)).questions()
    assert (choice.answer, blank.answer, blank.extra) == ("B", "y", {"caption": "c"})
    assert PmcVqa(hub=write(test=rows)).picture(choice).size == (9, 7)


def test_slake_needs_a_form_with_pictures(write: Write) -> None:
    rows = [{"question": "Where?", "answer": "left", "answer_type": "OPEN", "q_lang": "en", "qid": 4}]
    with pytest.raises(InputError, match="no column image: download the files"):
        Slake(hub=write(test=rows)).questions()
    assert [q.id for q in Slake(hub=write(test=[{**rows[0], "image": 2}])).questions()] == ["4"]


@pytest.mark.parametrize("loader", [VqaRad, Slake, PmcVqa])
def test_no_network_is_one_line(loader: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"hub=nobody/nothing: it cannot be loaded .*is the network there\?"):
        loader(hub="nobody/nothing").questions()


def test_pictures_may_be_paths(write: Write, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(7)["bytes"])
    folder = tmp_path / "paths" / "data"
    folder.mkdir(parents=True)
    row = {"image": str(tmp_path / "a.png"), "question": "Where?", "answer": "left"}
    datasets.Dataset.from_list([row]).to_parquet(folder / "test-00000-of-00001.parquet")
    benchmark = VqaRad(hub=write(test=[{**row, "image": 7}]))
    by_path = VqaRad(hub=str(folder.parent))
    [one], [two] = benchmark.questions(), by_path.questions()
    assert one.image == two.image and by_path.picture(two).getpixel((0, 0)) == (7, 0, 0)


def test_nulls_are_no_text(write: Write) -> None:
    choices = {f"choice {letter}": text for letter, text in zip("abcd", "xyzw", strict=True)}
    row = {"image": 5, "question": "What?", **choices, "answer": "y", "answer label": None}
    lost = [{**row, "choice d": None}, {**row, "question": None}]
    questions = PmcVqa(hub=write(test=[row, *lost]), modes=["choice"]).questions()
    assert [(q.id, q.answer) for q in questions] == [("test/1/choice", "B")]


def test_the_hash_is_of_the_pictures_too(write: Write) -> None:
    row = {"image": 5, "question": "Where?", "answer": "left"}
    hashes = {VqaRad(hub=write(test=[{**row, "image": shade}])).splits["vqa_rad"].sha256 for shade in (5, 6)}
    assert len(hashes) == 2


def test_damaged_folders_are_one_line(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "test.json").write_text('[{"question": "Where?", "ans')
    whole = Path(write(test=[{"image": 1, "question": "Where?", "answer": "left"}]))
    [parquet] = (whole / "data").iterdir()
    parquet.write_bytes(parquet.read_bytes()[:200])
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "a.png").write_bytes(png(3)["bytes"])
    (tmp_path / "gone" / "metadata.jsonl").write_text(
        '{"file_name": "b.png", "question": "Where?", "answer": "left"}\n'
    )
    for folder in (tmp_path / "cut", whole, tmp_path / "gone"):
        with pytest.raises(InputError) as told:
            VqaRad(hub=str(folder)).questions()
        assert "\n" not in str(told.value) and str(folder) in str(told.value)
    assert not capsys.readouterr().err


def test_a_hub_without_a_test_part(write: Write) -> None:
    rows = [{"image": 1, "question": "Where?", "answer": "left"}]
    with pytest.raises(InputError, match="it has no split test"):
        VqaRad(hub=write(train=rows)).questions()
