"""pi_theta(a | x, q), equation (1): one interface to sample answers, score them and read their attention."""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from umed.chat import Processor, Prompt
from umed.errors import InputError, check_choice
from umed.models.attention import AttentionRecorder
from umed.models.backbone import Backbone
from umed.models.contexts import base_model, generating, uses_checkpointing
from umed.models.critics.base import Critic, ValueHead
from umed.models.critics.shared import SharedCritic
from umed.models.decoding import decode
from umed.models.feature_store import FeatureStore
from umed.models.logprobs import answer_scores
from umed.models.merging import check_merge, merged
from umed.models.noise import Noise
from umed.models.reader import Prefix, Reader
from umed.rollout import Answers

NO_NOISE = Noise(0)


@dataclass
class Scores:
    """What `Policy.score` computes for given answers; (B, T) each, `attention_BNP` (B, N, P)."""

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
        feature_store: keeps the features of pictures, None = they are computed for each batch.
        merge: whether an adapter is merged while answers are decoded, see `merged`.
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
        critic: Callable[[Any, Reader], Critic] = SharedCritic,
        feature_store: FeatureStore | None = None,
        merge: str | bool = "auto",
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise InputError(f"model.temperature={temperature}: give a number above 0")
        self.model = model
        self.processor = processor
        self.backbone = backbone
        self.temperature = temperature
        self.merge = check_merge(merge)
        self.reader = Reader(base_model(model), processor, backbone, feature_store)
        self._attention_modules = _attention_modules(self.core, attention_layers)
        self._attention_heads = _check_heads(self.core, attention_heads)
        self._attention_pool: Any = check_choice("model.attention.pool", attention_pool, "mean", "max")
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
        """Trained weights of the policy itself, without its critic."""
        critic = {id(p) for p in self.critic.body()}
        return [p for p in self.model.parameters() if p.requires_grad and id(p) not in critic]

    def head(self, hidden: Tensor) -> Tensor:
        """Logits of hidden states, (..., H) -> (..., V)."""
        logits = self.core.lm_head(hidden)
        cap = getattr(self.core.config.get_text_config(), "final_logit_softcapping", None)
        return logits if cap is None or not self.backbone.caps_logits else cap * torch.tanh(logits / cap)

    @torch.no_grad()
    def read_prompts(self, prompts: Sequence[Prompt]) -> Prefix:
        """The prompts as `sample` and `score` can take them, to be read once for several calls; without gradients."""
        with generating(self):
            return self.reader.read_prompts(prompts)

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[Prompt],
        num_candidates: int = 1,
        max_new_tokens: int = 256,
        *,
        greedy: bool = False,
        noise: Noise = NO_NOISE,
        places: Sequence[int] | None = None,
        first_candidate: int = 0,
        temperature: float | None = None,
        prefix: Prefix | None = None,
    ) -> Answers:
        """a ~ pi(. | x, q), token by token, from the full distribution: no top-k, no top-p, no penalty.

        Args:
            greedy: the most probable token instead.
            places: of the prompts in the batch, which key the noise with the candidate's number; None = as they stand.
            temperature: None = the policy's.
            prefix: of `read_prompts`, None = the prompts are read now.

        Returns:
            Answers of B = Q * G rows.

        Raises:
            InputError: the model's scores are not finite.
        """
        uniform = None
        if not greedy:
            places = range(len(prompts)) if places is None else places
            uniform = noise.uniform(places, num_candidates, max_new_tokens, first_candidate)
        with generating(self):
            read = self.reader.read_prompts(prompts) if prefix is None else prefix
            rows = read.spread(num_candidates, max_new_tokens, keep=prefix is not None)
            with merged(self.model, self.merge):
                return decode(self, rows, max_new_tokens, uniform, temperature or self.temperature)

    def score(
        self,
        prompts: Sequence[Prompt],
        ids_BT: Tensor,
        mask_BT: Tensor,
        name_BN: Tensor | None = None,
        *,
        values: bool = True,
        plain: bool = False,
        prefix: Prefix | None = None,
        attention_graph: bool = True,
        logits: bool = True,
    ) -> Scores:
        """Log-probability, entropy and value of given answer tokens, teacher-forced; differentiable.

        Only answer positions pass the language-model head. Entries beyond `mask_BT` are meaningless, but finite.

        Args:
            name_BN: rows of the answer pass whose attention is returned (token t stands in row t + 1), -1 = none.
            values: whether the critic is run; without it V is 0.
            plain: of the model's own distribution, at temperature 1 and with no token suppressed.
            prefix: of `read_prompts`; without gradients only.
            attention_graph: whether gradients go through the attention.
            logits: whether the language-model head is run; without it log-probability and entropy are 0.

        Raises:
            InputError: attention that the family or gradient checkpointing cannot give.
        """
        recorder = None if name_BN is None else self._recorder(name_BN, attention_graph)
        state = self.reader.read(prompts, ids_BT, mask_BT, recorder, prefix)[:, :-1]
        temperature, suppressed = (1.0, ()) if plain else (self.temperature, self.processor.suppressed_ids)
        logp = entropy = state.new_zeros(ids_BT.shape)
        if logits:
            logp, entropy = answer_scores(state, ids_BT, mask_BT, self.head, temperature, suppressed)
        attention = recorder.pooled() if recorder else state.new_zeros(len(ids_BT), 0, 0)
        value = self.critic(prompts, ids_BT, mask_BT, state) if values else torch.zeros_like(logp)
        return Scores(logp, entropy, value, attention)

    def _recorder(self, rows_BN: Tensor, graph: bool) -> AttentionRecorder:
        if self.backbone.no_attention:
            raise InputError(
                f"reward.parts.vision_relevance: {self.backbone.no_attention}; leave it out: "
                "'reward=[relevance,localization]'"
            )
        if graph and uses_checkpointing(self.core) and torch.is_grad_enabled():
            raise InputError(
                "objective.reward_term=differentiable keeps the attention's graph, which gradient checkpointing throws "
                "away: set model.gradient_checkpointing=false"
            )
        return AttentionRecorder(rows_BN, self._attention_modules, self._attention_heads, self._attention_pool, graph)


def _attention_modules(core: Any, layers: Sequence[int] | None) -> list[nn.Module]:
    """The attention modules of these layers of the language model; None = all.

    Raises:
        InputError: no layers, one twice, or one without attention.
    """
    modules = {i: m.self_attn for i, m in enumerate(core.get_decoder().layers) if hasattr(m, "self_attn")}
    _check_indices("layers", layers, modules, f"the layers with attention are {', '.join(map(str, modules))}")
    return [modules[i] for i in (modules if layers is None else layers)]


def _check_heads(core: Any, heads: Sequence[int] | None) -> Sequence[int] | None:
    count = core.config.get_text_config().num_attention_heads
    _check_indices("heads", heads, range(count), f"the model has heads 0 to {count - 1}")
    return heads


def _check_indices(option: str, given: Sequence[int] | None, known: Container[int], there: str) -> None:
    if given is not None and (not given or len(set(given)) < len(given)):
        raise InputError(f"model.attention.{option}={list(given)}: give each once and at least one, or null for all")
    if missing := [i for i in given or () if i not in known]:
        raise InputError(f"model.attention.{option}={missing}: {there}")
