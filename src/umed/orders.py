"""What the processes of a stage are told: a folder of the run, which each of them reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from umed.errors import InputError
from umed.records import RecordSet, read_record_set
from umed.run_files import write_jsonl, write_roots, write_whole

FOLDER, FILE = "stages", "stage.yaml"


def write_order(
    cfg: DictConfig, stage: str, data: Mapping[str, RecordSet | None], kind: str, settings: Mapping[str, Any]
) -> None:
    """Write `stages/<stage>/`: the config, what is to be done, and the records that it is done with.

    Args:
        data: by name, each a folder of its own.
        kind: of work.
    """
    run = Path(cfg.paths.run_dir).resolve()
    folder = run / FOLDER / stage
    config = cfg.copy()
    config.paths.run_dir = str(run)  # the processes know no Hydra, of which it is asked
    for name, records in data.items():
        if records is not None:
            write_jsonl(folder / name / "records.jsonl", (r.to_json() for r in records.records))
            write_roots(folder / name, {source: root.resolve() for source, root in records.roots.items()})
    order = {"kind": kind, "settings": dict(settings), "data": [n for n, d in data.items() if d is not None]}
    write_whole(folder / FILE, OmegaConf.to_yaml(OmegaConf.create({**order, "config": config})))


def read_order(run: Path, stage: str) -> tuple[DictConfig, str, dict[str, Any], dict[str, RecordSet]]:
    """The config, the kind of work, its settings and its records.

    Raises:
        InputError: the run has no such stage to work on.
    """
    path = run / FOLDER / stage / FILE
    if not path.is_file():
        raise InputError(
            f"{path}: no such stage: start the run itself with run.py, which prepares each stage for its processes"
        )
    order: Any = OmegaConf.load(path)
    data = {name: read_record_set(path.parent / name) for name in order.data}
    config = order.pop("config")
    config._set_parent(None)
    settings: Any = OmegaConf.to_container(order.settings)
    return config, order.kind, settings, data
