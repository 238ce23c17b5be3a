"""A merged model on the hub: its card, and the upload."""

from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelCardData
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from umed.errors import InputError
from umed.models.weights import first_line


def model_card(base: str, note: dict[str, Any], metrics: dict[str, float]) -> str:
    """README.md of a merged model: its origin, its measured scores, and what it must not be used for.

    Args:
        base: path or hub id of the base model.
        note: of its adapter, see `read_note`.
        metrics: all of its run.
    """
    head = ModelCardData(
        base_model=base if not Path(base).exists() else None,
        pipeline_tag="image-text-to-text",
        library_name="transformers",
        tags=["medical", "umed", str(note.get("stage", "adapter"))],
    )
    lines = [
        f"# {Path(base).name}, {note.get('method', 'tuned')}",
        "Not a medical device; for research on training methods only. The terms of the base model and of the training "
        "pictures apply.",
        f"Stage `{note.get('stage', '?')}`, seed {note.get('seed', '?')}. The prompt is the base model's chat template "
        "with one picture and a query; boxes are written in the convention of its family.",
    ]
    prefix = f"{note.get('stage')}/mau/"
    scores = {k.removeprefix(prefix): v for k, v in metrics.items() if k.startswith(prefix)}
    if any("phantom" in name for name in scores):
        lines.append("Trained and measured on **SYNTHETIC** pictures: nothing learned from them is medicine.")
    if metrics:
        rows = "\n".join(f"| {name} | {score:.3f} |" for name, score in sorted(scores.items()))
        lines.append(f"| MAU test | |\n|---|---|\n{rows}")
    return f"---\n{head.to_yaml()}\n---\n\n" + "\n\n".join(lines) + "\n"


def push_folder(folder: Path, repo: str, private: bool) -> None:
    """Upload a model's folder to the hub.

    Raises:
        InputError: no network, no login, no right.
    """
    api = HfApi()
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=repo)
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        raise InputError(
            f"task.push_to={repo}: the hub does not take it ({first_line(error)}); the folder stays at {folder}"
        ) from None
