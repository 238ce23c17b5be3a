"""The synthetic stand-ins: every data set, each through its real loader, labeled for what they are."""

from collections import Counter
from pathlib import Path

import pytest

from umed.errors import InputError
from umed.evaluation.benchmarks.find import find_scorers
from umed.evaluation.leaks import hash_pixels
from umed.evaluation.question import without_stand_in
from umed.records import SYNTHETIC
from umed.synthetic.benchmarks import PhantomBenchmarks


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> PhantomBenchmarks:
    return PhantomBenchmarks(str(tmp_path_factory.mktemp("phantom") / "all"), num_items=9)


def test_all_data_sets_are_there_and_called_synthetic(drawn: PhantomBenchmarks) -> None:
    questions = drawn.questions()
    assert {without_stand_in(q.dataset) for q in questions} == set(find_scorers()) - {"mau"} == set(drawn.scorers)
    assert all(q.dataset.startswith(SYNTHETIC) for q in [*questions, *drawn.train()])
    assert min(Counter(q.dataset for q in questions).values()) >= 9
    assert "SYNTHETIC" in (drawn.root / "SYNTHETIC.txt").read_text()
    types = {(without_stand_in(q.dataset), q.answer_type) for q in questions}
    assert {("vqa_rad", "open"), ("vqa_rad", "closed"), ("pmc_vqa", "choice"), ("pmc_vqa", "blank")} <= types
    closed = Counter(
        q.answer for q in questions if without_stand_in(q.dataset) == "slake" and q.answer_type == "closed"
    )
    assert set(closed) == {"Yes", "No"}


def test_every_picture_opens_and_some_are_in_training(drawn: PhantomBenchmarks) -> None:
    for dataset in drawn.splits:
        test, train = (
            {hash_pixels(drawn.picture(q)) for q in part if q.dataset == dataset}
            for part in (drawn.questions(), drawn.train())
        )
        assert test & train and test - train, dataset


def test_it_is_drawn_once_and_by_the_seed(drawn: PhantomBenchmarks, tmp_path: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in drawn.root.rglob("*") if p.is_file()}
    again = PhantomBenchmarks(str(drawn.root), num_items=9)
    assert again.questions() == drawn.questions()
    assert before == {p: p.stat().st_mtime_ns for p in drawn.root.rglob("*") if p.is_file()}
    same = PhantomBenchmarks(str(tmp_path / "same"), num_items=9)
    other = PhantomBenchmarks(str(tmp_path / "other"), num_items=9, seed=1)
    assert [s.sha256 for s in same.splits.values()][:3] == [s.sha256 for s in drawn.splits.values()][:3]
    assert [s.sha256 for s in other.splits.values()][3:] != [s.sha256 for s in drawn.splits.values()][3:]
    with pytest.raises(InputError, match=r"holds .*'seed': 11.*asked for is .*'seed': 1"):
        PhantomBenchmarks(str(drawn.root), num_items=9, seed=1).questions()
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="holds something else"):
        PhantomBenchmarks(str(tmp_path / "mine")).questions()
