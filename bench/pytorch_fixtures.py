"""Writes tests/fixtures/*.fixture: inputs, values and gradients computed by PyTorch in float64, for the C++ tests to read without Python.

    python bench/pytorch_fixtures.py [DIRECTORY]

A file is a sequence of tensors, nothing else. Each is one line of text, then its values, raw and row-major, then one newline:

    NAME DTYPE NDIM D0 D1 ...\\n<values, little-endian>\\n        DTYPE: float64 (8 bytes) or int64 (8 bytes); NDIM 0 is a single value

Names never hold a space. So a reader is: getline, split, read 8 * product(dims) bytes, skip one byte, until the end of the file.
`grep -a 64 FILE` shows the names.
Every input is a multiple of 1/2048 below 64 (noise of models: of 2^-24, below 1), hence exact in float32 as well, and no noise and no threshold lies
within 1e-4 of its mask.
Gradients are those of `loss`, or, for single operations, of sum(y * dy) with a random cotangent dy. A gradient that does not exist (a parameter behind detach) is absent from the file: absent, not zero.

Models (model_*.fixture). config.* holds what the test needs to build it; flags are int64 0 or 1. Names of parameters are those of pytorch_model.py,
which are also the engine's. The noise is what the engine draws under the seed config.noise_seed in step 0, so a test needs to hand none over.
    param.NAME                       before any step                    tokens targets (B,T)   noise (L,B,T,C), for EMBED (B,T,L*C)
    logits cross_entropy loss        training mode, with this noise     l1_norm entropy        mean over the layers, before their coefficients
    mask rounded                     M and R, shaped as noise           eval.logits eval.loss  evaluation mode: threshold 0.5, no penalty
    grad.NAME                        of loss = cross_entropy + config.l1_norm_coeff * l1_norm + config.entropy_coeff * entropy
    adamw.N.loss adamw.N.param.NAME  N = 1, 2, 3: the loss before and the parameters after step N on this same batch and noise, learning rate 1e-3, decay 0.1 on
                                     parameters with two or more dimensions, beta 0.9 and 0.95, eps 1e-8; parameters without a gradient stay as they are.
                                     Parameters after steps 1 and 2 are in model_hidden_state only, those after step 3 in every model.
    EMBED: the rows of precomputed_masks.qkv.weight (3*L*C,C) are [q | k | v], in each part layer l at l*C..(l+1)*C; precomputed_masks.shift is (L*C).

Operations (op_*.fixture): names as written by the functions below; `dx` is the gradient with respect to `x`, and so on. A file of many small cases
names them CASE.y, CASE.dy, CASE.x, CASE.dx, ... Where an op draws noise, it is the engine's, drawn here by a Philox of our own under the seed `noise_seed`, step 0.
"""

import pathlib
import sys

import torch
import torch.nn.functional as F

from pytorch_model import (ROUNDINGS, LearnedDropoutConfig, ModelConfig, Transformer, adamw, causal_attention, entropy_penalty, l1_norm_penalty, mask_from,
                           round_mask)
from pytorch_variants import VariantConfig, VariantTransformer

GENERATOR = torch.Generator()


def draw(*shape, scale=1.0, mean=0.0):
    """Normal numbers on the grid of 1/1024."""
    x = mean + scale * torch.randn(shape, generator=GENERATOR, dtype=torch.float64)
    return (x * 1024).round().clamp(-8191, 8191) / 1024


def draw_integers(limit, *shape):
    return torch.randint(limit, shape, generator=GENERATOR)


# ---- the engine's noise ----------------------------------------------------------------------------------------------------------------

