"""Flips: picture, boxes and words move together, and twice is not at all."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from umed.annotate.offline import describe_place
from umed.boxes import Box
from umed.data.augment import Flips, flip_as_recorded, flip_horizontally, flip_vertically, swap_sides
from umed.errors import InputError
from umed.records import Record

MODALITIES = ("CT", "X-ray", "MR", "Endoscopy", "unknown")
FLIPS = {"horizontal": flip_horizontally, "vertical": flip_vertically}
SIDE = st.floats(0, 1).map(lambda v: round(v, 6))
BOXES = st.tuples(SIDE, SIDE, SIDE, SIDE).filter(lambda v: v[0] != v[2] and v[1] != v[3])
WORDS = (
    *("left", "Right", "LOWER", "upper-lobe", "copyright", "bilateral", "lEft", "top", "right.", "<region>", "é"),
    *("anterior", "dorsally", "Caudal", "inferior", "posterolateral", "3 o'clock", "vena cava", "RUL", "GI"),
)


def record(
    boxes: list[Box], query: str = "", diagnosis: str = "", category: str = "cyst", modality: str = "CT"
) -> Record:
    return Record("s/1", "s", "1.png", 7, 5, tuple(boxes), category, modality, "g", "train", "", query, diagnosis)


def picture() -> Image.Image:
    return Image.fromarray(np.arange(105, dtype=np.uint8).reshape(5, 7, 3))


@settings(max_examples=40)
@given(
    st.sampled_from(sorted(FLIPS)),
    st.lists(BOXES, min_size=1, max_size=3),
    st.lists(st.sampled_from(WORDS)),
    st.text(),
    st.sampled_from(MODALITIES),
)
def test_twice_is_not_at_all(
    direction: str, corners: list[tuple[float, ...]], words: list[str], other: str, modality: str
) -> None:
    boxes = [Box(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    before = record(boxes, " ".join(words), other + " " + ",".join(words), " ".join(words[:2]) or "x", modality)
    flip = FLIPS[direction]
    image, after = flip(*flip(picture(), before))
    assert image.tobytes() == picture().tobytes()
    for a, b in zip(before.boxes, after.boxes, strict=True):
        assert max(abs(p - q) for p, q in zip(a.to_xyxy(1, 1), b.to_xyxy(1, 1), strict=True)) <= 1e-12
    assert replace(after, boxes=before.boxes) == before


@pytest.mark.parametrize("direction", FLIPS)
def test_the_box_stays_on_its_pixels(direction: str) -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[2:6, 3:12] = 255
    image, after = FLIPS[direction](Image.fromarray(pixels), record([Box.from_xyxy((3, 2, 12, 6), 30, 20)]))
    rows, columns = np.nonzero(np.asarray(image)[..., 0])
    corners = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert after.boxes[0].to_xyxy(30, 20) == pytest.approx(corners)
    assert after.boxes[0].center != record([Box.from_xyxy((3, 2, 12, 6), 30, 20)]).boxes[0].center


def test_a_flipped_record_knows_how_its_picture_is_to_be_shown() -> None:
    for flips in ([], ["horizontal"], ["vertical"], ["horizontal", "vertical"], ["vertical", "horizontal"]):
        image, after = picture(), record([Box(0.1, 0.2, 0.3, 0.4)])
        for direction in flips:
            image, after = FLIPS[direction](image, after)
        assert flip_as_recorded(picture(), after).tobytes() == image.tobytes()


@pytest.mark.parametrize("modality", ["CT", "Endoscopy"])
def test_words_say_where_the_box_now_is(modality: str) -> None:
    """The place that the template names is the place of the flipped box, in the patient's or the picture's frame."""
    places = set()
    for x, y in product((0.05, 0.45, 0.8), repeat=2):
        box = Box(x, y, x + 0.1, y + 0.1)
        for flip in FLIPS.values():
            _, after = flip(picture(), record([box], diagnosis=f"It lies in the {describe_place(box, modality)}."))
            assert after.diagnosis == f"It lies in the {describe_place(after.boxes[0], modality)}."
            places.add(after.diagnosis)
    assert len(places) == 9


def test_whole_words_keep_their_case() -> None:
    swaps = [
        ("horizontal", "Left lung, RIGHT side, left-sided", "Right lung, LEFT side, right-sided"),
        ("horizontal", "a leftmost, rightwards; left_lung", "a rightmost, leftwards; right_lung"),
        ("vertical", "Upper left, TOP; superior to", "Lower left, BOTTOM; inferior to"),
        ("vertical", "below the uppermost, inferiorly", "above the lowermost, superiorly"),
    ]
    for text in ("copyright upright leftover bilateral brightness", "upper lobe above the rIght"):
        swaps.append(("horizontal", text, text))
    text = "stop, follower, left, bottomless, superiority"
    for direction, before, after in [*swaps, ("vertical", text, text)]:
        assert swap_sides(before, direction) == after and swap_sides(after, direction) == before


@pytest.mark.parametrize(
    ("before", "ct", "else_"),
    [
        ("Anterior to the liver, POSTERIORLY", "Posterior to the liver, ANTERIORLY", None),
        ("dorsal, ventrally, anterolateral", "ventral, dorsally, posterolateral", None),
        ("Superior pole, inferiorly", None, "Inferior pole, superiorly"),
        ("caudal, CRANIALLY, superomedial", None, "cranial, CAUDALLY, inferomedial"),
        ("upper lobe, below the top", "lower lobe, above the bottom", "lower lobe, above the bottom"),
        ("anteroposterior, cranium, dorsum", None, None),
    ],
)
def test_what_is_down_depends_on_the_modality(before: str, ct: str | None, else_: str | None) -> None:
    for modality in MODALITIES:
        _, after = flip_vertically(picture(), record([Box(0, 0, 1, 0.5)], diagnosis=before, modality=modality))
        assert after.diagnosis == ((ct if modality == "CT" else else_) or before), modality
        assert after.boxes == (Box(0, 0.5, 1, 1),)
        _, after = flip_horizontally(picture(), record([Box(0, 0, 1, 0.5)], diagnosis=before, modality=modality))
        assert after.diagnosis == before


@pytest.mark.parametrize("field", ["query", "diagnosis", "category"])
def test_words_that_no_exchange_puts_right_keep_the_record_as_it_is(field: str) -> None:
    texts = (
        *("a polyp at 3 o'clock", "at 12 O\u2019Clock", "turned clockwise", "Counterclockwise", "counter-clockwise"),
        *("RUL", "the RML_mass", "in RLL.", "LUL nodule", "a (LLL) nodule", "RUQ", "Lt. kidney", "left of the IVC"),
        *("superior Vena cava", "both venae cavae", "upper gastrointestinal bleeding", "upper GI tract"),
    )
    for text in texts:
        one = replace(record([Box(0.1, 0.2, 0.3, 0.5)], "left?", "upper left"), **{field: text})
        for flip in (*FLIPS.values(), lambda picture, record: Flips(1, 1, seed=0)(picture, record, 0)):
            image, after = flip(picture(), one)
            assert after == one and image.tobytes() == picture().tobytes(), text
    for text in ("no clocks", "cruller", "RULE", "ALL", "venous cavity", "gig", "intestinal", "alt"):
        one = replace(record([Box(0.1, 0.2, 0.3, 0.5)]), **{field: text})
        for flip in FLIPS.values():
            assert flip(picture(), one)[1].boxes != one.boxes, text


def test_query_diagnosis_and_category_change_together() -> None:
    before = record([Box(0, 0, 0.5, 0.5)], "Is the left lung ill?", "Mass of the left lung <region>.", "left lung mass")
    _, after = flip_horizontally(picture(), before)
    texts = (after.query, after.diagnosis, after.category)
    assert texts == ("Is the right lung ill?", "Mass of the right lung <region>.", "right lung mass")
    texts_before = {"query": before.query, "diagnosis": before.diagnosis, "category": before.category}
    assert after.provenance == {**before.provenance, "flipped": ["horizontal"]}
    assert replace(after, **texts_before, boxes=before.boxes, provenance=before.provenance) == before


def test_whether_it_flips_depends_on_seed_and_place_alone() -> None:
    flips = Flips.from_config({"horizontal_flip": 0.3, "vertical_flip": 0.6}, seed=4)
    assert flips
    one = record([Box(0.1, 0.2, 0.3, 0.5)])
    kinds = [flips(picture(), one, place)[1].boxes[0] for place in range(1000)]
    assert kinds == [flips(picture(), one, place)[1].boxes[0] for place in reversed(range(1000))][::-1]
    assert sum(b.x0 > 0.5 for b in kinds) / 1000 == pytest.approx(0.3, abs=0.05)
    assert sum(b.y0 > 0.4 for b in kinds) / 1000 == pytest.approx(0.6, abs=0.05)
    assert sum(b.x0 > 0.5 and b.y0 > 0.4 for b in kinds) / 1000 == pytest.approx(0.18, abs=0.04)
    other = Flips(0.3, 0.6, seed=5)
    assert kinds != [other(picture(), one, place)[1].boxes[0] for place in range(1000)]


def test_off_is_none_and_what_is_no_probability_is_refused() -> None:
    assert Flips.from_config({"horizontal_flip": 0.0, "vertical_flip": 0}, 0) is None
    always = Flips.from_config({"horizontal_flip": 1, "vertical_flip": 0}, 0)
    assert always and all(always(picture(), record([Box(0, 0, 0.5, 1)]), p)[1].boxes[0].x0 == 0.5 for p in range(50))
    for wrong in (-0.1, 1.5, "often", None, float("nan")):
        with pytest.raises(InputError, match="data.augment.vertical_flip="):
            Flips.from_config({"horizontal_flip": 0.5, "vertical_flip": wrong}, 0)
    with pytest.raises(InputError, match="data.augment=rotate: choose"):
        Flips.from_config({"horizontal_flip": 0.5, "vertical_flip": 0, "rotate": 1}, 0)
