"""pi_theta(a | x, q), equation (1): one interface to sample answers, score them and read their attention.

The prompt (with its picture) is read once per query and its key/value cache is expanded to the G answers, in sampling
and in training alike. Row t of the answer pass reads in token a_{t-1} (row 0: the prompt's last token), so its hidden
state is s_t: it predicts a_t and gives V(s_t).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from inspect import signature
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from umed.chat import Processor, Prompt
from umed.errors import InputError
from umed.models.attention import Recorder, recording
from umed.models.cache import make_room
from umed.models.logprobs import distribution, entropy, of_tokens
from umed.models.value_head import ValueHead
from umed.rollout import Answers


@dataclass
class Prefix:
    """Prompts read up to their last token, for B = Q * G rows."""

    cache: DynamicCache
    mask_BP: Tensor  # all P prompt columns
    last_B: Tensor
    next_B: Tensor  # rotary position of the first answer token
    columns_BI: Tensor  # prompt columns of the image tokens, -1 = none

    def take(self, rows: Tensor) -> "Prefix":
        """These rows only; the cache is cut in place."""
        self.cache.batch_select_indices(rows)
        return Prefix(self.cache, self.mask_BP[rows], self.last_B[rows], self.next_B[rows], self.columns_BI[rows])


@dataclass
class Scores:
    """What `Policy.score` says of given answers; (B, T) each, `attention_BNP` (B, N, P)."""

    logp_BT: Tensor
    entropy_BT: Tensor
    values_BT: Tensor
    attention_BNP: Tensor


class Policy(nn.Module):
    """A vision-language model with its value head.

    Args:
        model: the transformers model, or a PEFT model around it, with attention implementation `sdpa_evidence`.
        processor: the family's processor.
        backbone: the family's module, for `positions`.
        temperature: of sampling, and so of every log-probability.
        attention_layers, attention_heads: reading R5, None = all.
    """

    def __init__(
        self,
        model: nn.Module,
        processor: Processor,
        backbone: ModuleType,
        temperature: float = 1.0,
        attention_layers: Sequence[int] | None = None,
        attention_heads: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.processor = processor
        self.backbone = backbone
        self.temperature = temperature
        core: Any = plain(model)
        self._core = [core]  # in a list: not a second registration of the same weights
        # transformers renamed the argument within 5.x
        self._cache = "cache" if "cache" in signature(core.model.forward).parameters else "past_key_values"
        text = core.model.language_model
        layers = range(len(text.layers)) if attention_layers is None else attention_layers
        missing = [i for i in layers if not 0 <= i < len(text.layers)]
        if missing:
            raise InputError(f"model.attention.layers={missing}: the model has layers 0 to {len(text.layers) - 1}")
        self._listened = [text.layers[i].self_attn for i in layers]
        self._heads = attention_heads
        self.value_head = ValueHead(core.config.get_text_config().hidden_size)

    @property
    def core(self) -> Any:
        """The plain transformers model, its adapters in place."""
        return self._core[0]

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def read_prompts(self, prompts: Sequence[Prompt], num_candidates: int) -> Prefix:
        """Read each prompt once, without its last token, and expand to G rows; differentiable."""
        batch = {k: v.to(self.device) for k, v in self.processor.collate(prompts).items()}
        position = self.backbone.positions(self.core.model, batch)
        cache = DynamicCache(config=self.core.config.get_text_config())
        image_columns = _columns(batch["mm_token_type_ids"] == 1)
        vision = {k: batch[k] for k in ("pixel_values", "image_grid_thw")}
        self.core.model(
            input_ids=batch["input_ids"][:, :-1],
            attention_mask=batch["attention_mask"][:, :-1],
            position_ids=position[..., :-1],
            **{self._cache: cache},
            use_cache=True,
            **vision,
        )
        if num_candidates > 1:
            cache.batch_repeat_interleave(num_candidates)
        next_Q = position.amax((0, 2)) + 1
        last = batch["input_ids"][:, -1]
        each = [t.repeat_interleave(num_candidates, 0) for t in (batch["attention_mask"], last, next_Q, image_columns)]
        return Prefix(cache, *each)

    def _step(self, prefix: Prefix, ids: Tensor, mask: Tensor, first: int) -> Tensor:
        """Read ids (B, S) in, the first of them at answer position `first`; hidden states (B, S, H)."""
        steps = torch.arange(first, first + ids.shape[1], device=ids.device)
        position = (prefix.next_B[:, None] + steps).expand(3, -1, -1)
        out = self.core.model(
            input_ids=ids,
            attention_mask=torch.cat([prefix.mask_BP, mask], 1),
            position_ids=position,
            **{self._cache: prefix.cache},
            use_cache=True,
        )
        return out.last_hidden_state

    def _read_shared(
        self, prompts: Sequence[Prompt], ids_BT: Tensor, mask_BT: Tensor, recorder: Recorder, rows_BN: Tensor
    ) -> Tensor:
        """Hidden states (B, T + 1, H) of the answer pass, each prompt read once."""
        modules, recorder.modules = recorder.modules, ()
        prefix = self.read_prompts(prompts, len(ids_BT) // len(prompts))
        recorder.modules, recorder.rows_BN, recorder.columns_BP = modules, rows_BN, prefix.columns_BI
        ids = torch.cat([prefix.last_B[:, None], ids_BT], 1)
        return self._step(prefix, ids, mask_BT.to(prefix.mask_BP.dtype), -1)

    def _read_in_full(
        self, prompts: Sequence[Prompt], ids_BT: Tensor, mask_BT: Tensor, recorder: Recorder, rows_BN: Tensor
    ) -> Tensor:
        """The same with prompt and answer in one row: gradient checkpointing drops the key/value cache."""
        each = [p for p in prompts for _ in range(len(ids_BT) // len(prompts))]
        batch = {k: v.to(self.device) for k, v in self.processor.collate(each).items()}
        position = self.backbone.positions(self.core.model, batch)
        steps = torch.arange(ids_BT.shape[1], device=self.device)
        said = (position.amax((0, 2))[:, None] + 1 + steps).expand(3, -1, -1)
        first = batch["input_ids"].shape[1] - 1
        recorder.rows_BN = torch.where(rows_BN >= 0, rows_BN + first, rows_BN)
        recorder.columns_BP = _columns(batch["mm_token_type_ids"] == 1)
        out = self.core.model(
            input_ids=torch.cat([batch["input_ids"], ids_BT], 1),
            attention_mask=torch.cat([batch["attention_mask"], mask_BT.to(batch["attention_mask"].dtype)], 1),
            position_ids=torch.cat([position, said], -1),
            pixel_values=batch["pixel_values"],
            image_grid_thw=batch["image_grid_thw"],
            use_cache=False,
        )
        return out.last_hidden_state[:, first:]

    def _checkpointed(self) -> bool:
        return self.training and any(getattr(m, "gradient_checkpointing", False) for m in self.core.modules())

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
            prefix = self.read_prompts(prompts, num_candidates)
            make_room(prefix.cache, max_new_tokens)
            ids = prefix.last_B[:, None]
            size = (len(ids), max_new_tokens)
            said = ids.new_full(size, processor.pad_id)
            valid, logps = torch.zeros_like(said, dtype=torch.bool), torch.zeros(size, device=self.device)
            mask = prefix.mask_BP.new_ones(len(ids), 0)
            rows = torch.arange(len(ids), device=self.device)  # answers that go on
            for t in range(max_new_tokens):
                hidden = self._step(prefix, ids, mask, t - 1)
                logp = distribution(self.core.lm_head(hidden[:, -1]), self.temperature, processor.suppressed_ids)
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
        self, prompts: Sequence[Prompt], ids_BT: Tensor, mask_BT: Tensor, name_BN: Tensor | None = None
    ) -> Scores:
        """Log-probability, entropy and value of given answer tokens, teacher-forced; differentiable.

        Args:
            name_BN: rows of the answer pass whose attention is wanted (token t stands in row t + 1), -1 = none.

        Only answer positions pass the language-model head. Entries beyond `mask_BT` are meaningless, but finite.
        """
        checkpointed = self._checkpointed()
        if checkpointed and name_BN is not None and torch.is_grad_enabled():
            raise InputError(
                "objective.reward_term=differentiable keeps the attention's graph, which gradient checkpointing throws "
                "away: set model.gradient_checkpointing=false"
            )
        read = self._read_in_full if checkpointed else self._read_shared
        recorder = Recorder(ids_BT[:, :0], ids_BT[:, :0], self._listened, self._heads)
        with recording(recorder) if name_BN is not None else nullcontext():
            hidden = read(prompts, ids_BT, mask_BT, recorder, name_BN if name_BN is not None else ids_BT[:, :0])
        state = hidden[:, :-1]
        logp = distribution(self.core.lm_head(state), self.temperature, self.processor.suppressed_ids)
        attention = recorder.mean() if name_BN is not None else state.new_zeros(len(ids_BT), 0, 0)
        return Scores(of_tokens(logp, ids_BT), entropy(logp), self.value_head(state), attention)


def plain(model: Any) -> Any:
    """The transformers model under a PEFT model, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@contextmanager
