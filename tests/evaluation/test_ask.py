"""Answers of a model as predictions: in batches as one at a time, each with its own item, boxes in full precision."""

import json
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from answers import ROOT, SCORERS
from hydra.utils import instantiate
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from umed.boxes import Box
from umed.chat import Prompt
from umed.engine.budget import Budget
from umed.engine.engine import Engine
from umed.evaluation.ask import ask_questions, records_to_predictions
from umed.evaluation.benchmarks.mau import BoxScorer
from umed.evaluation.datamodule import BenchmarkDataModule
from umed.evaluation.prediction import Prediction
from umed.evaluation.question import BoxQuestion
from umed.models.family import FamilyProcessor
from umed.models.policy import Policy
from umed.rollout import Answers
from umed.synthetic.benchmarks import PhantomBenchmarks


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, processor: FamilyProcessor) -> Callable[..., BenchmarkDataModule]:
    drawn = PhantomBenchmarks(str(tmp_path_factory.mktemp("phantom") / "all"), num_items=3)
    protocol = instantiate(OmegaConf.load(ROOT / "conf/data/protocol/ours.yaml"))
    return lambda **options: BenchmarkDataModule({"phantom": drawn}, processor, protocol, **options)


@pytest.mark.parametrize("shown", ["own", "shuffled"])
def test_batches_answer_as_one_question_at_a_time(
    shown: str, policy: Callable[..., Policy], small: Callable[..., BenchmarkDataModule]
) -> None:
    model, data = Engine(policy()), [small(batch_size=size, at_most=2) for size in (1, 64)]
    alone, together = (
        ask_questions(model, module, "phantom", "test", max_new_tokens=6, shown=shown)[0] for module in data
    )
    assert [p.question for p in alone] == [p.question for p in together] == data[0].questions
    count = 0
    for one, other in zip(alone, together, strict=True):
        assert one.model_copy(update={"scores": None}) == other.model_copy(update={"scores": None})
        labels = SCORERS[one.question.dataset.removeprefix("phantom_")].labels(one.question)
        assert tuple(one.scores or ()) == tuple(other.scores or ()) == labels  # of labels and choices alone
        if one.scores and other.scores:
            count += 1
            assert list(one.scores.values()) == pytest.approx(list(other.scores.values()), abs=1e-5)
            assert sum(one.scores.values()) == pytest.approx(1, abs=1e-5)
    assert count == 2 * 3 + 1 and len({p.output for p in alone}) > 1


def test_sampling_is_a_function_of_seed_and_question(
    policy: Callable[..., Policy], small: Callable[..., BenchmarkDataModule]
) -> None:
    """Not of the batches, nor of how a budget cuts them."""
    model = policy()
    model.temperature = 0.01  # of training alone

    def sample(seed: int, batch_size: int = 8, tokens: int | None = None) -> tuple[list[Prediction], list[Prediction]]:
        torch.manual_seed(seed + 99)  # of no importance
        engine, data = Engine(model, Budget(tokens)), small(batch_size=batch_size, at_most=1)
        found = ask_questions(engine, data, "phantom", "test", max_new_tokens=4, samples=2, seed=seed)
        return tuple([p.model_copy(update={"scores": None}) for p in of] for of in found)  # type: ignore[return-value]

    greedy, sampled = sample(0)
    assert [p.question.id for p in sampled] == [p.question.id for p in greedy for _ in range(2)]
    assert sample(0) == sample(0, batch_size=1) == sample(0, tokens=16) == (greedy, sampled) and sample(1)[0] == greedy
    assert [p.output for p in sample(1)[1]] != [p.output for p in sampled]


def answers_of(rows: list[list[int]]) -> Answers:
    """What stands beyond the mask is not said."""
    length = max(map(len, rows)) + 2
    ids = torch.tensor([row + [11] * (length - len(row)) for row in rows])
    mask = torch.arange(length) < torch.tensor([len(row) for row in rows])[:, None]
    return Answers(ids, mask, torch.zeros(len(rows), dtype=torch.bool), torch.zeros(len(rows), length))


