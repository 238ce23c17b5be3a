"""`prepare_records`: what it writes, counts and refuses; also on real slices where they are at hand."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from disk_examples import example_of
from PIL import Image

from umed.boxes import Box
from umed.data.prepare import prepare_records
from umed.data.sources.folder import FolderSource
from umed.errors import InputError
from umed.pictures import open_picture
from umed.records import Dropped, Record, read_records
from umed.run_files import read_jsonl, read_metrics, update_metrics
from umed.synthetic.source import PARSERS

SPLIT = {"fractions": (0.7, 0.1, 0.2), "seed": 0}
REAL = Path(os.environ.get("UMED_REAL_MAU", Path(__file__).resolve().parents[2] / "../shared/real_mau"))


class Fake:
    """A source that yields what it was given."""

    def __init__(self, root: Path, items: list[Record | Dropped], name: str = "fake") -> None:
        self.items, self.roots = items, {name: root}

    def read(self, seen: dict[bytes, tuple[str, str]], workers: int) -> Iterator[Record | Dropped]:
        yield from self.items


def record(number: int, name: str = "fake", identity: str | None = None) -> Record:
    box = (Box(0.2, 0.2, 0.6, 0.6),)
    return Record(identity or f"{name}/{number}", name, "a.png", 30, 20, box, "cyst", "CT", f"g{number}")


@pytest.fixture(autouse=True)
def small_sheets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umed.data.prepare.SHOWN", 2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Image.new("L", (30, 20), 90).save(tmp_path / "a.png")
    return tmp_path


def test_what_is_read_is_written_counted_and_shown(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lost = [Dropped("fake", "x", "unlabeled"), Dropped("fake", "y", "unlabeled"), Dropped("fake", "z", "noisy", "why")]
    update_metrics(root / "run" / "metrics.json", {"older": 1.5})
    source = Fake(root, [*lost, *map(record, range(10))])
    records = prepare_records({"fake": source}, SPLIT, root / "run")
    assert read_records(root / "run" / "records.jsonl") == records and len(records) == 10
    assert list(read_jsonl(root / "run" / "dropped.jsonl")) == [d.to_json() for d in lost]
    assert json.loads((root / "run" / "sources.json").read_text()) == {"fake": str(root)}
    assert read_metrics(root / "run") == {
        "older": 1.5,
        "prepare/fake/kept": 10,
        "prepare/fake/unlabeled": 2,
        "prepare/fake/noisy": 1,
    }
    out = capsys.readouterr().out
    assert out.splitlines()[1].split() == ["fake", "CT", "10", "7", "1", "2", "10", "2", "unlabeled,", "1", "noisy"]
    sheet = open_picture(root / "run" / "figures" / "data_fake.png")
    assert (255, 255, 0) in {color for _, color in sheet.getcolors(1 << 24) or []}


def test_a_source_of_one_group_is_told(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the card too; a study of the unseen means to leave splits empty."""
    items: list[Record | Dropped] = [replace(record(k), group="one") for k in range(3)]
    prepare_records({"fake": Fake(root, items)}, SPLIT, root / "run")
    assert ["no record is left for val and test" in m for m in caplog.messages] == [True]
    assert "No record of `fake` is in val or test." in (root / "run" / "data_card.md").read_text()
    prepare_records({"fake": Fake(root, items), "new": Fake(root, [record(1, "new")], "new")},
                    {**SPLIT, "unseen": {"source": ["new"]}}, root / "run")  # fmt: skip
    assert len(caplog.messages) == 1


def test_a_source_without_a_record_is_refused(root: Path) -> None:
    empty = Fake(root, [Dropped("empty", "x", "missing_file")], name="empty")
    with pytest.raises(InputError, match=r"source empty gives no record \(1 missing_file\)"):
        prepare_records({"fake": Fake(root, [record(1)]), "empty": empty}, SPLIT, root / "run")
    assert len(list(read_jsonl(root / "run" / "dropped.jsonl"))) == 1
    assert not (root / "run" / "records.jsonl").exists()


def test_ids_and_names_are_unique(root: Path) -> None:
    twice = Fake(root, [record(1, identity="fake/1"), record(2, identity="fake/1")])
    with pytest.raises(InputError, match="fake/1 occurs 2 times"):
        prepare_records({"fake": twice}, SPLIT, root / "run")
    with pytest.raises(InputError, match="two sources are called fake"):
        prepare_records({"a": Fake(root, [record(1)]), "b": Fake(root, [record(2)])}, SPLIT, root / "run")


