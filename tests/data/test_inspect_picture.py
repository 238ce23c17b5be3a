"""One look at a picture: size, digests, appearance; and pictures with more than 8 bits through their window."""

import hashlib
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from umed.data.files import Unusable
from umed.data.inspect_picture import cluster_hashes, inspect_picture
from umed.errors import InputError
from umed.pictures import apply_window, open_picture

HU = (-175.0, 275.0, -32768.0)


def noise(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8))


def scene(seed: int) -> Image.Image:
    """Smooth, as photographs are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((96, 80), Image.Resampling.BICUBIC)


def test_the_window_of_the_documented_values() -> None:
    assert apply_window(np.array([32593, 32768, 33043], np.uint16), HU) == pytest.approx([0, 99.1667, 255], abs=1e-4)


def test_sixteen_bits_go_through_the_window_and_eight_bits_stay(tmp_path: Path) -> None:
    gray = noise()
    hu = np.rint(np.asarray(gray, float) / 255 * 450 - 175) + 32768
    Image.fromarray(hu.astype(np.uint16)).save(tmp_path / "a.png")
    gray.save(tmp_path / "b.png")
    for name in ("a.png", "b.png"):
        shown = open_picture(tmp_path / name, HU)
        assert shown.mode == "RGB" and np.array_equal(np.asarray(shown)[..., 0], np.asarray(gray)), name
    with pytest.raises(InputError, match="more than 8 bits a pixel"):
        open_picture(tmp_path / "a.png")
    with pytest.raises(Unusable, match="more than 8 bits") as told:
        inspect_picture(tmp_path, "a.png")
    assert told.value.reason == "unreadable"
    assert inspect_picture(tmp_path, "a.png", HU).pixels != inspect_picture(tmp_path, "b.png").pixels


def test_size_and_hashes(tmp_path: Path) -> None:
    noise().save(tmp_path / "a.png")
    noise().convert("RGB").save(tmp_path / "b.bmp")
    noise(seed=1).save(tmp_path / "c.png")
    a, b, c = (inspect_picture(tmp_path, name, near=True) for name in ("a.png", "b.bmp", "c.png"))
    assert (a.width, a.height) == (40, 30)
    assert a.sha256 == hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest() != b.sha256
    assert a.pixels == b.pixels != c.pixels, "the pixels count, not the file format"
    assert a.phash == b.phash and (a.phash ^ c.phash).bit_count() > 6


def test_frames_of_one_scene_are_one_cluster_and_other_scenes_are_not(tmp_path: Path) -> None:
    hashes = []
    for seed in range(12):
        for k, radius in enumerate((0, 0.7)):
            scene(seed).filter(ImageFilter.GaussianBlur(radius)).save(tmp_path / f"{seed}_{k}.jpg", quality=90 - 30 * k)
            hashes.append(inspect_picture(tmp_path, f"{seed}_{k}.jpg", near=True).phash)
    assert cluster_hashes(hashes) == [2 * (i // 2) for i in range(24)]


@given(st.lists(st.integers(0, 2**64 - 1), max_size=12), st.randoms(use_true_random=False))
def test_clusters_do_not_depend_on_the_order_and_join_by_steps(hashes: list[int], order: random.Random) -> None:
    hashes += [h ^ 0b111111 for h in hashes[:3]] + [h ^ 0b111111000000 for h in hashes[:2]]
    found = cluster_hashes(hashes)
    places = list(range(len(hashes)))
    order.shuffle(places)
    moved = cluster_hashes([hashes[p] for p in places])
    together = {frozenset(i for i in range(len(hashes)) if found[i] == top) for top in found}
    assert together == {frozenset(places[i] for i in range(len(hashes)) if moved[i] == top) for top in moved}
    for i, a in enumerate(hashes):
        for j, b in enumerate(hashes):
            if (a ^ b).bit_count() <= 6:
                assert found[i] == found[j]
    assert all(found[i] <= i and found[found[i]] == found[i] for i in range(len(hashes)))


@pytest.mark.parametrize(
    ("name", "reason"), [("none.png", "missing_file"), ("../out.png", "malformed"), ("/etc/hostname", "malformed")]
)
def test_what_gives_no_picture_has_a_reason(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "root").mkdir()
    noise().save(tmp_path / "out.png")
    with pytest.raises(Unusable) as told:
        inspect_picture(tmp_path / "root", name)
    assert told.value.reason == reason


@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError, TypeError, AttributeError, KeyError])
def test_whatever_a_reader_of_damaged_files_raises_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def damaged(file: object) -> None:
        raise error("odd")

    noise().save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "open", damaged)
    with pytest.raises(Unusable, match="odd") as told:
        inspect_picture(tmp_path, "a.png")
    assert told.value.reason == "unreadable"
