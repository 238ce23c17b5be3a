"""The two normalizers: ours step by step, the public one with its bugs."""

import pytest

from umed.evaluation.rules.normalize import norm, norm_llava


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  The LEFT\n lung. ", "left lung"),
        ("\uff23\uff34 scan", "ct scan"),  # full width letters, NFKC
        ('"Right" ', "right"),
        ("(mass)", "mass"),
        ("`**yes**`!?", "yes"),
        ("a cyst and an effusion", "cyst and effusion"),
        ("Two kidneys, ten ribs", "2 kidneys, 10 ribs"),
        ("none", "none"),  # not a number here
        ("3 cm", "3cm"),
        ("3cm", "3cm"),
        ("1.5 MM wide", "1.5mm wide"),
        ("three kg", "3kg"),
        ("5 %", "5%"),
        ("3 lobes", "3 lobes"),  # l is a unit, lobes is not
        ("the", ""),
        ("", ""),
        (2, "2"),
        (None, "none"),
        ("Straße", "strasse"),
        ("x-ray", "x-ray"),
        ("...", ""),
        *(
            (f"\u662f\u7684{mark}", "\u662f\u7684")
            for mark in "\u3002\uff0e\uff61.\uff01\uff1f\uff1b\uff1a\uff0c\u3001\u2026\u061f\u06d4\u0964"
        ),
        *(
            (f"{a}CT\u3002{b}", "ct")
            for a, b in (
                "\uff08\uff09",
                "\u300c\u300d",
                "\u3010\u3011",
                "\u300a\u300b",
                "\u201c\u201d",
                "\uff3b\uff3d",
                "\u00bf?",
                "\u00ab\u00bb",
            )
        ),
        ("** \u662f\u7684\u3002 **", "\u662f\u7684"),
        ("\uff12\u3000\uff43\uff4d", "2cm"),
        ("5 \u2030", "5 \u2030"),  # a unit, no mark
        ("\uff15\uff05", "5%"),
    ],
)
def test_our_norm(text: object, expected: str) -> None:
    assert norm(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The lesion is in the left lung.", "lesion is in left lung"),
        ("two", "2"),
        ("none", "0"),
        ("zero", "0"),
        ("1,5 cm (mass)", "15 cm mass"),  # digit, comma, digit: every mark is deleted
        ("T2-weighted", "t2 weighted"),
        ("T2-weighted image - axial", "t2weighted image axial"),  # one hyphen next to a space deletes both
        ("x.y", "xy"),
        ("0.5 cm.", "0.5 cm"),
        ("left/right", "left right"),
        ("left / right", "left right"),
        ("a-b/c - d", "ab c d"),  # each mark by itself
        ("doesnt it", "doesn't it"),
        ("y'alld've", "y'all'd've"),
        ("couldn'tve", "couldn't've"),
        ("somebody'd", "somebodyd"),
        ("its", "its"),  # not in the list
        ("An X-ray of the chest", "x ray of chest"),
        ("yes , it is", "yes it is"),
        ("", ""),
        ("中文。", "中文。"),
    ],
)
def test_the_public_normalizer(text: str, expected: str) -> None:
    assert norm_llava(text) == expected


@pytest.mark.parametrize(("repeats", "once", "twice"), [(8, 0, 0), (20, 8, 0), (50, 68, 36)])
def test_one_pass_deletes_at_most_32_full_stops(repeats: int, once: int, twice: int) -> None:
    text = "a.b." * repeats
    assert (norm_llava(text).count("."), norm_llava(norm_llava(text)).count(".")) == (once, twice)
