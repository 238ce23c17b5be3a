"""Stored pictures: size, digests and appearance; each defect is handled, or dropped with its reason."""

import hashlib
import os
import random
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from items import HEIGHT, SIZE, WIDTH, lost
from PIL import Image, ImageFilter

from umed.data.files import Unusable
from umed.data.inspect_picture import cluster_hashes, inspect_picture
from umed.data.sources.folder import FolderSource
from umed.errors import InputError
from umed.pictures import apply_window, open_picture, picture_of
from umed.records import Dropped, Record, read_records
from umed.run_files import write_jsonl

HEADER = "image,x0,y0,x1,y1,category\n"
HU = (-175.0, 275.0, -32768.0)


def noise(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH), np.uint8))


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
    assert (a.width, a.height) == SIZE
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


@settings(max_examples=40)
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


def test_whatever_a_reader_of_damaged_files_raises_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise().save(tmp_path / "a.png")
    for error in (RuntimeError, NotImplementedError, TypeError, AttributeError, KeyError):

        def fail(file: object, error: type[Exception] = error) -> None:
            raise error("odd")

        monkeypatch.setattr(Image, "open", fail)
        with pytest.raises(Unusable, match="odd") as told:
            inspect_picture(tmp_path, "a.png")
        assert told.value.reason == "unreadable"


def read(root: Path, name: str, **options: object) -> Record | Dropped:
    """What the only picture of a table becomes; its box has an edge at each side."""
    (root / "annotations.csv").write_text(f'{HEADER}"{name}",4,5,12,15,cyst\n', encoding="utf-8")
    [item] = FolderSource(root, format="csv", **options).read({})
    return item


def kept(root: Path, name: str, **options: object) -> Record:
    record = read(root, name, **options)
    assert isinstance(record, Record), record
    assert (record.width, record.height) == SIZE
    assert record.boxes[0].to_xyxy(*SIZE) == pytest.approx((4, 5, 12, 15))
    shown = picture_of(record, {"folder": root})
    assert shown.mode == "RGB" and shown.size == SIZE
    return record


def dropped(root: Path, name: str, **options: object) -> tuple[str, str]:
    """Reason and detail."""
    item = read(root, name, **options)
    assert isinstance(item, Dropped) and item.item == os.path.normpath(name)
    return item.reason, item.detail


