"""What every source promises, found by itself through its yaml: its own example is read back exactly."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from umed.data.sources.base import Example, Picture, PictureSource
from umed.errors import InputError
from umed.records import Dropped, Record, read_records
from umed.run_files import write_jsonl
from umed.synthetic.examples import example_of

CONF = Path(__file__).parents[2] / "conf/data/source"


def nodes() -> Iterator[tuple[str, Any]]:
    """The entries of the yaml files whose class can write an example."""
    for path in sorted(CONF.glob("*.yaml")):
        for name, node in OmegaConf.load(path).items():
            if not node._target_.startswith("umed.synthetic") and "exported" not in node._target_:
                yield str(name), node


NODES = dict(nodes())


@dataclass(frozen=True)
class Written:
    root: Path
    example: Example
    make: Callable[..., PictureSource]

    def read(self, workers: int = 1, **options: Any) -> list[Record | Dropped]:
        return list(self.make(**options).read({}, workers=workers))


@pytest.fixture(params=NODES, scope="module")
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    node, root = NODES[request.param], tmp_path_factory.mktemp(request.param)
    example = example_of(get_class(node._target_))(root)
    return Written(root, example, lambda **options: instantiate(node, **{"root": str(root), **options}))


def boxes_of(record: Record) -> list[tuple[float, ...]]:
    return [box.to_xyxy(record.width, record.height) for box in record.boxes]


def test_the_sources_of_the_paper_are_here() -> None:
    assert {"deeplesion", "kidney_stone", "nih_chest", "tbx11k", "kvasir", "folder"} <= set(NODES)


def test_every_source_has_an_example() -> None:
    """But the one that draws its own pictures, and the one that reads what this package has written."""
    every = {str(name) for path in CONF.glob("*.yaml") for name in OmegaConf.load(path)}
    assert every - set(NODES) == {"phantom", "exported"}


def test_the_example_is_read_exactly(written: Written) -> None:
    items = written.read()
    records = {r.id: r for r in items if isinstance(r, Record) and r.boxes}
    assert set(records) == set(written.example.records)
    for name, corners in written.example.records.items():
        assert boxes_of(records[name]) == [pytest.approx(c, abs=1e-3) for c in corners], name
    assert Counter(d.reason for d in items if isinstance(d, Dropped)) == written.example.dropped
    assert sum(isinstance(r, Record) and not r.boxes for r in items) == written.example.controls


def test_ids_are_unique_and_boxes_inside(written: Written) -> None:
    records = [r for r in written.read() if isinstance(r, Record)]
    assert len({r.id for r in records}) == len(records) > 0
    for record in records:
        for x0, y0, x1, y1 in boxes_of(record):
            assert 0 <= x0 < x1 <= record.width and 0 <= y0 < y1 <= record.height, record.id
        assert record.group and record.category and record.modality and record.category == record.category.lower()


def test_every_box_is_kept_or_dropped(written: Written) -> None:
    """A picture is dropped as a whole, or each of its regions stands in a record or in a line of its own."""
    items = written.read()
    dropped = Counter(d.item for d in items if isinstance(d, Dropped))
    kept: dict[str, int] = defaultdict(int)
    for record in items:
        if isinstance(record, Record):
            kept[record.id.partition("/")[2].rpartition("#")[0] or record.id.partition("/")[2]] += len(record.boxes)
    listed = list(written.make().list_pictures())
    assert all(dropped[d.item] for d in listed if isinstance(d, Dropped))
    pictures = [p for p in listed if isinstance(p, Picture)]
    assert pictures
    for picture in pictures:
        lost = sum(dropped[f"{picture.name} {region.where}".strip()] for region in picture.regions)
        assert dropped[picture.name] or (picture.regions and kept[picture.name] + lost == len(picture.regions)), picture


def test_reading_again_or_with_threads_gives_the_same(written: Written) -> None:
    once = written.read()
    assert written.read() == once
    assert written.read(workers=3) == once


def test_records_survive_their_file(written: Written, tmp_path: Path) -> None:
    items = written.read()
    records = [r for r in items if isinstance(r, Record) and r.boxes]
    write_jsonl(tmp_path / "records.jsonl", (r.to_json() for r in records))
    assert [r.to_json() for r in read_records(tmp_path / "records.jsonl")] == [r.to_json() for r in records]
    write_jsonl(tmp_path / "dropped.jsonl", (d.to_json() for d in items if isinstance(d, Dropped)))
    lines = (tmp_path / "dropped.jsonl").read_text(encoding="utf-8").splitlines()
    assert Counter(json.loads(line)["reason"] for line in lines) == written.example.dropped


def test_another_name(written: Written) -> None:
    items = written.read(name="stand_in")
    ids = [r.id for r in items if isinstance(r, Record) and r.boxes]
    assert len(ids) == len(written.example.records) and all(i.startswith("stand_in/") for i in ids)
    assert {d.source for d in items if isinstance(d, Dropped)} <= {"stand_in"}
    assert written.make(name="stand_in").roots["stand_in"] == written.root


def test_pixels_seen_in_another_source_are_duplicates(written: Written) -> None:
    seen: dict[bytes, tuple[str, str]] = {}
    source = written.make()
    assert any(isinstance(item, Record) for item in list(source.read(seen)))
    again = list(source.read(seen))
    assert not [r for r in again if isinstance(r, Record)]
    assert any(isinstance(d, Dropped) and d.reason == "duplicate" for d in again)


def test_a_place_that_holds_no_such_data_is_told_in_one_line(written: Written, tmp_path: Path) -> None:
    for root, told in ((tmp_path / "nowhere", "no folder"), (tmp_path, "expected|unpack")):
        with pytest.raises(InputError, match=told) as caught:
            written.read(root=str(root))
        assert str(root) in str(caught.value)
