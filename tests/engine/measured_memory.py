"""Runs passes of a small random model on the CPU and prints the memory that they take, as JSON: a process of its own.

`python measured_memory.py FOLDER FAMILY PHASE`: the folder is written first if it is empty.
"""

import json
import sys
import warnings
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from composed import composed
from hydra.utils import instantiate
from lightning.fabric.utilities.warnings import PossibleUserWarning
from omegaconf import DictConfig
from PIL import Image
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader

from umed.chat import Prompt
from umed.engine.budget import CACHED, Budget
from umed.engine.engine import Engine
from umed.engine.planner import Planner
from umed.engine.weightless import PUBLISHED, SHAPES
from umed.methods.aar import AbnormalAwareRewarding
from umed.methods.credit.gae import GaeCredit
from umed.methods.objective import ClippedObjective
from umed.methods.sft import AbnormalAwareTuning
from umed.models.load import load_policy
from umed.models.policy import Policy
from umed.records import Record
from umed.rewards.base import Reward
from umed.rewards.total import TotalReward
from umed.rewards.vision_relevance import VisionRelevanceReward
from umed.synthetic.tiny_models import backbone_of

WIDTH, VOCABULARY, TEXT, LENGTH, CANDIDATES = 512, 16384, 32, 48, 4
TEXT_MODEL = {"hidden_size": WIDTH, "intermediate_size": 3 * WIDTH, "num_hidden_layers": 8, "num_attention_heads": 8,
              "num_key_value_heads": 2, "vocab_size": VOCABULARY}  # fmt: skip
TOWER = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}
ROTARY = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [8, 12, 12]}
QWEN_TOWER = {"depth": 4, "hidden_size": 256, "intermediate_size": 512, "num_heads": 4, "out_hidden_size": WIDTH,
              "fullatt_block_indexes": [1, 3]}  # fmt: skip
SQUARE = {"size": {"height": 224, "width": 224}}
# of a published model: conf/model, and what is smaller here
FAMILIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "qwen2_5_vl": (
        "qwen2_5_vl_3b",
        {"text_config": {**TEXT_MODEL, "rope_parameters": ROTARY}, "vision_config": QWEN_TOWER},
        {"size": {"shortest_edge": 3136, "longest_edge": 128 * 28 * 28}},
    ),
    "llava": (
        "llava_1_5_7b",
        {"text_config": {**TEXT_MODEL, "num_key_value_heads": 8}, "vision_config": {**TOWER, "image_size": 154}},
        {"size": {"shortest_edge": 154}, "crop_size": {"height": 154, "width": 154}},
    ),
    "paligemma": (  # capped scores: attention keeps all of them
        "paligemma2_3b",
        {
            "text_config": {**TEXT_MODEL, "head_dim": 64, "sliding_window": 512},
            "vision_config": {**TOWER, "image_size": 224},
            "projection_dim": WIDTH,
            "hidden_size": WIDTH,
            "image_token_index": VOCABULARY - 1,
        },
        SQUARE,
    ),
}


class Length(Reward):
    def __call__(self, rollout: Any) -> torch.Tensor:
        return rollout.ids_BT.float().mean(1).cpu() / 1000


def settings(folder: Path, family: str, *overrides: str) -> DictConfig:
    """The configuration of `task=plan` for the small model in `folder`, whose files are written first."""
    yaml, smaller, pictures = FAMILIES[family]
    name = Path(composed(f"model={yaml}").model.path).name
    shapes = json.loads((PUBLISHED / f"{name}.json").read_text(encoding="utf-8"))
    config = shapes["config"]
    for key, value in smaller.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    kept = json.dumps({**shapes["image_processor"], **pictures})
    (folder / "preprocessor_config.json").write_text(kept, encoding="utf-8")
    small = ["model.dtype=float32", "trainer.accelerator=cpu", f"task.sft.max_new_tokens={LENGTH}"]
    aar = [f"method.max_new_tokens={LENGTH}", f"method.num_candidates={CANDIDATES}"]
    own = ["++model.processor.max_pixels=100352"] if family.startswith("qwen") else []
    return composed("task=plan", f"model={yaml}", f"model.path={folder}", *small, *aar, *own, *overrides)


def make_prompts(planner: Planner, count: int) -> list[Prompt]:
    """Real pictures with prompts and answers as long as those that were planned; every second has a word less."""
    size = max(SHAPES, key=lambda size: _encode(planner, size, 0, 1).view.tokens)
    return [_encode(planner, size, i, TEXT - i % 2) for i in range(count)]


def _encode(planner: Planner, size: tuple[int, int], number: int, words: int) -> Prompt:
    pixels = np.random.default_rng(number).integers(1, 256, (*size[::-1], 3), dtype=np.uint8)
    texts = {"query": "0" * words, "diagnosis": "0" * (LENGTH - 1)}
    record = Record(f"{number}", "made", "a.png", *size, (), "normal", "CT", f"{number}", **texts)
    return planner.processor.prompt(Image.fromarray(pixels), record)


