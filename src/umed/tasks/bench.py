"""`task=bench`: ours against TRL on the same work, after both have proved to compute the same."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from umed.bench.contenders import CONTENDERS, FIRST
from umed.bench.figure import draw_bars
from umed.bench.job import CONFIG, Job
from umed.bench.parity import LIMIT
from umed.bench.shapes import SHAPES, Shape, variants
from umed.bench.summary import make_ratios, make_row, make_scaling, tabulate, tabulate_scaling
from umed.bench.theirs import require_trl
from umed.bench.turns import check_device, prepare, run_process, take_turns
from umed.errors import InputError, check_positive
from umed.run_files import write_whole


def bench(cfg: DictConfig) -> None:
    """Measure, print the table, write `bench.json` and `figures/bench.png`.

    Raises:
        InputError: an unknown shape or contender, TRL or a GPU that is not there, or results that differ.
    """
    shapes = {name: SHAPES[name] for name in choose("shapes", cfg.task.shapes, list(SHAPES))}
    contenders = with_first(choose("contenders", cfg.task.contenders, list(CONTENDERS)))
    for name in ("turns", "warmup", "steps", "threads"):
        check_positive(f"task.{name}", cfg.task[name])
    check_device(shapes)
    require_trl()
    run = Path(cfg.paths.run_dir)
    result: dict[str, Any] = {"rows": [], "ratios": {}, "parity": 0.0, "parity_by_shape": {}}
    console = Console(width=190)
    for name, shape in shapes.items():
        job = make_job(cfg, run / name, shape)
        result["parity_by_shape"][name] = check_parity(job)
        for contender, turns in take_turns(job, contenders, cfg.task.turns).items():
            result["rows"].append(make_row(name, shape, contender, turns))
        result["ratios"] = make_ratios(result["rows"])
        result["parity"] = max(max(p.values()) for p in result["parity_by_shape"].values())
        write(run, result)
    console.print(tabulate(result["rows"], result["ratios"]))
    if cfg.task.scaling:
        jobs = [(v, make_job(cfg, run / v.name, v.shape)) for v in variants()]
        result["scaling"] = make_scaling([(v, take_turns(job, ["ours"], cfg.task.turns)["ours"]) for v, job in jobs])
        write(run, result)
        console.print(tabulate_scaling(result["scaling"]))


def write(run: Path, result: dict[str, Any]) -> None:
    """What is known so far; a long benchmark that is stopped keeps the shapes it has finished."""
    write_whole(run / "bench.json", json.dumps(result, indent=1) + "\n")
    (run / "figures").mkdir(exist_ok=True)
    draw_bars(result["rows"], result["ratios"]).savefig(run / "figures" / "bench.png", dpi=120)


def choose(option: str, asked: Any, known: list[str]) -> list[str]:
    """The names that are asked for; all where none are.

    Raises:
        InputError: one that is not known.
    """
    names = known if asked is None else [str(name) for name in ([asked] if isinstance(asked, str) else asked)]
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"task.{option}={unknown}: choose among {', '.join(known)}")
    if not names:
        raise InputError(f"task.{option}=[]: choose at least one of {', '.join(known)}")
    return list(dict.fromkeys(names))


def with_first(contenders: list[str]) -> list[str]:
    """Before each kind of work, ours, with which the others are compared."""
    return list(dict.fromkeys([*(FIRST[CONTENDERS[name].work] for name in contenders), *contenders]))


def make_job(cfg: DictConfig, folder: Path, shape: Shape) -> Job:
    """A shape's folder with all that its contenders need."""
    task = cfg.task
    job = Job("", shape, folder, task.warmup, task.steps or shape.steps, task.threads, cfg.seed)
    own = cfg.copy()
    own.paths.run_dir = str(folder)  # the rest is resolved where it is used
    write_whole(folder / CONFIG, OmegaConf.to_yaml(own))
    prepare(job)
    return job


def check_parity(job: Job) -> dict[str, float]:
    """Raises InputError: losses, gradients or advantages that differ."""
    differences = run_process(replace(job, contender="parity"), "parity")
    if over := {name: value for name, value in differences.items() if not value <= LIMIT}:
        found = ", ".join(f"{name} by {value:.1e}" for name, value in over.items())
        raise InputError(
            f"{job.folder.name}: ours and TRL differ in {found}, above {LIMIT:g}: nothing is timed; see {job.folder}"
        )
    return differences
