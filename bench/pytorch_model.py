"""The yardstick: the same transformer, with and without LearnedDropout, in PyTorch.

It is written for two readers. The fixtures (pytorch_fixtures.py) take values and gradients from it, so it follows the formulas to the letter;
the benchmark (pytorch_train.py) takes times from it, so it is also the fastest PyTorch we know how to write without custom kernels:
fused attention, one projection for q, k and v, and, for masks that depend on the embedding only, one attention for all layers together.

Letters in shape comments: B batch, T sequence, C n_embed, H heads, L layers, V alphabet.

Run it (`python bench/pytorch_model.py`) to check the published parameter counts, the rules of the rounding and its gradients.
"""

import math
from dataclasses import dataclass, field
from typing import Optional

import torch
import torch.nn as nn
import torch.nn.functional as F

MASK_INPUTS = ("HIDDEN_STATE", "EMBED")
ROUNDINGS = ("NOISE_AND_LINEAR", "SIGMOID", "SIGMOID_DETACH", None)
L1_NORMS = ("SQUARED", "LINEAR")


@dataclass
class LearnedDropoutConfig:
    n_head: int
    mask_input: str = "HIDDEN_STATE"
    mask_rounding: Optional[str] = "NOISE_AND_LINEAR"
    use_bias: bool = False
    use_detached_input: bool = False
    shift_init: float = 0.0
    sigmoid_scale: float = 60.0
    noise_at_inference: bool = False

    def __post_init__(self):
        assert self.mask_input in MASK_INPUTS, f"mask_input is {self.mask_input!r}, expected one of {MASK_INPUTS}"
        assert self.mask_rounding in ROUNDINGS, f"mask_rounding is {self.mask_rounding!r}, expected one of {ROUNDINGS}"
        assert 0 <= self.shift_init <= math.pi, f"shift_init is {self.shift_init}, expected a value in [0, pi]"


@dataclass
class ModelConfig:
    alphabet_size: int
    context_size: int
    n_embed: int
    n_head: int
    n_layer: int
    use_bias: bool = False
    dropout_rate: float = 0.0
    learned_dropout: Optional[LearnedDropoutConfig] = None  # None: the baseline
    l1_norm: Optional[str] = None                           # None: this penalty is off
    use_entropy: bool = False

    def __post_init__(self):
        assert self.n_embed % self.n_head == 0, f"n_embed {self.n_embed} is not a multiple of n_head {self.n_head}"
        assert self.l1_norm in (*L1_NORMS, None), f"l1_norm is {self.l1_norm!r}, expected one of {L1_NORMS} or None"
        penalised = self.l1_norm is not None or self.use_entropy
        assert self.learned_dropout is not None or not penalised, "a penalty needs a model with LearnedDropout"
        if self.learned_dropout is not None:
            n_head = self.learned_dropout.n_head
            assert self.n_embed % n_head == 0, f"n_embed {self.n_embed} is not a multiple of learned_dropout.n_head {n_head}"


# ---- attention -------------------------------------------------------------------------------------------------------------------------

