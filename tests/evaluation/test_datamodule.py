"""Benchmark questions as batches: each once and in order, at most so many, and with the picture they should have."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from answers import SCORERS
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from umed.errors import InputError
from umed.evaluation.benchmarks.base import Benchmark, Split
from umed.evaluation.datamodule import BenchmarkDataModule, EvaluationItem
from umed.evaluation.leaks import hash_pixels
from umed.evaluation.protocol import Protocol
from umed.evaluation.question import Question
from umed.evaluation.scorer import Scorer
from umed.evaluation.substitutes import Shown
from umed.models.family import FamilyProcessor
from umed.synthetic.benchmarks import PhantomBenchmarks

CONF = Path(__file__).parents[2] / "conf" / "data" / "protocol" / "ours.yaml"
MANY = 10


class Listed(Benchmark):
    """A benchmark of given questions; each picture is plain and its color is the picture's own."""

    def __init__(self, questions: list[Question], train: list[Question] | None = None) -> None:
        self.listed, self.own_train = questions, train or []
        self.opened: list[str] = []

    @property
    def scorers(self) -> dict[str, Scorer]:
        return {q.dataset: SCORERS[q.dataset] for q in self.listed}

    @property
    def splits(self) -> dict[str, Split]:
        return {q.dataset: Split(str(q.split_file), "0" * 64, "memory") for q in self.listed}

    def questions(self) -> list[Question]:
        return list(self.listed)

    def train(self) -> list[Question]:
        return list(self.own_train)

    def picture(self, question: Question) -> Image.Image:
        self.opened.append(question.id)
        return Image.new("RGB", (56, 56), color_of(question))


def color_of(question: Question) -> tuple[int, int, int]:
    return 40 + 12 * int(question.image.split(".")[0]), 90, {"slake": 60, "vqa_rad": 200}[question.dataset]


def question(number: int, dataset: str = "slake", answer_type: str = "open", image: int | None = None) -> Question:
    picture = f"{number if image is None else image}.jpg"
    fields = {"split_file": "test.json", "question": f"What is wrong ? {number}", "answer": "cyst", "image": picture}
    return Question(id=str(number), dataset=dataset, answer_type=answer_type, **fields)


@pytest.fixture(scope="module")
def protocol() -> Protocol:
    return instantiate(OmegaConf.load(CONF))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> PhantomBenchmarks:
    return PhantomBenchmarks(str(tmp_path_factory.mktemp("phantom") / "all"), num_items=MANY)


def pixels_of(asked: EvaluationItem) -> np.ndarray:
    return asked.prompt.inputs["pixel_values"].numpy()


def own_prompt(processor: FamilyProcessor, protocol: Protocol, item: Question, picture: Image.Image) -> np.ndarray:
    """The pixels that the model gets of this picture."""
    return processor.prompt(picture, item.to_record(protocol.query(item), *picture.size)).inputs["pixel_values"].numpy()


def asked_in(module: BenchmarkDataModule, shown: Shown = "own") -> list[EvaluationItem]:
    return [asked for name in module.benchmarks for batch in module.loader(name, shown) for asked in batch]


def test_every_question_comes_once_and_in_order(
    drawn: PhantomBenchmarks, processor: FamilyProcessor, protocol: Protocol
) -> None:
    expected = drawn.questions()
    for size in (1, 7, 1000):
        module = BenchmarkDataModule({"phantom": drawn}, processor, protocol, batch_size=size)
        [loader] = module.predict_dataloader()
        batches = list(loader)
        assert [len(b) for b in batches[:-1]] == [size] * (len(batches) - 1)
        assert [a.question for b in batches for a in b] == expected == module.questions
    assert len({q.dataset for q in expected}) == 6
    assert [a.question for loader in module.test_dataloader() for b in loader for a in b] == expected


def test_a_question_is_asked_by_the_protocol(
    drawn: PhantomBenchmarks, processor: FamilyProcessor, protocol: Protocol
) -> None:
    module = BenchmarkDataModule({"phantom": drawn}, processor, protocol)
    for asked in asked_in(module):
        record, item = asked.prompt.record, asked.question
        assert (record.id, record.source, record.query) == (item.id, item.dataset, protocol.query(item))
        assert not record.boxes and (record.width, record.height) == drawn.picture(item).size
        assert asked.candidates == protocol.candidates(item)
        assert bool(asked.candidates) == (item.answer_type in ("choice", "label"))


