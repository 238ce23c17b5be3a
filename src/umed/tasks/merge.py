"""`task=merge`: base weights and adapter -> one folder for plain transformers, with a card; on the hub if asked."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelCardData
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from omegaconf import DictConfig

from umed.errors import InputError
from umed.models.load import NOTE, adapter_folder, build_policy


def merge(cfg: DictConfig) -> None:
    """Write `merged/` in the run folder: weights, tokenizer, image processor and README.md.

    Raises:
        InputError: no `init_from`, or the hub does not take it.
    """
    if not cfg.init_from:
        raise InputError("init_from is not set: give the run or adapter folder to merge, init_from=RUN_DIR")
    adapter = adapter_folder(cfg.init_from)
    cfg.model.quantization = None  # the adapter goes into the whole numbers
    policy: Any = build_policy(cfg, str(adapter), 0.0)
    out = Path(cfg.paths.run_dir) / "merged"
    model = policy.model.merge_and_unload() if hasattr(policy.model, "merge_and_unload") else policy.model
    model.save_pretrained(out)
    policy.processor.save(str(out))
    (out / "README.md").write_text(model_card(cfg, adapter), encoding="utf-8")
    print(f"{cfg.model.path} + {adapter} -> {out}")
    if cfg.task.push_to:
        push(out, cfg.task.push_to, cfg.task.private)


def model_card(cfg: DictConfig, adapter: Path) -> str:
    """README.md of a merged model: where it comes from, what was measured, what it is not."""
    note = json.loads((adapter / NOTE).read_text(encoding="utf-8")) if (adapter / NOTE).is_file() else {}
    base = str(cfg.model.path)
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
    metrics = Path(cfg.init_from) / "metrics.json"
    if metrics.is_file():
        stage = f"{note.get('stage')}/mau/"
        found = {k.removeprefix(stage): v for k, v in json.loads(metrics.read_text()).items() if k.startswith(stage)}
        if any("phantom" in k for k in found):
            lines.append("Trained and measured on **SYNTHETIC** pictures: nothing learned from them is medicine.")
        rows = "\n".join(f"| {k} | {v:.3f} |" for k, v in sorted(found.items()))
        lines.append(f"| MAU test | |\n|---|---|\n{rows}")
    return f"---\n{head.to_yaml()}\n---\n\n" + "\n\n".join(lines) + "\n"


def push(folder: Path, repo: str, private: bool) -> None:
    """Upload a folder to the hub.

    Raises:
        InputError: no network, no login, no right.
    """
    api = HfApi()
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=repo)
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(
            f"task.push_to={repo}: the hub does not take it ({first}); the folder stays at {folder}"
        ) from None
    print(f"{folder} -> https://huggingface.co/{repo}")
