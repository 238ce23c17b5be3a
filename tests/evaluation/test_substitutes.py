"""Sanity rows: every picture is another one, and each is shown as often as one was."""

from collections import Counter

from PIL import Image

from umed.evaluation.substitutes import exchange_pictures, substitute_picture


def test_pictures_change_places_within_their_part() -> None:
    parts = ["a"] * 6 + ["b"] * 5 + ["c"] * 2
    images = ["1", "1", "2", "3", "3", "3", "1", "2", "4", "4", "5", "x", "x"]
    for seed in range(20):
        shown = exchange_pictures(parts, images, seed)
        new = [images[k] for k in shown]
        assert [parts[k] for k in shown] == parts
        assert all(n != i for n, i, p in zip(new, images, parts, strict=True) if p != "c")
        assert new[-2:] == ["x", "x"]  # a part with one picture keeps it
        for part in "ab":
            own = {(i, n) for i, n, p in zip(images, new, parts, strict=True) if p == part}
            assert len({i for i, _ in own}) == len({n for _, n in own}) == len(own)  # one picture, one other
    assert exchange_pictures(parts, images) == exchange_pictures(parts, images)
    assert len({tuple(exchange_pictures(parts, images, seed)) for seed in range(20)}) > 1
    assert Counter(exchange_pictures([], [])) == Counter()


def test_black_has_the_size_of_the_picture() -> None:
    white = Image.new("RGB", (7, 5), "white")
    assert substitute_picture(white, "own") is white
    black = substitute_picture(white, "black")
    assert black.size == (7, 5) and black.getextrema() == ((0, 0),) * 3
