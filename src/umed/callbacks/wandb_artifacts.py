"""Records, adapters and predictions as artifacts of W&B, with what each was made from."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import wandb

from umed.models.adapters import adapter_folder, read_note
from umed.names import make_folder_name, shorten

RECORDS = ("records.jsonl", "sources.json", "controls.jsonl", "manifest.json")


def log_artifacts(wandb_run: Any, run: Path, stage: str, adapter: Path | None, trained: bool) -> None:
    """The lineage of a stage: data -> run -> adapter -> predictions.

    Args:
        wandb_run: of the stage, its training and its evaluation.
        adapter: that was evaluated, None = the base model.
        trained: in this run; else it is an input of the evaluation.
    """
    if wandb_run.disabled:
        return
    _use(wandb_run, _bundle("records", run, "dataset", run, [run / name for name in RECORDS]))
    if adapter is not None:
        folder = adapter_folder(str(adapter))
        made = _bundle_adapter(run, str(read_note(folder).get("stage") or stage), folder)
        if trained:
            start = read_note(folder).get("started_from")
            if start and (before := run / "adapter" / str(start)).is_dir():
                _use(wandb_run, _bundle_adapter(run, str(start), before))
            wandb_run.log_artifact(made)
        else:
            _use(wandb_run, made)
    for checkpoint in sorted((run / "checkpoints" / stage / "best").glob("*.ckpt"))[-1:] if trained else ():
        best = _bundle(f"checkpoint-{stage}", run, "checkpoint", checkpoint.parent, [checkpoint])
        wandb_run.log_artifact(best, aliases=["best"])
    folder = run / "predictions" / stage
    wandb_run.log_artifact(_bundle(f"predictions-{stage}", run, "predictions", folder, folder.rglob("*.jsonl")))


def _bundle_adapter(run: Path, stage: str, folder: Path) -> wandb.Artifact:
    """The files of one adapter; the folders of other stages in it are not."""
    note = {k: v for k, v in read_note(folder).items() if k != "model"}
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    return _bundle(f"adapter-{stage}", run, "model", folder, files, note)


def _bundle(
    name: str, run: Path, kind: str, root: Path, files: Iterable[Path], note: dict[str, Any] | None = None
) -> wandb.Artifact:
    artifact = wandb.Artifact(shorten(make_folder_name(f"{name}-{run.name}"), 120), type=kind, metadata=note)
    for path in sorted(files):
        if path.is_file():
            # weights never change and are not copied; predictions may be written anew before a run is synced
            policy: Any = "immutable" if kind in ("model", "checkpoint") else "mutable"
            artifact.add_file(str(path), name=str(path.relative_to(root)), policy=policy, skip_cache=True)
    return artifact


def _use(wandb_run: Any, artifact: wandb.Artifact) -> None:
    """Name an artifact as an input; offline, the server is told so when the run is synced."""
    if wandb_run.offline:
        wandb_run._log_artifact(artifact, is_user_created=True, use_after_commit=True)
    else:
        wandb_run.use_artifact(artifact)