def test_the_papers_five_sources_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The default run's source classes, each on its own example in the true format, through one call."""
    sources, wanted = {}, dict[str, float]()
    for name, cls in zip(
        ("deeplesion", "kidney_stone", "nih_chest", "tbx11k", "kvasir"), PARSERS.values(), strict=True
    ):
        (tmp_path / name).mkdir()
        example = example_of(cls)(tmp_path / name)
        sources[name] = cls(root=tmp_path / name)
        wanted[f"prepare/{name}/kept"] = len(example.records)
        wanted |= {f"prepare/{name}/{reason}": count for reason, count in example.dropped.items() if count}
        if example.controls:
            wanted[f"prepare/{name}/controls"] = example.controls
    records = prepare_records(sources, SPLIT, tmp_path / "run")
    assert read_metrics(tmp_path / "run") == wanted
    assert {r.modality for r in records} == {"CT", "X-ray", "Endoscopy"}
    assert {p.stem for p in (tmp_path / "run" / "figures").iterdir()} == {f"data_{name}" for name in sources}
    dropped = list(read_jsonl(tmp_path / "run" / "dropped.jsonl"))
    assert len(dropped) == sum(n for k, n in wanted.items() if not k.endswith(("kept", "controls")))
    out = capsys.readouterr().out
    assert all(name in out for name in sources)


def shared(root: Path, numbers: range, side: int) -> Path:
    """Patients with two pictures each; equal numbers and sides are equal pictures."""
    rows = ["image,x0,y0,x1,y1,category,group"]
    (root / "images").mkdir(parents=True)
    for n in numbers:
        for k in (0, side):
            pixels = np.random.default_rng([n, k]).integers(0, 256, (10, 12), np.uint8)
            Image.fromarray(pixels).save(root / f"images/{n}_{k}.png")
            rows.append(f"images/{n}_{k}.png,1,1,9,9,cyst,{root.name}{n}")
    (root / "annotations.csv").write_text("\n".join(rows))
    return root


def test_a_patient_of_two_sources_is_in_one_split_and_the_first_source_stays_as_it_was(tmp_path: Path) -> None:
    a, b = shared(tmp_path / "a", range(12), 1), shared(tmp_path / "b", range(8, 20), 2)
    sources = {"a": FolderSource(a, "csv", "a", modality="CT"), "b": FolderSource(b, "csv", "b", modality="CT")}
    both = {r.id: r for r in prepare_records(sources, SPLIT, tmp_path / "both")}
    assert read_metrics(tmp_path / "both")["prepare/b/duplicate"] == 4
    for n in range(8, 12):
        splits = {r.split for r in both.values() if r.group in (f"a{n}", f"b{n}")}
        assert len(splits) == 1, n
    for name in ("a", "b"):
        alone = prepare_records({name: sources[name]}, SPLIT, tmp_path / name)
        free = [r for r in alone if name == "a" or int(r.group[1:]) >= 12]
        assert len(free) == (24 if name == "a" else 16)
        assert {r.id: r.split for r in free} == {r.id: both[r.id].split for r in free}


def test_what_an_earlier_preparation_left_is_removed(root: Path) -> None:
    run = root / "run"
    normal = replace(record(3), id="old/n", source="old", boxes=(), group="n")
    prepare_records({"old": Fake(root, [record(1, "old"), normal], "old")}, SPLIT, run)
    assert (run / "controls.jsonl").exists() and (run / "figures/data_old.png").exists()
    prepare_records({"fake": Fake(root, [record(1)])}, SPLIT, run)
    assert not (run / "controls.jsonl").exists() and not (run / "figures/data_old.png").exists()
    assert "prepare/old/kept" not in read_metrics(run)


