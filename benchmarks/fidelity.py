"""Fidelity figures beside the libraries that others use, on one core, values and times.

    OMP_NUM_THREADS=1 python benchmarks/fidelity.py [--packages FOLDER] [PART ...]

Parts: frechet, kernel, diversity, manifolds, neighbours; none for all. Comparators are measured
where they are installed, or lie in FOLDER (``pip install --no-deps --target FOLDER pytorch-fid
torch-fidelity prdc vendi-score faiss-cpu``); the others are named as missing. Every measurement is
a process of its own, ways take turns, and what is printed is the median of core seconds and the
most memory beyond the features. Full size for neighbours: ``--queries 100000``, five times longer.
"""

import argparse
import contextlib
import importlib
import os
import pickle
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curation.fidelity import (
    bootstrap_interval,
    frechet_distance,
    kernel_distance,
    precision_recall_density_coverage,
    vendi_score,
)
from curation.neighbours import nearest, nearly_nearest

LEAST = 0.2  # core seconds that a measurement takes; quick calls are repeated
Ways = dict[str, Callable[[], Any]]


def inception_like(rows: int, seed: int) -> np.ndarray:
    """Return (rows, 2048) float32 like pooled activations: correlated, most of them near 0."""
    mixing = np.random.default_rng(0).normal(size=(2048, 2048)) / np.sqrt(
        np.arange(1, 2049)[:, None]
    )
    hidden = np.random.default_rng([1, seed]).normal(size=(rows, 2048)) @ mixing
    return (0.3 * np.maximum(hidden - 1 + 0.05 * seed, 0)).astype(np.float32)


def gaussian(rows: int, width: int, seed: int) -> np.ndarray:
    """Return (rows, width) float32 from N(0, I)."""
    return np.random.default_rng(seed).standard_normal((rows, width), dtype=np.float32)


def resident() -> float:
    """Return this process' memory in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def measured(way: Callable[[], Any]) -> tuple[float, float, Any]:
    """Run in a process of its own; return core seconds, MB beyond the present, and the result."""
    into, out = os.pipe()
    if not (child := os.fork()):
        os.close(into)
        with os.fdopen(out, "wb") as file, open(os.devnull, "w") as nowhere:  # noqa: PTH123
            with contextlib.redirect_stdout(nowhere):
                before, started, calls, seconds = resident(), time.process_time(), 0, 0.0
                while seconds < LEAST:
                    result, calls = way(), calls + 1
                    seconds = time.process_time() - started
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
            pickle.dump((seconds / calls, max(peak - before, 0), result), file)
        os._exit(0)
    os.close(out)
    with os.fdopen(into, "rb") as file:
        found = pickle.load(file)
    os.waitpid(child, 0)
    return found


def race(title: str, ways: Ways, rounds: int) -> dict[str, Any]:
    """Let ways take turns and print a line for each; the first is ours. Return their results."""
    print(f"\n{title}")
    runs: dict[str, list[tuple[float, float, Any]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            runs[name].append(measured(way))
    ours = statistics.median(seconds for seconds, _, _ in next(iter(runs.values())))
    for name, found in runs.items():
        seconds = statistics.median(second for second, _, _ in found)
        memory = max(megabytes for _, megabytes, _ in found)
        print(f"  {name:28s} {seconds:9.4f} core s  x{seconds / ours:7.1f}  {memory:6.0f} MB")
    return {name: found[0][2] for name, found in runs.items()}


def present(*names: str) -> bool:
    """Whether modules can be imported; says which cannot."""
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            print(f"  without {name}: {error}")
            return False
    return True


def frechet(rounds: int, _: int) -> None:
    """Fréchet distance at n = 150 in 2,048 dimensions."""
    real, fake = inception_like(150, 0), inception_like(150, 1)
    ways: Ways = {"ours": lambda: frechet_distance(real, fake)}
    if present("cleanfid.fid"):
        from cleanfid.fid import fid_from_feats

        ways["clean-fid"] = lambda: fid_from_feats(real.astype("f8"), fake.astype("f8"))
    if present("pytorch_fid.fid_score"):
        from pytorch_fid.fid_score import calculate_frechet_distance

        def pytorch_fid() -> float:
            sides = [(rows.mean(0), np.cov(rows, rowvar=False)) for rows in (real, fake)]
            return calculate_frechet_distance(*sides[0], *sides[1])

        ways["pytorch-fid"] = pytorch_fid
    if present("torchmetrics.image.fid"):
        from torchmetrics.image.fid import _compute_fid

        def torchmetrics() -> float:
            sides = []
            for rows in (real, fake):
                whole = torch.from_numpy(rows).double()
                sides += [whole.mean(0), torch.cov(whole.T)]
            return float(_compute_fid(*sides))

        ways["torchmetrics"] = torchmetrics
    if present("torch_fidelity.metric_fid"):
        from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

        def torch_fidelity() -> float:
            sides = [fid_features_to_statistics(torch.from_numpy(rows)) for rows in (real, fake)]
            return fid_statistics_to_metric(*sides, False)["frechet_inception_distance"]

        ways["torch-fidelity"] = torch_fidelity
    found = race("Fréchet distance, 150 against 150 rows of 2,048", ways, rounds)
    for name, value in found.items():
        print(f"  {name:28s} {value:.8g}")
    ways = {"ours, 1,000 resamples": lambda: bootstrap_interval(real, fake, resamples=1000)}
    race("its bootstrap interval", ways, rounds)


def kernel(rounds: int, _: int) -> None:
    """Kernel distance over all pairs."""
    real, fake = inception_like(1000, 0), inception_like(1000, 1)
    ways: Ways = {"ours": lambda: kernel_distance(real, fake)}
    if present("cleanfid.fid"):
        from cleanfid.fid import kernel_distance as clean_fid

        # one subset that holds everything, else it draws
        ways["clean-fid"] = lambda: clean_fid(
            real.astype("f8"), fake.astype("f8"), num_subsets=1, max_subset_size=1000
        )
    if present("torchmetrics.image.kid"):
        from torchmetrics.image.kid import poly_mmd

        ways["torchmetrics"] = lambda: float(
            poly_mmd(torch.from_numpy(real).double(), torch.from_numpy(fake).double())
        )
    for name, value in race("kernel distance, 1,000 against 1,000", ways, rounds).items():
        print(f"  {name:28s} {value:.10g}")


def diversity(rounds: int, _: int) -> None:
    """Vendi score of more rows than features."""
    rows = gaussian(3000, 512, 0)
    ways: Ways = {"ours": lambda: vendi_score(rows)}
    if present("vendi_score.vendi"):
        from vendi_score import vendi

        ways["vendi-score"] = lambda: vendi.score_X(rows.astype("f8"))
    for name, value in race("Vendi score, 3,000 rows of 512", ways, rounds).items():
        print(f"  {name:28s} {value:.8g}")


def manifolds(rounds: int, _: int) -> None:
    """Precision, recall, density and coverage on the example of prdc's README."""
    for count in (1000, 10000):
        real, fake = gaussian(count, 1000, 0), gaussian(count, 1000, 1)
        ways: Ways = {"ours": lambda r=real, f=fake: precision_recall_density_coverage(r, f)}
        if present("prdc"):
            from prdc import compute_prdc

            ways["prdc"] = lambda r=real, f=fake: compute_prdc(r, f, 5)
        title = f"precision, recall, density, coverage: {count:,} against {count:,} rows of 1,000"
        for name, values in race(title, ways, rounds).items():
            line = "  ".join(f"{key} {float(value):.6f}" for key, value in values.items())
            print(f"  {name:28s} {line}")
    print(f"  {'README of prdc (other draw)':28s} precision .4772  recall .4705", end="")
    print("  density 1.0555  coverage .9735")


