"""Times one training step of the PyTorch yardstick: K x (forward + backward), then AdamW, on synthetic tokens.

    python bench/pytorch_train.py --variant hidden_state --batch-size 10 --steps 5
    python bench/pytorch_train.py --variant baseline --batch-size 10 --steps 20 --compile --dtype bfloat16

Shapes default to the published run of the variant (C=144 H=9 with LearnedDropout, C=156 H=12 without; L=26, T=200, V=50257). float32 means float32 everywhere;
bfloat16 means autocast over float32 weights, as in the published runs. As there, the squared L1 penalty is on and dropout is off. A step of --accumulation K
counts K micro-batches. The first steps (--warmup) are not timed: they compile and fill caches. The last line printed is one JSON object.

Settings tried on the CPU and kept (the benchmark restarts itself once to set the allocator's): memory of freed tensors stays with the process, because glibc
otherwise maps and unmaps the logits, 40 kB per token and copy, at every step (a fifth of the step time); huge pages; fused AdamW; gradients set to None.
Attention under bfloat16 runs in float32 (see pytorch_model.py). --loss-chunk 256 is worth trying without --compile.
On a machine shared with others, OMP_WAIT_POLICY=PASSIVE in the environment makes waiting threads sleep; on a quiet one leave it out.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import time


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", choices=("baseline", "hidden_state", "embed"), default="hidden_state")
    parser.add_argument("--n-embed", type=int)
    parser.add_argument("--n-head", type=int, help="also the number of heads of LearnedDropout")
    parser.add_argument("--n-layer", type=int, default=26)
    parser.add_argument("--context-size", type=int, default=200)
    parser.add_argument("--alphabet-size", type=int, default=50257)
    parser.add_argument("--dropout-rate", type=float, default=0.0)
    parser.add_argument("--batch-size", type=int, default=10)
    parser.add_argument("--accumulation", type=int, default=1, help="micro-batches per step")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=2, help="steps before the timed ones")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--compile", action="store_true", help="torch.compile; on the CPU it needs g++")
    parser.add_argument("--optimizer", choices=("fused", "foreach"), default="fused")
    parser.add_argument("--loss-chunk", type=int, help="rows of logits held at a time; default all")
    parser.add_argument("--release-memory", action="store_true", help="leave glibc's allocator as it is (CPU)")
    return parser.parse_args()


def restart_with_allocator_settings():
    """glibc reads them before the first instruction of ours: never map a block on its own, never give memory back, use huge pages."""
    if "GLIBC_TUNABLES" not in os.environ and platform.libc_ver()[0] == "glibc":
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1000000000000:glibc.malloc.hugetlb=1"
        os.execv(sys.executable, [sys.executable, *sys.argv])


def busy_seconds():
    """CPU seconds spent by everyone on this machine so far; None where the system does not tell."""
    try:
        with open("/proc/stat") as file:
            user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None


def peak_memory(torch, device):
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main():
    args = parse_arguments()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # read when torch is loaded, hence the late import
    if args.device == "cpu" and not args.release_memory:
        restart_with_allocator_settings()
    import torch
    from pytorch_model import Transformer, adamw, published_config

    torch.set_num_threads(args.threads)
    torch.manual_seed(1337)
    on_gpu = args.device == "cuda"
    if on_gpu:  # as nanoGPT does: TF32 for what stays in float32 under autocast; a float32 run is float32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.dtype == "bfloat16"

    changes = {name: getattr(args, name) for name in ("n_embed", "n_head") if getattr(args, name) is not None}
    config = published_config(args.variant, n_layer=args.n_layer, context_size=args.context_size, alphabet_size=args.alphabet_size,
                              dropout_rate=args.dropout_rate, **changes)
    model = Transformer(config).to(args.device).train()
    optimizer = adamw(model.parameters(), lr=9e-4, **{args.optimizer: True})

    def micro_step(tokens, targets):
        with torch.autocast(args.device, dtype=torch.bfloat16, enabled=args.dtype == "bfloat16"):
            return model(tokens, targets, loss_chunk=args.loss_chunk).loss / args.accumulation

    forward = torch.compile(micro_step) if args.compile else micro_step
    data = torch.randint(args.alphabet_size, (args.accumulation, args.batch_size, args.context_size + 1), device=args.device)

    def step():
        total = torch.zeros((), device=args.device)
        for micro in data:
            loss = forward(micro[:, :-1].contiguous(), micro[:, 1:].contiguous())
            loss.backward()
            total += loss.detach()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return total.item()  # waits for the device

    losses, seconds = [], []
    started = time.perf_counter()
    for _ in range(args.warmup):
        losses.append(step())
    warmup_seconds = time.perf_counter() - started
    own_before, all_before, timed_from = time.process_time(), busy_seconds(), time.perf_counter()
    for i in range(args.steps):
        started = time.perf_counter()
        losses.append(step())
        seconds.append(time.perf_counter() - started)
        print(f"step {i:3}  {seconds[-1]:8.4f} s  loss {losses[-1]:.4f}", flush=True)

    own = time.process_time() - own_before
    # CPUs that other programs took meanwhile, on average. Threads that wait for each other suffer out of proportion: a step can take ten times as long.
    others = None if all_before is None else max(0.0, busy_seconds() - all_before - own) / (time.perf_counter() - timed_from)
    median = statistics.median(seconds)
    tokens_per_step = args.accumulation * args.batch_size * args.context_size
    memory = peak_memory(torch, args.device)
    print(f"{args.variant}  {model.n_parameters():,} parameters  median {median:.4f} s  best {min(seconds):.4f} s  "
          f"{tokens_per_step / median:,.0f} tokens/s  peak memory {memory / 2**20:,.0f} MiB")
    if others is not None and others > 0.1:
        print(f"warning: other programs took {others:.2f} CPUs meanwhile; these times are no measurement")
    print(json.dumps({
        "what": "pytorch_train", "torch": torch.__version__, "device": torch.cuda.get_device_name() if on_gpu else platform.machine(),
        "variant": args.variant, "parameters": model.n_parameters(), "n_embed": config.n_embed, "n_head": config.n_head, "n_layer": config.n_layer,
        "context_size": config.context_size, "alphabet_size": config.alphabet_size, "batch_size": args.batch_size, "accumulation": args.accumulation,
        "dtype": args.dtype, "compile": args.compile, "optimizer": args.optimizer, "loss_chunk": args.loss_chunk, "threads": args.threads,
        "median_s": round(median, 5), "best_s": round(min(seconds), 5), "seconds": [round(s, 5) for s in seconds], "warmup_s": round(warmup_seconds, 2),
        "tokens_per_s": round(tokens_per_step / median, 1), "own_cpu_s_per_step": round(own / args.steps, 5), "other_cpus": None if others is None else round(others, 3),
        "peak_bytes": memory, "first_loss": losses[0], "last_loss": losses[-1]}))


if __name__ == "__main__":
    main()
