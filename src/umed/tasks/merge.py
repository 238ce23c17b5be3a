"""`task=merge`: base weights and adapter -> one folder for plain transformers, with a card; on the hub if asked."""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from umed.errors import InputError
from umed.models.adapters import adapter_folder, read_note
from umed.models.hub import model_card, push_folder
from umed.models.load import build_policy


def merge(cfg: DictConfig) -> None:
    """Write `merged/` in the run folder: weights, tokenizer, image processor and README.md.

    Raises:
        InputError: no `init_from`, or the hub does not take it.
    """
    if not cfg.init_from:
        raise InputError("init_from is not set: give the run or adapter folder to merge, init_from=RUN_DIR")
    adapter, metrics = adapter_folder(cfg.init_from), Path(cfg.init_from) / "metrics.json"
    cfg.model.quantization = None  # the adapter is merged into unquantized weights
    policy = build_policy(cfg, str(adapter), 0.0)
    out = Path(cfg.paths.run_dir) / "merged"
    model: Any = policy.model
    if (adapter / "adapter_config.json").is_file():
        model = model.merge_and_unload()
    model.save_pretrained(out)
    policy.processor.save(str(out))
    scores = json.loads(metrics.read_text(encoding="utf-8")) if metrics.is_file() else {}
    (out / "README.md").write_text(model_card(cfg.model.path, read_note(adapter), scores), encoding="utf-8")
    print(f"{cfg.model.path} + {adapter} -> {out}")
    if cfg.task.push_to:
        push_folder(out, cfg.task.push_to, cfg.task.private)
        print(f"{out} -> https://huggingface.co/{cfg.task.push_to}")