def test_modes_and_containers_are_kept(tmp_path: Path) -> None:
    modes = {"L": "png", "RGB": "png", "1": "png", "LA": "png", "RGBA": "png", "CMYK": "tiff", "YCbCr": "tiff"}
    for mode, suffix in modes.items():
        noise().convert("RGB").convert(mode).save(tmp_path / f"{mode}.{suffix}")
        kept(tmp_path, f"{mode}.{suffix}")
    noise().convert("CMYK").save(tmp_path / "cmyk.jpg")
    kept(tmp_path, "cmyk.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown by others as 20x40
    noise().save(tmp_path / "turned.jpg", exif=exif)
    kept(tmp_path, "turned.jpg", orientation="stored")
    Image.new("L", (1, 1)).save(tmp_path / "pixel.png")
    (tmp_path / "annotations.csv").write_text(f"{HEADER}pixel.png,0,0,1,1,cyst\n")
    [record] = FolderSource(tmp_path, format="csv").read({})
    assert isinstance(record, Record) and record.to_json()["boxes"] == [[0, 0, 1, 1]]


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
def test_a_palette_with_transparency_is_kept(tmp_path: Path) -> None:
    noise().convert("P").save(tmp_path / "a.png", transparency=3)
    noise().convert("P").save(tmp_path / "b.png", transparency=bytes(range(256)))
    kept(tmp_path, "a.png")
    kept(tmp_path, "b.png")


def test_names_of_all_kinds_are_kept(tmp_path: Path) -> None:
    names = ("Größe Übersicht (1).png", "日本.png", "a'b\u00a0c.png", "x/y z/ä.png")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        noise().save(tmp_path / name)
    write_jsonl(tmp_path / "records.jsonl", [kept(tmp_path, name).to_json() for name in names])
    assert [r.image for r in read_records(tmp_path / "records.jsonl")] == list(names)


def test_the_window_of_an_option_is_kept_and_shown(tmp_path: Path) -> None:
    values = np.linspace(0, 60000, WIDTH * HEIGHT).astype(np.uint16).reshape(HEIGHT, WIDTH)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert dropped(tmp_path, "a.png")[0] == "unreadable"
    record = kept(tmp_path, "a.png", window=[-1000, 1000], offset=-30000)
    assert record.window == (-1000, 1000, -30000)
    shown = np.asarray(picture_of(record, {"folder": tmp_path}))[..., 0]
    wanted = np.clip((values.astype(float) - 30000 + 1000) / 2000, 0, 1) * 255
    assert np.abs(shown - wanted).max() <= 0.5 and 0 < shown.mean() < 255


def test_what_is_no_single_whole_picture_is_unreadable(tmp_path: Path) -> None:
    for suffix in ("png", "jpg"):
        noise().save(tmp_path / f"cut.{suffix}")
        content = (tmp_path / f"cut.{suffix}").read_bytes()
        (tmp_path / f"cut.{suffix}").write_bytes(content[: len(content) * 2 // 3])
        assert dropped(tmp_path, f"cut.{suffix}")[0] == "unreadable"
    for content in (b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\0" * 5000):
        (tmp_path / "a.png").write_bytes(content)
        assert dropped(tmp_path, "a.png")[0] == "unreadable"
    for name in ("a.gif", "a.png", "a.tiff", "a.webp"):
        noise().save(tmp_path / name, save_all=True, append_images=[noise(1), noise(2)])
        reason, detail = dropped(tmp_path, name)
        assert reason == "unreadable" and "3 frames" in detail
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    assert dropped(tmp_path, "folder.png")[0] == dropped(tmp_path, "pipe.png")[0] == "unreadable"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_a_decompression_bomb_is_dropped_without_being_unpacked(tmp_path: Path) -> None:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(bytes(100_000)))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + rows + chunk(b"IEND", b""))
    tracemalloc.start()
    start = time.perf_counter()
    reason, detail = dropped(tmp_path, "a.png")
    took, (_, peak) = time.perf_counter() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reason == "unreadable" and "decompression bomb" in detail
    assert took < 10 and peak < 20e6, f"{took:.1f} s, {peak / 1e6:.0f} MB"


def test_what_is_not_there_or_leads_out(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    noise().save(tmp_path / "secret.png")
    noise(1).save(root / "inside.png")
    (root / "same.png").symlink_to("inside.png")
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "dangling.png").symlink_to("nowhere.png")
    (root / "loop.png").symlink_to("loop.png")
    (root / "up").symlink_to(tmp_path)
    kept(root, "same.png")
    kept(root, str(root / "inside.png"))
    outside = ("../secret.png", "x/../../secret.png", "out.png", "up/secret.png", "/etc/passwd")
    for name in (*outside, str(tmp_path / "secret.png")):
        reason, detail = dropped(root, name)
        assert reason == "malformed" and "leads out of" in detail, name
    for name in ("a" * 300 + ".png", "a/" * 2500 + "a.png", "gone.png", "gone/a.png", "inside.png/x", "dangling.png"):
        assert dropped(root, name)[0] == "missing_file", name
    assert dropped(root, "loop.png")[0] in ("missing_file", "unreadable")


def test_pictures_listed_twice_are_one(tmp_path: Path) -> None:
    noise().save(tmp_path / "a.png")
    noise().save(tmp_path / "b.png")
    rows = "a.png,4,5,12,15,cyst\nb.png,4,5,12,15,cyst\n./a.png,4,5,12,15,cyst\na.png,5,5,12,15,cyst\n"
    (tmp_path / "annotations.csv").write_text(HEADER + rows)
    items = list(FolderSource(tmp_path, format="csv").read({}))
    assert [len(item.boxes) for item in items if isinstance(item, Record)] == [2]
    assert lost(items) == {"a.png row 4": "duplicate", "b.png": "duplicate"}
