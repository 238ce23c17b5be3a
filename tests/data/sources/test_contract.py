"""Promises of every source, found through its yaml; a stranger's source is among them with one file and one yaml."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from disk_examples import example_of
from hydra import compose, initialize_config_dir
from hydra.utils import get_class, instantiate
from items import records
from omegaconf import DictConfig, OmegaConf

from umed.config import register
from umed.data.prepare import build_sources, prepare, prepare_records
from umed.data.sources.base import Copy, Example, Item, Picture, PictureSource
from umed.data.sources.seen import Seen
from umed.errors import InputError
from umed.records import Dropped, Record, read_records
from umed.run_files import write_jsonl

CONF = Path(__file__).parents[3] / "conf"


def nodes_of(path: Path) -> DictConfig:
    """The sources of a yaml, which may set more of `data`."""
    nodes: Any = OmegaConf.load(path)
    return nodes.get("source", nodes)


def find_nodes(folder: Path) -> Iterator[tuple[str, Any]]:
    """The entries of the yaml files whose class can write an example."""
    for path in sorted((folder / "data/source").glob("*.yaml")):
        for name, node in nodes_of(path).items():
            if not node._target_.startswith("umed.synthetic") and "exported" not in node._target_:
                yield str(name), node


NODES = dict(find_nodes(CONF))


@dataclass
class Written:
    """A source's example on disk; `items` are what reading it once gives."""

    node: Any
    root: Path

    def __post_init__(self) -> None:
        self.example: Example = example_of(get_class(self.node._target_))(self.root)
        self.items = self.read()

    def make(self, **options: Any) -> PictureSource:
        return instantiate(self.node, **{"root": str(self.root), **options})

    def read(self, seen: Seen | None = None, workers: int = 1, **options: Any) -> list[Item]:
        return list(self.make(**options).read({} if seen is None else seen, workers=workers))

    @cached_property
    def records(self) -> list[Record]:
        return [item for item in self.items if isinstance(item, Record)]


@pytest.fixture(params=NODES, scope="module")
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return Written(NODES[request.param], tmp_path_factory.mktemp(request.param))


def corners_of(record: Record) -> list[tuple[float, ...]]:
    return [box.to_xyxy(record.width, record.height) for box in record.boxes]


def test_every_source_has_an_example() -> None:
    """But the one that draws its own pictures, and the one that reads what this package has written."""
    assert {"deeplesion", "kidney_stone", "nih_chest", "tbx11k", "kvasir", "folder"} <= set(NODES)
    every = {str(name) for path in (CONF / "data/source").glob("*.yaml") for name in nodes_of(path)}
    assert every - set(NODES) == {"phantom", "exported"}


def test_the_example_is_read_exactly(written: Written) -> None:
    boxed = {r.id: r for r in written.records if r.boxes}
    assert set(boxed) == set(written.example.records)
    for name, corners in written.example.records.items():
        assert corners_of(boxed[name]) == [pytest.approx(c, abs=1e-3) for c in corners], name
    assert Counter(d.reason for d in written.items if isinstance(d, Dropped)) == written.example.dropped
    assert sum(not r.boxes for r in written.records) == written.example.controls


def test_records_are_sound_and_survive_their_file(written: Written, tmp_path: Path) -> None:
    assert len({r.id for r in written.records}) == len(written.records) > 0
    for record in written.records:
        for x0, y0, x1, y1 in corners_of(record):
            assert 0 <= x0 < x1 <= record.width and 0 <= y0 < y1 <= record.height, record.id
        assert record.group and record.category and record.modality and record.category == record.category.lower()
    for name, control in (("records.jsonl", False), ("controls.jsonl", True)):
        lines = [r.to_json() for r in written.records if bool(r.boxes) != control]
        write_jsonl(tmp_path / name, lines)
        assert [r.to_json() for r in read_records(tmp_path / name, control)] == lines
    write_jsonl(tmp_path / "dropped.jsonl", (d.to_json() for d in written.items if isinstance(d, Dropped)))
    dropped = (tmp_path / "dropped.jsonl").read_text(encoding="utf-8").splitlines()
    assert Counter(json.loads(line)["reason"] for line in dropped) == written.example.dropped


def test_every_box_is_kept_or_dropped(written: Written) -> None:
    """A picture is dropped as a whole, or each of its regions stands in a record or in a line of its own."""
    dropped = Counter(d.item for d in written.items if isinstance(d, Dropped))
    kept: Counter[str] = Counter()
    for record in written.records:
        kept[record.id.partition("/")[2].rpartition("#")[0] or record.id.partition("/")[2]] += len(record.boxes)
    listed = list(written.make().list_pictures())
    assert all(dropped[d.item] for d in listed if isinstance(d, Dropped))
    pictures = [p for p in listed if isinstance(p, Picture)]
    assert pictures
    for picture in pictures:
        lost = sum(dropped[f"{picture.name} {region.where}".strip()] for region in picture.regions)
        assert dropped[picture.name] or (picture.regions and kept[picture.name] + lost == len(picture.regions)), picture