def neighbours(rounds: int, queries: int) -> None:
    """Ten nearest among 100,000 rows of 512."""
    rows = gaussian(100_000, 512, 0)
    asked = rows[:queries]

    def by_torch() -> np.ndarray:
        bank = torch.from_numpy(rows)
        squares, found = (bank**2).sum(1), []
        for block in torch.from_numpy(asked).split(1024):
            apart = torch.addmm(squares, block, bank.T, alpha=-2)
            found.append(apart.topk(10, largest=False).indices)
        return torch.cat(found).numpy()

    ways: Ways = {
        "ours": lambda: nearest(asked, rows, 10)[0],
        "torch float32, topk": by_torch,
    }
    if present("faiss"):
        import faiss

        faiss.omp_set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))

        def flat() -> np.ndarray:
            index = faiss.IndexFlatL2(512)
            index.add(rows)
            return index.search(asked, 10)[1]

        ways["faiss, exact"] = flat
        ways["ours by faiss, approximate"] = lambda: nearly_nearest(asked, rows, 10)[0]
    found = race(f"10 nearest of {queries:,} among 100,000 rows of 512", ways, rounds)
    for name, places in found.items():
        same = np.mean(
            [len(set(a) & set(b)) / 10 for a, b in zip(places, found["ours"], strict=True)]
        )
        print(f"  {name:28s} {same:.4%} of ours")


def main() -> None:
    """Measure what is asked for."""
    parts = {part.__name__: part for part in (frechet, kernel, diversity, manifolds, neighbours)}
    parser = argparse.ArgumentParser(description="Compare fidelity figures with other libraries.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    parser.add_argument("--packages", type=Path, help="folder with comparators")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=20_000, help="of neighbours")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(parts):
        parser.error(f"no part {', '.join(sorted(unknown))}; parts are {', '.join(parts)}")
    if arguments.packages:
        sys.path.append(str(arguments.packages))
    warnings.simplefilter("ignore")  # of the comparators
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    short = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    print(f"bfloat16 units: {'yes' if short else 'no'}")
    for name in arguments.parts or parts:
        parts[name](arguments.rounds, arguments.queries)


if __name__ == "__main__":
    main()
