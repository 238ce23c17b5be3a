"""Parquet files out and back in: the same records, flat memory, and nothing in a file is trusted."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Image as ImageFeature
from datasets import load_dataset
from PIL import Image

from umed.boxes import Box
from umed.data import export as module
from umed.data.card import list_restricted, render_card, render_head
from umed.data.export import export
from umed.data.sources.exported import ExportedSource
from umed.errors import InputError
from umed.pictures import picture_of
from umed.records import Dropped, Record

HU = {"window": [-175.0, 275.0, -32768.0]}
ROOTS = ("phantom_kvasir", "deeplesion", "mine")


def drawn(root: Path) -> list[Record]:
    """Twelve records of three sources: 16-bit, JPEG, two categories of one picture, every field used."""
    rng = np.random.default_rng(0)
    records = []
    for i in range(12):
        source, folder = ROOTS[i % 3], root / ROOTS[i % 3] / "a"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"a/{i}.{'jpg' if source == 'mine' else 'png'}"
        if source == "deeplesion":
            Image.fromarray((32768 + rng.integers(-200, 300, (30, 40))).astype(np.uint16)).save(root / source / name)
        else:
            Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(root / source / name)
        one = Record(
            id=f"{source}/{name}",
            source=source,
            image=name,
            width=40,
            height=30,
            boxes=(Box(0.1, 1 / 3, 0.7, 2 / 3), Box(0.123456789, 0, 1, 0.5))[: 1 + i % 2],
            category=("polyp", "lung", "zyste, große")[i % 3],
            modality=("Endoscopy", "CT", "MR")[i % 3],
            group=f"g{i}",
            split=("train", "train", "val", "test")[i // 3],
            official_split="3" if source == "deeplesion" else "",
            query="What is wrong?" if i % 4 else "",
            diagnosis=f"Ein Befund, “{i}”: <region>." if i % 4 else "",
            provenance={
                "raw": [{"row": [i, 0.5, None]}],
                **(HU if source == "deeplesion" else {"annotator": "offline"}),
            },
        )
        records.append(one)
    records.append(replace(records[2], id=f"{records[2].id}#2", category="polyp"))
    return sorted(records, key=lambda r: ("train", "val", "test").index(r.split))


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    return drawn(tmp_path)


@pytest.fixture
def roots(tmp_path: Path) -> dict[str, Path]:
    return {name: tmp_path / name for name in ROOTS}


@pytest.fixture
def exported(records: list[Record], roots: dict[str, Path], tmp_path: Path) -> Path:
    export(records, roots, tmp_path / "export")
    return tmp_path / "export"


def read(folder: Path, workers: int = 2, seen: dict[bytes, tuple[str, str]] | None = None) -> list[Record | Dropped]:
    return list(
        ExportedSource(str(folder), str(folder.parent / "unpacked")).read({} if seen is None else seen, workers)
    )


def test_what_comes_back_is_what_went_out(exported: Path, records: list[Record], roots: dict[str, Path]) -> None:
    found = read(exported)
    assert [replace(r, image="", boxes=()) for r in found] == [replace(r, image="", boxes=()) for r in records]
    unpacked = ExportedSource(str(exported), str(exported.parent / "unpacked")).roots
    assert unpacked.keys() == roots.keys()
    for before, after in zip(records, found, strict=True):
        for a, b in zip(before.boxes, after.boxes, strict=True):
            assert a.to_xyxy(40, 30) == pytest.approx(b.to_xyxy(40, 30), abs=1e-4)
        assert picture_of(after, unpacked).tobytes() == picture_of(before, roots).tobytes()
        content = (unpacked[after.source] / after.image).read_bytes()
        assert content == (roots[before.source] / before.image).read_bytes()
        assert after.image.split("/")[1].split(".")[0] == hashlib.sha256(content).hexdigest()
    assert len({r.image for r in found}) == 12 and not list(exported.parent.rglob("*.part"))
    assert read(exported, workers=1) == found  # a second time, on what is unpacked already


def test_a_picture_that_another_source_has_is_told(exported: Path) -> None:
    seen: dict[bytes, tuple[str, str]] = {}
    kept = read(exported, seen=seen)
    assert len(seen) == 12 and not [r for r in kept if isinstance(r, Dropped)]
    again = read(exported, seen=seen)
    assert {(r.reason, r.detail.split(" ")[0]) for r in again if isinstance(r, Dropped)} == {("duplicate", "same")}
    assert len(again) == 13


def test_the_datasets_library_reads_it(
    exported: Path, records: list[Record], roots: dict[str, Path], tmp_path: Path
) -> None:
    files = {split: f"{exported}/data/{split}-*.parquet" for split in ("train", "val", "test")}
    loaded = load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    assert {k: len(v) for k, v in loaded.items()} == {"train": 7, "val": 3, "test": 3}
    rows, raw = loaded["train"], loaded["train"].cast_column("image", ImageFeature(decode=False))
    assert rows.features["category"].names == ["lung", "polyp", "zyste, große"]
    for record, row, stored in zip([r for r in records if r.split == "train"], rows, raw, strict=True):
        assert stored["image"]["bytes"] == (roots[record.source] / record.image).read_bytes()
        assert row["image"].size == (record.width, record.height) == (row["width"], row["height"])
        assert row["boxes"] == [list(b.to_xyxy(40, 30)) for b in record.boxes]
        assert rows.features["category"].int2str(row["category"]) == record.category
        assert json.loads(row["provenance"]) == record.provenance
        texts = ("id", "source", "modality", "group", "official_split", "query", "diagnosis")
        assert [row[name] for name in texts] == [getattr(record, name) for name in texts]
    by_folder = load_dataset(str(exported), cache_dir=str(tmp_path / "cache"))  # as the card's head says
    assert {k: len(v) for k, v in by_folder.items()} == {"train": 7, "val": 3, "test": 3}


def test_what_the_datasets_library_wrote_anew_is_read(exported: Path, records: list[Record], tmp_path: Path) -> None:
    files = {"train": "train", "validation": "val", "test": "test"}
    files = {name: f"{exported}/data/{split}-*.parquet" for name, split in files.items()}
    loaded = load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    for pattern in ("{}.parquet", "{}-00000-of-00001.parquet"):
        (folder := tmp_path / pattern[3:] / "data").mkdir(parents=True)
        for name, rows in loaded.items():
            rows.to_parquet(str(folder / pattern.format(name)))
        found = [r for r in read(folder.parent) if isinstance(r, Record)]
        told = [(r.id, r.split, r.category, r.diagnosis) for r in records]
        assert [(r.id, r.split, r.category, r.diagnosis) for r in found] == told


def test_a_full_shard_is_followed_by_another(
    records: list[Record], roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHARD", 9000)  # three PNG of 3.7 kB do not fit
    monkeypatch.setattr(module, "ROOM", 4000)
    files = export(records, roots, tmp_path / "export")
    names = [f.name for f in files if f.name.startswith("train")]
    assert len(names) > 1 and names == [f"train-{k:05d}-of-{len(names):05d}.parquet" for k in range(len(names))]
    groups = [
        pq.read_metadata(f).row_group(k).num_rows for f in files for k in range(pq.read_metadata(f).num_row_groups)
    ]
    assert sum(groups) == len(records) and max(groups) <= 3  # written when the room is full, not at the end
    assert [r.id for r in read(tmp_path / "export") if isinstance(r, Record)] == [r.id for r in records]


def test_what_cannot_be_exported_leaves_nothing(records: list[Record], roots: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes((roots["mine"] / "a/2.jpg").read_bytes())
    (roots["mine"] / "link.png").symlink_to(tmp_path / "secret.png")
    (roots["mine"] / "scan").write_bytes(bytes(128) + b"DICM" + bytes(99))
    wrong = {
        "leads out of": {"image": "../secret.png"},
        "link.png leads out of": {"image": "link.png"},
        "no picture": {"image": "a/none.png"},
        "a DICOM file may name its patient": {"image": "scan"},
        "1 of 13 records have no split, first mine": {"split": ""},
    }
    mine = next(r for r in records if r.source == "mine")
    for told, fields in wrong.items():
        with pytest.raises(InputError, match=told):
            export([*records[:-1], replace(mine, **fields)], roots, tmp_path / "export")
        assert not list(tmp_path.glob("export*"))
    (tmp_path / "export").mkdir()
    with pytest.raises(InputError, match="export is there already"):
        export(records, roots, tmp_path / "export")
    with pytest.raises(InputError, match="0 of 0 records"):
        export([], roots, tmp_path / "empty")


def tampered(exported: Path, change: Callable[[dict[str, Any]], None], row: int = 0) -> Path:
    """The export with one row of its train shard changed."""
    [path] = exported.glob("data/train-*.parquet")
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows[row])
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    return exported


@pytest.mark.parametrize("path", ["../../../../evil.png", "/etc/evil.png", "a/b\0.png", "x." + "y" * 300, "..", None])
def test_a_stored_path_is_only_a_hint(exported: Path, records: list[Record], path: str | None) -> None:
    def change(row: dict[str, Any]) -> None:
        row["image"]["path"] = path

    before = {p for p in exported.parent.rglob("*") if p.is_file()}
    found = read(tampered(exported, change))
    assert [r.id for r in found if isinstance(r, Record)] == [r.id for r in records]
    new = {p for p in exported.parent.rglob("*") if p.is_file()} - before
    assert len(new) == 12 and all(p.parent.parent == exported.parent / "unpacked" for p in new)
    assert not [p for p in new if len(p.name) > 64 + 9]


@pytest.mark.parametrize(
    ("fields", "reason", "told"),
    [
        ({"image": {"bytes": None, "path": "/etc/hostname"}}, "malformed", "the picture itself is not in the file"),
        ({"image": None}, "malformed", "not a record"),
        ({"image": {"bytes": b"no picture", "path": "a.png"}}, "unreadable", "not a picture"),
        ({"width": 41}, "malformed", "41x30 in the row, the picture is 40x30"),
        ({"provenance": '{"orientation": 3}'}, "malformed", "written anew without its EXIF orientation"),
        ({"width": None}, "malformed", "width is None"),
        ({"boxes": [[5.0, 5.0, 5.0, 9.0]]}, "malformed", "no area"),
        ({"category": 99}, "malformed", "category 99 has no name"),
        ({"category": -1}, "malformed", "category -1 has no name"),
        ({"provenance": "{"}, "malformed", "not a record"),
        ({"provenance": "[" * 100_000}, "malformed", "not a record"),
        ({"provenance": '{"window": [3, 2, 1]}'}, "malformed", "provenance.window"),
        ({"diagnosis": None}, "malformed", "diagnosis is None"),
    ],
)
def test_a_row_that_is_no_record_is_dropped_and_told(
    exported: Path, records: list[Record], fields: dict[str, Any], reason: str, told: str
) -> None:
    found = read(tampered(exported, lambda row: row.update(fields)))
    [lost] = [r for r in found if isinstance(r, Dropped)]
    assert (lost.source, lost.item, lost.reason) == ("phantom_kvasir", records[0].id, reason) and told in lost.detail
    assert [r.id for r in found if isinstance(r, Record)] == [r.id for r in records[1:]]


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "x" * 200, None])
def test_the_name_of_a_source_is_checked(exported: Path, name: str | None) -> None:
    if name is None:
        with pytest.raises(InputError, match="no column source"):
            [path] = exported.glob("data/train-*.parquet")
            pq.write_table(pq.read_table(path).drop_columns("source"), path)
            read(exported)
        return
    with pytest.raises(InputError, match="is no name of a source"):
        read(tampered(exported, lambda row: row.update(source=name)))


def test_what_is_no_export_is_told_in_a_line(exported: Path, tmp_path: Path) -> None:
    [path] = exported.glob("data/train-*.parquet")
    whole = path.read_bytes()
    for broken in (b"", b"PAR1", whole[: len(whole) // 2], whole[:-4] + b"XXXX"):
        path.write_bytes(broken)
        with pytest.raises(InputError, match=r"train-00000-of-00001.parquet: no readable parquet file"):
            read(exported)
    path.write_bytes(whole)
    pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": '{"info": 3}'}), path)
    with pytest.raises(InputError, match="no readable parquet file"):
        read(exported)
    pq.write_table(pq.read_table(path).replace_schema_metadata({}), path)
    with pytest.raises(InputError, match="category has no names"):
        read(exported)
    path.rename(path.with_name("dev-0.parquet"))
    with pytest.raises(InputError, match="dev-0.parquet names no split"):
        read(exported)
    with pytest.raises(InputError, match="nothing there: set its root"):
        read(tmp_path)


def test_an_unpacked_picture_that_was_changed_is_told(exported: Path) -> None:
    first = read(exported)[0]
    assert isinstance(first, Record)
    Image.new("RGB", (40, 30)).save(exported.parent / "unpacked" / first.image)
    with pytest.raises(InputError, match="is not the picture that was unpacked there"):
        read(exported)


def test_the_card_says_what_is_there(records: list[Record]) -> None:
    review = {"review": {"status": "accepted", "reviewer": "A"}}
    note = {"annotator": "openai", "annotation": {"model": "gpt|x", "prompt_sha256": "0123456789abcdef"}}
    told = [replace(records[1], provenance={**note, **review}), *records[:1], *records[2:]]
    card = render_card(told)
    for line in (
        "# 13 records of 3 sources",
        "| deeplesion | 2 | 1 | 1 | 4 |",
        "| polyp | 3 | 1 | 1 | 5 |",
        "| Endoscopy | 2 | 1 | 1 | 4 |",
        "| offline | 7 |",
        "| nobody: no diagnosis | 3 |",
        "| unknown | 2 |",
        "| openai, gpt\\|x, prompt 0123456789ab | 1 |",
        "| not reviewed | 12 |",
        "| accepted | 1 |",
    ):
        assert line in card.splitlines(), line
    assert "**SYNTHETIC**: the pictures of `phantom_kvasir`" in card and "12 groups" in card
    assert "> **NOT TO BE REDISTRIBUTED as it is**: the terms of `deeplesion`, `mine`" in card
    assert list_restricted(records) == ["deeplesion", "mine"]
    real = [r for r in records if r.source == "deeplesion"]
    assert "SYNTHETIC" not in render_card(real) and "synthetic" not in render_head(real)
    drawn = [r for r in records if r.source == "phantom_kvasir"]
    assert "REDISTRIBUTED" not in render_card(drawn) and "license: apache-2.0" in render_head(drawn)
    crossing = [*records, replace(records[0], id="z", split="test")]
    assert "**1 of them are in more than one split**" in render_card(crossing)
    assert "No record of `deeplesion` is in train or val." in render_card([replace(real[0], split="test")])
    assert "No record of" not in card + render_card([replace(real[0], split="")])
    assert "| phantom_kvasir | 1 | 0 | - | - | - | - |" in render_card([replace(records[0], boxes=())])
    hostile = render_card([replace(records[0], source="a|b\n# <script>`x`")])
    assert "<script>" not in hostile and "\n# <" not in hostile and "a\\|b # &lt;script>'x'" in hostile


FLAT = """
import resource, sys
from pathlib import Path
import numpy as np
from PIL import Image
from umed.boxes import Box
from umed.data.export import export
from umed.data.sources.exported import ExportedSource
from umed.records import Record
root, count = Path(sys.argv[1]), int(sys.argv[2])
root.mkdir()
rng = np.random.default_rng(0)
records = []
for i in range(count):
    Image.fromarray(rng.integers(0, 256, (600, 600, 3), dtype=np.uint8)).save(root / f"{i}.png", compress_level=0)
    box = (Box(0, 0, 1, 1),)
    records.append(Record(f"s/{i}", "s", f"{i}.png", 600, 600, box, "c", "CT", f"g{i}", "train"))
export(records, {"s": root}, root / "export")
assert sum(1 for _ in ExportedSource(root / "export", root / "unpacked").read({}, 2)) == count
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path: Path) -> None:
    """40 against 240 pictures of 1 MB, out and back in."""

    def peak(count: int) -> float:
        command = [sys.executable, "-c", FLAT, str(tmp_path / str(count)), str(count)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    few, many = peak(40), peak(240)
    assert many - few < 100, f"{few:.0f} MiB with 40, {many:.0f} MiB with 240"
