"""Which test pictures occur in training, for the data that a run evaluates: `leaks.json` and `leaks.jsonl`."""

import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from umed.analysis import open_run
from umed.errors import InputError
from umed.evaluation.datamodule import BenchmarkDataModule
from umed.evaluation.pixel_leaks import Shown, leaked, leaks
from umed.evaluation.question import Question
from umed.pictures import picture_of
from umed.records import Record, RecordSet
from umed.run_files import write_jsonl, write_whole

OWN, MAU = "own_train", "mau_train"
RECORDS = ("records.jsonl", "sources.json")


def leaked_items(
    cfg: DictConfig,
    data: RecordSet | None,
    module: BenchmarkDataModule | None,
    run: Path,
    trained_on: RecordSet | None = None,
) -> dict[str, set[str]]:
    """Ids of the test items whose picture lies in the data set's own training part, or in MAU's.

    Hashes the pictures, prints what it found and writes it.

    Args:
        data: MAU's records; None leaves its test part out.
        trained_on: what the model is trained on; else the records of the run `init_from`, else `data`.

    Raises:
        InputError: a test picture that cannot be opened.
    """
    tests, trains = _parts(cfg, data, module, trained_on)
    summary, lines = leaks(tests, trains, cfg.data.prepare.workers or os.cpu_count() or 1)
    for dataset, of in summary.items():
        for where in trains.get(dataset, ()):
            _tell(dataset, of, where, run)
    write_jsonl(run / "leaks.jsonl", lines)
    write_whole(run / "leaks.json", json.dumps(summary, indent=1) + "\n")
    return leaked(lines)


def _parts(
    cfg: DictConfig, data: RecordSet | None, module: BenchmarkDataModule | None, trained_on: RecordSet | None
) -> tuple[dict[str, Sequence[Shown]], dict[str, dict[str, Sequence[Shown]]]]:
    """Test items of each data set, and the training parts that they may be in."""
    tests: dict[str, Sequence[Shown]] = {}
    trains: dict[str, dict[str, Sequence[Shown]]] = {}
    seen = trained_on or _trained_on(cfg.init_from) or data
    tuned_on = [_of_record(r, seen) for r in seen.records if r.split == "train"] if seen else []
    if data is not None:
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


def _trained_on(init_from: str | None) -> RecordSet | None:
    """The records that a run was trained on, of the folder that its adapter lies in."""
    if init_from is None:
        return None
    near = [Path(init_from), *list(Path(init_from).resolve().parents)[:2]]
    run = next((folder for folder in near if all((folder / name).is_file() for name in RECORDS)), None)
    try:
        found = open_run(run) if run else None
        if found and not {record.source for record in found.records} - found.roots.keys():
            return RecordSet(found.records, found.roots)
        why = f"{run / 'sources.json'} lacks a source" if run else "its run folder has them"
    except (InputError, ValueError, AttributeError) as error:
        why = f"{run}: {error}"
    print(f"leaks: the records that {init_from} was trained on are not known ({why}) and were not compared")
    return None


def _tell(dataset: str, of: Mapping[str, Any], where: str, run: Path) -> None:
    count = of[where]
    if count["items"]:
        print(
            f"leak: {count['pictures']} of {of['pictures']} test pictures of {dataset} ({count['items']} of "
            f"{of['items']} items) are in {where}: see {run / 'leaks.jsonl'}"
        )
    if count["unread"]:
        print(
            f"leaks: {count['unread']} training pictures of {where} of {dataset} cannot be opened and were not "
            f"compared, the first: {count['first_unread']}"
        )


def _of_record(record: Record, data: RecordSet) -> Shown:
    return Shown(record.id, record.image, str(data.roots[record.source]), partial(picture_of, record, data.roots))


def _of_question(question: Question, module: BenchmarkDataModule) -> Shown:
    owner = module.owner(question.dataset)
    return Shown(question.id, question.image, question.dataset, partial(owner.picture, question))
