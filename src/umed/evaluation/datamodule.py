"""Questions of benchmarks as encoded prompts: any selection of data sets, MAU among them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import lightning as L
from torch.utils.data import DataLoader, Dataset, Subset

from umed.chat import Processor, Prompt
from umed.data.loading import choose_workers, make_loader
from umed.errors import InputError
from umed.evaluation.benchmarks.base import Benchmark, Split
from umed.evaluation.protocol import Protocol
from umed.evaluation.question import Question
from umed.evaluation.scorer import Scorer
from umed.evaluation.substitutes import Shown, exchange_pictures, substitute_picture
from umed.processes import ALONE, Processes


@dataclass(frozen=True, slots=True)
class EvaluationItem:
    """A question as it is put to a model; `candidates`: label -> answer text, empty where nothing is to choose from."""

    question: Question
    prompt: Prompt
    candidates: dict[str, str]


class Questions(Dataset[EvaluationItem]):
    """Questions with their pictures; an item's picture is opened when the item is read."""

    def __init__(
        self,
        questions: Sequence[Question],
        benchmark: Benchmark,
        processor: Processor,
        protocol: Protocol,
        shown: Shown = "own",
    ) -> None:
        self.questions, self.benchmark, self.processor, self.protocol = list(questions), benchmark, processor, protocol
        self.shown = shown
        self.picture_of: Sequence[int] = range(len(self.questions))
        if shown == "shuffled":
            self.picture_of = exchange_pictures([q.part for q in questions], [q.image or q.id for q in questions])

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, index: int) -> EvaluationItem:
        question = self.questions[index]
        picture = self.benchmark.picture(self.questions[self.picture_of[index]])
        picture = substitute_picture(picture, self.shown)
        record = question.to_record(self.protocol.query(question), *picture.size)
        return EvaluationItem(question, self.processor.prompt(picture, record), self.protocol.candidates(question))


class BenchmarkDataModule(L.LightningDataModule):
    """Test questions of the chosen benchmarks, one benchmark after another.

    Args:
        benchmarks: by name of the config.
        processor: the model family's.
        protocol: the texts of queries and candidate answers.
        batch_size: prompts a batch.
        at_most: so many questions of each data set, evenly spread; None = all.
        num_workers: of the data loaders, None = see `choose_workers`.

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
        num_workers: int | None = 0,
    ) -> None:
        super().__init__()
        self.benchmarks, self.processor, self.protocol = dict(benchmarks), processor, protocol
        self.batch_size, self.at_most, self.num_workers = batch_size, at_most, num_workers
        self.questions_of: dict[str, list[Question]] = {}
        self.owner_of: dict[str, str] = {}  # data set -> name of its benchmark
        for name, benchmark in self.benchmarks.items():
            self.questions_of[name] = spread_questions(benchmark.questions(), at_most)
            for dataset in {question.dataset: None for question in self.questions_of[name]}:
                if dataset in self.owner_of:
                    raise InputError(
                        f"data/benchmark: {self.owner_of[dataset]} and {name} both give {dataset}: choose one"
                    )
                self.owner_of[dataset] = name

    @property
    def questions(self) -> list[Question]:
        return [question for questions in self.questions_of.values() for question in questions]

    @property
    def scorers(self) -> dict[str, Scorer]:
        """Data set -> its rules."""
        return {dataset: scorer for b in self.benchmarks.values() for dataset, scorer in b.scorers.items()}

    @property
    def splits(self) -> dict[str, Split]:
        """Data set -> the split file that its questions come from, with its hash."""
        return {dataset: split for b in self.benchmarks.values() for dataset, split in b.splits.items()}

    def owner(self, dataset: str) -> Benchmark:
        """The benchmark that gives a data set."""
        return self.benchmarks[self.owner_of[dataset]]

    def train(self, dataset: str) -> list[Question]:
        """The data set's own training questions, as far as they are at hand."""
        return [question for question in self.owner(dataset).train() if question.dataset == dataset]

    def predict_dataloader(self) -> list[DataLoader]:
        return self.test_dataloader()

    def test_dataloader(self) -> list[DataLoader]:
        """One loader a benchmark."""
        return [self.loader(name) for name in self.benchmarks]

    def loader(
        self,
        name: str,
        shown: Shown = "own",
        questions: Sequence[Question] | None = None,
        processes: Processes = ALONE,
    ) -> DataLoader:
        """Batches of `EvaluationItem` from one benchmark, every question once, in order.

        Args:
            shown: the picture that goes with a question.
            questions: others of the benchmark than those of the test.
            processes: that share the questions; those of this process.
        """
        asked = self.questions_of[name] if questions is None else questions
        all_of_them = Questions(asked, self.benchmarks[name], self.processor, self.protocol, shown)
        dataset = all_of_them if processes.count == 1 else Subset(all_of_them, processes.share(range(len(asked))))
        workers = self.num_workers
        if workers is None:  # pictures of a benchmark are much alike
            workers = choose_workers(prod(self.benchmarks[name].picture(asked[0]).size)) if asked else 0
        return make_loader(dataset, num_workers=workers, batch_size=self.batch_size)


def spread_questions(questions: Sequence[Question], at_most: int | None) -> list[Question]:
    """At most so many questions of each data set, evenly spread over its answer types, in their order."""
    if at_most is None:
        return list(questions)
    parts: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        parts[question.dataset].append(question)
    kept = []
    for part in parts.values():
        by_type = sorted(range(len(part)), key=lambda k: part[k].answer_type)
        count = min(len(part), at_most)
        kept += [part[k] for k in sorted(by_type[i * len(part) // count] for i in range(count))]
    return kept
