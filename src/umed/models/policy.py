"""pi_theta(a | x, q), equation (1): one interface to sample answers, score them and read their attention."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from umed.chat import Processor, Prompt
from umed.errors import InputError, check_choice
from umed.models.attention import Recorder, recording
from umed.models.backbone import Backbone
from umed.models.cache import make_room
from umed.models.contexts import checkpointed, generating, plain
from umed.models.critic import SharedCritic
from umed.models.logprobs import answer_scores, distribution
from umed.models.reader import Reader
from umed.models.value_head import ValueHead
from umed.rollout import Answers


@dataclass
class Scores:
    """What `Policy.score` says of given answers; (B, T) each, `attention_BNP` (B, N, P)."""

    logp_BT: Tensor
    entropy_BT: Tensor
    values_BT: Tensor
    attention_BNP: Tensor


class Policy(nn.Module):
    """A vision-language model with its critic.

    Args:
        model: the transformers model, or a PEFT model around it, with attention implementation `evidence`.
        processor: the family's processor.
        backbone: the family.
        temperature: of sampling, and so of every log-probability.
        attention_layers, attention_heads: reading R5, None = all; attention_pool: how they become one map.
        critic: makes V from the model and its reader.
    """

    def __init__(
        self,
        model: nn.Module,
        processor: Processor,
        backbone: Backbone,
        temperature: float = 1.0,
        attention_layers: Sequence[int] | None = None,
        attention_heads: Sequence[int] | None = None,
        attention_pool: Literal["mean", "max"] = "mean",
        critic: Callable[[Any, Reader], SharedCritic] = SharedCritic,
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise InputError(f"model.temperature={temperature}: give a number above 0")
        self.model = model
        self.processor = processor
        self.backbone = backbone
        self.temperature = temperature
        self.reader = Reader(plain(model), processor, backbone)
        text = self.core.get_decoder()
        able = {i: layer.self_attn for i, layer in enumerate(text.layers) if hasattr(layer, "self_attn")}
        for option, given in (("layers", attention_layers), ("heads", attention_heads)):
            if given is not None and (not given or len(set(given)) < len(given)):
                raise InputError(
                    f"model.attention.{option}={list(given)}: give each once and at least one, or null for all"
                )
        layers = able if attention_layers is None else attention_layers
        if missing := [i for i in layers if i not in able]:
            raise InputError(
                f"model.attention.layers={missing}: the layers with attention are {', '.join(map(str, able))}"
            )
        self._listened = [able[i] for i in layers]
        count = self.core.config.get_text_config().num_attention_heads
        if wrong := [h for h in attention_heads or () if not 0 <= h < count]:
            raise InputError(f"model.attention.heads={wrong}: the model has heads 0 to {count - 1}")
        self._heads = attention_heads
        self._pool: Any = check_choice("model.attention.pool", attention_pool, "mean", "max")
        self.critic = critic(model, self.reader)

    @property
    def core(self) -> Any:
        """The plain transformers model, its adapters in place."""
        return self.reader.core

    @property
    def value_head(self) -> ValueHead:
        return self.critic.head

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def body(self) -> list[nn.Parameter]:
        """What is trained of the policy itself, without its critic."""
        critic = {id(p) for p in self.critic.body()}
        return [p for p in self.model.parameters() if p.requires_grad and id(p) not in critic]

    def head(self, hidden: Tensor) -> Tensor:
        """Logits of hidden states, (..., H) -> (..., V)."""
        logits = self.core.lm_head(hidden)
        cap = getattr(self.core.config.get_text_config(), "final_logit_softcapping", None)
        return logits if cap is None or not self.backbone.caps_logits else cap * torch.tanh(logits / cap)

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[Prompt],
        num_candidates: int = 1,
        max_new_tokens: int = 256,
        *,
        greedy: bool = False,
        generator: torch.Generator | None = None,
    ) -> Answers:
        """a ~ pi(. | x, q), token by token, from the full distribution: no top-k, no top-p, no penalty.

        Returns:
            Answers of B = Q * G rows; `greedy` takes the most probable token instead.
        """
        processor, eos = self.processor, torch.tensor(self.processor.eos_ids, device=self.device)
        with generating(self):
            prefix = self.reader.read_prompts(prompts, num_candidates)
            make_room(prefix.cache, max_new_tokens)
            ids = prefix.last_B[:, None]
            size = (len(ids), max_new_tokens)
            said = ids.new_full(size, processor.pad_id)
            valid, logps = torch.zeros_like(said, dtype=torch.bool), torch.zeros(size, device=self.device)
            mask = prefix.mask_BP.new_ones(len(ids), 0)
            rows = torch.arange(len(ids), device=self.device)  # answers that go on
            for t in range(max_new_tokens):
                hidden = self.reader.step(prefix, ids, mask, t - 1)
                logp = distribution(self.head(hidden[:, -1]), self.temperature, processor.suppressed_ids)
                if logp.isnan().any():
                    raise InputError(
                        "the model's scores are not finite: its weights have overflowed; go back to an earlier "
                        "checkpoint and lower method.lr"
                    )
                token = logp.argmax(-1) if greedy else _draw(logp, generator)
                said[rows, t], valid[rows, t] = token, True
                logps[rows, t] = logp.gather(1, token[:, None])[:, 0]
                on = (~torch.isin(token, eos)).nonzero()[:, 0]
                if len(on) < len(rows):
                    rows = rows[on]
                    if not len(rows):
                        break
                    prefix, token = prefix.take(on), token[on]
                ids, mask = token[:, None], prefix.mask_BP.new_ones(len(rows), t + 1)
        width = t + 1
        truncated = torch.zeros(len(said), dtype=torch.bool, device=self.device).index_fill(0, rows, True)
        return Answers(said[:, :width], valid[:, :width], truncated, logps[:, :width])

    def score(
        self,
        prompts: Sequence[Prompt],
        ids_BT: Tensor,
        mask_BT: Tensor,
        name_BN: Tensor | None = None,
        *,
        values: bool = True,
        plain: bool = False,
    ) -> Scores:
        """Log-probability, entropy and value of given answer tokens, teacher-forced; differentiable.

        Args:
            name_BN: rows of the answer pass whose attention is wanted (token t stands in row t + 1), -1 = none.
            values: whether the critic is asked; without it V is 0.
            plain: of the model's own distribution, at temperature 1 and with no token suppressed.

        Only answer positions pass the language-model head. Entries beyond `mask_BT` are meaningless, but finite.
        """
        wanted = name_BN is not None
        if wanted and self.backbone.no_attention:
            raise InputError(
                f"reward.parts.vision_relevance: {self.backbone.no_attention}; leave it out: "
                "'reward=[relevance,localization]'"
            )
        if wanted and checkpointed(self.core) and torch.is_grad_enabled():
            raise InputError(
                "objective.reward_term=differentiable keeps the attention's graph, which gradient checkpointing throws "
                "away: set model.gradient_checkpointing=false"
            )
        none = ids_BT[:, :0]
        recorder = Recorder(none, none, self._listened, self._heads, self._pool)
        with recording(recorder) if wanted else nullcontext():
            hidden = self.reader.read(prompts, ids_BT, mask_BT, recorder, none if name_BN is None else name_BN)
        state = hidden[:, :-1]
        temperature, suppressed = (1.0, ()) if plain else (self.temperature, self.processor.suppressed_ids)
        logp, spread = answer_scores(state, ids_BT, mask_BT, self.head, temperature, suppressed)
        attention = recorder.pooled() if wanted else state.new_zeros(len(ids_BT), 0, 0)
        judged = self.critic(prompts, ids_BT, mask_BT, state) if values else torch.zeros_like(logp)
        return Scores(logp, spread, judged, attention)


def _draw(logp: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.multinomial(logp.exp(), 1, generator=generator)[:, 0]
