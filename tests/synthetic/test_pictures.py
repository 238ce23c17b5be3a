"""The drawn pictures: the same for the same seed, boxes tight, groups small, and written whole or not at all."""

import re
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from umed.errors import InputError
from umed.pictures import picture_of
from umed.records import Dropped, Record
from umed.synthetic.pictures import CONTROLS, PARTS, draw, draw_control
from umed.synthetic.pictures.canvas import Drawing
from umed.synthetic.source import PhantomSource

CATEGORIES = {
    "phantom_deeplesion": {"liver", "lung", "kidney", "bone", "mediastinum", "soft tissue"},
    "phantom_kidney_stone": {"kidney stone"},
    "phantom_nih_chest": {"effusion", "nodule", "mass", "infiltration", "cardiomegaly", "atelectasis", "pneumothorax"},
    "phantom_tbx11k": {"active tuberculosis", "latent tuberculosis"},
    "phantom_kvasir": {"polyp"},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures a part."""
    folder = tmp_path_factory.mktemp("data") / "phantom"
    list(PhantomSource(str(folder), num_images=6, seed=3).read({}))
    return folder


@cache
def drawings(part: str) -> list[tuple[Drawing, int]]:
    """36 pictures with the numbers of their patients."""
    return [draw(part, 5, i) for i in range(36)]


@pytest.mark.parametrize("part", PARTS)
def test_pictures_are_sound_and_the_abnormality_shows(part: str) -> None:
    """Inside and around differ by more than the noise in nearly every picture."""
    seen: set[str] = set()
    clear = 0
    for (picture, lesions), _ in drawings(part):
        width, height = picture.size
        assert min(width, height) >= 96 and max(width, height) <= 168 and 0.74 <= width / height <= 1.35
        assert picture.mode == ("RGB" if part == "phantom_kvasir" else "L")
        assert np.asarray(picture).std() > 15
        assert 1 <= len(lesions) <= 3
        for lesion in lesions:
            x, y, w, h = lesion.bbox
            inside = lesion.mask[y : y + h, x : x + w]
            assert lesion.mask.shape == (height, width) and inside.sum() == lesion.mask.sum() > 0
            assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
            assert 0.06 <= max(w / width, h / height) <= 0.62
            seen.add(lesion.category)
        level = np.asarray(picture.convert("L"), np.float32)
        inside = lesions[0].mask
        near = inside.copy()
        for axis in (0, 1):
            for step in (-4, 4):
                near |= np.roll(near, step, axis)
        clear += abs(level[inside].mean() - level[near & ~inside].mean()) > 5
    assert seen == CATEGORIES[part] and clear >= 27


def test_a_picture_depends_on_seed_part_and_number_only(tmp_path: Path, root: Path) -> None:
    list(PhantomSource(str(tmp_path / "more"), num_images=7, seed=3).read({}))
    list(PhantomSource(str(tmp_path / "other"), num_images=6, seed=4).read({}))
    for part in PARTS:
        pictures = [p.relative_to(root) for p in (root / part).rglob("*") if p.suffix in (".png", ".jpg")]
        masks = 6 if part == "phantom_kvasir" else 0
        assert len(pictures) == 6 + masks + (part in CONTROLS)
        here = {name: (root / name).read_bytes() for name in pictures}
        assert here == {name: (tmp_path / "more" / name).read_bytes() for name in pictures}
        other = {p.read_bytes() for p in (tmp_path / "other" / part).rglob("*") if p.suffix in (".png", ".jpg")}
        assert len(other) == len(pictures) and other.isdisjoint(here.values())


def test_groups_have_one_to_three_pictures() -> None:
    sizes = Counter(patient for _, patient in drawings("phantom_kvasir"))
    assert sorted(sizes.values()) == [1] * 6 + [2] * 6 + [3] * 6


def test_the_parsers_read_back_every_picture_and_box(root: Path) -> None:
    items = list(PhantomSource(str(root), num_images=6, seed=3).read({}))
    assert [i.reason for i in items if isinstance(i, Dropped)] == ["unlabeled"] * len(CONTROLS)
    found = [i for i in items if isinstance(i, Record)]
    controls, records = [r for r in found if not r.boxes], [r for r in found if r.boxes]
    assert len(items) == len(found) + len(CONTROLS)
    assert [r.source.removesuffix("_controls") for r in controls] == list(CONTROLS)
    roots = PhantomSource(str(root), num_images=6, seed=3).roots
    for part, control in zip(CONTROLS, controls, strict=True):
        normal, none = draw_control(part, 3, 0)
        shown, drawn_levels = (np.asarray(p, float) for p in (picture_of(control, roots), normal.convert("RGB")))
        assert none == [] and abs(shown - drawn_levels).mean() < 4
    assert {r.source: r.modality for r in records} == {name: modality for name, (modality, _) in PARTS.items()}
    assert len({r.id for r in records}) == len(records)
    for part in PARTS:
        drawn = [draw(part, 3, i) for i in range(6)]
        said: dict[str, list[Record]] = {}
        for r in records:
            if r.source == part:
                said.setdefault(r.image, []).append(r)
        by_number = {int(re.findall(r"(\d+)(?:_png_jpg\.rf\.\w+)?\.\w+$", image)[0]): rs for image, rs in said.items()}
        start = min(by_number)
        for i, ((picture, lesions), _) in enumerate(drawn):
            own = by_number[start + i]
            true = [(lesion.category, *corners(lesion.bbox)) for lesion in lesions]
            found = [(r.category, *b.to_xyxy(r.width, r.height)) for r in own for b in r.boxes]
            assert sorted(c for c, *_ in found) == sorted(c for c, *_ in true)
            for f, t in zip(sorted(found), sorted(true), strict=True):
                assert f[1:] == pytest.approx(t[1:], abs=1e-3)
            shown = np.asarray(picture_of(own[0], {part: root / part}), float)
            drawn_levels = np.asarray(picture.convert("RGB"), float)
            lossless = part not in ("phantom_kidney_stone", "phantom_kvasir")
            assert abs(shown - drawn_levels).max() == 0 if lossless else abs(shown - drawn_levels).mean() < 4


def corners(bbox: list[int]) -> tuple[int, int, int, int]:
    x, y, w, h = bbox
    return x, y, x + w, y + h


@pytest.mark.parametrize("part", ["phantom_deeplesion", "phantom_kidney_stone", "phantom_nih_chest"])
def test_a_group_is_a_patient(root: Path, part: str) -> None:
    groups: dict[str, set[str]] = {}
    for r in PhantomSource(str(root), num_images=6, seed=3).read({}):
        if r.source == part and isinstance(r, Record) and r.boxes:
            groups.setdefault(r.group, set()).add(r.image)
    assert sorted(map(len, groups.values())) == [1, 2, 3]


def test_a_film_may_have_two_findings() -> None:
    films = [{lesion.category for lesion in lesions} for (_, lesions), _ in drawings("phantom_nih_chest")]
    assert 3 <= sum(len(found) == 2 for found in films) <= 13


def test_every_part_says_that_it_is_synthetic(root: Path) -> None:
    for part in PARTS:
        assert (root / part / "SYNTHETIC.txt").read_text().startswith("SYNTHETIC pictures")


def test_the_same_parameters_reuse_other_ones_are_refused(root: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*.*")}
    list(PhantomSource(str(root), num_images=6, seed=3).read({}))
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*.*")} == before
    for wrong in ({"num_images": 7, "seed": 3}, {"num_images": 6, "seed": 4}):
        with pytest.raises(InputError, match="phantom_deeplesion holds"):
            list(PhantomSource(str(root), **wrong).read({}))


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "phantom_deeplesion" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("keep")
    with pytest.raises(InputError, match="holds something else"):
        list(PhantomSource(str(tmp_path), num_images=2, seed=3).read({}))
    assert mine.read_text() == "keep"


def test_an_interrupted_drawing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(part: str, seed: int, index: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("umed.synthetic.source.draw", stop)
    with pytest.raises(KeyboardInterrupt):
        list(PhantomSource(str(tmp_path), num_images=2, seed=3).read({}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [{"num_images": 0, "seed": 1}, {"num_images": 5, "seed": -1}])
def test_wrong_numbers_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="num_images"):
        PhantomSource(str(tmp_path), **wrong)