def test_wrong_options_are_told(root: Path) -> None:
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        ({"fractions": ["a", "b", "c"], "seed": 0}, {}, "three shares"),
        ({"fractions": 0.5, "seed": 0}, {}, "three shares"),
        (SPLIT, {"sample": {"total": "abc", "by": "natural", "seed": 0}}, "sample.total=abc"),
        (SPLIT, {"sample": {"total": 2.5, "by": "natural", "seed": 0}}, "sample.total=2.5"),
        (SPLIT, {"workers": "abc"}, "workers=abc"),
        (SPLIT, {"workers": 1.5}, "workers=1.5"),
        (SPLIT, {"manifest": "/"}, "manifest: / cannot be read"),
    ]
    for split, options, told in wrong:
        with pytest.raises(InputError, match=told):
            prepare_records({"fake": Fake(root, [record(1), record(2), record(3)])}, split, root / "run", **options)


def test_controls_have_a_file_of_their_own_and_the_split_of_their_group(root: Path) -> None:
    normal = [replace(record(i), id=f"fake/n{i}", boxes=(), category="no finding", group=f"g{i}") for i in range(14)]
    records = prepare_records({"fake": Fake(root, [*map(record, range(10)), *normal])}, SPLIT, root / "run")
    assert len(records) == 10 and all(r.boxes for r in records)
    lines = list(read_jsonl(root / "run" / "controls.jsonl"))
    assert [line["id"] for line in lines] == [r.id for r in normal] and not any(line["boxes"] for line in lines)
    split_of = {r.group: r.split for r in records}
    assert all(line["split"] == split_of.get(line["group"], line["split"]) for line in lines)
    assert {line["split"] for line in lines} <= {"train", "val", "test"}
    assert read_metrics(root / "run")["prepare/fake/controls"] == 14


def test_records_left_out_of_a_study_are_counted(root: Path) -> None:
    other = [replace(record(i), id=f"fake/o{i}", category="mass", group=f"h{i}") for i in range(10)]
    split = {**SPLIT, "unseen": {"category": ["mass"]}}
    records = prepare_records({"fake": Fake(root, [*map(record, range(10)), *other])}, split, root / "run")
    assert {r.category for r in records if r.split == "test"} == {"mass"}
    assert {r.category for r in records if r.split != "test"} == {"cyst"}
    assert len(records) + read_metrics(root / "run")["prepare/fake/left_out"] == 20


@pytest.mark.skipif(not REAL.is_dir(), reason="the real slices are not there: set UMED_REAL_MAU to their folder")
def test_real_slices(tmp_path: Path) -> None:
    records = prepare_records({"real": FolderSource(str(REAL), name="real")}, SPLIT, tmp_path)
    assert len(records) == 27 and sum(len(r.boxes) for r in records) == 28
    assert read_metrics(tmp_path) == {"prepare/real/kept": 27, "prepare/real/unlabeled": 15}
    assert {r.category for r in records} == {"brain tumor", "breast tumor", "lung tumor"}
    assert {(r.group, r.modality) for r in records} == {
        ("brain1", "MR"), ("brain2", "MR"), ("breast1", "MR"), ("lung1", "CT"), ("lung2", "CT")
    }  # fmt: skip
    assert {r.split for r in records} == {"train", "val", "test"}
    assert all(len({r.split for r in records if r.group == g}) == 1 for g in {r.group for r in records})


MEASURED = """
import resource, sys
from pathlib import Path
from umed.data.sources.folder import FolderSource
from umed.data.prepare import prepare_records
records = prepare_records(
    {"folder": FolderSource(sys.argv[1], "csv", modality="CT")}, {"fractions": [0.7, 0.1, 0.2], "seed": 0},
    Path(sys.argv[1]) / "run", workers=2,
)
print(len(records), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_pictures(tmp_path: Path) -> None:
    """1,400 more pictures are 1.4 GB decoded; their records are a few MB."""
    peaks = []
    for count in (100, 1500):
        root = tmp_path / str(count)
        (root / "images").mkdir(parents=True)
        rows = ["image,x0,y0,x1,y1,category"]
        for n in range(count):
            picture = Image.new("RGB", (580, 580), (n % 256, n // 256, 0))
            picture.save(root / f"images/{n}.png", compress_level=1)
            rows.append(f"images/{n}.png,1,1,9,9,cyst")
        (root / "annotations.csv").write_text("\n".join(rows))
        done = subprocess.run([sys.executable, "-c", MEASURED, str(root)], capture_output=True, text=True, check=True)
        kept, peak = map(int, done.stdout.split()[-2:])
        assert kept == count
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 40, peaks
