"""The checks on the pretend accelerator can fail: each of these bugs, put in, is found."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from pretend_gpu import count_waits
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from umed.chat import Prompt
from umed.models import decoding, noise
from umed.models.attention import IMPLEMENTATION, AttentionRecorder
from umed.models.noise import Noise
from umed.models.policy import Policy
from umed.models.reader import Prefix, Reader

LORA = {"r": 4, "init_lora_weights": False}
NAMES = torch.tensor([[1], [2]])
LENGTH = 16
Patch = pytest.MonkeyPatch
Run = Callable[[], int]


@pytest.fixture
def run(pretend: torch.device, policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]) -> Run:
    """Samples tokens and scores them with their attention; how often sampling waited."""
    pi, prompts = policy(adapter=LORA, device=str(pretend)), make_prompts(2)

    def sample_and_score() -> int:
        with count_waits() as waits:
            answers = pi.sample(prompts, 1, LENGTH, noise=Noise(1))
        with torch.no_grad():
            pi.score(prompts, answers.ids_BT, answers.mask_BT, NAMES.to(pretend))
        return waits.total()

    sample_and_score()  # encodes the pictures
    assert sample_and_score() < LENGTH
    return sample_and_score


def positions_on_the_cpu(patch: Patch) -> None:
    spread = Prefix.spread
    patch.setattr(Prefix, "spread", lambda self, *args, **kwargs: replace(
        read := spread(self, *args, **kwargs), next_B=read.next_B.cpu()
    ))  # fmt: skip


def columns_on_the_cpu(patch: Patch) -> None:
    record = AttentionRecorder.record
    patch.setattr(AttentionRecorder, "record", lambda self, columns, *args: record(self, columns.cpu(), *args))


def inputs_on_the_cpu(patch: Patch) -> None:
    patch.setattr(Reader, "_move", lambda self, tensor: tensor)


def noise_on_the_cpu(patch: Patch) -> None:
    draw = noise.inverse_cdf
    patch.setattr(decoding, "inverse_cdf", lambda logp, uniform: draw(logp, uniform.cpu()))


@pytest.mark.slow
@pytest.mark.parametrize("mutate", [positions_on_the_cpu, columns_on_the_cpu, inputs_on_the_cpu, noise_on_the_cpu])
def test_what_is_left_on_the_cpu_is_found(run: Run, monkeypatch: Patch, mutate: Callable[[Patch], None]) -> None:
    mutate(monkeypatch)
    with pytest.raises(RuntimeError, match=r"cpu|same device"):
        run()


def a_look_at_each_token(patch: Patch) -> None:
    patch.setattr(decoding, "LOOK_EVERY", 1)


def a_look_at_the_padding(patch: Patch) -> None:
    patch.setitem(AttentionMaskInterface._global_mapping, IMPLEMENTATION, sdpa_mask)


@pytest.mark.slow
@pytest.mark.parametrize("mutate", [a_look_at_each_token, a_look_at_the_padding])
def test_a_wait_for_each_token_is_found(run: Run, monkeypatch: Patch, mutate: Callable[[Patch], None]) -> None:
    before = run()
    mutate(monkeypatch)
    assert run() - before > LENGTH / 8
