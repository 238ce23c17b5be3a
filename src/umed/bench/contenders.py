"""Who is measured: by name, what work it does and how."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

from umed.bench import ablations, ours, their_steps
from umed.bench.clock import StepClock
from umed.bench.job import Job

REWARDING, TUNING, EVALUATION = "rewarding", "tuning", "evaluation"


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do one kind of work.

    Args:
        title: of its row.
        run: does the steps of a job and tells the clock.
        within: what is changed meanwhile.
        of_trl: needs TRL.
    """

    work: str
    title: str
    run: Callable[[Job, StepClock], None]
    within: Callable[[], AbstractContextManager[None]] = nullcontext
    of_trl: bool = False

    def measure(self, job: Job) -> dict[str, object]:
        """Its steps, timed."""
        clock = StepClock(job.warmup)
        with self.within():
            self.run(job, clock)
        return clock.measured()


def _without(title: str, within: Callable[[], AbstractContextManager[None]]) -> Contender:
    return Contender(REWARDING, f"ours, {title}", ours.reward, within)


CONTENDERS = {
    "ours": Contender(REWARDING, "ours", ours.reward),
    "trl": Contender(REWARDING, "TRL", their_steps.reward, of_trl=True),
    "trl_answer_head": Contender(
        REWARDING, "TRL, head on answers only", partial(their_steps.reward, answer_head=True), of_trl=True
    ),
    "ours_full": Contender(REWARDING, "ours, critic and three rewards", partial(ours.reward, full=True)),
    "ours_encode_again": _without("features not kept", ablations.encode_again),
    "ours_read_again": _without("prefill not kept", ablations.read_again),
    "ours_score_again": _without("scored twice", ablations.score_again),
    "ours_whole_rows": _without("prompt once an answer", ablations.whole_rows),
    "ours_all_positions": _without("prompt once an answer, head on it too", ablations.all_positions),
    "ours_sft": Contender(TUNING, "ours, fine-tuning", ours.tune),
    "trl_sft": Contender(TUNING, "TRL, fine-tuning", their_steps.tune, of_trl=True),
    "ours_evaluate": Contender(EVALUATION, "ours, evaluation", ours.evaluate),
    "generate": Contender(EVALUATION, "transformers' generate", their_steps.generate),
}
FIRST = {REWARDING: "ours", TUNING: "ours_sft", EVALUATION: "ours_evaluate"}  # with which the others are compared
