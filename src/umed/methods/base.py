"""What both training methods share: the policy, one way to step, and checkpoints of the trained weights only."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import lightning as L
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from transformers import SchedulerType, get_scheduler

from umed.chat import Prompt
from umed.engine.budget import Budget
from umed.engine.engine import Engine
from umed.engine.memory import peak_memory
from umed.errors import InputError, check_number, check_positive
from umed.methods.compute import planned_batches
from umed.methods.precision import check_trained
from umed.models.critics.base import Critic
from umed.models.critics.shared import SharedCritic
from umed.models.policy import Policy
from umed.models.weights import check_tensors, shapes_of
from umed.processes import ALONE, Processes
from umed.rollout import Answers, to_floats

FUSED = ("cpu", "cuda")  # devices with one kernel for the whole step
SCHEDULES = tuple(s.value for s in SchedulerType)
HEAD_LR = 1e-3  # of a value head, which starts from nothing


class BuildPolicy(Protocol):
    """Builds the policy for a method.

    Args:
        dropout: of the adapter, None = its own.
        critic: makes V from the model and its reader.
    """

    def __call__(self, dropout: float | None, critic: Callable[..., Critic]) -> Policy: ...


class Method(L.LightningModule):
    """Manual optimization of a policy; randomness is a pure function of (seed, batch), so a resume changes nothing.

    Args:
        policy: builds the policy, called in `configure_model`.
        stage: names the run, its checkpoints and the axis of its numbers; None = the method's own name.
        total_batches: of the whole training, for the schedule.
        lr: of the policy's trained weights.
        critic_lr: of the critic's, head and body; None = `HEAD_LR` for its head and `lr` for a body of its own.
        schedule, warmup: transformers scheduler name; warm-up as a share of all updates.
        betas, weight_decay: of AdamW; a critic has no decay.
        max_grad_norm: to which the gradients of policy and critic are clipped, each by themselves.
        epochs or steps: passes over the queries, or a number of batches, see `planned_batches`.
        batch_size: records a batch.
        max_skipped: steps in a row that are not finite before the run stops.
        val_samples: records of the validation split that are answered after each checkpoint interval.
        budget: of tokens a pass, None = no limit.
        processes: that share each batch; their number changes no result.

    Raises:
        InputError: a setting that cannot be.
    """

    name: ClassVar[str] = ""
    adapter_dropout: ClassVar[float | None] = None  # None = the adapter's own
    needs: frozenset[str] = frozenset()  # evidence that its rewards read

    def __init__(
        self,
        policy: BuildPolicy,
        *,
        seed: int,
        lr: float,
        batch_size: int,
        stage: str | None = None,
        total_batches: int = 1,
        epochs: float | None = None,
        steps: int | None = None,
        critic_lr: float | None = None,
        schedule: str = "cosine",
        warmup: float = 0.03,
        betas: Sequence[float] = (0.9, 0.999),
        weight_decay: float = 0.0,
        max_grad_norm: float = 1.0,
        max_skipped: int = 3,
        max_new_tokens: int = 256,
        val_samples: int = 64,
        budget: Budget | None = None,
        processes: Processes = ALONE,
    ) -> None:
        super().__init__()
        counts = {"batch_size": batch_size, "max_new_tokens": max_new_tokens, "max_skipped": max_skipped}
        for name, value in {**counts, "val_samples": val_samples}.items():
            check_positive(f"method.{name}", value)
        rates = {"lr": lr, "critic_lr": critic_lr, "weight_decay": weight_decay, "warmup": warmup}
        for name, number in rates.items():
            check_number(f"method.{name}", number, at_least=0)
        if max_skipped is None:
            raise InputError("method.max_skipped=null: give a number of steps")
        if schedule not in SCHEDULES:
            raise InputError(f"method.schedule={schedule}: one of {', '.join(SCHEDULES)}")
        planned_batches(1, batch_size, epochs, steps)
        if batch_size < processes.count:
            raise InputError(
                f"method.batch_size={batch_size} with {processes.count} processes: each has at least one record of a "
                "batch; set it higher, or trainer.devices lower"
            )
        self.processes = processes
        self.automatic_optimization = False
        self.strict_loading = False
        self.build_policy = policy
        self.make_critic: Callable[..., Critic] = SharedCritic
        self.policy: Policy = None  # type: ignore[assignment]  # built in configure_model
        self.engine: Engine  # too
        self.stage, self.total_batches = stage or self.name, total_batches
        self.budget = budget or Budget(stage=self.stage)
        self.seed, self.lr, self.critic_lr, self.batch_size = seed, lr, critic_lr, batch_size
        self.schedule, self.warmup, self.betas = schedule, warmup, (float(betas[0]), float(betas[1]))
        self.weight_decay, self.max_grad_norm = weight_decay, max_grad_norm
        self.max_new_tokens, self.val_samples = max_new_tokens, val_samples
        self.updates_per_batch = 1
        self.max_skipped, self.skipped = max_skipped, 0
        self.iteration = 0

    def configure_model(self) -> None:
        if self.policy is None:
            self.policy = self.build_policy(dropout=self.adapter_dropout, critic=self.make_critic)
            self.engine = Engine(self.policy, self.budget)

    def configure_optimizers(self) -> Any:
        check_trained(self.policy.named_parameters())
        head_lr, body_lr = (HEAD_LR, self.lr) if self.critic_lr is None else (self.critic_lr, self.critic_lr)
        groups: list[dict[str, Any]] = [  # the policy's first: see `apply_gradients`
            {"params": self.policy.body(), "lr": self.lr, "weight_decay": self.weight_decay},
            {"params": list(self.policy.value_head.parameters()), "lr": head_lr, "weight_decay": 0.0},
        ]
        if body := self.policy.critic.body():
            groups.append({"params": body, "lr": body_lr, "weight_decay": 0.0})
        fused = self.policy.device.type in FUSED
        optimizer = torch.optim.AdamW(groups, betas=self.betas, fused=fused)
        updates = max(1, self.total_batches * self.updates_per_batch)
        scheduler = get_scheduler(self.schedule, optimizer, math.ceil(self.warmup * updates), updates)
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def longest_answer(self, gold: int) -> int:
        """The most tokens of an answer that it computes gradients of, where the gold answer has `gold`."""
        return gold

    def generator(self, *key: int) -> torch.Generator:
        """The randomness of one purpose of the current batch, on the CPU; never the global state."""
        mixed = self.seed
        for part in (self.iteration, *key):
            mixed = (mixed * 1_000_003 + part + 1) % (2**63)
        return torch.Generator().manual_seed(mixed)

    @property
    def dropout_seed(self) -> int:
        """Of the current batch, and of the process, since rows of a batch have different masks."""
        others = [self.processes.rank] if self.processes.rank else []
        return self.generator(7, *others).initial_seed() % 2**31

    def on_train_batch_start(self, batch: list[Prompt], batch_idx: int) -> None:
        self.budget.begin(self.iteration)
        torch.manual_seed(self.dropout_seed)

    def apply_gradients(self, parts: dict[str, Tensor], evidence: Callable[[], dict[str, Any]]) -> dict[str, float]:
        """Sum the gradients of all processes, clip policy and critic apart, check and step.

        A step with a number that is not finite is skipped and counted.

        Args:
            parts: sums over the answers of this process.
            evidence: what is written to `bad_batch.pt` when the run stops.

        Raises:
            InputError: `max_skipped` such steps in a row, naming the parts that are not finite.
        """
        optimizer: Any = self.optimizers()
        scheduler: Any = self.lr_schedulers()
        weights = [p for group in optimizer.param_groups for p in group["params"]]
        parts = self.processes.sum_gradients(weights, parts)
        policy, *critic = ([p for p in group["params"] if p.grad is not None] for group in optimizer.param_groups)
        numbers = {**parts, "policy/grad_norm": clip_grad_norm_(policy, self.max_grad_norm)}
        if valued := [p for weights in critic for p in weights]:
            numbers["policy/critic_grad_norm"] = clip_grad_norm_(valued, self.max_grad_norm)
        stats = to_floats(numbers)
        bad = [name for name, value in stats.items() if not math.isfinite(value)]
        if bad:
            optimizer.zero_grad()
            self.skipped += 1
            if self.skipped >= self.max_skipped:
                self.stop(bad, evidence())
        else:
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            self.skipped = 0
        return {**stats, "policy/skipped": float(bool(bad))}

    def stop(self, bad: Sequence[str], evidence: dict[str, Any]) -> None:
        """End the run, the batch at hand in a file for inspection."""
        rank = f"_{self.processes.rank}" if self.processes.rank else ""
        file = Path(self.trainer.default_root_dir) / f"bad_batch{rank}.pt"
        where = {"stage": self.stage, "iteration": self.iteration, "not_finite": list(bad)}
        torch.save({**where, **evidence}, file)
        raise InputError(
            f"{', '.join(bad)} not finite at {self.stage}/iteration {self.iteration}, {self.skipped} steps in a row: "
            f"no step taken; the batch is in {file}. Lower method.lr, or look at what the batch holds"
        )

    def log_batch(self, stats: Mapping[str, float]) -> None:
        """Log everything at this batch; the axis is `<stage>/iteration`."""
        optimizer: Any = self.optimizers()
        lr = optimizer.param_groups[0]["lr"]
        numbers = {**stats, "policy/lr": lr, f"{self.stage}/iteration": float(self.iteration)}
        numbers |= peak_memory(self.device)
        # as they are, Lightning would copy each one to the device and back
        on_cpu = {name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}
        self.log_dict(on_cpu, batch_size=self.batch_size)
        self.iteration += 1

    def validation_step(self, batch: list[Prompt], batch_idx: int) -> dict[str, Answers]:  # type: ignore[override]
        """Greedy answers to the batch; `callbacks/validation.py` measures them."""
        return {"answers": self.engine.sample(batch, 1, self.max_new_tokens, greedy=True)}

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Trained weights only: a checkpoint does not repeat the base model."""
        trained = {n for n, p in self.named_parameters() if p.requires_grad}
        return {n: v for n, v in super().state_dict(*args, **kwargs).items() if n in trained}

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Take what `state_dict` gave. Raises InputError: a checkpoint with other tensors than are trained."""
        check_tensors(f"checkpoints/{self.stage}", shapes_of(self.state_dict()), shapes_of(state_dict))
        return super().load_state_dict(state_dict, strict=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["iteration"], checkpoint["skipped"] = self.iteration, self.skipped

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.iteration, self.skipped = checkpoint["iteration"], checkpoint["skipped"]

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        return batch  # prompts are collated and moved by the policy
