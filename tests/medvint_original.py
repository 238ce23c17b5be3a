"""The published MedVInT-TD stated again in plain torch: its modules' names, its forward passes, its files.

Written from the description of xiaoman-zhang/PMC-VQA (MIT), src/MedVInT_TD; nothing of umed.models is used, so that
tests compare two statements of one model.
"""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY, HIDDEN = 300, 64
QUERIES, WIDTH, HEADS, LAYERS, FFN = 8, 64, 8, 3, 48
SIDE = 64


class Block(nn.Module):
    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = nn.Conv2d(planes, 4 * planes, 1, bias=False), nn.BatchNorm2d(4 * planes)
        self.stride, self.downsample = stride, None
        if stride > 1 or inputs != 4 * planes:
            parts = [("-1", nn.AvgPool2d(stride)), ("0", nn.Conv2d(inputs, 4 * planes, 1, bias=False))]
            self.downsample = nn.Sequential(OrderedDict([*parts, ("1", nn.BatchNorm2d(4 * planes))]))

    def forward(self, x: Tensor) -> Tensor:
        out = torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))
        out = self.bn3(self.conv3(nn.functional.avg_pool2d(out, self.stride)))
        return torch.relu(out + (x if self.downsample is None else self.downsample(x)))


def trunk(width: int = WIDTH // 16, layers: tuple[int, ...] = (2, 1, 2)) -> nn.Sequential:
    """PMC-CLIP's children without the last two: the index of a part is its name."""

    def conv(a: int, b: int, stride: int) -> nn.Conv2d:
        return nn.Conv2d(a, b, 3, stride, 1, bias=False)

    half, parts = width // 2, []
    for a, b, stride in ((3, half, 2), (half, half, 1), (half, width, 1)):
        parts += [conv(a, b, stride), nn.BatchNorm2d(b), nn.ReLU()]
    parts.append(nn.AvgPool2d(2))
    inputs = width
    for stage, blocks in enumerate(layers):
        planes, row = width * 2**stage, []
        for block in range(blocks):
            row.append(Block(inputs, planes, 2 if stage and not block else 1))
            inputs = 4 * planes
        parts.append(nn.Sequential(*row))
    return nn.Sequential(*parts)


class Layer(nn.Module):
    """DETR's decoder layer, normalize_before."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(WIDTH, HEADS, dropout=0.1)
        self.multihead_attn = nn.MultiheadAttention(WIDTH, HEADS, dropout=0.1)
        self.linear1, self.linear2 = nn.Linear(WIDTH, FFN), nn.Linear(FFN, WIDTH)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, tgt: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        x = self.norm1(tgt)
        tgt = tgt + self.self_attn(x, x, value=x)[0]
        seen, ws = self.multihead_attn(query=self.norm2(tgt), key=memory, value=memory)
        tgt = tgt + seen
        return tgt + self.linear2(torch.relu(self.linear1(self.norm3(tgt)))), ws


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers, self.norm = nn.ModuleList(Layer() for _ in range(LAYERS)), nn.LayerNorm(WIDTH)


class Original(nn.Module):
    """QA_model with random weights."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.vision_model, self.query_embed, self.decoder = trunk(), nn.Embedding(QUERIES, WIDTH), Decoder()
        self.fc_l1, self.fc_l2 = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, HIDDEN)
        text = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=HIDDEN,
            intermediate_size=96,
            num_hidden_layers=3,
            num_attention_heads=4,
            initializer_range=0.1,
            max_position_embeddings=512,
            rms_norm_eps=1e-6,
            attn_implementation="eager",
        )
        lora = LoraConfig(
            r=8, lora_alpha=32, lora_dropout=0.1, target_modules=["q_proj", "v_proj"], init_lora_weights=False
        )
        self.llamacasual = get_peft_model(LlamaForCausalLM(text), lora)
        with torch.no_grad():
            for name, tensor in [*self.named_parameters(), *self.named_buffers()]:
                if "running_var" in name:
                    tensor.uniform_(0.5, 1.5)
                elif "running_mean" in name or name.endswith("bias"):
                    tensor.normal_(0, 0.2)
                elif "norm" in name and tensor.is_floating_point():
                    tensor.uniform_(0.7, 1.3)
        self.eval()

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Image tokens (B, N, H), and the mean over layers of the cross-attention (B, N, P)."""
        patches = self.vision_model(images).flatten(2).permute(2, 0, 1)  # patches, batch, channels
        tgt = self.query_embed.weight.unsqueeze(1).repeat(1, len(images), 1)
        each = []
        for layer in self.decoder.layers:
            tgt, ws = layer(tgt, patches)
            each.append(ws)
        features = self.decoder.norm(tgt).transpose(0, 1)
        return self.fc_l2(torch.relu(self.fc_l1(features))), torch.stack(each).mean(0)

    def forward(self, input_ids: Tensor, images: Tensor, labels: Tensor | None = None) -> Any:
        """One pass over [image tokens][text], without a mask, as in training and in the test of choices."""
        words = self.llamacasual.get_input_embeddings()(input_ids)
        embeds = torch.cat([self.encode(images)[0], words], 1)
        return self.llamacasual(inputs_embeds=embeds, labels=labels, output_hidden_states=True, output_attentions=True)

    def generate_long_sentence(self, input_ids: Tensor, images: Tensor, new: int) -> list[int]:
        """Greedy decoding, each time from the beginning."""
        embed, said = self.llamacasual.get_input_embeddings(), []
        embeds = torch.cat([self.encode(images)[0], embed(input_ids)], 1)
        for _ in range(new):
            said.append(int(self.llamacasual(inputs_embeds=embeds).logits[0, -1].argmax()))
            embeds = torch.cat([embeds, embed(torch.tensor([[said[-1]]]))], 1)
        return said

    def published(self) -> dict[str, Tensor]:
        """The state dict as peft of 2023 called it, with what later libraries leave out."""
        state: dict[str, Tensor] = OrderedDict()
        for name, tensor in self.state_dict().items():
            state[name.replace(".base_layer.", ".").replace(".default.", ".")] = tensor.clone()
        for n in range(3):
            state[f"llamacasual.base_model.model.model.layers.{n}.self_attn.rotary_emb.inv_freq"] = torch.rand(8)
        return state


def write_published(folder: Path, state: dict[str, Tensor]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "pytorch_model.bin")
    return folder


def write_llama(folder: Path, *, empty: bool = False) -> Path:
    """config.json and tokenizer of a LLaMA of this size: <unk> 0, <s> 1, </s> 2, then bytes and a few words."""
    folder.mkdir(parents=True, exist_ok=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [f"w{n}" for n in range(VOCABULARY - len(alphabet) - 3)]
    tokens = {t: i for i, t in enumerate(["<unk>", "<s>", "</s>", *alphabet, *words])}
    tokenizer = Tokenizer(models.BPE(vocab=tokens, merges=[], ignore_merges=True))
    split = pre_tokenizers.Split(Regex(r"w[0-9]+|[\s\S]"), "isolated")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    named = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named).save_pretrained(folder)
    if empty:  # as PMC_LLaMA_7B has them
        file = folder / "tokenizer_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | dict.fromkeys(named, "")))
    LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, num_attention_heads=4, rms_norm_eps=1e-6, max_position_embeddings=512
    ).save_pretrained(folder)
    return folder
