"""MedVInT's query decoder: DETR's decoder layers, normalized first, without any position of the patches.

Source: xiaoman-zhang/PMC-VQA (MIT), src/MedVInT_TD/models/transformer.py.
"""

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention that also returns its weights, averaged over heads."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, query: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, C), (B, P, C) -> (B, N, C) and weights (B, N, P) in fp32."""
        q, k, v = (
            proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for proj, x in ((self.q_proj, query), (self.k_proj, memory), (self.v_proj, memory))
        )
        weights = (q * q.shape[-1] ** -0.5 @ k.mT).softmax(-1, dtype=torch.float32)
        dropped = nn.functional.dropout(weights, self.dropout, self.training).to(v.dtype)
        return self.out_proj((dropped @ v).transpose(1, 2).flatten(2)), weights.mean(1)


class DecoderLayer(nn.Module):
    """Self-attention of the queries, their attention to the patches, and a feed-forward network."""

    def __init__(self, width: int, heads: int, ffn: int, dropout: float) -> None:
        super().__init__()
        self.self_attn, self.cross_attn = Attention(width, heads, dropout), Attention(width, heads, dropout)
        self.linear1, self.linear2 = nn.Linear(width, ffn), nn.Linear(ffn, width)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)

    def forward(self, query: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, C), (B, P, C) -> (B, N, C) and cross-attention (B, N, P)."""
        normed = self.norm1(query)
        query = query + self.drop(self.self_attn(normed, normed)[0])
        seen, weights = self.cross_attn(self.norm2(query), patches)
        query = query + self.drop(seen)
        hidden = self.drop(self.linear1(self.norm3(query)).relu())
        return query + self.drop(self.linear2(hidden)), weights


class QueryDecoder(nn.Module):
    """Patches (B, P, C) -> queries (B, N, C) and the cross-attention (B, N, P) of each layer."""

    def __init__(self, queries: int, layers: int, width: int, heads: int, ffn: int, dropout: float) -> None:
        super().__init__()
        self.query_embed = nn.Embedding(queries, width)
        self.layers = nn.ModuleList(DecoderLayer(width, heads, ffn, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, patches: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        query = self.query_embed.weight.expand(len(patches), -1, -1)
        each = []
        for layer in self.layers:
            query, weights = layer(query, patches)
            each.append(weights)
        return self.norm(query), tuple(each)