def generating(module: nn.Module) -> Iterator[None]:
    """The rollout context: eval mode, no dropout, no gradient checkpointing; restores every flag, also on an error."""
    modes = [(m, m.training) for m in module.modules()]
    flags = [(m, m.gradient_checkpointing) for m in module.modules() if hasattr(m, "gradient_checkpointing")]
    try:
        module.eval()
        for m, _ in flags:
            m.gradient_checkpointing = False  # type: ignore[assignment]
        yield
    finally:
        for m, training in modes:
            m.training = training
        for m, on in flags:
            m.gradient_checkpointing = on


def trained_weights(module: nn.Module) -> dict[str, Tensor]:
    """A copy of every weight that training moves: with an adapter, the adapter alone."""
    return {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}


@contextmanager
def with_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Put earlier `trained_weights` in place for a while: a reference policy without a second base model."""
    own = {n: p.data for n, p in module.named_parameters() if n in weights}
    try:
        for n, p in module.named_parameters():
            if n in weights:
                p.data = weights[n].to(p.data)
        yield
    finally:
        for n, p in module.named_parameters():
            if n in own:
                p.data = own[n]


def _draw(logp: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.multinomial(logp.exp(), 1, generator=generator)[:, 0]


def _columns(is_image: Tensor) -> Tensor:
    """Column numbers of the True entries of each row, right-padded with -1."""
    found = [row.nonzero()[:, 0] for row in is_image]
    return nn.utils.rnn.pad_sequence(found, batch_first=True, padding_value=-1)
