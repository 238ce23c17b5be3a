"""Put the questions of a benchmark to a model: its answers as predictions."""

import zlib
from collections import defaultdict
from collections.abc import Sequence

from tqdm import tqdm

from umed.chat import Processor, Prompt
from umed.engine.engine import Engine
from umed.engine.likelihood import class_probabilities
from umed.evaluation.benchmarks.mau import question_of
from umed.evaluation.datamodule import BenchmarkDataModule, EvaluationItem
from umed.evaluation.named_tokens import measure_attention
from umed.evaluation.prediction import Prediction
from umed.evaluation.question import BoxQuestion, Question
from umed.evaluation.substitutes import Shown
from umed.models.noise import Noise
from umed.models.reader import Prefix
from umed.processes import ALONE, Processes
from umed.rollout import Answers

EVALUATION = 1  # the noise is another one than in training


def ask_questions(
    engine: Engine,
    data: BenchmarkDataModule,
    name: str,
    title: str,
    *,
    max_new_tokens: int,
    shown: Shown = "own",
    questions: Sequence[Question] | None = None,
    samples: int = 0,
    seed: int = 0,
    processes: Processes = ALONE,
) -> tuple[list[Prediction], list[Prediction]]:
    """Greedy answers to the questions of one benchmark, with `scores` where there are labels or choices.

    Args:
        name: of the benchmark in the data module.
        title: of the progress bar.
        shown, questions: see `BenchmarkDataModule.loader`.
        samples: so many more answers a question, sampled at temperature 1; the noise is a function of the seed, the
            benchmark and the question's place.
        processes: that share the questions; each gets all answers.

    Returns:
        Greedy and sampled predictions.
    """
    greedy: list[Prediction] = []
    sampled: list[Prediction] = []
    asked = data.questions_of[name] if questions is None else list(questions)
    mine = processes.share(range(len(asked)))
    noise, first = Noise(seed, zlib.crc32(name.encode()), EVALUATION), 0
    hidden = True if processes.rank else None  # None: where no terminal is
    with tqdm(total=len(mine), desc=title, unit="question", leave=False, disable=hidden) as bar:
        for batch in data.loader(name, shown, questions, processes):
            prompts = [item.prompt for item in batch]
            prefix = engine.read_prompts(prompts, max(1, samples), max_new_tokens)
            answers = engine.sample(prompts, 1, max_new_tokens, greedy=True, prefix=prefix)
            scores = _class_scores(engine, batch, prefix)
            attention = None
            if shown == "own":  # the gold region belongs to no other picture
                attention = measure_attention(engine, prompts, [item.question for item in batch], answers, prefix)
            greedy += to_predictions(engine.processor, batch, answers, scores, attention)
            if samples:
                places = mine[first : first + len(batch)]
                answers = engine.sample(
                    prompts, samples, max_new_tokens, noise=noise, places=places, temperature=1.0, prefix=prefix
                )
                sampled += to_predictions(engine.processor, batch, answers)
            first += len(batch)
            bar.update(len(batch))
    return gather_answers(processes, asked, greedy), gather_answers(processes, asked, sampled)


def gather_answers(processes: Processes, questions: Sequence[Question], mine: list[Prediction]) -> list[Prediction]:
    """The answers of all processes to all questions, in order; the answers to one question stand together."""
    if processes.count == 1:
        return mine
    each = len(mine) // max(1, len(processes.share(range(len(questions)))))
    lines = [[p.output, p.boxes, p.scores, p.attention] for p in mine]
    shares = processes.gather([lines[k : k + each] for k in range(0, len(lines), each or 1)])
    return [
        Prediction.model_construct(
            question=question,
            output=output,
            boxes=None if boxes is None else tuple(map(tuple, boxes)),
            scores=scores,
            attention=attention,
        )
        for question, answers in zip(questions, shares, strict=bool(shares))
        for output, boxes, scores, attention in answers
    ]


def to_predictions(
    processor: Processor,
    items: Sequence[EvaluationItem],
    answers: Answers,
    scores: Sequence[dict[str, float] | None] | None = None,
    attention: Sequence[float | None] | None = None,
) -> list[Prediction]:
    """One prediction an answer; the answers to one question stand together."""
    per_question = len(answers.ids_BT) // len(items)
    predictions = []
    for b, ids in enumerate(answers.token_ids()):
        item = items[b // per_question]
        output = processor.decode(ids)
        predictions.append(
            Prediction.model_construct(
                question=item.question,
                output=output,
                boxes=_read_boxes(processor, item.question, item.prompt, output),
                scores=None if scores is None else scores[b],
                attention=None if attention is None else attention[b],
            )
        )
    return predictions


def records_to_predictions(processor: Processor, prompts: Sequence[Prompt], answers: Answers) -> list[Prediction]:
    """Answers to MAU's own prompts as predictions, as validation and figures need them."""
    items = [EvaluationItem(question_of(p.record, p.others), p, {}) for p in prompts]
    return to_predictions(processor, items, answers)


def _read_boxes(
    processor: Processor, question: Question, prompt: Prompt, output: str
) -> tuple[tuple[float, float, float, float], ...] | None:
    """In full precision, since rounding could make a thin box empty; () where the answer writes none, None where none
    could be read, the answer is empty, or the data set has no boxes.
    """
    boxes = processor.read_boxes(output, prompt.view) if isinstance(question, BoxQuestion) else None
    if boxes is None and isinstance(question, BoxQuestion) and output.strip() and not processor.has_box_syntax(output):
        return ()
    return None if boxes is None else tuple(box.to_xyxy(question.width, question.height) for box in boxes)  # type: ignore[attr-defined]


def _class_scores(
    engine: Engine, batch: Sequence[EvaluationItem], prefix: Prefix | None
) -> list[dict[str, float] | None]:
    """Class probabilities of each question that has candidates; questions with as many go together."""
    scores: list[dict[str, float] | None] = [None] * len(batch)
    places_of: dict[int, list[int]] = defaultdict(list)
    for place, item in enumerate(batch):
        if item.candidates:
            places_of[len(item.candidates)].append(place)
    for places in places_of.values():
        prompts, candidates = [batch[k].prompt for k in places], [batch[k].candidates for k in places]
        read = prefix if len(places) == len(batch) else None
        for k, probabilities in zip(places, class_probabilities(engine, prompts, candidates, read), strict=True):
            scores[k] = probabilities
    return scores