def causal_attention(qkv, n_head, dropout_rate=0.0):
    """qkv (B,T,3W), the queries, keys and values side by side, gives (B,T,W); scores are scaled by 1/sqrt(W/n_head)."""
    B, T, W3 = qkv.shape
    on_cpu = qkv.device.type == "cpu"
    if on_cpu and qkv.dtype == torch.bfloat16:
        qkv = qkv.float()  # the backward pass of PyTorch's bfloat16 attention for the CPU takes three times as long as the float32 one
    q, k, v = (part.view(B, T, n_head, -1).transpose(1, 2) for part in qkv.split(W3 // 3, dim=-1))  # each (B,H,T,D)
    with torch.autocast("cpu", enabled=torch.is_autocast_enabled("cpu") and not on_cpu):
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout_rate, is_causal=True)         # (B,H,T,D)
    return y.transpose(1, 2).reshape(B, T, W3 // 3)


class Attention(nn.Module):
    """Causal multi-head attention with an output projection: of a block, and of the embedding when it feeds the masks."""

    def __init__(self, n_embed, n_head, use_bias, dropout_rate=0.0):
        super().__init__()
        self.n_head, self.dropout_rate = n_head, dropout_rate
        self.qkv = nn.Linear(n_embed, 3 * n_embed, bias=use_bias)
        self.projection = nn.Linear(n_embed, n_embed, bias=use_bias)

    def forward(self, x):  # (B,T,C) -> (B,T,C)
        rate = self.dropout_rate if self.training else 0.0
        return F.dropout(self.projection(causal_attention(self.qkv(x), self.n_head, rate)), rate)


# ---- LearnedDropout --------------------------------------------------------------------------------------------------------------------

class StraightThrough(torch.autograd.Function):
    """The value of `value` with the gradient of `x`: x + detach(value - x), free of its rounding error."""

    @staticmethod
    def forward(ctx, x, value):
        return value

    @staticmethod
    def backward(ctx, dy):
        return dy, None


def mask_from(attention, shift):
    """M = 0.5 cos(A + S) + 0.5."""
    return 0.5 * torch.cos(attention + shift) + 0.5


def round_mask(mask, config, training, noise=None):
    """R from M. `noise` overrules the uniform draws of NOISE_AND_LINEAR, so that two implementations can be compared."""
    if config.mask_rounding is None:
        return mask
    if config.mask_rounding == "NOISE_AND_LINEAR":
        if training or config.noise_at_inference:
            keep = (torch.rand_like(mask) if noise is None else noise) <= mask
        else:
            keep = mask >= 0.5
        return StraightThrough.apply(mask, keep.to(mask.dtype))
    if config.mask_rounding == "SIGMOID":
        return torch.sigmoid(config.sigmoid_scale * (mask - 0.5))
    return StraightThrough.apply(mask, torch.sigmoid(config.sigmoid_scale * (mask.detach() - 0.5)))  # SIGMOID_DETACH


def l1_norm_penalty(mask, kind):
    return (mask * mask / 2).mean() if kind == "SQUARED" else mask.abs().mean()


def entropy_penalty(mask):
    return -(mask * torch.log2(mask + 1e-9)).mean()


class MaskGenerator(nn.Module):
    """The masks of `n_masks` LearnedDropouts from one input: one product, one attention over n_masks * n_head heads.

    With W = n_masks * C, the rows of qkv.weight (3W,C) are [q of all masks | k of all masks | v of all masks], in each part mask l at rows l*C..(l+1)*C.
    Heads never cross masks, so this is what n_masks separate attentions would compute. HIDDEN_STATE: n_masks = 1 in every block.
    EMBED: n_masks = L, once.
    """

    def __init__(self, config: LearnedDropoutConfig, n_embed, n_masks=1):
        super().__init__()
        self.config, self.n_head = config, n_masks * config.n_head
        self.qkv = nn.Linear(n_embed, 3 * n_masks * n_embed, bias=config.use_bias)
        self.shift = nn.Parameter(torch.full((n_masks * n_embed,), float(config.shift_init)))

    def forward(self, z, noise=None):  # (B,T,C) -> M and R, both (B,T,W)
        if self.config.use_detached_input:
            z = z.detach()
        mask = mask_from(causal_attention(self.qkv(z), self.n_head), self.shift)
        return mask, round_mask(mask, self.config, self.training, noise)


# ---- the transformer -------------------------------------------------------------------------------------------------------------------

class FeedForward(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        C = config.n_embed
        self.dropout_rate = config.dropout_rate
        self.expand = nn.Linear(C, 4 * C, bias=config.use_bias)
        self.contract = nn.Linear(4 * C, C, bias=config.use_bias)
        self.is_baseline = config.learned_dropout is None
        if not self.is_baseline and config.learned_dropout.mask_input == "HIDDEN_STATE":
            self.learned_dropout = MaskGenerator(config.learned_dropout, C)

    def forward(self, x, rounded=None, noise=None):
        """`rounded` is this block's R when it was computed before the first block. Returns the output and M (None when it was not made here)."""
        x = self.contract(F.gelu(self.expand(x)))
        if self.is_baseline:
            return F.dropout(x, self.dropout_rate, self.training), None
        if rounded is not None:
            return x * rounded, None
        mask, rounded = self.learned_dropout(x, noise)
        return x * rounded, mask


class Block(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.layernorm1 = nn.LayerNorm(config.n_embed, eps=1e-5, bias=config.use_bias)
        self.attention = Attention(config.n_embed, config.n_head, config.use_bias, config.dropout_rate)
        self.layernorm2 = nn.LayerNorm(config.n_embed, eps=1e-5, bias=config.use_bias)
        self.feed_forward = FeedForward(config)

    def forward(self, x, rounded=None, noise=None):
        x = x + self.attention(self.layernorm1(x))
        y, mask = self.feed_forward(self.layernorm2(x), rounded, noise)
        return x + y, mask


@dataclass
class Output:
    logits: Optional[torch.Tensor]                 # (B,T,V); None where the loss was computed in chunks
    loss: Optional[torch.Tensor] = None            # what backward starts from: cross-entropy, in training plus the penalties
    cross_entropy: Optional[torch.Tensor] = None
    l1_norm: Optional[torch.Tensor] = None         # mean over the L modules, before its coefficient
    entropy: Optional[torch.Tensor] = None
    masks: list = field(default_factory=list)      # M, (B,T,C) per layer, or one (B,T,L*C) for EMBED


class Transformer(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        C = config.n_embed
        self.token_embedding = nn.Embedding(config.alphabet_size, C)  # also the output projection
        self.position_embedding = nn.Embedding(config.context_size, C)
        learned = config.learned_dropout
        self.masks_come_first = learned is not None and learned.mask_input == "EMBED"
        if self.masks_come_first:
            self.embed_dropout = Attention(C, learned.n_head, learned.use_bias)
            self.precomputed_masks = MaskGenerator(learned, C, n_masks=config.n_layer)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.final_layernorm = nn.LayerNorm(C, eps=1e-5, bias=config.use_bias)
        self.initialise()

    def initialise(self):
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        for block in self.blocks:  # the two projections that add to the residual stream, 2L of them in all
            for projection in (block.attention.projection, block.feed_forward.contract):
                nn.init.normal_(projection.weight, std=0.02 / math.sqrt(2 * self.config.n_layer))

    def n_parameters(self):
        """All but the positional embedding, as published; the tied token embedding counts once."""
        return sum(p.numel() for p in self.parameters()) - self.position_embedding.weight.numel()

    def forward(self, tokens, targets=None, noise=None, l1_norm_coeff=0.1, entropy_coeff=0.1, loss_chunk=None):
        """tokens, targets (B,T) int64. noise: for HIDDEN_STATE one (B,T,C) per layer, for EMBED one (B,T,L*C); None draws it.

        loss_chunk: so many rows of logits at a time, never all of them. In float32 also under autocast;
        needs a PyTorch that has nn.LinearCrossEntropyOptions; not together with torch.compile.
        """
        T = tokens.shape[1]
        x = self.token_embedding(tokens) + self.position_embedding.weight[:T]
        x = F.dropout(x, self.config.dropout_rate, self.training)

        masks, rounded, noises = [], [None] * len(self.blocks), [None] * len(self.blocks)
        if self.masks_come_first:
            mask, all_rounded = self.precomputed_masks(self.embed_dropout(x), noise)
            masks, rounded = [mask], all_rounded.split(self.config.n_embed, dim=-1)
        elif noise is not None:
            noises = noise
        for block, block_rounded, block_noise in zip(self.blocks, rounded, noises):
            x, mask = block(x, block_rounded, block_noise)
            if mask is not None:
                masks.append(mask)
        x = self.final_layernorm(x)

        if targets is not None and loss_chunk:
            out, options = Output(None, masks=masks), nn.LinearCrossEntropyOptions(batch_chunk_size=loss_chunk)
            out.cross_entropy = F.linear_cross_entropy(x.flatten(0, 1), self.token_embedding.weight, targets.flatten(), options=options)
        else:
            out = Output(F.linear(x, self.token_embedding.weight), masks=masks)
            if targets is None:
                return out
            out.cross_entropy = F.cross_entropy(out.logits.flatten(0, 1), targets.flatten())
        out.loss = out.cross_entropy
        if self.training and masks:
            if self.config.l1_norm is not None:
                out.l1_norm = sum(l1_norm_penalty(m, self.config.l1_norm) for m in masks) / len(masks)
                out.loss = out.loss + l1_norm_coeff * out.l1_norm
            if self.config.use_entropy:
                out.entropy = sum(entropy_penalty(m) for m in masks) / len(masks)
                out.loss = out.loss + entropy_coeff * out.entropy
        return out


def adamw(parameters, lr, weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8, **options):
    """Decoupled decay on what has two or more dimensions (embeddings too), none on layernorm, biases and shift."""
    parameters = list(parameters)
    groups = [{"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
              {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, **options)


# ---- self-check ------------------------------------------------------------------------------------------------------------------------

def published_config(variant, **changes):
    """The three published models: baseline, hidden_state, embed."""
    shape = dict(alphabet_size=50257, context_size=200, n_layer=26)
    if variant == "baseline":
        return ModelConfig(**{**shape, "n_embed": 156, "n_head": 12, **changes})
    learned = LearnedDropoutConfig(n_head=changes.get("n_head", 9), mask_input=variant.upper())
    return ModelConfig(**{**shape, "n_embed": 144, "n_head": 9, "learned_dropout": learned, "l1_norm": "SQUARED", **changes})


def check_parameter_counts():
    for variant, expected in (("baseline", 15_441_192), ("hidden_state", 15_335_424), ("embed", 15_418_368)):
        count = Transformer(published_config(variant)).n_parameters()
        assert count == expected, f"{variant}: {count:,} parameters, published {expected:,}"
        print(f"ok  {variant:13} {count:>12,} parameters")


def central_difference(f, x, step=1e-6):
    """d f / d x, f scalar, every element of x."""
    gradient = torch.empty_like(x)
    flat, out = x.view(-1), gradient.view(-1)
    for i in range(flat.numel()):
        kept = flat[i].item()
        flat[i] = kept + step
        up = f().item()
        flat[i] = kept - step
        out[i] = (up - f().item()) / (2 * step)
        flat[i] = kept
    return gradient


def check_close(what, got, expected, tolerance):
    error = (got - expected).abs().max().item() / (expected.abs().max().item() + 1e-30)
    assert error <= tolerance and expected.norm() > 1e-6, f"{what}: relative error {error:.2e}"
    print(f"ok  {what:55} relative error {error:.1e}")


def check_rounding_gradients():
    """Straight through: the derivative is that of the same function with what stands inside detach() frozen at its base value."""
    generator = torch.Generator().manual_seed(1)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    a, x, shift, cotangent = draw(3, 7), draw(3, 7), 0.7 + 0.1 * draw(7), draw(3, 7)
    noise = torch.rand(3, 7, generator=generator, dtype=torch.float64)
    base = mask_from(a, shift)
    for rounding in ROUNDINGS:
        config = LearnedDropoutConfig(n_head=1, mask_rounding=rounding, sigmoid_scale=6.0)
        for training in (True, False):
            frozen = {"NOISE_AND_LINEAR": ((noise <= base if training else base >= 0.5).double() - base),
                      "SIGMOID_DETACH": torch.sigmoid(6.0 * (base - 0.5)) - base}.get(rounding)

            def formula():  # straight from the definition, detached parts replayed
                m = 0.5 * torch.cos(a + shift) + 0.5
                r = m if rounding is None else torch.sigmoid(6.0 * (m - 0.5)) if rounding == "SIGMOID" else m + frozen
                return ((x * r) * cotangent).sum() + 0.1 * (m * m / 2).mean() + 0.3 * m.abs().mean() - 0.2 * (m * torch.log2(m + 1e-9)).mean()

            leaves = [t.clone().requires_grad_() for t in (a, shift, x)]
            m = mask_from(leaves[0], leaves[1])
            r = round_mask(m, config, training, noise)
            if rounding == "NOISE_AND_LINEAR":
                assert ((r == 0) | (r == 1)).all() and 0 < r.mean() < 1, "R must be exactly 0 or 1"
            loss = ((leaves[2] * r) * cotangent).sum() + 0.1 * l1_norm_penalty(m, "SQUARED") + 0.3 * l1_norm_penalty(m, "LINEAR") + 0.2 * entropy_penalty(m)
            loss.backward()
            for name, leaf, tensor in zip(("A", "S", "X"), leaves, (a, shift, x)):
                check_close(f"d{name} {rounding}{'' if training else ' at evaluation'}", leaf.grad, central_difference(formula, tensor), 1e-8)


def check_batched_masks():
    """One attention over L*H heads equals L attentions over H heads."""
    L, H, C = 3, 2, 6
    torch.manual_seed(1)
    config = LearnedDropoutConfig(n_head=H, mask_rounding=None)
    together = MaskGenerator(config, C, n_masks=L).double()
    nn.init.normal_(together.qkv.weight), nn.init.normal_(together.shift)
    z = torch.randn(2, 5, C, dtype=torch.float64)
    parts = together.qkv.weight.detach().view(3, L, C, C)
    for l in range(L):
        alone = MaskGenerator(config, C).double()
        alone.qkv.weight.data, alone.shift.data = parts[:, l].reshape(3 * C, C), together.shift.data[l * C:(l + 1) * C]
        check_close(f"mask {l} computed alone", alone(z)[0], together(z)[0][..., l * C:(l + 1) * C], 1e-14)


def check_model_gradients():
    """The whole model against finite differences where nothing is detached, and the rule for parameters that get no gradient."""
    for mask_input in MASK_INPUTS:
        torch.manual_seed(1)
        learned = LearnedDropoutConfig(n_head=2, mask_input=mask_input, mask_rounding="SIGMOID", sigmoid_scale=6.0, shift_init=0.7)
        model = Transformer(ModelConfig(19, 7, 6, 3, 2, use_bias=True, learned_dropout=learned, l1_norm="SQUARED", use_entropy=True)).double()
        for p in model.parameters():
            nn.init.normal_(p, mean=0.5 if p.dim() == 1 else 0.0, std=0.4)
        tokens, targets = torch.randint(19, (2, 5)), torch.randint(19, (2, 5))
        loss = lambda: model(tokens, targets).loss
        loss().backward()
        for name, p in model.named_parameters():
            if name.startswith(("embed_dropout", "precomputed", "token")) or "learned_dropout" in name:
                check_close(f"{mask_input} {name}", p.grad, central_difference(loss, p.data), 1e-6)
    learned.use_detached_input = True
    model.zero_grad(set_to_none=True)
    loss().backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert without == {name for name, _ in model.named_parameters() if name.startswith("embed_dropout.")}, without
    print("ok  EMBED detached: only embed_dropout.* gets no gradient")


if __name__ == "__main__":
    check_parameter_counts()
    check_rounding_gradients()
    check_batched_masks()
    check_model_gradients()