def test_answers_belong_to_their_prompts(make_prompts: Callable[..., list[Prompt]], processor: FamilyProcessor) -> None:
    """Two answers a query; boxes are pixels of the stored image, 112 wide but 100 x 60 in the second record."""
    prompts = make_prompts(2, (112, 112), (60, 100))
    gold = [p.answer.tolist() for p in prompts]
    other = processor.tokenizer("A cyst.", add_special_tokens=False)["input_ids"]
    predictions = records_to_predictions(processor, prompts, answers_of([gold[0], other, gold[1], other]))
    questions = [p.question for p in predictions]
    assert [q.id for q in questions] == ["synthetic/0"] * 2 + ["synthetic/1"] * 2
    assert [p.output for p in predictions[1::2]] == ["A cyst."] * 2 and predictions[1].boxes == ()
    assert all(isinstance(q, BoxQuestion) and q.categories == ("cyst", "lung nodule", "stone") for q in questions)
    assert [q.gold_boxes for q in questions[::2]] == [((28, 28, 84, 56),), ((15, 25, 45, 50),)]
    assert predictions[0].boxes == ((28, 28, 84, 56),)
    verdicts = BoxScorer().judge(predictions)
    assert [v["accuracy"] for v in verdicts] == [True, False, True, True]
    assert verdicts[0]["iou"] == pytest.approx(1) and verdicts[2]["iou"] > 0.9
    assert (questions[0].question, questions[0].answer) == (prompts[0].record.query, "A stone is seen at.")


NUMBER = st.one_of(st.integers(-5, 1005), st.floats(-5, 1005), st.floats())
THIN = st.floats(0, 1000, exclude_max=True).map(lambda v: (v, math.nextafter(v, math.inf)))
CORNERS = st.one_of(
    st.lists(NUMBER, min_size=3, max_size=5),
    st.builds(lambda x, y: [x[0], y[0], x[1], y[1]], THIN | st.tuples(NUMBER, NUMBER), THIN),
)
SAID = st.builds(
    lambda corners, before, after: before + json.dumps([{"bbox_2d": c, "label": "stone"} for c in corners]) + after,
    st.lists(CORNERS, max_size=3), st.text(max_size=20), st.text(max_size=20),
)  # fmt: skip


class Saying:
    """A processor whose model says this text."""

    def __init__(self, processor: FamilyProcessor, text: str) -> None:
        self.read_boxes, self.has_box_syntax, self.text = processor.read_boxes, processor.has_box_syntax, text

    def decode(self, ids: list[int]) -> str:
        return self.text


@settings(max_examples=60)
@given(st.one_of(SAID, st.text()), st.integers(1, 5000), st.integers(1, 5000))
@example('[{"bbox_2d":[999.999,10,1005,500],"label":"stone"}]', 112, 112)
@example('[{"bbox_2d":[500.00000000000006,10,500.0000000000001,500]}]', 3, 3)
def test_whatever_is_said_can_be_written_and_judged(
    processor: FamilyProcessor, make_prompts: Callable[..., list[Prompt]], text: str, width: int, height: int
) -> None:
    [prompt] = make_prompts(1, (56, 56))
    view = replace(prompt.view, width=width, height=height)
    prompt = replace(prompt, view=view, record=replace(prompt.record, width=width, height=height))
    saying = Saying(processor, text)
    [made] = records_to_predictions(saying, [prompt], answers_of([[1]]))  # type: ignore[arg-type]
    read = Prediction.from_line(json.loads(json.dumps(made.to_line())), BoxQuestion)
    [verdict] = BoxScorer().judge([made])
    boxes = processor.read_boxes(text, view)
    assert read == made and BoxScorer().judge([read]) == [verdict]
    assert 0 <= verdict["iou"] <= 1 + 1e-6 and verdict["unparsed"] == (
        boxes is None and (not text.strip() or processor.has_box_syntax(text))
    )
    assert (read.said_boxes is None) == verdict["unparsed"]
    assert boxes is None or len(made.boxes or ()) == len(boxes)


def test_a_thin_box_at_the_border_is_still_a_box(
    processor: FamilyProcessor, make_prompts: Callable[..., list[Prompt]]
) -> None:
    saying = Saying(processor, '[{"bbox_2d":[999.999,10,1005,500],"label":"stone"}]')
    [made] = records_to_predictions(saying, make_prompts(1), answers_of([[1]]))  # type: ignore[arg-type]
    assert made.said_boxes == [Box(0.999999, 0.01, 1, 0.5)]
