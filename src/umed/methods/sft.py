"""Stage 1, Abnormal-Aware Instruction Tuning."""

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from umed.chat import Prompt
from umed.engine.budget import Part
from umed.methods.base import Method


class AbnormalAwareTuning(Method):
    """Equation (2): the negative log-probability of the diagnosis with its region, on answer tokens only.

    It is of the model's own distribution: at temperature 1, whatever answers are sampled at.
    """

    name = "sft"

    def training_step(self, batch: list[Prompt], batch_idx: int) -> None:
        answers = [p.answer for p in batch]
        ids = pad_sequence(answers, True, self.policy.processor.pad_id)
        mask = torch.arange(ids.shape[1]) < torch.tensor([len(a) for a in answers])[:, None]
        total = self.processes.total(int(mask.sum()))

        def loss_of(part: Part) -> tuple[Tensor, dict[str, Tensor]]:
            few, rows = [batch[q] for q in part.queries], part.rows(1)
            ids_BT, mask_BT = (t[rows, : part.width].to(self.device, non_blocking=True) for t in (ids, mask))
            scores = self.policy.score(few, ids_BT, mask_BT, values=False, plain=True)
            loss = -(scores.logp_BT * mask_BT).sum() / total
            return loss, {"sft/loss": loss}

        numbers = self.engine.backward(batch, mask, loss_of, self.manual_backward, self.dropout_seed)
        records = [p.record.id for p in batch]
        stats = self.apply_gradients(numbers, lambda: {"records": records, "ids_BT": ids, "mask_BT": mask})
        self.log_batch(stats)
