"""Which test pictures occur in training, for the data that a run evaluates: `leaks.json` and `leaks.jsonl`."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from umed.data.benchmarks import BenchmarkDataModule
from umed.data.leaks import Shown, leaked, leaks
from umed.pictures import picture_of
from umed.questions import Question
from umed.records import Record, read_jsonl, write_jsonl, write_whole
from umed.tasks.fit import Data

OWN, MAU = "own_train", "mau_train"


def leaked_items(
    cfg: DictConfig, data: Data | None, module: BenchmarkDataModule | None, run: Path
) -> dict[str, set[str]]:
    """Ids of the benchmarks' test items whose picture lies in the data set's own training part.

    The first call of a run hashes the pictures, prints what it found and writes it; later ones read it, if it is of the
    same items.
    """
    tests, trains = _parts(cfg, data, module)
    asked = {dataset: _fingerprint(test, trains[dataset]) for dataset, test in tests.items()}
    path = run / "leaks.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if {dataset: of.get("asked") for dataset, of in known.items()} != asked:
        _report(tests, trains, asked, cfg.data.prepare.workers or os.cpu_count() or 1, run)
    return leaked(read_jsonl(run / "leaks.jsonl"), OWN)


def _parts(
    cfg: DictConfig, data: Data | None, module: BenchmarkDataModule | None
) -> tuple[dict[str, Sequence[Shown]], dict[str, dict[str, Sequence[Shown]]]]:
    """Test items of each data set, and the training parts that they may be in."""
    tests: dict[str, Sequence[Shown]] = {}
    trains: dict[str, dict[str, Sequence[Shown]]] = {}
    tuned_on: list[Shown] = []
    if data is not None:
        tuned_on = [_of_record(r, data) for r in data.records if r.split == "train"]
        tests["mau"] = [_of_record(r, data) for r in data.records if r.split == cfg.data.evaluate.split]
        trains["mau"] = {MAU: tuned_on}
    if module is not None:
        for question, _ in module.items:
            tests.setdefault(question.dataset, [])
        for dataset in [name for name in tests if name != "mau"]:
            own = [q for q in module.questions if q.dataset == dataset]
            tests[dataset] = [_of_question(q, module) for q in own]
            trains[dataset] = {OWN: [_of_question(q, module) for q in module.train(dataset)]}
            if tuned_on:
                trains[dataset][MAU] = tuned_on
    return tests, trains


def _fingerprint(test: Sequence[Shown], trains: Mapping[str, Sequence[Shown]]) -> str:
    """Of the items that are compared."""
    named = [sorted((s.item, s.image, s.root) for s in part) for part in (test, *trains.values())]
    return hashlib.sha256(json.dumps([sorted(trains), named]).encode()).hexdigest()[:16]


def _report(
    tests: Mapping[str, Sequence[Shown]],
    trains: Mapping[str, Mapping[str, Sequence[Shown]]],
    asked: Mapping[str, str],
    workers: int,
    run: Path,
) -> None:
    summary, lines = leaks(tests, trains, workers)
    for dataset, of in summary.items():
        of["asked"] = asked[dataset]
    for dataset, of in summary.items():
        for where in (name for name in of if isinstance(of[name], dict)):
            count = of[where]
            if count["items"]:
                print(
                    f"leak: {count['pictures']} of {of['pictures']} test pictures of {dataset} ({count['items']} of "
                    f"{of['items']} items) are in {where}: see {run / 'leaks.jsonl'}"
                )
    write_jsonl(run / "leaks.jsonl", lines)
    write_whole(run / "leaks.json", json.dumps(summary, indent=1) + "\n")  # last: what is there is complete


def _of_record(record: Record, data: Data) -> Shown:
    return Shown(record.id, record.image, str(data.roots[record.source]), partial(picture_of, record, data.roots))


def _of_question(question: Question, module: BenchmarkDataModule) -> Shown:
    owner = module.owner(question.dataset)
    return Shown(question.id, question.image, question.dataset, partial(owner.picture, question))
