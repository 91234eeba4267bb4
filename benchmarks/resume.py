"""Exact resume, the long way: ``python benchmarks/resume.py [kills]``.

A GAN trains on the embedded database in a process of its own that is killed (SIGKILL) at random
moments and started again, until it is done. Its networks, metrics and sample sheets must be those
of a training that nobody killed, byte for byte.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
# eighty ticks of about half a second: enough to be killed twenty times, a few ticks each
SETTINGS = (
    "experiment=smoke",
    "emotion=fear",
    "gan.steps=800",
    "gan.tick_steps=10",
    "gan.decay=true",
    "gan.watch.choose=true",
    "gan.watch.every=2",
)
FILES = ("generator.safetensors", "discriminator.safetensors", "metrics.csv", "interpolation.png")


def command(stage: str, out: Path) -> list[str]:
    """Return the words that run a stage into a folder."""
    return [sys.executable, "-m", "curation.cli", stage, *SETTINGS, f"out={out}"]


def finished(out: Path) -> Path | None:
    """Return the folder of the trained GAN, once it has its final name."""
    return next(iter((out / "gans").glob("fear-*")), None)


def main() -> None:
    """Kill until enough is killed, let it end, compare."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as scratch:
        whole, killed = Path(scratch, "whole"), Path(scratch, "killed")
        for stage in ("ingest", "standardise", "train_trunk"):
            subprocess.run(command(stage, whole), env=ENVIRONMENT, check=True, capture_output=True)
        shutil.copytree(whole, killed)
        started = time.time()
        subprocess.run(
            command("train_gan", whole), env=ENVIRONMENT, check=True, capture_output=True
        )
        print(f"not killed: {time.time() - started:.0f} s")
        done = 0
        while done < kills and finished(killed) is None:
            process = subprocess.Popen(
                command("train_gan", killed),
                env=ENVIRONMENT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            assert process.stdout is not None
            # the start takes seconds that vary with the machine: count from the first tick on
            for line in process.stdout:
                if "train_gan" in line and "starts" in line:
                    break
            state = next(iter((killed / "gans").glob(".fear-*.partial/state.ckpt")), None)
            before = state.stat().st_mtime if state else 0.0
            deadline = time.time() + 60
            while process.poll() is None and time.time() < deadline:
                state = next(iter((killed / "gans").glob(".fear-*.partial/state.ckpt")), None)
                if state and state.stat().st_mtime > before:
                    break
                time.sleep(0.02)
            time.sleep(chance.uniform(0, 1.0))
            if process.poll() is None:
                process.kill()
                done += 1
            process.wait()
            process.stdout.close()
        subprocess.run(
            command("train_gan", killed), env=ENVIRONMENT, check=True, capture_output=True
        )
        first, second = finished(whole), finished(killed)
        assert first is not None
        assert second is not None
        names = [*FILES, *(f"samples/{path.name}" for path in (first / "samples").iterdir())]
        different = [
            name for name in names if (first / name).read_bytes() != (second / name).read_bytes()
        ]
        print(f"killed {done} times: {len(names) - len(different)} of {len(names)} files equal")
        if different:
            sys.exit(f"different: {', '.join(different)}")


if __name__ == "__main__":
    main()
