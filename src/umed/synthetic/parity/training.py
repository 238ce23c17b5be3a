"""Rewarding that stops and goes on, against rewarding in one go."""

import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
from lightning.fabric.utilities.warnings import PossibleUserWarning
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from umed.chat import Prompt
from umed.methods.aar import AbnormalAwareRewarding
from umed.methods.credit.gae import GaeCredit
from umed.methods.objective import ClippedObjective
from umed.rewards.base import Reward
from umed.rewards.localization import LocalizationReward
from umed.rewards.total import TotalReward
from umed.rewards.vision_relevance import VisionRelevanceReward
from umed.synthetic.parity.tiny_model import ADAPTER, CANDIDATES, NEW_TOKENS, SIZES, TinyModel


def resume(tiny: TinyModel) -> float:
    """Rewarding for two batches, a checkpoint, and two more in a new process's objects, against four in one go."""
    batches = [[tiny.prompt(2 * i, *SIZES[0]), tiny.prompt(2 * i + 1, *SIZES[1])] for i in range(4)]
    with TemporaryDirectory() as folder:
        half = Path(folder) / "half.ckpt"
        whole = _reward(tiny, batches, 2, None)
        before = _reward(tiny, batches, 1, None, save=half)
        resumed = _reward(tiny, batches, 2, half)
    moved = max(float((whole[n] - before[n]).abs().max()) for n in whole)
    return max(float((whole[n] - resumed[n]).abs().max()) for n in whole) if moved > 0 else float("inf")


class _Batches(IterableDataset[list[Prompt]]):
    """Two batches an epoch, those that the method has not had yet."""

    def __init__(self, batches: list[list[Prompt]], method: AbnormalAwareRewarding) -> None:
        self.batches, self.method = batches, method

    def __iter__(self) -> Iterator[list[Prompt]]:
        yield from self.batches[self.method.iteration :][:2]


def _reward(
    tiny: TinyModel, batches: list[list[Prompt]], epochs: int, start: Path | None, save: Path | None = None
) -> dict[str, Tensor]:
    """The trained weights after rewarding."""
    parts: dict[str, Any] = {"localization": LocalizationReward(), "length": _Length()}
    if not tiny.backbone.no_attention:
        parts["vision_relevance"] = VisionRelevanceReward()
    method = AbnormalAwareRewarding(
        partial(tiny.load, adapter=ADAPTER),
        seed=0,
        lr=1e-3,
        batch_size=2,
        steps=4,
        max_new_tokens=NEW_TOKENS,
        rewards=TotalReward(parts, CANDIDATES),
        credit=GaeCredit(),
        objective=ClippedObjective,
        num_candidates=CANDIDATES,
        total_batches=4,
    )
    with warnings.catch_warnings(), TemporaryDirectory() as root:
        warnings.simplefilter("ignore", PossibleUserWarning)  # Lightning's advice about workers and validation
        trainer = L.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            default_root_dir=root,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        loader = DataLoader(_Batches(batches, method), batch_size=None, collate_fn=list)
        trainer.fit(method, loader, ckpt_path=start, weights_only=True)
        if save:
            trainer.save_checkpoint(save)
    return {n: p.detach().clone() for n, p in method.policy.named_parameters() if p.requires_grad}


class _Length(Reward):
    """Rewards large token ids, so that an untrained model has something to learn."""

    def __call__(self, rollout: Any) -> Tensor:
        return rollout.ids_BT.float().mean(1).cpu() / 1000
