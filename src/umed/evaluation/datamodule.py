"""Benchmark questions as encoded prompts: any selection of data sets in one pass."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import lightning as L
from torch.utils.data import DataLoader, Dataset

from umed.chat import Processor, Prompt
from umed.data.looks import exchanged, seen_as
from umed.errors import InputError
from umed.evaluation.benchmarks.base import Benchmark, Split
from umed.evaluation.protocol import Protocol
from umed.evaluation.question import Question


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it is put to a model; `candidates`: label -> answer text, empty where nothing is to choose from."""

    question: Question
    prompt: Prompt
    candidates: dict[str, str]


class Questions(Dataset[Asked]):
    """Questions with their pictures; a picture is opened when its question is asked for.

    Args:
        items: each question with the benchmark that has its picture.
        look: one of `looks.LOOKS`.
    """

    def __init__(
        self, items: Sequence[tuple[Question, Benchmark]], processor: Processor, protocol: Protocol, look: str = "own"
    ) -> None:
        self.items, self.processor, self.protocol, self.look = list(items), processor, protocol, look
        self.shown = exchanged([q.dataset for q, _ in items], [q.image for q, _ in items])

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Asked:
        question, _ = self.items[index]
        source, benchmark = self.items[self.shown[index] if self.look == "shuffled" else index]
        picture = seen_as(benchmark.picture(source), self.look)
        record = question.asked(self.protocol.query(question), *picture.size)
        return Asked(question, self.processor.prompt(picture, record), self.protocol.candidates(question))


class BenchmarkDataModule(L.LightningDataModule):
    """Test questions of the chosen benchmarks, one after another.

    Args:
        benchmarks: by name of the config.
        processor: the model family's.
        protocol: the texts of queries and candidate answers.
        batch_size: prompts a batch.
        at_most: so many questions of each data set, evenly spread; None = all.
        num_workers: of the data loaders.

    Raises:
        InputError: a data set that two benchmarks give.
    """

    def __init__(
        self,
        benchmarks: Mapping[str, Benchmark],
        processor: Processor,
        protocol: Protocol,
        *,
        batch_size: int = 64,
        at_most: int | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.benchmarks, self.processor, self.protocol = dict(benchmarks), processor, protocol
        self.batch_size, self.num_workers = batch_size, num_workers
        owners: dict[str, str] = {}
        for name, benchmark in self.benchmarks.items():
            for dataset in benchmark.splits:
                if dataset in owners:
                    raise InputError(f"data/benchmark: {owners[dataset]} and {name} both give {dataset}: choose one")
                owners[dataset] = name
        self.items: list[tuple[Question, Benchmark]] = []
        for benchmark in self.benchmarks.values():
            self.items += [(question, benchmark) for question in _spread(benchmark.questions(), at_most)]

    @property
    def questions(self) -> list[Question]:
        return [question for question, _ in self.items]

    def train(self, dataset: str) -> list[Question]:
        """The data set's own training questions, as far as they are at hand."""
        return [q for q in self.owner(dataset).train() if q.dataset == dataset]

    def splits(self) -> dict[str, Split]:
        """Data set -> the split file that its questions come from, with its hash."""
        return {dataset: split for benchmark in self.benchmarks.values() for dataset, split in benchmark.splits.items()}

    def owner(self, dataset: str) -> Benchmark:
        """The benchmark that gives a data set."""
        return next(b for b in self.benchmarks.values() if dataset in b.splits)

    def predict_dataloader(self) -> DataLoader:
        return self.loader()

    def test_dataloader(self) -> DataLoader:
        return self.loader()

    def loader(self, look: str = "own") -> DataLoader:
        """Batches of `Asked`, every question once, in order; see `Questions` for `look`."""
        questions = Questions(self.items, self.processor, self.protocol, look)
        return DataLoader(questions, self.batch_size, collate_fn=list, num_workers=self.num_workers)


def _spread(questions: Sequence[Question], at_most: int | None) -> list[Question]:
    """At most so many questions of each data set, evenly spread over its answer types, in their order."""
    if at_most is None:
        return list(questions)
    parts: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        parts[question.dataset].append(question)
    kept = []
    for part in parts.values():
        by_type = sorted(range(len(part)), key=lambda n: part[n].answer_type)
        count = min(len(part), at_most)
        kept += [part[n] for n in sorted(by_type[k * len(part) // count] for k in range(count))]
    return kept