def philox(counter, key):
    """Philox-4x32-10: four words of counter and two of key give four random words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & 0xFFFFFFFF, (p0 >> 32) ^ c3 ^ k1, p0 & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def engine_uniform(seed, step, sample, site, element):
    """One number on [0,1), as NoiseKey::uniform of engine/random.h."""
    words = philox((element >> 2, site, sample, step), (seed & 0xFFFFFFFF, seed >> 32))
    return (words[element & 3] >> 8) * 2.0**-24


def engine_noise(seed, site, samples, *shape):
    """(samples, *shape): element e of sample s is number e of sample s at this site (model/sites.h), in step 0."""
    count = torch.Size(shape).numel()
    noise = [[engine_uniform(seed, 0, s, site, e) for e in range(count)] for s in range(samples)]
    return torch.tensor(noise, dtype=torch.float64).view(samples, *shape)


# ---- files -----------------------------------------------------------------------------------------------------------------------------

def write(path, tensors):
    with open(path, "wb") as file:
        for name, value in tensors.items():
            if not isinstance(value, torch.Tensor):
                value = torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else torch.int64)
            value = value.detach().contiguous()
            assert value.dtype in (torch.float64, torch.int64) and " " not in name, (name, value.dtype)
            assert value.isfinite().all(), f"{path.name}: {name} is not finite"
            dtype = str(value.dtype).removeprefix("torch.")
            file.write(" ".join([name, dtype, str(value.dim()), *map(str, value.shape)]).encode() + b"\n")
            file.write(bytes(value.flatten().view(torch.uint8).tolist()) if value.dim() else bytes(value.view(1).view(torch.uint8).tolist()))
            file.write(b"\n")


def gradients(tensors, y, dy, **inputs):
    """Adds y, dy, every input and its gradient to `tensors`."""
    found = torch.autograd.grad(y, list(inputs.values()), dy)
    tensors.update(y=y, dy=dy, **inputs)
    tensors.update({f"d{name}": gradient for name, gradient in zip(inputs, found)})
    return tensors


# ---- models ----------------------------------------------------------------------------------------------------------------------------

def check_margin(mask, threshold):
    """An ulp of M must not decide about an element, or no other implementation could be held to these values."""
    margin = (mask - threshold).abs().min().item()
    assert margin > 1e-4, f"a threshold lies within {margin:.1e} of its mask: change the seed"


def draw_parameters(model):
    """Large enough that every gradient counts; the shift at a generic place, not at 0."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith(("shift", ".b")):
                p.copy_(draw(*p.shape, scale=0.1, mean=0.7))
            elif p.dim() == 1:
                p.copy_(draw(*p.shape, scale=0.2, mean=1.0 if name.endswith((".a", "weight")) else 0.0))
            else:
                p.copy_(draw(*p.shape, scale=0.4))