def test_two_benchmarks_that_give_the_same_data_set_are_refused(
    drawn: PhantomBenchmarks, processor: FamilyProcessor, protocol: Protocol
) -> None:
    first, second = Listed([question(0)]), Listed([question(1), question(0, "vqa_rad")])
    with pytest.raises(InputError, match="data/benchmark: files and hub both give slake: choose one"):
        BenchmarkDataModule({"files": first, "hub": second}, processor, protocol)
    with pytest.raises(InputError, match="a and b both give phantom_vqa_rad"):
        BenchmarkDataModule({"a": drawn, "b": drawn}, processor, protocol)
    BenchmarkDataModule({"real": first, "phantom": drawn}, processor, protocol)  # a stand-in goes beside the real one


def test_at_most_takes_as_many_of_each_data_set_evenly_over_its_types(
    processor: FamilyProcessor, protocol: Protocol
) -> None:
    slake = [question(n, answer_type="closed" if n % 3 == 0 else "open") for n in range(30)]
    few = [question(n, "vqa_rad") for n in range(3)]
    both = Listed([x for pair in zip(slake[:3], few, strict=True) for x in pair] + slake[3:])

    def kept(at_most: int | None) -> list[Question]:
        return BenchmarkDataModule({"both": both}, processor, protocol, at_most=at_most).questions

    assert kept(None) == both.questions() and len(kept(1000)) == 33
    for at_most in (1, 6, 9, 29):
        of = Counter(q.dataset for q in kept(at_most))
        assert of == {"slake": at_most, "vqa_rad": min(3, at_most)}
    nine = [q for q in kept(9) if q.dataset == "slake"]
    assert Counter(q.answer_type for q in nine) == {"closed": 3, "open": 6}  # as in the whole
    numbers = [int(q.id) for q in nine]
    assert numbers == sorted(numbers)
    for part in ("closed", "open"):  # no gap is twice as large as an even one
        of_part = [int(q.id) for q in nine if q.answer_type == part]
        assert max(np.diff([*of_part, 30])) <= 2 * 30 / len(of_part)
    assert kept(9) == kept(9)


def test_at_most_is_of_every_data_set_that_one_benchmark_holds(
    drawn: PhantomBenchmarks, processor: FamilyProcessor, protocol: Protocol
) -> None:
    module = BenchmarkDataModule({"phantom": drawn}, processor, protocol, at_most=4)
    assert Counter(q.dataset for q in module.questions) == dict.fromkeys(drawn.splits, 4)
    types = Counter((q.dataset, q.answer_type) for q in module.questions)
    assert types["phantom_pmc_vqa", "choice"] == types["phantom_pmc_vqa", "blank"] == 2
    assert {q.id for q in module.questions} < {q.id for q in drawn.questions()}
    assert [a.question for a in asked_in(module)] == module.questions


def test_a_picture_is_the_questions_own_or_black(
    drawn: PhantomBenchmarks, processor: FamilyProcessor, protocol: Protocol
) -> None:
    module = BenchmarkDataModule({"phantom": drawn}, processor, protocol, at_most=4)
    for own, black in zip(asked_in(module), asked_in(module, "black"), strict=True):
        picture = drawn.picture(own.question)
        dark = Image.new("RGB", picture.size)
        for asked, shown in ((own, picture), (black, dark)):
            expected = own_prompt(processor, protocol, own.question, shown)
            assert np.array_equal(pixels_of(asked), expected)
        assert not np.array_equal(pixels_of(own), pixels_of(black))
        assert black.question == own.question and black.prompt.record == own.prompt.record


def test_a_shuffled_picture_is_that_of_another_question_of_the_data_set(
    drawn: PhantomBenchmarks, processor: FamilyProcessor, protocol: Protocol
) -> None:
    module = BenchmarkDataModule({"phantom": drawn}, processor, protocol)
    pictures = {(q.dataset, q.image): drawn.picture(q) for q in module.questions}
    shown_to: dict[tuple[str, str], set[bytes]] = {}
    for asked in asked_in(module, "shuffled"):
        item, got = asked.question, pixels_of(asked)
        others = [p for (d, i), p in pictures.items() if d == item.dataset and i != item.image]
        seen = [p for p in others if np.array_equal(own_prompt(processor, protocol, item, p), got)]
        assert len({hash_pixels(p) for p in seen}) == 1, (item.dataset, item.id)
        shown_to.setdefault((item.dataset, item.image), set()).add(hash_pixels(seen[0]))
        assert asked.prompt.record.query == protocol.query(item)  # the question stays
        assert (asked.prompt.record.width, asked.prompt.record.height) == seen[0].size
    assert all(len(found) == 1 for found in shown_to.values())  # questions of one picture share the other one


