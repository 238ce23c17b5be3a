"""Stage 1, Abnormal-Aware Instruction Tuning."""

import torch
from torch.nn.utils.rnn import pad_sequence

from umed.chat import Prompt
from umed.methods.base import Method


class AbnormalAwareTuning(Method):
    """Equation (2): the negative log-probability of the diagnosis with its region, on answer tokens only."""

    name = "sft"

    def training_step(self, batch: list[Prompt], batch_idx: int) -> None:
        answers = [p.answer for p in batch]
        ids = pad_sequence(answers, True, self.policy.processor.pad_id).to(self.device)
        lengths = torch.tensor([len(a) for a in answers], device=self.device)
        mask = torch.arange(ids.shape[1], device=self.device) < lengths[:, None]
        scores = self.policy.score(batch, ids, mask, values=False)
        loss = -(scores.logp_BT * mask).sum() / mask.sum()
        self.manual_backward(loss)
        records = [p.record.id for p in batch]
        stats = self.apply_gradients(
            {"sft/loss": loss.detach()}, lambda: {"records": records, "ids_BT": ids.cpu(), "mask_BT": mask.cpu()}
        )
        self.log_batch(stats)
