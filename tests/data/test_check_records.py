"""Records that a training could not read are told before its first step, all in one line."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from composed import composed
from conftest import make_record
from PIL import Image
from pydicom.data import get_testdata_file

from umed import training
from umed.data.check_records import NAMED, check_records
from umed.errors import InputError
from umed.models.family import FamilyProcessor
from umed.models.lengths import Lengths
from umed.records import Record, RecordSet


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    """Eight records with their pictures, two of them for validation."""
    made = [make_record(i, 112, 56) for i in range(8)]
    for record in made:
        Image.new("RGB", (112, 56), "gray").save(tmp_path / record.image)
    return [replace(r, split="val" if i > 5 else "train") for i, r in enumerate(made)]


def told(records: list[Record], root: Path, lengths: Any = lambda record: (10, 3)) -> str:
    with pytest.raises(InputError) as error:
        check_records(records, {"synthetic": root}, lengths)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_lengths_of_every_record_are_told(records: list[Record], tmp_path: Path) -> None:
    sizes = {r.id: (number + 1, 9 - number) for number, r in enumerate(records)}
    assert check_records(records, {"synthetic": tmp_path}, lambda record: sizes[record.id]) == sizes
    assert check_records([], {}, lambda record: (0, 0)) == {}


def test_every_record_is_named_in_one_line(records: list[Record], tmp_path: Path, processor: FamilyProcessor) -> None:
    """Missing, no picture, of another size, and a query that the model cannot take; the rest is fine."""
    (tmp_path / records[1].image).unlink()
    (tmp_path / records[2].image).write_text("no picture")
    Image.new("RGB", (56, 112)).save(tmp_path / records[4].image)  # turned
    records[5] = replace(records[5], query=f"{processor.image_token} ?")
    line = told(records, tmp_path, Lengths(processor))
    assert line.startswith("4 of 8 records cannot be trained on, so nothing was: synthetic/1: no picture ")
    assert line.endswith("; also synthetic/2, synthetic/4, synthetic/5")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.unlink(), "no picture .*0.png: check the path"),
        (lambda path: path.write_bytes(b""), "0.png: not a readable picture .*replace or remove it"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n"), "0.png: not a readable picture .not a picture."),
        (lambda path: Image.new("RGB", (111, 56)).save(path), "0.png has 111 x 56 pixels, its record 112 x 56: "),
        (
            lambda path: Image.fromarray(np.zeros((56, 112), np.uint16)).save(path),
            "0.png has more than 8 bits .*window",
        ),
    ],
)
def test_a_picture_is_judged_by_its_header(records: list[Record], tmp_path: Path, change: Any, reason: str) -> None:
    change(tmp_path / records[0].image)
    line = told(records, tmp_path)
    assert line.startswith("1 of 8 records") and "also" not in line and re.search(reason, line), line


def test_deep_pictures_and_dicom_files_with_their_windows_pass(records: list[Record], tmp_path: Path) -> None:
    Image.fromarray(np.zeros((56, 112), np.uint16)).save(tmp_path / records[0].image)
    records[0] = replace(records[0], provenance={"window": [0, 100, 0]})
    shutil.copy(get_testdata_file("CT_small.dcm"), tmp_path / "ct.dcm")
    records[1] = replace(records[1], image="ct.dcm", width=128, height=128)
    check_records(records, {"synthetic": tmp_path}, lambda record: (1, 1))
    records[1] = replace(records[1], width=112)
    assert "ct.dcm has 128 x 128 pixels, its record 112 x 128" in told(records, tmp_path)


def test_many_records_are_counted(records: list[Record], tmp_path: Path) -> None:
    many = [replace(records[0], id=f"lost/{k}", image="lost.png") for k in range(NAMED + 6)]
    line = told(many, tmp_path)
    assert line.startswith(f"{NAMED + 6} of {NAMED + 6} records") and line.endswith(f"lost/{NAMED}, and 5 more")


def test_a_source_without_a_folder_is_told(records: list[Record], tmp_path: Path) -> None:
    assert "synthetic/3: no folder is known" in told([replace(records[3], source="lost")], tmp_path)


def test_no_pixel_is_decoded(records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    check_records(records, {"synthetic": tmp_path}, lambda record: (1, 1))


def test_nothing_is_trained_on_records_that_cannot_be(
    records: list[Record], tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Train and validation records; those of the test are others' business."""
    cfg = composed("task=train", "method=sft", f"model.path={tiny_folder}", "logger=none", "~model.processor.step",
                   f"paths.run_dir={tmp_path / 'run'}")  # fmt: skip
    monkeypatch.setattr(training, "build_trainer", lambda *_, **__: pytest.fail("training began"))
    (tmp_path / records[7].image).unlink()
    records[6] = replace(records[6], split="test", image="never.png")
    with pytest.raises(InputError, match="^1 of 7 records .*synthetic/7"):
        training.train_stage(
            cfg,
            cfg.method,
            RecordSet(records, {"synthetic": tmp_path}),
            "sft",
            None,
            tmp_path / "run",
            tmp_path / "out",
        )
    assert not (tmp_path / "out").exists() and not (tmp_path / "run").exists()