def three_steps(out, model, forward, at_evaluation, steps_kept=(3,), more=lambda result: {}):
    """Adds the values and gradients of the first forward pass in training, what `more` makes of it, and the parameters after the AdamW steps kept."""
    model.train()
    optimizer = adamw(model.parameters(), lr=1e-3, foreach=False)
    for step in (1, 2, 3):
        optimizer.zero_grad(set_to_none=True)
        result = forward()
        result.loss.backward()
        if step == 1:
            out.update({"logits": result.logits, "cross_entropy": result.cross_entropy, "loss": result.loss,
                        "eval.logits": at_evaluation.logits, "eval.loss": at_evaluation.loss})
            out.update(more(result))
            out.update({name: value for name, value in (("l1_norm", result.l1_norm), ("entropy", result.entropy)) if value is not None})
            out.update({f"grad.{name}": p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        optimizer.step()
        out[f"adamw.{step}.loss"] = result.loss
        if step in steps_kept:
            out.update({f"adamw.{step}.param.{name}": p.detach().clone() for name, p in model.named_parameters()})
    return out


def model_case(seed, learned=None, use_bias=False, l1_norm=None, l1_norm_coeff=0.0, use_entropy=False, entropy_coeff=0.0,
               steps_kept=(3,)):
    B, T, C, L, V = 2, 5, 6, 2, 19
    GENERATOR.manual_seed(seed)
    config = ModelConfig(alphabet_size=V, context_size=7, n_embed=C, n_head=3, n_layer=L, use_bias=use_bias, learned_dropout=learned,
                         l1_norm=l1_norm, use_entropy=use_entropy)
    model = Transformer(config).double()
    draw_parameters(model)
    tokens, targets = draw_integers(V, B, T), draw_integers(V, B, T)
    noise = None
    if learned is not None:
        per_layer = [engine_noise(seed, 16 + 8 * layer + FEED_FORWARD_MASK, B, T, C) for layer in range(L)]
        noise = torch.cat(per_layer, dim=-1) if learned.mask_input == "EMBED" else torch.stack(per_layer)

    out = {"config.batch": B, "config.sequence": T, "config.alphabet_size": V, "config.context_size": 7, "config.n_embed": C, "config.n_head": 3,
           "config.n_layer": L, "config.use_bias": int(use_bias), "config.learned_dropout": int(learned is not None)}
    if learned is not None:
        out.update({"config.mask_input_is_embed": int(learned.mask_input == "EMBED"), "config.mask_n_head": learned.n_head,
                    "config.mask_use_bias": int(learned.use_bias), "config.use_detached_input": int(learned.use_detached_input),
                    "config.l1_norm_is_squared": int(l1_norm == "SQUARED"), "config.l1_norm_coeff": l1_norm_coeff,
                    "config.use_entropy": int(use_entropy), "config.entropy_coeff": entropy_coeff})
    out.update(tokens=tokens, targets=targets)
    if noise is not None:
        out.update({"config.noise_seed": seed, "noise": noise})
    out.update({f"param.{name}": p.detach().clone() for name, p in model.named_parameters()})

    def forward():
        result = model(tokens, targets, noise, l1_norm_coeff, entropy_coeff)
        if result.masks:
            mask = torch.stack(result.masks)
            check_margin(mask.view(noise.shape) if model.training else mask, noise if model.training else 0.5)
        return result

    model.eval()
    with torch.no_grad():
        at_evaluation = forward()

    def masks_of(result):
        if not result.masks:
            return {}
        mask = torch.stack(result.masks).view(noise.shape).detach()
        return {"mask": mask, "rounded": round_mask(mask, learned, True, noise)}

    return three_steps(out, model, forward, at_evaluation, steps_kept, masks_of)


# The sites of model/sites.h: of the embedding's mask, and of block l at 16 + 8 l + place.
EMBEDDING_MASK, FEED_FORWARD_MASK, ATTENTION_OUTPUT_MASK, ATTENTION_PROBABILITIES_MASK = 1, 3, 4, 5


def variant_case(seed, learned, elementwise, every_dropout, l1_norm=None, l1_norm_coeff=0.0, entropy=None, entropy_coeff=0.0):
    """A model of pytorch_variants.py: param.*, logits, losses and grad.* in training with the engine's noise, eval.*, and the parameters after three steps."""
    B, T, C, L, V, H = 2, 5, 6, 2, 11, 3
    GENERATOR.manual_seed(seed)
    config = VariantConfig(V, 7, C, H, L, learned, elementwise, every_dropout, l1_norm, entropy)
    model = VariantTransformer(config).double()
    draw_parameters(model)
    tokens, targets = draw_integers(V, B, T), draw_integers(V, B, T)
    noise = None
    if learned.mask_rounding == "NOISE_AND_LINEAR":
        places = [FEED_FORWARD_MASK]
        if every_dropout:
            places = ([ATTENTION_PROBABILITIES_MASK] if elementwise else []) + [ATTENTION_OUTPUT_MASK] + places
        sites = ([EMBEDDING_MASK] if every_dropout else []) + [16 + 8 * layer + place for layer in range(L) for place in places]
        noise = [engine_noise(seed, site, *((B, H, T, T) if site % 8 == ATTENTION_PROBABILITIES_MASK else (B, T, C))) for site in sites]
    out = {"config.alphabet_size": V, "config.context_size": 7, "config.n_embed": C, "config.n_head": H, "config.n_layer": L, "config.use_bias": 0,
           "config.learned_dropout": 1, "config.noise_seed": seed, "config.mask_input_is_embed": int(learned.mask_input == "EMBED"),
           "config.mask_n_head": learned.n_head, "config.mask_use_bias": 0, "config.use_detached_input": int(learned.use_detached_input),
           "config.rounding": ROUNDINGS.index(learned.mask_rounding), "config.sigmoid_scale": learned.sigmoid_scale,
           "config.elementwise": int(elementwise), "config.every_dropout": int(every_dropout),
           "config.l1_norm_is_squared": int(l1_norm == "SQUARED"), "config.l1_norm_coeff": l1_norm_coeff,
           "config.use_entropy": int(entropy is not None), "config.entropy_is_alternate": int(entropy == "ALTERNATE"), "config.entropy_coeff": entropy_coeff,
           "tokens": tokens, "targets": targets}
    out.update({f"param.{name}": p.detach().clone() for name, p in model.named_parameters()})

    def forward():
        result = model(tokens, targets, noise if model.training else None, l1_norm_coeff, entropy_coeff)
        if learned.mask_rounding == "NOISE_AND_LINEAR":
            for k, mask in enumerate(result.masks):
                check_margin(mask, noise[k] if model.training else 0.5)
        return result

    model.eval()
    with torch.no_grad():
        at_evaluation = forward()
    return three_steps(out, model, forward, at_evaluation)


def models():
    learned = lambda **changes: LearnedDropoutConfig(n_head=2, **changes)
    yield "model_baseline_bias", model_case(1, use_bias=True)
    yield "model_baseline", model_case(2)
    yield "model_hidden_state", model_case(3, learned(), l1_norm="SQUARED", l1_norm_coeff=0.1, steps_kept=(1, 2, 3))
    yield "model_embed", model_case(4, learned(mask_input="EMBED"), l1_norm="LINEAR", l1_norm_coeff=0.1, use_entropy=True, entropy_coeff=0.05)
    yield "model_embed_detached", model_case(5, learned(mask_input="EMBED", use_detached_input=True), l1_norm="SQUARED", l1_norm_coeff=0.1)
    yield "model_everywhere", variant_case(6, learned(), False, True, l1_norm="SQUARED", l1_norm_coeff=0.1)
    yield "model_everywhere_embed", variant_case(7, learned(mask_input="EMBED", mask_rounding="SIGMOID", sigmoid_scale=6.0), False, True,
                                                 entropy="ALTERNATE", entropy_coeff=0.05)
    yield "model_elementwise", variant_case(8, learned(mask_rounding=None, use_detached_input=True), True, True, l1_norm="LINEAR", l1_norm_coeff=0.1,
                                            entropy="CANONICAL", entropy_coeff=0.05)
    yield "model_elementwise_noise", variant_case(10, learned(), True, True, l1_norm="LINEAR", l1_norm_coeff=0.1, entropy="ALTERNATE", entropy_coeff=0.05)


# ---- operations ------------------------------------------------------------------------------------------------------------------------

def layernorm(cols, use_bias):  # x (4,cols), weight (cols), bias (cols) if any -> y. With one column y is the bias and dx is 0.
    GENERATOR.manual_seed(12 + cols)
    inputs = {"x": draw(4, cols, scale=1.5, mean=0.5), "weight": draw(cols, scale=0.5, mean=1.0)}
    if use_bias:
        inputs["bias"] = draw(cols, scale=0.5)
    inputs = {name: value.requires_grad_() for name, value in inputs.items()}
    y = F.layer_norm(inputs["x"], (cols,), inputs["weight"], inputs.get("bias"), eps=1e-5)
    return gradients({}, y, draw(4, cols), **inputs)


def attention():  # qkv (2,7,45) = [q | k | v], each (B,T,H*D), head h at columns h*D..(h+1)*D -> y (2,7,15); causal, scaled by 1/sqrt(5)
    GENERATOR.manual_seed(13)
    qkv = draw(2, 7, 45).requires_grad_()
    return gradients({"n_head": 3}, causal_attention(qkv, 3), draw(2, 7, 15), qkv=qkv)


def attention_dropout():
    """The same with 2 heads of 3 and dropout on the probabilities: element (h, i, j) of a sample is kept where its noise is at least `rate`."""
    GENERATOR.manual_seed(17)
    B, T, H, D, seed, rate = 2, 4, 2, 3, 17, 0.25
    noise = engine_noise(seed, 0, B, H, T, T)
    check_margin(noise, rate)
    qkv = draw(B, T, 3 * H * D).requires_grad_()
    q, k, v = (part.view(B, T, H, D).transpose(1, 2) for part in qkv.split(H * D, dim=-1))  # each (B,H,T,D)
    hidden = torch.ones(T, T, dtype=torch.bool).triu(1)
    probabilities = F.softmax((q @ k.transpose(-1, -2) / D**0.5).masked_fill(hidden, -torch.inf), dim=-1)
    y = (probabilities * (noise >= rate) / (1 - rate)) @ v
    y = y.transpose(1, 2).reshape(B, T, H * D)
    return gradients({"n_head": H, "rate": rate, "noise_seed": seed}, y, draw(B, T, H * D), qkv=qkv)


def cross_entropy():
    """logits (6,19), targets (6) -> loss, the mean over rows, with its gradient dlogits; row 5 has one logit 40 above the others.

    some.*: two of the targets are -1, which ignores their rows. linear.*: the same of the logits x (6,4) times weight (19,4) transposed.
    """
    GENERATOR.manual_seed(14)
    logits, targets = draw(6, 19, scale=2.0), draw_integers(19, 6)
    logits[5] -= 35.0
    logits[5, 3] += 40.0
    logits.requires_grad_()
    loss = F.cross_entropy(logits, targets)
    out = {"targets": targets, "logits": logits, "loss": loss, "dlogits": torch.autograd.grad(loss, logits)[0]}
    targets = targets.clone()
    targets[1] = targets[4] = -1
    loss = F.cross_entropy(logits, targets, ignore_index=-1)
    out.update({"some.targets": targets, "some.loss": loss, "some.dlogits": torch.autograd.grad(loss, logits)[0]})
    x, weight = draw(6, 4).requires_grad_(), draw(19, 4).requires_grad_()
    loss = F.cross_entropy(x @ weight.T, targets, ignore_index=-1)
    dx, dweight = torch.autograd.grad(loss, (x, weight))
    out.update({"linear.x": x, "linear.weight": weight, "linear.loss": loss, "linear.dx": dx, "linear.dweight": dweight})
    return out


def softmax():  # x (5,33), over the last dimension -> y
    GENERATOR.manual_seed(15)
    x = draw(5, 33, scale=2.0).requires_grad_()
    return gradients({}, F.softmax(x, dim=-1), draw(5, 33), x=x)


def learned_dropout(rounding, training, sigmoid_scale):
    """x, a, noise (2,3,5), shift (5) -> mask = 0.5 cos(a + shift) + 0.5, rounded (from mask and noise), y = x * rounded.

    Beside sum(y * dy): l1_squared = mean(mask^2 / 2), l1_linear = mean(|mask|), entropy = mean(-mask log2(mask + 1e-9)), and
    loss.da, loss.dshift, loss.dx = gradients of sum(y * dy) + 0.1 l1_squared + 0.2 l1_linear + 0.3 entropy.
    """
    GENERATOR.manual_seed(16)
    inputs = {"x": draw(2, 3, 5), "a": draw(2, 3, 5, scale=1.5), "shift": draw(5, scale=0.1, mean=0.7)}
    inputs = {name: value.requires_grad_() for name, value in inputs.items()}
    noise, dy = engine_noise(16, 0, 2, 3, 5), draw(2, 3, 5)
    config = LearnedDropoutConfig(n_head=1, mask_rounding=rounding, sigmoid_scale=sigmoid_scale)

    def compute():
        mask = mask_from(inputs["a"], inputs["shift"])
        rounded = round_mask(mask, config, training, noise)
        return mask, rounded, inputs["x"] * rounded

    mask, rounded, y = compute()
    check_margin(mask, noise if training else 0.5)
    tensors = gradients({"noise_seed": 16, "noise": noise, "sigmoid_scale": sigmoid_scale, "mask": mask, "rounded": rounded}, y, dy, **inputs)
    mask, _, y = compute()
    l1_squared, l1_linear, entropy = l1_norm_penalty(mask, "SQUARED"), l1_norm_penalty(mask, "LINEAR"), entropy_penalty(mask)
    loss = (y * dy).sum() + 0.1 * l1_squared + 0.2 * l1_linear + 0.3 * entropy
    found = torch.autograd.grad(loss, list(inputs.values()))
    tensors.update(l1_squared=l1_squared, l1_linear=l1_linear, entropy=entropy, loss=loss)
    tensors.update({f"loss.d{name}": gradient for name, gradient in zip(inputs, found)})
    return tensors


class Cases(dict):
    """The tensors of many small cases: CASE.y, a random cotangent CASE.dy, the inputs and their gradients."""

    def __init__(self, seed):
        GENERATOR.manual_seed(seed)

    def add(self, case, function, **inputs):
        inputs = {name: value.clone().requires_grad_() for name, value in inputs.items()}
        y = function(**inputs)
        found = gradients({}, y, draw(*y.shape), **inputs)
        self.update({f"{case}.{name}": value for name, value in found.items()})


def away_from(x, value):
    """x with what is closer to `value` than 1/16 moved to the side by 1/8: kinks and poles have no derivative to compare."""
    return torch.where((x - value).abs() < 1 / 16, value + 1 / 8, x)


def binary():  # OP_KIND: the sizes of a and b, one the end of the other's
    cases = Cases(20)
    kinds = {"same": ((2, 2, 3), (2, 2, 3)), "vector_right": ((2, 2, 3), (3,)), "vector_left": ((3,), (2, 2, 3)),
             "block_right": ((2, 2, 3), (2, 3)), "scalar_right": ((2, 3), ()), "scalar_left": ((), (2, 3))}
    functions = {"add": torch.add, "sub": torch.sub, "multiply": torch.mul, "div": torch.div}
    for name, function in functions.items():
        for kind, (a, b) in kinds.items():
            cases.add(f"{name}_{kind}", lambda a, b, function=function: function(a, b), a=draw(*a), b=away_from(draw(*b), 0))
    return cases


def unary():
    cases = Cases(21)
    functions = {"neg": torch.neg, "scale": lambda x: -1.75 * x, "add_scalar": lambda x: x + 0.375, "square": torch.square, "abs": torch.abs,
                 "exp": torch.exp, "sin": torch.sin, "cos": torch.cos, "tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}
    for name, function in functions.items():
        cases.add(name, function, x=away_from(draw(3, 4, scale=2.0), 0))
    for name, function in {"log": torch.log, "log2": torch.log2, "sqrt": torch.sqrt}.items():
        cases.add(name, function, x=draw(3, 4).abs() + 1 / 8)
    wide = (torch.linspace(-8, 8, 41, dtype=torch.float64) * 1024).round() / 1024
    cases.add("gelu", lambda x: F.gelu(x), x=wide)
    cases.add("gelu_tanh", lambda x: F.gelu(x, approximate="tanh"), x=wide)
    return cases


def select():  # a comparison decides between 2a and b; a and b share some values
    cases = Cases(22)
    a, b = draw(3, 4), draw(3, 4)
    b[1] = a[1]
    for name, compare in {"less": torch.lt, "less_equal": torch.le, "greater": torch.gt, "greater_equal": torch.ge, "equal": torch.eq}.items():
        cases.add(name, lambda a, b, compare=compare: torch.where(compare(a, b), 2 * a, b), a=a, b=b)
    x = draw(3, 4)
    x[0, 0] = 0.5
    cases.add("at_least", lambda x: torch.where(x >= 0.5, x, -3 * x), x=x)
    cases.add("detach", lambda x: x * x.detach(), x=x)
    seed = cases["noise_seed"] = 22
    noise = cases["noise"] = engine_noise(seed, 0, 3, 4)
    cases.add("uniform_noise", lambda x: x * noise, x=x)
    m = (draw(3, 4).sigmoid() * 1024).round() / 1024
    check_margin(m, noise)
    round_by = lambda m, up: torch.where(up, m + (1 - m).detach(), m - m.detach())
    cases.add("round_stochastic", lambda m: round_by(m, noise <= m), m=m)
    cases.add("round_deterministic", lambda m: round_by(m, m >= 0.5), m=m)
    return cases


def reduce():
    cases = Cases(23)
    for name, function in {"sum": torch.sum, "mean": torch.mean, "sum_last": lambda x: x.sum(-1), "mean_last": lambda x: x.mean(-1)}.items():
        cases.add(name, function, x=draw(2, 3, 5))
    return cases


def linear():
    cases = Cases(24)
    cases.add("with_bias", lambda x, weight, bias: F.linear(x, weight, bias), x=draw(2, 3, 5), weight=draw(4, 5), bias=draw(4))
    cases.add("without_bias", lambda x, weight: F.linear(x, weight), x=draw(2, 3, 5), weight=draw(4, 5))
    return cases


def matmul():  # na, nt, tn, tt: whether a and b lie transposed; (2,3,4) times (2,4,5), and the same of single and of doubly batched matrices
    cases = Cases(25)
    for kind in ("nn", "nt", "tn", "tt"):
        transposes = [(lambda x: x.transpose(-1, -2)) if letter == "t" else (lambda x: x) for letter in kind]
        a, b = (op(x).contiguous() for op, x in zip(transposes, (draw(2, 3, 4), draw(2, 4, 5))))
        cases.add(kind, lambda a, b, transposes=transposes: transposes[0](a) @ transposes[1](b), a=a, b=b)
    cases.add("single", lambda a, b: a @ b, a=draw(3, 4), b=draw(4, 5))
    cases.add("batch_of_batches", lambda a, b: a @ b, a=draw(2, 2, 3, 4), b=draw(2, 2, 4, 3))
    return cases


def layout():
    cases = Cases(26)
    cases.add("reshape", lambda x: x.reshape(3, 8), x=draw(2, 3, 4))
    cases.add("split_heads", lambda x: x.view(2, 3, 2, 4).transpose(1, 2), x=draw(2, 3, 8))
    cases.add("merge_heads", lambda x: x.transpose(1, 2).reshape(2, 3, 8), x=draw(2, 2, 3, 4))
    return cases


def slice_columns():
    cases = Cases(27)
    cases.add("slice", lambda x: x[..., 2:5], x=draw(2, 3, 7))
    return cases


def concat():  # and split_last, whose three parts are used as p0 * p1 + p2
    cases = Cases(31)
    cases.add("concat", lambda a, b, c: torch.cat((a, b, c), dim=-1), a=draw(2, 3, 2), b=draw(2, 3, 1), c=draw(2, 3, 4))

    def use_parts(x):
        p0, p1, p2 = x.chunk(3, dim=-1)
        return p0 * p1 + p2

    cases.add("split_last", use_parts, x=draw(2, 3, 6))
    return cases


def embedding():  # ids (2,4) with repetitions, 6 tokens of 3 columns, of 5 positions 4 are used
    cases = Cases(28)
    ids = cases["ids"] = torch.tensor([[3, 0, 3, 5], [1, 3, 0, 0]])
    cases.add("embedding", lambda token, position: F.embedding(ids, token) + position[:4], token=draw(6, 3), position=draw(5, 3))
    return cases


def dropout():  # an element is kept, and divided by 1 - rate, where its noise is at least the rate
    cases = Cases(29)
    seed, rate = 29, 0.25
    noise = engine_noise(seed, 0, 3, 2, 5)
    check_margin(noise, rate)
    cases.update({"noise_seed": seed, "rate": rate})
    cases.add("dropout", lambda x: x * (noise >= rate) / (1 - rate), x=draw(3, 2, 5))
    return cases


def convert():  # float64 to the named dtype and back; the gradient takes the same way
    cases = Cases(30)
    for dtype in (torch.float32, torch.bfloat16):
        cases.add(str(dtype).removeprefix("torch."), lambda x, dtype=dtype: x.to(dtype).double(), x=draw(3, 4))
    return cases


def stack():
    cases = Cases(32)
    cases.add("matrices", lambda a, b, c: torch.stack((a, b, c)), a=draw(2, 3), b=draw(2, 3), c=draw(2, 3))
    cases.add("mean_of_numbers", lambda a, b: torch.stack((a, b, a)).mean(), a=draw(), b=draw())
    return cases


def operations():
    for cols in (1, 31, 33):
        yield f"op_layernorm_{cols}", layernorm(cols, use_bias=False)
        yield f"op_layernorm_{cols}_bias", layernorm(cols, use_bias=True)
    families = {"binary": binary, "unary": unary, "select": select, "reduce": reduce, "linear": linear, "matmul": matmul, "layout": layout,
                "slice": slice_columns, "concat": concat, "stack": stack, "embedding": embedding, "dropout": dropout, "convert": convert}
    for name, family in families.items():
        yield f"op_{name}", family()
    yield "op_attention", attention()
    yield "op_attention_dropout", attention_dropout()
    yield "op_cross_entropy", cross_entropy()
    yield "op_softmax", softmax()
    yield "op_learned_dropout_noise_training", learned_dropout("NOISE_AND_LINEAR", True, 60.0)
    yield "op_learned_dropout_noise_evaluation", learned_dropout("NOISE_AND_LINEAR", False, 60.0)
    yield "op_learned_dropout_sigmoid", learned_dropout("SIGMOID", True, 60.0)
    yield "op_learned_dropout_sigmoid_6", learned_dropout("SIGMOID", True, 6.0)
    yield "op_learned_dropout_sigmoid_detach", learned_dropout("SIGMOID_DETACH", True, 60.0)
    yield "op_learned_dropout_none", learned_dropout(None, True, 60.0)


def main():
    default = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures"
    directory = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    directory.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # sums in one order, so that files do not depend on the machine's cores
    total = 0
    for cases in (operations(), models()):
        for name, tensors in cases:
            path = directory / f"{name}.fixture"
            write(path, tensors)
            total += path.stat().st_size
            print(f"{path.stat().st_size:8,} bytes  {len(tensors):4} tensors  {path}")
    print(f"{total:8,} bytes in all")
    assert total < 600_000, "keep the fixtures under 600 kB"


if __name__ == "__main__":
    main()
