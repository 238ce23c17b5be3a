"""Fine-tuning continued for the compute of rewarding: what rewarding itself adds is the difference to it."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from omegaconf import DictConfig, open_dict

from umed.data.sample import keep_train_share
from umed.methods.compute import planned_batches, rewarding_passes, steps_of_equal_compute
from umed.records import RecordSet
from umed.run_files import write_whole

STAGE, FILE = "sft_continued", "sft_continued.json"


def continue_tuning(cfg: DictConfig, data: RecordSet, sizes: Mapping[str, tuple[int, int]]) -> DictConfig:
    """The settings of stage 1 for the token passes that stage 2 takes.

    The steps are written to `sft_continued.json` before training; answers are taken to be as long as gold ones.

    Args:
        sizes: tokens of each record's prompt and gold answer.
    """
    train = [r for r in keep_train_share(data.records, cfg.data.fraction, cfg.data.split.seed) if r.split == "train"]
    prompt, answer = (fmean(sizes[r.id][k] for r in train) for k in (0, 1))
    rewarding, tuning = cfg.method, cfg.task.sft.copy()
    planned = planned_batches(len(train), rewarding.batch_size, rewarding.epochs, rewarding.steps)
    queries = min(planned, cfg.limits.batches or math.inf) * rewarding.batch_size
    updates = rewarding.num_epochs * rewarding.num_minibatches
    passes = queries * rewarding_passes(
        prompt, answer, rewarding.num_candidates, rewarding.num_epochs, updates, rewarding.kl.coef > 0
    )
    steps = steps_of_equal_compute(passes, prompt, answer, tuning.batch_size)
    write_whole(Path(cfg.paths.run_dir) / FILE, json.dumps({"steps": steps, "token_passes": round(passes)}) + "\n")
    with open_dict(tuning):
        tuning.steps, tuning.epochs = steps, None
    return tuning
