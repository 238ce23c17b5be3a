"""`task=pipeline`, the main job: prepare -> annotate -> base -> SFT -> PPO -> AAR, every stage evaluated."""

from pathlib import Path

from omegaconf import DictConfig, open_dict

from umed.analysis import write_figures
from umed.annotate.stage import load_or_annotate
from umed.errors import InputError
from umed.evaluation.evaluation_set import Exam
from umed.evaluation.files import read_metrics
from umed.evaluation.tables import print_table
from umed.records import RecordSet
from umed.tasks.evaluate import asks_mau, evaluate_stage, print_rules
from umed.training import build_method, train_stage

STAGES = ("base", "sft", "ppo", "aar")


def pipeline(cfg: DictConfig) -> None:
    """Run every stage that is not done yet: after a resume, what a stage wrote is not computed again."""
    run = Path(cfg.paths.run_dir)
    if cfg.init_from is not None:
        raise InputError(f"init_from={cfg.init_from}: the pipeline trains every stage itself; use task=train")
    if not asks_mau(cfg):
        raise InputError("data.evaluate.mau=false: the pipeline is measured on MAU; use task=evaluate")
    for method in (cfg.task.sft, relevance_only(cfg), cfg.method):
        build_method(cfg, method)  # what cannot work is refused before anything long begins
    data = load_or_annotate(cfg)
    exam = Exam(cfg, data, data)
    evaluated(exam, "base", None)
    sft = trained(exam, cfg.task.sft, data, "sft", None, run / "adapter" / "sft")
    trained(exam, relevance_only(cfg), data, "ppo", sft, run / "adapter" / "ppo")
    trained(exam, cfg.method, data, "aar", sft, run / "adapter")
    write_figures(run)
    metrics = read_metrics(run)
    print_rules(exam, "aar", metrics, "aar by every rule")
    print_table(metrics, STAGES, title=f"MAU {cfg.data.evaluate.split}")
    print(f"every stage beside the paper's rows: python run.py task=report predictions={run}")
    print(f"run folder: {run}   pictures: {run / 'figures'}   notebooks: UMED_RUN={run} jupyter lab notebooks")


def relevance_only(cfg: DictConfig) -> DictConfig:
    """The paper's "SFT + PPO" row: the same method with the relevance reward alone."""
    method = cfg.method.copy()
    with open_dict(method):
        rewards = cfg.reward.copy()
        relevance = {"_target_": "umed.rewards.relevance.RelevanceReward", "judge": cfg.judge}
        rewards.parts = {"relevance": cfg.reward.parts.get("relevance", relevance)}
        method.rewards = rewards
        if cfg.objective.reward_term == "differentiable":  # of the attention, which this row does not reward
            method.objective = {**cfg.objective, "reward_term": "credit"}
    return method


def trained(exam: Exam, method: DictConfig, data: RecordSet, stage: str, init_from: Path | None, out: Path) -> Path:
    """Train and evaluate a stage, unless the run that is continued has done so."""
    if not (out / "umed.json").is_file():
        train_stage(exam.cfg, method, data, stage, str(init_from) if init_from else None, exam.run, out)
    evaluated(exam, stage, out)
    return out


def evaluated(exam: Exam, stage: str, adapter: Path | None) -> None:
    known = read_metrics(exam.run) if (exam.run / "metrics.json").is_file() else {}
    if f"{stage}/mau/accuracy/avg" not in known:  # written when all answers are there
        evaluate_stage(exam, stage, adapter)
