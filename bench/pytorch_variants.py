"""LearnedDropout in every Dropout's place, and the draft's elementwise mask: the transformer of pytorch_model.py written out once more, for fixtures only.

Nothing here is made to be fast. What stands in a place is one module, named as in the engine; noise is handed over place by place, in the order in which the
places are run: embedding, then in every block attention probabilities, attention output, feed-forward output, as far as they have a LearnedDropout.
"""

import math
from dataclasses import dataclass
from typing import Optional

import torch
import torch.nn as nn
import torch.nn.functional as F

from pytorch_model import LearnedDropoutConfig, Output, causal_attention, l1_norm_penalty, mask_from, round_mask


@dataclass
class VariantConfig:
    alphabet_size: int
    context_size: int
    n_embed: int
    n_head: int
    n_layer: int
    learned_dropout: LearnedDropoutConfig  # of an elementwise mask only mask_rounding, sigmoid_scale and use_detached_input are read
    elementwise: bool
    every_dropout: bool
    l1_norm: Optional[str] = None
    entropy: Optional[str] = None          # "CANONICAL" or "ALTERNATE"


def entropy_penalty(mask, kind):
    e = mask if kind == "CANONICAL" else 1 - mask
    return -(e * torch.log2(e + 1e-9)).mean()


class LearnedDropout(nn.Module):
    def __init__(self, config: VariantConfig, width):
        super().__init__()
        self.config = config
        if config.elementwise:
            self.a, self.b = nn.Parameter(torch.empty(width)), nn.Parameter(torch.empty(width))
        else:
            self.qkv = nn.Linear(width, 3 * width, bias=config.learned_dropout.use_bias)
            self.shift = nn.Parameter(torch.empty(width))

    def mask(self, x):
        learned = self.config.learned_dropout
        z = x.detach() if learned.use_detached_input else x
        if self.config.elementwise:
            return mask_from(self.a[: x.shape[-1]] * z, self.b[: x.shape[-1]])
        return mask_from(causal_attention(self.qkv(z), learned.n_head), self.shift)


class Place(nn.Module):
    """Where a Dropout stands. Without `width` nothing stands there; with precomputed masks it owns no parameters."""

    def __init__(self, config: VariantConfig, width, owns_mask):
        super().__init__()
        self.config, self.is_learned = config, width is not None
        if self.is_learned and owns_mask:
            self.learned_dropout = LearnedDropout(config, width)

    def forward(self, x, run):
        if not self.is_learned:
            return x
        mask = run.precomputed.pop(0) if run.precomputed is not None else self.learned_dropout.mask(x)
        run.masks.append(mask)
        return x * round_mask(mask, self.config.learned_dropout, self.training, run.noise.pop(0) if run.noise else None)


class Run:
    def __init__(self, noise):
        self.noise, self.masks, self.precomputed = list(noise) if noise is not None else None, [], None


class Attention(Place):
    def __init__(self, config: VariantConfig, owns_mask):
        super().__init__(config, config.n_embed if config.every_dropout else None, owns_mask)
        C = config.n_embed
        self.qkv, self.projection = nn.Linear(C, 3 * C, bias=False), nn.Linear(C, C, bias=False)
        self.probabilities = Place(config, config.context_size if config.every_dropout and config.elementwise else None, True)

    def forward(self, x, run):
        B, T, C = x.shape
        q, k, v = (part.view(B, T, self.config.n_head, -1).transpose(1, 2) for part in self.qkv(x).split(C, dim=-1))
        scores = q @ k.transpose(-1, -2) / math.sqrt(C // self.config.n_head)
        scores = scores.masked_fill(~torch.ones(T, T, dtype=torch.bool).tril(), -math.inf)
        p = self.probabilities(scores.softmax(-1), run)
        return super().forward(self.projection((p @ v).transpose(1, 2).reshape(B, T, C)), run)


class FeedForward(Place):
    def __init__(self, config: VariantConfig, owns_mask):
        super().__init__(config, config.n_embed, owns_mask)
        C = config.n_embed
        self.expand, self.contract = nn.Linear(C, 4 * C, bias=False), nn.Linear(4 * C, C, bias=False)

    def forward(self, x, run):
        return super().forward(self.contract(F.gelu(self.expand(x))), run)


class Block(nn.Module):
    def __init__(self, config: VariantConfig, owns_masks):
        super().__init__()
        self.layernorm1, self.layernorm2 = (nn.LayerNorm(config.n_embed, eps=1e-5, bias=False) for _ in range(2))
        self.attention, self.feed_forward = Attention(config, owns_masks), FeedForward(config, owns_masks)

    def forward(self, x, run):
        x = x + self.attention(self.layernorm1(x), run)
        return x + self.feed_forward(self.layernorm2(x), run)


class EmbedDropout(nn.Module):
    def __init__(self, config: VariantConfig):
        super().__init__()
        C, self.n_head = config.n_embed, config.learned_dropout.n_head
        self.qkv, self.projection = nn.Linear(C, 3 * C, bias=False), nn.Linear(C, C, bias=False)

    def forward(self, x):
        return self.projection(causal_attention(self.qkv(x), self.n_head))


class PrecomputedMasks(nn.Module):
    def __init__(self, config: VariantConfig):
        super().__init__()
        self.config, C = config, config.n_embed
        self.n_masks = 1 + 2 * config.n_layer if config.every_dropout else config.n_layer
        self.qkv = nn.Linear(C, 3 * self.n_masks * C, bias=False)
        self.shift = nn.Parameter(torch.empty(self.n_masks * C))

    def forward(self, z):
        heads = self.n_masks * self.config.learned_dropout.n_head
        return list(mask_from(causal_attention(self.qkv(z), heads), self.shift).split(self.config.n_embed, dim=-1))


class VariantTransformer(nn.Module):
    def __init__(self, config: VariantConfig):
        super().__init__()
        self.config, C = config, config.n_embed
        self.precomputes = not config.elementwise and config.learned_dropout.mask_input == "EMBED"
        self.token_embedding, self.position_embedding = nn.Embedding(config.alphabet_size, C), nn.Embedding(config.context_size, C)
        if self.precomputes:
            self.embed_dropout, self.precomputed_masks = EmbedDropout(config), PrecomputedMasks(config)
        self.embedding = Place(config, C if config.every_dropout else None, not self.precomputes)
        self.blocks = nn.ModuleList(Block(config, not self.precomputes) for _ in range(config.n_layer))
        self.final_layernorm = nn.LayerNorm(C, eps=1e-5, bias=False)

    def forward(self, tokens, targets, noise, l1_norm_coeff, entropy_coeff):
        run = Run(noise)
        x = self.token_embedding(tokens) + self.position_embedding.weight[: tokens.shape[1]]
        if self.precomputes:
            run.precomputed = self.precomputed_masks(self.embed_dropout(x))
        x = self.embedding(x, run)
        for block in self.blocks:
            x = block(x, run)
        out = Output(F.linear(self.final_layernorm(x), self.token_embedding.weight), masks=run.masks)
        out.loss = out.cross_entropy = F.cross_entropy(out.logits.flatten(0, 1), targets.flatten())
        if self.training and self.config.l1_norm is not None:
            out.l1_norm = sum(l1_norm_penalty(m, self.config.l1_norm) for m in out.masks) / len(out.masks)
            out.loss = out.loss + l1_norm_coeff * out.l1_norm
        if self.training and self.config.entropy is not None:
            out.entropy = sum(entropy_penalty(m, self.config.entropy) for m in out.masks) / len(out.masks)
            out.loss = out.loss + entropy_coeff * out.entropy
        return out
