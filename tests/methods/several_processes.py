"""The number of processes changes nothing: weights and logged numbers of two or three are those of one."""

import warnings
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from together import together

from umed.chat import Prompt
from umed.engine.data_parallel import DataParallel
from umed.judges.overlap import OverlapJudge
from umed.methods.aar import AbnormalAwareRewarding
from umed.methods.base import Method
from umed.methods.credit.gae import GaeCredit
from umed.methods.credit.group import GroupCredit
from umed.methods.credit.reinforce_pp import ReinforceCredit
from umed.methods.credit.rloo import RlooCredit
from umed.methods.kl import Kl
from umed.methods.objective import ClippedObjective
from umed.methods.sft import AbnormalAwareTuning
from umed.models.critics.adapter import AdapterCritic
from umed.models.critics.separate import SeparateCritic
from umed.models.critics.shared import SharedCritic
from umed.models.policy import Policy
from umed.processes import Processes
from umed.rewards.localization import LocalizationReward
from umed.rewards.relevance import RelevanceReward
from umed.rewards.total import TotalReward
from umed.rewards.vision_relevance import VisionRelevanceReward

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice, silenced by tasks.quiet

LORA = {"r": 4, "target_modules": "all-linear"}
CREDITS: dict[str, Callable[[], Any]] = {
    "gae": GaeCredit,
    "group": GroupCredit,
    "group_batch": lambda: GroupCredit(scale="batch"),
    "group_span": lambda: GroupCredit(scope="span"),
    "reinforce_pp": ReinforceCredit,
    "rloo": RlooCredit,
}
CRITICS: dict[str, Any] = {"shared": SharedCritic, "separate": SeparateCritic, "adapter": partial(AdapterCritic, r=2)}
QUERIES, CANDIDATES = 4, 2
UNLIKE = ("time/", "rollout/logp_gap")  # seconds, and a measure of rounding itself
Build = Callable[[Processes], Method]
Fit = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def fit(make_prompts: Callable[..., list[Prompt]]) -> Fit:
    """`fit(count, build, ...)`: weights and numbers of each of `count` processes after some batches."""

    def start(
        count: int, build: Build, batches: int = 2, first: int = 0, save: Path | None = None, load: Path | None = None
    ) -> list[dict[str, Any]]:
        def work(processes: Processes) -> dict[str, Any]:
            method, logged = build(processes), list[dict[str, float]]()
            method.log_dict = lambda stats, **_: logged.append({n: float(v) for n, v in stats.items()})  # type: ignore[method-assign]
            whole = [make_prompts(QUERIES, seed=number) for number in range(first, first + batches)]
            shares = [processes.share(batch) for batch in whole]
            options: dict[str, Any] = {"strategy": DataParallel(), "devices": count} if count > 1 else {"devices": 1}
            trainer = L.Trainer(
                max_steps=-1, max_epochs=1 + (first > 0), accelerator="cpu", logger=False, enable_checkpointing=False,
                enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, **options,
            )  # fmt: skip
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PossibleUserWarning)
                loader = torch.utils.data.DataLoader(shares, batch_size=None, collate_fn=list)
                trainer.fit(method, loader, ckpt_path=load, weights_only=True)
            if save is not None:
                trainer.save_checkpoint(save)
            weights = {n: p.detach().clone() for n, p in method.policy.named_parameters() if p.requires_grad}
            kept = [{n: v for n, v in line.items() if not n.startswith(UNLIKE)} for line in logged]
            gaps = [{"logp_gap_max": line.get("rollout/logp_gap_max", 0.0)} for line in logged]
            return {"weights": weights, "logged": kept, "exact": gaps}

        return together(count, work)

    return start


def sft(policy: Callable[..., Policy], **settings: Any) -> Build:
    def build(processes: Processes) -> Method:
        made = partial(policy, adapter=LORA)
        return AbnormalAwareTuning(
            lambda dropout, critic: made(critic=critic),
            **{"seed": 0, "lr": 1e-4, "batch_size": QUERIES, "steps": 4, "total_batches": 4, **settings},
            processes=processes,
        )

    return build


def aar(policy: Callable[..., Policy], credit: str = "group", critic: str = "shared", **settings: Any) -> Build:
    """All three rewards, KL, several updates a batch unless `settings` say otherwise."""
    objective, total = settings.pop("objective", {}), settings.pop("total", {})

    def build(processes: Processes) -> Method:
        torch.manual_seed(0)
        judged = RelevanceReward(OverlapJudge())
        parts = {"relevance": judged, "localization": LocalizationReward(), "vision_relevance": VisionRelevanceReward()}
        made = partial(policy, adapter=LORA)
        chosen = {
            "seed": 0, "lr": 1e-5, "critic_lr": 1e-4, "batch_size": QUERIES, "steps": 4, "total_batches": 4,
            "num_candidates": CANDIDATES, "max_new_tokens": 6, "num_epochs": 2, "num_minibatches": 2,
            "looking": "answer", "kl": Kl(0.1, target=0.5), **settings,
        }  # fmt: skip
        return AbnormalAwareRewarding(
            lambda dropout, critic: made(critic=critic),
            rewards=TotalReward(parts, CANDIDATES, **total),
            credit=CREDITS[credit](),
            objective=partial(ClippedObjective, **objective),
            critic=CRITICS[critic],
            **chosen,
            processes=processes,
        )

    return build