def test_threads_change_nothing_and_pixels_seen_before_are_duplicates(written: Written) -> None:
    seen: Seen = {}
    assert written.read(seen, workers=3) == written.items
    again = written.read(seen, workers=2)
    assert not records(again) and any(isinstance(d, Dropped) and d.reason == "duplicate" for d in again)
    copied = [item.record.id for item in again if isinstance(item, Copy)]
    assert set(copied) >= {r.id for r in written.records}, "their groups are linked"


def test_another_name(written: Written) -> None:
    items = written.read(name="stand_in")
    ids = [r.id for r in items if isinstance(r, Record) and r.boxes]
    assert len(ids) == len(written.example.records) and all(i.startswith("stand_in/") for i in ids)
    assert {d.source for d in items if isinstance(d, Dropped)} <= {"stand_in"}
    assert written.make(name="stand_in").roots["stand_in"] == written.root


def test_a_place_that_holds_no_such_data_is_told_in_one_line(written: Written, tmp_path: Path) -> None:
    for root, told in ((tmp_path / "nowhere", "no folder"), (tmp_path, "expected|unpack")):
        with pytest.raises(InputError, match=told) as caught:
            written.read(root=str(root))
        assert str(root) in str(caught.value)
    source_class = get_class(written.node._target_)
    for wrong in ("a/b", "", ".hidden", "a b", 3):
        with pytest.raises(InputError, match="a source is called"):
            source_class(written.root, name=wrong)
    with pytest.raises(InputError, match=r"data\.source\.\w+\.root is not set"):
        source_class("")


MINE = '''
from functools import partial
from PIL import Image
from umed.boxes import Box
from umed.data.files import read_rows
from umed.data.sources.base import Example, Picture, PictureSource, Region

class MineSource(PictureSource):
    """`found.csv`: picture and four corners in pixels."""

    name = "mine"

    def list_pictures(self):
        rows = read_rows(self.root / "found.csv", "the list of findings")
        next(rows)
        for line, (file, *corners) in rows:
            yield Picture(file, file, "MR", [Region("cyst", partial(Box.from_xyxy, corners), f"row {line}", corners)])

    @staticmethod
    def example(root):
        (root / "found.csv").write_text("file,x0,y0,x1,y1\\\\na.png,1,2,3,4\\\\nb.png,1,2,3,4\\\\n")
        Image.new("L", (9, 9), 50).save(root / "a.png")
        return Example({"mine/a.png": [(1, 2, 3, 4)]}, {"missing_file": 1})

class NoListing(PictureSource):
    name = "no_listing"

class NoRoots:
    def read(self, seen, workers=1):
        yield from ()

class Odd:
    roots = {"odd": "."}
    def read(self, seen, workers=1):
        yield {"id": "odd/1"}
'''.replace("\\\\n", "\\n")


def test_a_strangers_source_is_one_file_and_one_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "conf/data/source").mkdir(parents=True)
    (tmp_path / "conf/data/source/mine.yaml").write_text("mine:\n  _target_: mine.MineSource\n  root: ???\n")
    [(_, node)] = find_nodes(tmp_path / "conf")
    (tmp_path / "root").mkdir()
    written = Written(node, tmp_path / "root")
    test_the_example_is_read_exactly(written)
    test_records_are_sound_and_survive_their_file(written, tmp_path)
    test_every_box_is_kept_or_dropped(written)
    test_threads_change_nothing_and_pixels_seen_before_are_duplicates(written)
    test_another_name(written)
    register()
    options = [
        f"hydra.searchpath=[file://{tmp_path}/conf]",
        "data/source=mine",
        f"data.source.mine.root={written.root}",
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", overrides=[*options, f"paths.run_dir={tmp_path}/run"])
    assert [r.id for r in prepare(cfg)] == ["mine/a.png"]


def test_a_source_that_lacks_something_is_told_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "lacking.py").write_text(MINE)
    wrong = {
        "NoListing": "data.source.x: lacking.NoListing lacks list_pictures",
        "NoRoots": "data.source.x: NoRoots lacks roots",
        "Odd": "data.source.x: read gives a dict",
    }
    for name, told in wrong.items():
        nodes = OmegaConf.create({"x": {"_target_": f"lacking.{name}"}})
        with pytest.raises(InputError, match=told):
            prepare_records(build_sources(nodes), {"fractions": (1, 0, 0), "seed": 0}, tmp_path / "run")
    with pytest.raises(InputError, match="data.source.x: no _target_"):
        build_sources(OmegaConf.create({"x": {"root": "/"}}))
    with pytest.raises(InputError, match="data.source.x=no_such_file.Mine: No module named"):
        build_sources(OmegaConf.create({"x": {"_target_": "no_such_file.Mine"}}))
    with pytest.raises(InputError, match="data/source is empty"):
        build_sources({})
