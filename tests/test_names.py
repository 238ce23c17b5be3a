"""Folder and W&B names: short, one folder each, and no two sweeps' jobs in one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umed.names import LONGEST, make_folder_name, make_sweep_name, shorten


@pytest.mark.parametrize(
    ("overrides", "folder"),
    [
        ("seed=0", "seed-0"),
        ("credit=reinforce_pp,seed=1", "credit-reinforce_pp-seed-1"),
        ("reward=[relevance,localization]", "reward-relevance-localization"),
        ("reward=[relevance,vision_relevance]", "reward-relevance-vision_relevance"),
        ("method.lr=1e-4,optimized_metric=aar/mau/iou/avg", "method.lr-1e-4-optimized_metric-aar-mau-iou-avg"),
        ("", ""),
    ],
)
def test_a_short_and_clear_name_has_no_hash(overrides: str, folder: str) -> None:
    assert make_sweep_name(overrides) == folder


ALIKE = (
    ["seed=1", "seed=-1", "seed=+1", "seed='1'", 'seed="1"', "seed= 1", "+seed=1", "seed=[1]", "seed={1}", "seed=1\n"],
    ["a=[b,c]", "a=b/c", "a=b-c", "a='b c'", "a=b\\c", "a={b:c}", "a=[[b],c]", "a=b:c", "a=B-c", "a=[B,c]"],
    ["a=[b,c,d,e]", "a=b/c/d/e", "a=[[b,c],[d,e]]", "a=b/c/d-e", "a=B/c/d/e"],
    ["a=..", "a=../..", "a=.", "a=", "a=/", "a=😀", "a=肺", "a=肝"],
    [f"a={'x' * 300}", f"a={'x' * 299}y", f"a={'肺' * 300}", f"a={'肺' * 299}肝", f"a={'x' * 127}", f"a={'x' * 126}"],
)


@pytest.mark.parametrize("texts", ALIKE)
def test_jobs_that_differ_never_share_a_folder(texts: list[str]) -> None:
    assert len({make_sweep_name(text).casefold() for text in texts}) == len(texts)


@given(st.text(alphabet="ab1=,[]/-. 'é肺\n\0\ud800", max_size=160))
def test_every_name_is_one_short_folder(text: str) -> None:
    for name in (make_folder_name(text), make_sweep_name(text)):
        assert len(name.encode()) <= LONGEST and not {"/", "\\", " "} & set(name)
        assert name not in (".", "..") and name.isprintable()


@pytest.mark.parametrize(
    ("name", "folder"),
    [("umed", "umed"), ("My-study_2.1", "My-study_2.1"), ("lab/study", "lab-study"), ("../x", "x"), ("/abs", "abs")],
)
def test_a_runs_name_leaves_its_folder_inside_runs(name: str, folder: str) -> None:
    assert make_folder_name(name) == folder
    assert not make_folder_name("..")


def test_a_long_text_keeps_its_beginning_and_its_difference() -> None:
    assert shorten("x" * 64, 64) == "x" * 64
    one, two = shorten("x" * 65, 64), shorten("x" * 66, 64)
    assert one != two and one[:50] == two[:50] == "x" * 50 and len(one) == len(two) == 64
