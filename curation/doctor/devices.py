"""The processor, and what torch finds, which another process asks it."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from curation.doctor.facts import Fact

FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")
TORCH_SECONDS = 180


def devices() -> Iterator[Fact]:
    """Yield the processor, and what torch finds, which another process asks it."""
    yield _processor()
    # a torch that crashes or hangs must not take this process with it
    code = "from curation.doctor.devices import tell_torch; tell_torch()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    reinstall = "pip install --force-reinstall torch, as https://pytorch.org/get-started says"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            timeout=TORCH_SECONDS,
            check=False,
        )
        last = (done.stdout.strip().splitlines() or [""])[-1]
        facts = [Fact(*item) for item in json.loads(last)] if done.returncode == 0 else None
    except (subprocess.TimeoutExpired, ValueError) as error:
        yield Fact("torch", "broken", str(error), reinstall, wrong=True)
        return
    if facts is None:
        words = (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]
        yield Fact("torch", "broken", words, reinstall, wrong=True)
        return
    yield from facts


def tell_torch() -> None:
    """Print what torch finds, as a line of JSON; `devices` runs this in a process of its own."""
    import torch

    facts = [
        Fact(
            "torch",
            "there",
            f"{torch.__version__}, {torch.get_num_threads()} threads, "
            f"{torch.backends.cpu.get_cpu_capability()}",
        )
    ]
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        memory = about.total_memory / 2**30
        facts.append(
            Fact(
                f"gpu {index}",
                "there",
                f"{about.name}, {memory:.0f} GiB, {'with' if native else 'without'} bfloat16",
                figures={"memory_bytes": about.total_memory, "bfloat16": native},
            )
        )
    if torch.backends.mps.is_available():
        facts.append(Fact("gpu", "there", "Apple's, through Metal"))
    if len(facts) == 1:
        cuda, rocm = torch.version.cuda, torch.version.hip
        built = f"CUDA {cuda}" if cuda else f"ROCm {rocm}" if rocm else "no GPU"
        words = f"torch, built for {built}, finds none"
        facts.append(Fact("gpu", "none", f"{words}; everything runs on the processor"))
    print(json.dumps(facts))  # noqa: T201  the answer to the other process


def _processor() -> Fact:
    """Return the processor: its name, the cores that this process may use, and its features."""
    lines: dict[str, str] = {}
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines():
            key, _, value = line.partition(":")
            lines.setdefault(key.strip(), value.strip())
    except OSError:  # not Linux
        pass
    own = {*lines.get("flags", "").split(), *lines.get("Features", "").split()}
    features = [name for name in FEATURES if name in own]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = lines.get("model name") or platform.processor() or platform.machine()
    if {"avx512_bf16", "amx_bf16", "bf16"} & own:
        half = "computes in bfloat16"
    else:
        half = "no bfloat16" if own else "features unknown here"
    return Fact(
        "processor",
        "there",
        f"{name}, {cores} cores, {half}" + (f" ({', '.join(features)})" if features else ""),
        figures={"cores": cores, "features": features},
    )