def test_a_shuffled_picture_does_not_come_from_what_at_most_leaves_out(
    processor: FamilyProcessor, protocol: Protocol
) -> None:
    slake = Listed([question(n) for n in range(20)])
    rad = Listed([question(n, "vqa_rad", image=n // 2) for n in range(4)])
    module = BenchmarkDataModule({"a": slake, "b": rad}, processor, protocol, at_most=4)
    assert not slake.opened  # a picture is opened when its question is asked for
    asked_in(module, "shuffled")
    kept = [q.id for q in module.questions if q.dataset == "slake"]
    assert sorted(slake.opened) == sorted(kept) and slake.opened != kept
    assert [int(i) // 2 for i in rad.opened] == [1, 1, 0, 0]


def test_one_benchmark_is_asked_after_another(processor: FamilyProcessor, protocol: Protocol) -> None:
    slake, rad = Listed([question(n) for n in range(3)]), Listed([question(n, "vqa_rad") for n in range(2)])
    module = BenchmarkDataModule({"b": slake, "a": rad}, processor, protocol, batch_size=2)
    batches = [batch for loader in module.test_dataloader() for batch in loader]
    expected = [("slake", "0"), ("slake", "1")], [("slake", "2")], [("vqa_rad", "0"), ("vqa_rad", "1")]
    assert tuple([(a.question.dataset, a.question.id) for a in b] for b in batches) == expected
    assert slake.opened == ["0", "1", "2"] and rad.opened == ["0", "1"]
    for asked in (a for b in batches for a in b):  # each with a picture of its own benchmark
        plain = Image.new("RGB", (56, 56), color_of(asked.question))
        assert np.array_equal(pixels_of(asked), own_prompt(processor, protocol, asked.question, plain))


def test_workers_give_the_same_batches(processor: FamilyProcessor, protocol: Protocol) -> None:
    slake = Listed([question(n) for n in range(7)])
    one, two = (BenchmarkDataModule({"a": slake}, processor, protocol, batch_size=2, num_workers=n) for n in (0, 2))
    for a, b in zip(asked_in(one), asked_in(two), strict=True):
        assert a.question == b.question and np.array_equal(pixels_of(a), pixels_of(b))


def test_other_questions_of_a_benchmark_may_be_asked(processor: FamilyProcessor, protocol: Protocol) -> None:
    listed = Listed([question(0)])
    others = [question(k) for k in (5, 3)]
    loader = BenchmarkDataModule({"a": listed}, processor, protocol).loader("a", questions=others)
    assert [asked.question for batch in loader for asked in batch] == others and listed.opened == ["5", "3"]


def test_owner_train_and_splits_are_those_of_the_data_set(
    drawn: PhantomBenchmarks, processor: FamilyProcessor, protocol: Protocol
) -> None:
    train = [question(50), question(51, "vqa_rad")]
    listed = Listed([question(0), question(1, "vqa_rad")], train)
    module = BenchmarkDataModule({"listed": listed, "phantom": drawn}, processor, protocol, at_most=1)
    assert module.owner("slake") is module.owner("vqa_rad") is listed
    assert all(module.owner(dataset) is drawn for dataset in drawn.splits)
    assert module.train("slake") == train[:1] and module.train("vqa_rad") == train[1:]
    for dataset in drawn.splits:
        own = module.train(dataset)
        assert own == [q for q in drawn.train() if q.dataset == dataset] and len(own) > 1  # `at_most` is of the test
    assert module.splits == {**listed.splits, **drawn.splits}
    assert module.scorers == {**listed.scorers, **drawn.scorers}
    assert list(module.splits) == ["slake", "vqa_rad", *drawn.splits]
    assert BenchmarkDataModule({"a": Listed([question(0)])}, processor, protocol).train("slake") == []


def test_no_benchmark_is_no_question(processor: FamilyProcessor, protocol: Protocol) -> None:
    module = BenchmarkDataModule({}, processor, protocol)
    assert module.questions == [] == module.test_dataloader() and module.splits == module.scorers == {}
    assert asked_in(BenchmarkDataModule({"empty": Listed([])}, processor, protocol), "shuffled") == []
