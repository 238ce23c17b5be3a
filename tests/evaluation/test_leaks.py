"""Test pictures that lie in training are found by their pixels, whatever they are called."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from umed.errors import InputError
from umed.evaluation.leaks import ItemPicture, compare_pictures, hash_pictures, hash_pixels


def picture(seed: int, size: tuple[int, int] = (8, 6)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


def items(root: str, **pictures: int) -> list[ItemPicture]:
    return [ItemPicture(item, f"{seed}.png", root, opener(seed)) for item, seed in pictures.items()]


def opener(seed: int) -> Callable[[], Image.Image]:
    return lambda: picture(seed)


def test_the_report_counts_pictures_and_items() -> None:
    test = {"a": items("a", q1=1, q2=1, q3=2, q4=3), "b": items("b", x=4)}
    own, other = items("a", t1=1, t2=9), items("m", r1=3, r2=2, r3=2)
    summary, leaks = compare_pictures(test, {"a": {"own_train": own, "mau_train": other}, "b": {"mau_train": other}})
    assert {dataset: part.to_json() for dataset, part in summary.items()} == {
        "a": {
            "pictures": 3,
            "items": 4,
            "own_train": {"pictures": 1, "items": 2, "unread": 0},
            "mau_train": {"pictures": 2, "items": 2, "unread": 0},
        },
        "b": {"pictures": 1, "items": 1, "mau_train": {"pictures": 0, "items": 0, "unread": 0}},
    }
    assert [(leak.id, leak.where, leak.found) for leak in leaks] == [
        ("q1", "own_train", "t1"),
        ("q2", "own_train", "t1"),
        ("q3", "mau_train", "r2"),
        ("q4", "mau_train", "r1"),
    ]
    assert {leak.dataset for leak in leaks} == {"a"}


def test_a_missing_training_picture_is_counted_and_a_missing_test_picture_refused() -> None:
    def gone() -> Image.Image:
        raise InputError("no picture gone.png")

    train = [*items("a", t1=1), ItemPicture("t2", "gone.png", "a", gone)]
    summary, leaks = compare_pictures({"a": items("a", q1=1)}, {"a": {"own_train": train}})
    found = {"pictures": 1, "items": 1, "unread": 1, "first_unread": "no picture gone.png"}
    assert summary["a"].to_json()["own_train"] == found and [leak.found for leak in leaks] == ["t1"]
    with pytest.raises(InputError, match=r"no picture gone.png"):
        compare_pictures({"a": train}, {})


def test_each_picture_is_opened_once() -> None:
    opened: list[int] = []

    def item(name: str) -> ItemPicture:
        return ItemPicture(name, "one.png", "a", lambda: opened.append(1) or picture(1))

    assert len(hash_pictures([item("x"), item("y")], "", 1)[0]) == 1 and len(opened) == 1
    part = [item("x"), item("y")]
    compare_pictures({"a": [item("q")], "b": [item("q")]}, {"a": {"t": part}, "b": {"t": part}})
    assert len(opened) == 1 + 2 + 1


def test_the_digest_is_of_size_and_pixels() -> None:
    flat = Image.new("RGB", (4, 9))
    assert hash_pixels(flat) == hash_pixels(Image.new("L", (4, 9))) != hash_pixels(Image.new("RGB", (9, 4)))
    changed = flat.copy()
    changed.putpixel((0, 0), (0, 0, 1))
    assert hash_pixels(changed) != hash_pixels(flat)