def compare(several: list[dict[str, Any]], alone: list[dict[str, Any]]) -> None:
    """Every process has the weights of the one alone, and has logged its numbers.

    Log-probabilities of this model with its large random weights are rounded in more than the sixth place; what is
    computed from them is as exact as they are.
    """
    (expected,) = alone
    for found in several:
        assert found["weights"].keys() == expected["weights"].keys()
        for name, weight in expected["weights"].items():
            torch.testing.assert_close(found["weights"][name], weight, rtol=0, atol=1e-6, msg=name)
        assert len(found["logged"]) == len(expected["logged"])
        for line, of_one, exact in zip(found["logged"], expected["logged"], expected["exact"], strict=True):
            rounding = max(1e-6, exact["logp_gap_max"])
            assert line == pytest.approx(of_one, rel=1e-5, abs=rounding, nan_ok=True)
    first, *others = several
    assert all(torch.equal(other["weights"][n], w) for other in others for n, w in first["weights"].items())


def test_two_processes_tune_as_one(policy: Callable[..., Policy], fit: Fit) -> None:
    compare(fit(2, sft(policy), batches=1), fit(1, sft(policy), batches=1))


def test_two_processes_reward_as_one(policy: Callable[..., Policy], fit: Fit) -> None:
    compare(fit(2, aar(policy, "gae")), fit(1, aar(policy, "gae")))


SETTINGS: dict[str, dict[str, Any]] = {
    **{f"{credit}, {critic}": {"credit": credit, "critic": critic} for credit, critic in product(CREDITS, CRITICS)},
    "one update": {"num_epochs": 1, "num_minibatches": 1},
    "one update, attention": {
        "num_epochs": 1, "num_minibatches": 1, "looking": "name", "objective": {"reward_term": "differentiable"},
    },
    "attention": {"objective": {"reward_term": "differentiable"}},
    "score function": {"objective": {"reward_term": "score_function"}},
    "one query a minibatch": {"num_minibatches": 4},
    "kl in the loss": {"kl": Kl(0.1, "k1", "loss")},
    "no kl": {"kl": None},
    "literal": {"credit": "reinforce_pp", "total": {"advantage_in_reward": "literal", "credit": ReinforceCredit()}},
    "zscore": {"total": {"normalize": "zscore"}},
    "seq_mean": {"objective": {"aggregation": "seq_mean", "mask_truncated": True}},
    "constant": {"objective": {"aggregation": "constant", "entropy_target": 1.0, "c3_step": 0.01}},
    "warm-up": {"credit": "gae", "critic": "separate", "critic_warmup": 1, "weight_decay": 0.1},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_number_of_processes_changes_nothing(
    policy: Callable[..., Policy], fit: Fit, setting: str, count: int
) -> None:
    """Three share four queries unevenly; with a query a minibatch, most processes have none of it."""
    settings = {name: value for name, value in SETTINGS[setting].items() if name not in ("credit", "critic")}
    names = {name: SETTINGS[setting][name] for name in ("credit", "critic") if name in SETTINGS[setting]}

    def build() -> Build:
        copied = {name: dict(value) if isinstance(value, dict) else value for name, value in settings.items()}
        if copied.get("kl"):  # steered in place
            copied["kl"] = Kl(copied["kl"].coef, copied["kl"].estimator, copied["kl"].where, copied["kl"].target)
        return aar(policy, **names, **copied)

    compare(fit(count, build()), fit(1, build()))


@pytest.mark.slow
@pytest.mark.parametrize("counts", [(2, 1), (1, 2), (3, 2)])
@pytest.mark.parametrize("build", [sft, partial(aar, credit="gae", critic="separate")])
def test_a_resume_may_have_more_or_fewer_processes(
    policy: Callable[..., Policy], fit: Fit, tmp_path: Path, counts: tuple[int, int], build: Callable[..., Build]
) -> None:
    before, after = counts
    fit(before, build(policy), batches=2, save=tmp_path / "half.ckpt")
    halves = fit(after, build(policy), batches=2, first=2, load=tmp_path / "half.ckpt")
    whole = fit(1, build(policy), batches=4)
    whole[0] |= {name: whole[0][name][2:] for name in ("logged", "exact")}
    compare(halves, whole)
