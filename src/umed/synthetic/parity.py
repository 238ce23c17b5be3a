"""What `task=parity` checks: a tiny random model of each family against plain transformers; the tests call the same."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from peft import PeftModel
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText

from umed.boxes import Box
from umed.chat import ImageView, Prompt
from umed.errors import InputError
from umed.methods.aar import AbnormalAwareRewarding
from umed.methods.credit.gae import GaeCredit
from umed.methods.objective import ClippedObjective
from umed.models import backbones
from umed.models.backbone import Backbone, with_answer
from umed.models.family import ROWS
from umed.models.features import encode
from umed.models.load import load_policy, save_adapter
from umed.models.policy import Policy
from umed.records import Record
from umed.rewards.base import Reward
from umed.rewards.localization import LocalizationReward
from umed.rewards.total import TotalReward
from umed.rewards.vision_relevance import VisionRelevanceReward

SIZES = ((140, 112), (60, 100))  # width, height: two shapes, so that prompts of one batch differ in length
CORPUS = ("What is wrong ?", "Where is the lung nodule in this picture ?", "A stone is seen at . No cyst .")
CATEGORIES = ("stone", "cyst", "lung nodule")
NEW_TOKENS, CANDIDATES = 8, 2
ADAPTER = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.1}


def names() -> list[str]:
    """The families: every file of `models/backbones` that has a `BACKBONE`."""
    files = sorted(p.stem for p in Path(backbones.__path__[0]).glob("*.py"))
    return [n for n in files if hasattr(import_module(f"umed.models.backbones.{n}"), "BACKBONE")]


def family(name: str) -> Backbone:
    return import_module(f"umed.models.backbones.{name}").BACKBONE


class Tiny:
    """A tiny random model of a family in a folder, with prompts of two pictures."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder, self.backbone = name, folder, family(name)
        self.backbone.write_tiny(folder, CORPUS)
        self.processor = self.backbone.processor_class(str(folder))
        self.prompts = [self.prompt(i, *size) for i, size in enumerate(SIZES)]

    def prompt(self, number: int, width: int, height: int, pixels: np.ndarray | None = None) -> Prompt:
        if pixels is None:
            pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        category = CATEGORIES[number % len(CATEGORIES)]
        record = Record(
            id=f"synthetic/{number}",
            source="synthetic",
            image=f"{number}.png",
            width=width,
            height=height,
            boxes=(Box(0.25, 0.25, 0.75, 0.5),),
            category=category,
            modality="CT",
            group=str(number),
            query=CORPUS[number % 2],
            diagnosis=f"A {category} is seen at <region>.",
        )
        return self.processor.prompt(Image.fromarray(pixels), record)

    def policy(self, **options: Any) -> Policy:
        return load_policy(str(self.folder), self.processor, f"umed.models.backbones.{self.name}", **options)

    def plain(self, policy: Policy, prompt: Prompt, answer: Sequence[int], **options: Any) -> Any:
        """An untouched transformers model with the same weights reads one prompt and answer, eager, without padding."""
        model: Any = AutoModelForImageTextToText.from_pretrained(self.folder, attn_implementation="eager")
        model.load_state_dict(policy.core.state_dict())
        with torch.no_grad():
            return model.eval()(**one_row(self.backbone, prompt, answer), **options)


def one_row(backbone: Backbone, prompt: Prompt, answer: Sequence[int]) -> dict[str, Tensor]:
    """What plain transformers takes of one prompt and answer: no padding, nothing joined."""
    ids = torch.tensor([list(answer)], dtype=torch.long)
    rows = {k: v[None] for k, v in prompt.inputs.items() if k in ROWS}
    return {**prompt.inputs, **with_answer(backbone, rows, ids, torch.ones_like(ids))}


def sampled(policy: Policy, prompts: Sequence[Prompt], **options: Any) -> Any:
    return policy.sample(prompts, CANDIDATES, NEW_TOKENS, generator=torch.Generator().manual_seed(0), **options)


