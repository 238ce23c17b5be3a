"""`task=pipeline`, the main job: prepare -> annotate -> base -> SFT -> PPO -> AAR, every stage evaluated.

`task.stages` chooses the rewarding stages: an ablation has one for each set of rewards, all from the same tuned model.
"""

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path

from omegaconf import DictConfig, ListConfig, open_dict

from umed.analysis import write_figures
from umed.annotate.stage import load_or_annotate
from umed.data.controls import add_controls
from umed.data.sample import choose_queries
from umed.engine.budget import Budget
from umed.errors import InputError
from umed.evaluating import evaluate_and_log, print_evaluation
from umed.evaluation.benchmarks.find import scorers_of
from umed.evaluation.evaluation_set import EvaluationSet, check_evaluation
from umed.evaluation.score import Score, read_scores
from umed.evaluation.summary_tables import print_benchmarks, print_summary
from umed.evaluation.tables import print_stages
from umed.records import RecordSet
from umed.run_files import METRICS, read_metrics, update_metrics, write_whole
from umed.sft_continued import STAGE as CONTINUED
from umed.sft_continued import continue_tuning
from umed.training import build_method, check_stage, train_stage
from umed.training_data import check_data, check_sizes

RESULTS = "report/results.txt"  # in the run folder


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
    rewarding = {stage: reward_stage(cfg, stage) for stage in check_stages(cfg)}
    methods = {"sft": cfg.task.sft, **rewarding}
    for stage, method in methods.items():
        check_stage(cfg, method, stage)
    data = load_or_annotate(cfg)
    trained = add_controls(cfg, data)
    sizes = check_data(cfg, trained)
    for stage, method in methods.items():  # before the first stage takes its time
        queries = method.get("queries", "annotated")
        kept = choose_queries(trained.records, cfg.data.fraction, cfg.data.split.seed, queries)
        train = [r for r in kept if r.split == "train"]
        update_metrics(run / METRICS, {f"train/{stage}/records": sum(bool(r.boxes) for r in train)})
        check_sizes(Budget(cfg.engine.tokens), build_method(cfg, method), sizes, [r.id for r in train])
    evaluation_set = EvaluationSet(cfg, data, trained_on=trained)
    evaluate_once(evaluation_set, "base", None)
    sft = train_and_evaluate(evaluation_set, cfg.task.sft, trained, "sft", None, run / "adapter" / "sft")
    if cfg.task.sft_continued:
        tuning = continue_tuning(cfg, trained, sizes)
        train_and_evaluate(evaluation_set, tuning, trained, CONTINUED, sft, run / "adapter" / CONTINUED)
    last = list(rewarding)[-1]
    for stage, method in rewarding.items():
        out = run / "adapter" if stage == last else run / "adapter" / stage
        train_and_evaluate(evaluation_set, method, trained, stage, sft, out)
    write_figures(run)
    stages = ["base", "sft", *([CONTINUED] if cfg.task.sft_continued else []), *rewarding]
    scores = {stage: read_scores(run, stage) for stage in stages}
    write_whole(run / RESULTS, render_results(evaluation_set, scores))
    print_summary(scores, {s: describe_credit(cfg, m) for s, m in rewarding.items()}, f"MAU {cfg.data.evaluate.split}")
    print_benchmarks(
        scores["base"], scores[last], scorers_of(cfg), last, "Benchmarks, by the rules nearest to the paper's"
    )
    print(f"by source and by every rule: {run / RESULTS}   beside the paper's rows: task=report predictions={run}")
    print(f"run folder: {run}   pictures: {run / 'figures'}   notebooks: UMED_RUN={run} jupyter lab notebooks")
    if not cfg.task.sft_continued:
        print("Fine-tuning for the compute of rewarding, the control, is not a row here: see experiment=table2_main")
    return read_metrics(run)


def render_results(evaluation_set: EvaluationSet, scores: Mapping[str, Sequence[Score]]) -> str:
    """Every stage by source, and the last one by every rule, as text."""
    text, last = io.StringIO(), list(scores)[-1]
    with redirect_stdout(text):
        print_stages(scores, title=f"MAU {evaluation_set.cfg.data.evaluate.split}")
        print_evaluation(evaluation_set, last, scores[last], f"{last} by every rule")
    return text.getvalue()


def describe_credit(cfg: DictConfig, method: DictConfig) -> str:
    """Credit with its scope (reading R11b), and how the reward enters equation (11) (reading R8)."""
    kind = str(method.credit._target_).split(".")[-2]
    return ", ".join([kind, *filter(None, [method.credit.get("scope")]), str(method.objective.reward_term)])


def check_stages(cfg: DictConfig) -> list[str]:
    """The rewarding stages of a run, in order.

    Raises:
        InputError: none, one twice, one that `task.rewards` does not name, or rewards of a stage that there are not.
    """
    stages = list(cfg.task.stages) if isinstance(cfg.task.stages, ListConfig) else []
    if not stages or len(set(stages)) < len(stages) or set(stages) - set(cfg.task.rewards):
        raise InputError(f"task.stages={cfg.task.stages}: list some of {', '.join(cfg.task.rewards)}, each once")
    for stage in stages:
        for name in cfg.task.rewards[stage] or ():
            if name not in cfg.reward.parts and (stage, name) != ("ppo", "relevance"):
                raise InputError(
                    f"task.rewards.{stage} keeps {name}, which reward=[{','.join(cfg.reward.parts)}] lacks: leave "
                    f"{stage} out of task.stages, or add the reward"
                )
    return stages


def reward_stage(cfg: DictConfig, stage: str) -> DictConfig:
    """`method` with the rewards that a stage keeps; `ppo` is the paper's "SFT + PPO": the relevance reward alone."""
    names, method = cfg.task.rewards[stage], cfg.method.copy()
    method.queries = cfg.task.queries.get(stage, method.get("queries", "annotated"))
    if names is None:
        return method
    relevance = {"_target_": "umed.rewards.relevance.RelevanceReward", "judge": cfg.judge}
    with open_dict(method):
        rewards = cfg.reward.copy()
        rewards.parts = {name: cfg.reward.parts.get(name, relevance) for name in names}
        method.rewards = rewards
        if cfg.objective.reward_term == "differentiable" and "vision_relevance" not in names:
            method.objective = {**cfg.objective, "reward_term": "credit"}  # no attention is rewarded
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
        last = stage == evaluation_set.cfg.task.stages[-1]
        evaluate_and_log(evaluation_set, stage, adapter, substitutes=last)
