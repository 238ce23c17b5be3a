"""`task=convert`: a published MedVInT-TD checkpoint -> a folder that transformers loads, and what each key became."""

import json
from collections import Counter
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from transformers import GenerationConfig

from umed.config import create
from umed.errors import InputError, check_choice, check_number
from umed.models.load import load_policy
from umed.models.medvint import MedVInTConfig, MedVInTImageProcessor, MedVInTProcessor
from umed.models.medvint.conversion import (
    Sources,
    check_complete,
    infer_config,
    sort_tensors,
    write_adapter,
    write_weights,
)
from umed.models.medvint.published import diagnose
from umed.models.medvint.stream import read_pickled
from umed.models.medvint.tokenizer import load_tokenizer, read_text_config
from umed.run_files import write_whole

WEIGHTS, REPORT = "pytorch_model.bin", "convert.json"
SHOWN = 5  # names of a list in an error message
FAMILIES = {"queries": "umed.models.backbones.medvint", "mean": "umed.models.backbones.medvint_mlp"}  # by connector


def convert(cfg: DictConfig) -> None:
    """Write `converted/` and `convert.json` in the run folder; the probe's numbers too where it is asked for.

    Raises:
        InputError: no such checkpoint, another variant, tensors missing or left over, or no LLaMA tokenizer.
    """
    options, run = cfg.convert, Path(cfg.paths.run_dir)
    check_choice("convert.lora", options.lora, "merge", "keep")
    check_choice("convert.connector", options.connector, "queries", "mean")
    check_number("convert.lora_alpha", options.lora_alpha, above=0)
    dtype = options.dtype and getattr(torch, check_choice("convert.dtype", options.dtype, "float32", "bfloat16"))
    path, out, merges = find_weights(Path(options.path)), run / "converted", options.lora == "merge"
    entries = read_pickled(path)
    if reason := diagnose(entries, options.connector):
        raise InputError(f"convert.path={path}: {reason}")
    tokenizer = load_tokenizer(str(options.llama), options.special_tokens)
    sources = sort_tensors(entries, not merges)
    config = configure(options, sources, tokenizer)
    missing, unexpected = check_complete(config, sources)
    report: dict[str, Any] = {"path": str(path), "missing": missing, "unexpected": unexpected, "keys": sources.became}
    write_whole(run / REPORT, json.dumps(report, indent=1) + "\n")
    if missing or unexpected:
        raise InputError(
            f"convert.path={path}: {len(entries)} tensors, of which the model lacks {_name(missing)} and does not know "
            f"{_name(unexpected)}: a damaged file or another variant; all are listed in {run / REPORT}"
        )
    out.mkdir(parents=True, exist_ok=True)
    scale = options.lora_alpha / sources.rank if merges and sources.lora else None
    size = write_weights(out, sources, scale, dtype)
    if not merges and sources.lora:
        write_adapter(out / "adapter", sources, options.lora_alpha, out)
    write_settings(out, config, tokenizer)
    _print(sources, out, size, options)
    if options.probe.root is not None:
        report["probe"] = probe(cfg, out)
        write_whole(run / REPORT, json.dumps(report, indent=1) + "\n")


def probe(cfg: DictConfig, out: Path) -> list[dict[str, Any]]:
    """Compare prefixes and ends on items of PMC-VQA with the converted model; prints which fits.

    Raises:
        InputError: no such benchmark.
    """
    from umed.engine.device import find_placement
    from umed.engine.engine import Engine
    from umed.evaluation.likelihood_probe import compare_ids, describe, encode_items

    options, family = cfg.convert.probe, FAMILIES[cfg.convert.connector]
    processor = import_module(family).BACKBONE.processor_class(str(out))
    prompts, answers = encode_items(processor, create(options.protocol), options)
    adapter, placement = str(out) if (out / "adapter").is_dir() else None, find_placement(cfg)
    policy = load_policy(
        str(out), processor, family, init_from=adapter, dtype=options.dtype, device=str(placement.device)
    )
    with placement.autocast():
        found = compare_ids(Engine(policy.eval()), prompts, answers, list(options.prefixes), list(options.ends))
    print("\n".join(describe(found)))
    return [asdict(one) for one in found]


def find_weights(path: Path) -> Path:
    """Raises InputError: no such file."""
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            f"convert.path={path}: no {WEIGHTS} there: give the folder of a published checkpoint, such as "
            "VQA_lora_PMC_LLaMA_PMCCLIP/choice/checkpoint-4000"
        )
    return file


def configure(options: DictConfig, sources: Sources, tokenizer: Any) -> MedVInTConfig:
    """The configuration by tensors, LLaMA's config.json and the command line."""
    text = read_text_config(str(options.llama))
    if options.text_heads is not None:
        text["num_attention_heads"] = options.text_heads
    known = {name: options[name] for name in ("decoder_heads", "image_size", "prefix_token_id", "eos_token_id")}
    try:
        config = infer_config(sources, text, **known)
    except ValueError as error:
        raise InputError(f"convert: {error}") from None
    vocabulary = config.text_config.vocab_size
    for name in ("prefix_token_id", "eos_token_id"):
        if not 0 <= options[name] < vocabulary:
            raise InputError(f"convert.{name}={options[name]}: the model has tokens 0 to {vocabulary - 1}")
    config.image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    if config.image_token_id < vocabulary:
        raise InputError(
            f"convert.llama={options.llama}: its tokenizer has {config.image_token_id} tokens, the model "
            f"{vocabulary}: give the tokenizer of the checkpoint's own LLaMA"
        )
    return config


def write_settings(out: Path, config: MedVInTConfig, tokenizer: Any) -> None:
    """Everything besides weights."""
    config.architectures = ["MedVInTForConditionalGeneration"]
    config.save_pretrained(out)
    ends = list(dict.fromkeys([config.eos_token_id, config.text_config.eos_token_id]))
    GenerationConfig(eos_token_id=ends, pad_token_id=config.pad_token_id).save_pretrained(out)
    pictures = MedVInTImageProcessor(size={"height": config.image_size, "width": config.image_size})
    MedVInTProcessor(pictures, tokenizer, config.image_tokens, config.prefix_token_id).save_pretrained(out)


def _name(names: list[str]) -> str:
    if not names:
        return "none"
    return f"{len(names)} ({', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''})"


def _print(sources: Sources, out: Path, size: int, options: DictConfig) -> None:
    counts = Counter(entry["how"] for entry in sources.became.values())
    kinds = ", ".join(f"{count} {how}" for how, count in sorted(counts.items()))
    print(f"{options.path}: {len(sources.became)} tensors ({kinds}); none is missing, none is left over")
    print(f"-> {out} ({size / 2**30:.2f} GB; {REPORT} lists what each tensor became)")
