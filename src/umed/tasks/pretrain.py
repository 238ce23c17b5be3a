"""The recipe of the embedded base model, `experiment=pretrain_tiny`: vocabulary, vision tower, short questions."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, open_dict
from transformers import AutoModelForImageTextToText

from umed.annotate.offline import (
    DETECT,
    LOCALIZE,
    LOCALIZE_MANY,
    ORGANS,
    QUERIES,
    RADIOLOGY,
    RECOGNIZE,
    OfflineAnnotator,
)
from umed.annotate.stage import load_or_prepare
from umed.data.controls import DIAGNOSIS, find_controls, read_controls
from umed.evaluation.benchmarks.medmnist import QUESTION
from umed.evaluation.rules.labels import LABELS
from umed.records import NORMAL, Record, RecordSet
from umed.synthetic.benchmarks import ASK_FIGURE, ASK_FINDING, ASK_MODALITY, ASK_WHETHER
from umed.synthetic.generalist import PLACE
from umed.synthetic.label_pictures import draw_label_pictures
from umed.synthetic.pretrain_vision import Patches, pretrain_vision
from umed.synthetic.tiny_models.qwen3_vl import build
from umed.training import check_stage, train_stage


def pretrain(cfg: DictConfig) -> None:
    """Build the tiny model, its vision tower first, teach it to answer short questions, write it to `task.out`."""
    check_stage(cfg, cfg.method, "pretrain")
    data, run = _gather(cfg), Path(cfg.paths.run_dir)
    annotated: list[Record] = []
    for k in range(cfg.task.texts_per_record):  # each record with several texts
        annotated += instantiate(cfg.annotator, seed=cfg.annotator.seed + 10 * k).annotate(data.records, data.roots)
    start = run / "init"
    with open_dict(cfg):
        cfg.model.path, cfg.model.adapter, cfg.model.frozen = str(start), None, list(cfg.task.frozen)
    if not start.is_dir():
        tokens: dict[str, Any] = {"step": cfg.model.processor.step, "commas": True}
        tokens["phrases"] = _phrases({r.category for r in annotated}, cfg.data.protocol)
        build(run / "random", _corpus(annotated), seed=cfg.seed, **tokens)
        model = AutoModelForImageTextToText.from_pretrained(run / "random", dtype=torch.float32)
        processor = instantiate(cfg.model.processor, path=str(run / "random"))
        train = [r for r in data.records if r.split == "train"]
        loss = pretrain_vision(model, Patches(train, data.roots, processor), seed=cfg.seed, **cfg.task.vision)
        print(f"vision tower: cross-entropy {loss:.4f} a cell and category")
        model.save_pretrained(run / "random")
        (run / "random").rename(start)
    trained = train_stage(cfg, cfg.method, RecordSet(annotated, data.roots), "pretrain", None, run, run / "trained")
    model = AutoModelForImageTextToText.from_pretrained(trained, dtype=torch.bfloat16)
    out = Path(cfg.task.out)
    shutil.rmtree(out, ignore_errors=True)
    model.save_pretrained(out)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "preprocessor_config.json"):
        shutil.copy(trained / name, out / name)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters -> {out}")


def _gather(cfg: DictConfig) -> RecordSet:
    """Records, the normal pictures and label pictures; several texts are about each."""
    data = load_or_prepare(cfg)
    folder = Path(cfg.paths.run_dir)
    labels, roots = draw_label_pictures(folder / "label_pictures", cfg.task.label_pictures, cfg.seed)
    normal = [replace(c, category=NORMAL) for c in read_controls(find_controls(cfg), data.roots)]
    return RecordSet([*data.records, *normal, *labels], {**data.roots, **roots})


# Findings of MAU that the synthetic pictures do not show, and the words before one.
FINDINGS = ("kidney stone", "active tuberculosis", "latent tuberculosis", "brain tumor", "breast tumor", "lung tumor")


def _phrases(categories: set[str], protocol: DictConfig) -> list[str]:
    """What an answer's and a query's templates leave of a sentence, and names of several words: one token each."""
    fragments = [" a lesion of the", *DETECT, DIAGNOSIS, *PLACE, ASK_MODALITY, ASK_FINDING, ASK_FIGURE, QUESTION]
    asked = [protocol[form] for form in ("open", "closed", "choice", "blank", "label")]
    for sentence in (*QUERIES, *LOCALIZE, *LOCALIZE_MANY, *RECOGNIZE, ASK_WHETHER.replace("{}", "{name}"), *asked):
        for text, filled in re.findall(r"([^{}]+)(?:{(\w+)}|$)", sentence):
            # a word brings the blank before it, coordinates do not
            fragments.append(text if filled in ("region", "") else text.rstrip(" "))
    starts = tuple(s.split("{")[0].rstrip() for s in (*LOCALIZE, *RECOGNIZE, LOCALIZE_MANY[1]))
    fragments = [f" {f}" if f in starts else f for f in fragments]  # follow the sentence before
    labels = [label for names in LABELS.values() for label in names]
    names = [n for n in {*categories, *ORGANS, *FINDINGS, *RADIOLOGY, *labels} if not n.isalpha()]
    whole = [*fragments, *names, *(f" {n}" for n in names)]
    return sorted({w for w in whole if len(w) > 1 and not re.fullmatch(r" ?[A-Za-z]+", w)})


def _corpus(records: list[Record]) -> list[str]:
    """Every word of queries and diagnoses, with the real modalities and categories of MAU."""
    offline = OfflineAnnotator()
    described = [offline.describe(r) for r in records if r.boxes]
    names = [
        "bone abdomen mediastinum liver lung kidney soft tissue pelvis kidney stone polyp",
        "atelectasis effusion cardiomegaly infiltration pneumonia pneumothorax mass nodule",
        "active tuberculosis latent tuberculosis CT MR Endoscopy Xray X ray ultrasound",
        "brain tumor breast tumor lung tumor finding lesion upper lower left right center small medium large",
        "one two three four five six seven eight nine",
    ]
    names += [w.strip() for line in names for w in line.split()]  # as the codec writes them: without a space before
    return [*names, *(t for r in (*records, *described) for t in (r.query, r.diagnosis, r.category))]