def load(cfg: DictConfig, planner: Planner, family: str, dropout: float | None = None, **options: Any) -> Policy:
    folder = Path(cfg.model.path) / "weights"
    if not (folder / "model.safetensors").is_file():
        torch.manual_seed(0)
        backbone_of(family).model_class._from_config(planner.processor.config, dtype=torch.float32).save_pretrained(
            folder
        )
    adapter = dict(cfg.model.adapter) if cfg.model.adapter else None
    options["gradient_checkpointing"] = cfg.model.gradient_checkpointing
    return load_policy(str(folder), planner.processor, cfg.model.backbone, adapter, dropout=dropout, **options)


def peak_of(step: Callable[[], Any]) -> int:
    """The most that torch's allocator holds during a step, above what it holds when the step begins."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    changes = [e.nbytes() for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    return max(accumulate(changes))


def measure(cfg: DictConfig, family: str, phase: str, queries: int) -> dict[str, float]:
    """Peak bytes of a step whose passes with gradients have so many queries, and what was planned for it."""
    planner = Planner(cfg, TEXT, gpu=False)
    common = {"seed": 0, "lr": 1e-4, "steps": 2, "max_new_tokens": LENGTH}
    row = planner.prompt_tokens + LENGTH
    if phase == "evaluate":
        prompts = make_prompts(planner, 16)
        policy = load(cfg, planner, family, 0.0)
        engine = Engine(policy, Budget(row))
        peak = peak_of(lambda: answer(engine, prompts))
        held = sum(t.nbytes for t in (*policy.parameters(), *policy.buffers()))
        planned = planner.evaluation(cfg.task.sft).peak(len(prompts) * row / CACHED)
        return {"measured": held + peak, "planned": planned, "weights": held}
    per_query = row if phase == "sft" else planner.prompt_tokens + CANDIDATES * LENGTH
    prompts = make_prompts(planner, 2 * queries)
    build = partial(lambda dropout, critic: load(cfg, planner, family, dropout, critic=critic))
    options: dict[str, Any] = {**common, "batch_size": len(prompts), "budget": Budget(queries * per_query)}
    if phase == "sft":
        method: Any = AbnormalAwareTuning(build, **options)
        counted = planner.tuning(cfg.task.sft)
    else:
        parts = {"length": Length(), "vision_relevance": VisionRelevanceReward()}
        rewarding = {"rewards": TotalReward(parts, CANDIDATES), "credit": GaeCredit(), "objective": ClippedObjective}
        method = AbnormalAwareRewarding(
            build,
            **options,
            **rewarding,
            critic=instantiate(cfg.critic),
            num_candidates=CANDIDATES,
            num_minibatches=1,
            num_epochs=2,
        )
        counted = planner.rewarding(cfg.method)
    peak = train(method, prompts)
    state = [t for s in method.optimizers().state.values() for t in s.values() if torch.is_tensor(t)]
    held = sum(t.nbytes for t in (*method.policy.parameters(), *method.policy.buffers(), *state))
    # of passes with a cache there are as many rows as the batch has, fewer than the budget lets in
    cached = len(prompts) * (1 if phase == "sft" else CANDIDATES) * row / CACHED
    tokens = {"gradients": queries * per_query, "pictures": 0, "optimizer": 0}
    tokens |= dict.fromkeys(("prompts", "sampling", "scoring"), cached) if phase == "aar" else {}
    planned = max(line.peak(tokens[name]) for name, line in counted.lines.items() if name in tokens)
    return {"measured": held + peak, "planned": planned, "weights": held}


def answer(engine: Engine, prompts: list[Prompt]) -> None:
    prefix = engine.read_prompts(prompts, 1, LENGTH)
    assert prefix is not None
    answers = engine.sample(prompts, 1, LENGTH, greedy=True, prefix=prefix)
    assert answers.ids_BT.shape[1] == LENGTH


def train(method: Any, prompts: list[Prompt]) -> int:
    """Two steps; the peak of the second, when the optimizer has its state."""
    step, peaks = method.training_step, list[int]()

    def measured(batch: list[Prompt], batch_idx: int) -> None:
        peaks.append(peak_of(lambda: step(batch, batch_idx)))

    method.training_step = measured
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **quiet)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PossibleUserWarning)
        trainer.fit(method, DataLoader([prompts, prompts], batch_size=None, collate_fn=list))
    return peaks[1]


if __name__ == "__main__":
    folder, family, phase, *overrides = sys.argv[1:]
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=FutureWarning)
    print(json.dumps(measure(settings(Path(folder), family, *overrides), family, phase, 3)))
