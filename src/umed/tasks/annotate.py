"""`task=annotate`: records -> records with query and diagnosis."""

from pathlib import Path

from omegaconf import DictConfig

from umed import config
from umed.annotate.stage import annotate_records, find_open, load_or_prepare, summarize


def annotate(cfg: DictConfig) -> None:
    """Annotate the records, write them to the run's `records.jsonl` and print how it went.

    With `annotator.dry_run`, print an estimate of tokens and cost instead.
    """
    data = load_or_prepare(cfg)
    if cfg.annotator.get("dry_run"):
        annotator = config.create(cfg.annotator)
        print(annotator.estimate([data.records[k] for k in find_open(data.records, annotator.name)]))
        return
    print(summarize(annotate_records(cfg, data)))
    print(f"-> {Path(cfg.paths.run_dir) / 'records.jsonl'}")
