"""`task=pipeline`, the main job: prepare -> annotate -> base -> SFT -> PPO -> AAR, every stage evaluated."""

from pathlib import Path

from omegaconf import DictConfig, open_dict

from umed.analysis import write_figures
from umed.annotate.stage import load_or_annotate
from umed.data.controls import add_controls
from umed.data.sample import keep_train_share
from umed.engine.budget import Budget
from umed.errors import InputError
from umed.evaluating import evaluate_and_log, print_evaluation
from umed.evaluation.evaluation_set import EvaluationSet, check_evaluation
from umed.evaluation.score import STAGES, read_scores
from umed.evaluation.tables import print_stages
from umed.records import RecordSet
from umed.run_files import read_metrics
from umed.sft_continued import STAGE as CONTINUED
from umed.sft_continued import continue_tuning
from umed.training import build_method, check_stage, train_stage
from umed.training_data import check_data, check_sizes


def pipeline(cfg: DictConfig) -> dict[str, float]:
    """Run every stage that is not done yet: after a resume, what a stage wrote is not computed again."""
    run = Path(cfg.paths.run_dir)
    if cfg.init_from is not None:
        raise InputError(f"init_from={cfg.init_from}: the pipeline trains every stage itself; use task=train")
    if not isinstance(cfg.task.sft_continued, bool):
        raise InputError(f"task.sft_continued={cfg.task.sft_continued}: choose true or false")
    check_evaluation(cfg)
    if not cfg.data.evaluate.mau:
        raise InputError("data.evaluate.mau=false: the pipeline is measured on MAU; use task=evaluate")
    methods = {"sft": cfg.task.sft, "ppo": relevance_only(cfg), "aar": cfg.method}
    for stage, method in methods.items():
        check_stage(cfg, method, stage)
    data = load_or_annotate(cfg)
    trained = add_controls(cfg, data)
    sizes = check_data(cfg, trained)
    for method in methods.values():  # before the first stage takes its time
        kept = keep_train_share(trained.records, cfg.data.fraction, cfg.data.split.seed)
        train = [r.id for r in kept if r.split == "train"]
        check_sizes(Budget(cfg.engine.tokens), build_method(cfg, method), sizes, train)
    evaluation_set = EvaluationSet(cfg, data, trained_on=trained)
    evaluate_once(evaluation_set, "base", None)
    sft = train_and_evaluate(evaluation_set, cfg.task.sft, trained, "sft", None, run / "adapter" / "sft")
    if cfg.task.sft_continued:
        tuning = continue_tuning(cfg, trained, sizes)
        train_and_evaluate(evaluation_set, tuning, trained, CONTINUED, sft, run / "adapter" / CONTINUED)
    train_and_evaluate(evaluation_set, relevance_only(cfg), trained, "ppo", sft, run / "adapter" / "ppo")
    train_and_evaluate(evaluation_set, cfg.method, trained, "aar", sft, run / "adapter")
    write_figures(run)
    scores = {stage: read_scores(run, stage) for stage in STAGES if stage != CONTINUED or cfg.task.sft_continued}
    print_evaluation(evaluation_set, "aar", scores["aar"], "aar by every rule")
    print_stages(scores, title=f"MAU {cfg.data.evaluate.split}")
    print(f"every stage beside the paper's rows: python run.py task=report predictions={run}")
    print(f"run folder: {run}   pictures: {run / 'figures'}   notebooks: UMED_RUN={run} jupyter lab notebooks")
    return read_metrics(run)


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


def train_and_evaluate(
    evaluation_set: EvaluationSet, method: DictConfig, data: RecordSet, stage: str, init_from: Path | None, out: Path
) -> Path:
    """Train and evaluate a stage, unless the run that is continued has done so."""
    if not (out / "umed.json").is_file():
        start = str(init_from) if init_from else None
        train_stage(evaluation_set.cfg, method, data, stage, start, evaluation_set.run, out)
    evaluate_once(evaluation_set, stage, out)
    return out


def evaluate_once(evaluation_set: EvaluationSet, stage: str, adapter: Path | None) -> None:
    """Evaluate a stage, unless it was; the model is shown other pictures after the last stage only."""
    if not read_scores(evaluation_set.run, stage):  # written when all answers are there
        evaluate_and_log(evaluation_set, stage, adapter, substitutes=stage == STAGES[-1])