def log_probs(tiny: Tiny) -> float:
    """Sampled log-probs against teacher-forced ones and against plain transformers: left padding, two sizes, G = 2."""
    policy = tiny.policy(temperature=0.7, frozen=tiny.backbone.tower)  # so the kept features are what is compared
    answers = sampled(policy, tiny.prompts)
    with torch.no_grad():
        scores = policy.score(tiny.prompts, answers.ids_BT, answers.mask_BT)
    worst = (scores.logp_BT - answers.logp_BT)[answers.mask_BT].abs().max()
    for b, (ids, mask) in enumerate(zip(answers.ids_BT, answers.mask_BT, strict=True)):
        said = ids[mask].tolist()
        logits = tiny.plain(policy, tiny.prompts[b // CANDIDATES], said).logits[0, -len(said) - 1 : -1] / 0.7
        logits[:, [i for i in tiny.processor.suppressed_ids if i < logits.shape[-1]]] = -torch.inf
        logp = logits.log_softmax(-1).gather(1, torch.tensor(said)[:, None])[:, 0]
        worst = torch.maximum(worst, (logp - answers.logp_BT[b][mask]).abs().max())
    return float(worst)


def attention(tiny: Tiny) -> float:
    """Captured attention rows against eager maps; a family without them must refuse, which counts as 0."""
    policy = tiny.policy(frozen=tiny.backbone.tower)
    answers = sampled(policy, tiny.prompts)
    rows = torch.arange(1, answers.ids_BT.shape[1] + 1).expand(answers.ids_BT.shape)
    rows = torch.where(answers.mask_BT, rows, -1)
    if tiny.backbone.no_attention:
        try:
            policy.score(tiny.prompts, answers.ids_BT, answers.mask_BT, rows)
        except InputError:
            return 0.0
        return float("inf")
    with torch.no_grad():
        found = policy.score(tiny.prompts, answers.ids_BT, answers.mask_BT, rows).attention_BNP
    worst = 0.0
    for b, mask in enumerate(answers.mask_BT):
        prompt, said = tiny.prompts[b // CANDIDATES], answers.ids_BT[b][mask].tolist()
        maps = tiny.plain(policy, prompt, said, output_attentions=True).attentions
        images = prompt.inputs["input_ids"] == tiny.processor.image_id
        mean = torch.stack([m[0].mean(0) for m in maps if m is not None]).mean(0)
        expected = mean[-len(said) :, : len(images)][:, images]
        worst = max(worst, float((found[b, : len(said), : expected.shape[1]] - expected).abs().max()))
    return worst


def patch_map(tiny: Tiny) -> float:
    """Share of pixels that do not lie in exactly one cell of each scale, at most a token from the border left out."""
    if tiny.backbone.no_attention:
        return 0.0
    return max(uncovered(p.view, tiny.backbone.hidden_border) for p in tiny.prompts)


def uncovered(view: ImageView, border: bool = False) -> float:
    """The share for one view; with `border` the outermost token of the picture may be in no cell, never in two."""
    x, y = (np.arange(view.width) + 0.5) / view.width, (np.arange(view.height) + 0.5) / view.height
    worst = 0.0
    for scale in {g.scale for g in view.grids}:
        grids = [g for g in view.grids if g.scale == scale]
        count = np.zeros((view.height, view.width), dtype=int)
        for xs, ys in (g.lines for g in grids):
            in_x = (np.searchsorted(xs, x, "right") > 0) & (x < xs[-1])
            in_y = (np.searchsorted(ys, y, "right") > 0) & (y < ys[-1])
            count += np.outer(in_y, in_x)
        wide, high = ((g[1] - g[0]) * border for g in grids[0].lines)
        inner = np.outer((high < y) & (y < 1 - high), (wide < x) & (x < 1 - wide))
        worst = max(worst, float(((count > 1) | ((count == 0) & (inner | (not border)))).mean()))
    return worst


def looks(tiny: Tiny) -> float:
    """Share of regions whose brightening changes another token's features most than one that the map gives them to.

    In each scale, the token that changes most must cover at least half as much of the region as the best one.
    """
    if tiny.backbone.no_attention:
        return 0.0
    model, wrong, seen = tiny.policy().eval().core.model, 0, 0
    for number, (width, height) in enumerate(((112, 112), SIZES[0], SIZES[1])):
        dark = np.full((height, width, 3), 90, dtype=np.uint8)
        for x, y in ((0.13, 0.13), (0.62, 0.38), (0.87, 0.87)):
            box = Box(x - 0.12, y - 0.12, x + 0.12, y + 0.12)
            bright = dark.copy()
            x0, y0, x1, y1 = (round(v) for v in box.to_xyxy(width, height))
            bright[y0:y1, x0:x1] = 255
            prompts = [tiny.prompt(number, width, height, pixels) for pixels in (dark, bright)]
            pictures = [{k: v for k, v in p.inputs.items() if k not in ROWS} for p in prompts]
            features = [encode(model, inputs).pooler_output for inputs in pictures]
            flat = [torch.cat(list(f)) if isinstance(f, list | tuple) else f.flatten(0, -2) for f in features]
            change, view = (flat[0] - flat[1]).norm(dim=-1), prompts[0].view
            weights = view.patch_weights([box])
            for scale in {g.scale for g in view.grids}:
                of = torch.cat([torch.full((g.tokens,), g.scale == scale) for g in view.grids])
                best = int(torch.where(of, change, -1.0).argmax())
                wrong += bool(weights[best] < 0.5 * torch.where(of, weights, 0.0).max())
                seen += 1
    return wrong / seen


def codec(tiny: Tiny) -> float:
    """Largest error of a box written and read back, in quanta of the convention; also at borders and for thin boxes."""
    rng, worst = np.random.default_rng(0), 0.0
    for prompt in tiny.prompts:
        view = prompt.view
        x0, y0, x1, y1 = view.frame
        qx, qy = tiny.processor.codec.quantum(*tiny.processor.units(view))
        step = np.array([qx * (x1 - x0), qy * (y1 - y0)] * 2)
        corners = [(0, 0, 1, 1), (0.999, 0.999, 1, 1), (0, 0, 1e-4, 1e-4)]
        for _ in range(200):
            a, b = rng.random(2), rng.random(2)
            corners.append((*np.minimum(a, b), *np.maximum(a, b)))
        for four in corners:
            text = tiny.processor.write_boxes([Box(*map(float, four))], "stone", view)
            read = tiny.processor.read_boxes(f"A stone at {text}.", view)
            if read is None or len(read) != 1:
                return float("inf")
            found = np.array([read[0].x0, read[0].y0, read[0].x1, read[0].y1])
            worst = max(worst, float((np.abs(found - four) / step).max()))
    return worst


def in_training(tiny: Tiny) -> float:
    """Answers sampled in train mode, with dropout and gradient checkpointing on, against those of a plain policy."""
    lora = {**ADAPTER, "init_lora_weights": False}
    expected = sampled(tiny.policy(adapter={**lora, "lora_dropout": 0.0}).eval(), tiny.prompts)
    training = tiny.policy(adapter={**lora, "lora_dropout": 0.5}, gradient_checkpointing=True).train()
    found = sampled(training, tiny.prompts)
    if not torch.equal(expected.ids_BT, found.ids_BT):
        return float("inf")
    return float((expected.logp_BT - found.logp_BT).abs().max())


def adapter(tiny: Tiny) -> float:
    """Log-probs of an adapter that was saved and loaded again, by us and by plain PEFT, against those before."""
    policy = tiny.policy(adapter={**ADAPTER, "init_lora_weights": False}).eval()
    answers = sampled(policy, tiny.prompts)
    with TemporaryDirectory() as folder, torch.no_grad():
        save_adapter(policy, Path(folder), {})
        again = tiny.policy(init_from=folder, seed=1).eval()
        before, after = (p.score(tiny.prompts, answers.ids_BT, answers.mask_BT).logp_BT for p in (policy, again))
        worst = (before - after).abs().max()
        base: Any = AutoModelForImageTextToText.from_pretrained(tiny.folder, attn_implementation="eager")
        plain = PeftModel.from_pretrained(base, folder).eval()
        for b, mask in enumerate(answers.mask_BT):
            said = answers.ids_BT[b][mask].tolist()
            logits = plain(**one_row(tiny.backbone, tiny.prompts[b // CANDIDATES], said)).logits[0, -len(said) - 1 : -1]
            logits[:, [i for i in tiny.processor.suppressed_ids if i < logits.shape[-1]]] = -torch.inf
            logp = logits.log_softmax(-1).gather(1, torch.tensor(said)[:, None])[:, 0]
            worst = torch.maximum(worst, (logp - before[b][mask]).abs().max())
    return float(worst)


class _Batches(torch.utils.data.IterableDataset):
    """Two batches an epoch, those that the method has not had yet."""

    def __init__(self, batches: list[list[Prompt]], method: AbnormalAwareRewarding) -> None:
        self.batches, self.method = batches, method

    def __iter__(self) -> Any:
        yield from self.batches[self.method.iteration :][:2]


def resume(tiny: Tiny) -> float:
    """Rewarding for two batches, a checkpoint, and two more in a new process's objects, against four in one go."""
    batches = [[tiny.prompt(2 * i, *SIZES[0]), tiny.prompt(2 * i + 1, *SIZES[1])] for i in range(4)]
    with TemporaryDirectory() as folder:
        whole = _rewarded(tiny, batches, 2, None)
        half = _rewarded(tiny, batches, 1, None, save=f"{folder}/half.ckpt")
        both = _rewarded(tiny, batches, 2, f"{folder}/half.ckpt")
    moved = max(float((whole[n] - half[n]).abs().max()) for n in whole)
    return max(float((whole[n] - both[n]).abs().max()) for n in whole) if moved > 0 else float("inf")


def _rewarded(
    tiny: Tiny, batches: list[list[Prompt]], epochs: int, start: str | None, save: str | None = None
) -> dict[str, Tensor]:
    parts: dict[str, Any] = {"localization": LocalizationReward(), "length": _Length()}
    if not tiny.backbone.no_attention:
        parts["vision_relevance"] = VisionRelevanceReward()
    method = AbnormalAwareRewarding(
        partial(tiny.policy, adapter=ADAPTER),
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
        loader = torch.utils.data.DataLoader(_Batches(batches, method), batch_size=None, collate_fn=list)
        trainer.fit(method, loader, ckpt_path=start, weights_only=True)
        if save:
            trainer.save_checkpoint(save)
    return {n: p.detach().clone() for n, p in method.policy.named_parameters() if p.requires_grad}


class _Length(Reward):
    """Pays for large token ids, so that an untrained model has something to learn."""

    def __call__(self, rollout: Any) -> Tensor:
        return rollout.ids_BT.float().mean(1).cpu() / 1000


CHECKS: dict[str, tuple[Callable[[Tiny], float], float]] = {
    "log-probs": (log_probs, 1e-5),
    "attention": (attention, 1e-6),
    "patch map": (patch_map, 0.0),
    "looks": (looks, 0.25),  # tokens of a tower attend to each other: some misses are its own
    "codec": (codec, 1.0),
    "in training": (in_training, 1e-5),
    "adapter": (adapter, 1e-5),
    "resume": (resume, 0.0),
}
