"""The command ``affectory``: a stage's name first, the rest is plain Hydra.

A few commands are no stages: they look at what stages made, or fetch what they need.
"""

import importlib
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

CONF = Path(__file__).resolve().parents[1] / "conf"

# each a module with main(arguments) -> exit code
TOOLS = {
    "inspect": "curation.inspection.command",
    "review": "curation.review.command",
    "curves": "classifiers.curves",
    "explain": "classifiers.explain.command",
    "forget": "curation.forget",
    "prefetch": "curation.prefetch",
    "doctor": "curation.doctor.command",
    "import_stylegan": "gan.import_stylegan",
    "rebuild": "curation.rebuild",
    "push": "curation.push",
    "redraw": "gan.redraw",
    "walk": "gan.walk",
    "project": "gan.project",
    "export": "curation.export",
    "watch": "classifiers.watch.command",
    "page": "classifiers.page.command",
}

USAGE = """\
usage: affectory <stage> [key=value ...] [-m]

  affectory run experiment=quickstart        the whole road on the embedded database
  affectory <stage> experiment=...           one stage of it: {stages}
  affectory <stage> --cfg job --resolve      the configuration, without running it
  affectory select gate.agreement=0.8,0.9 -m one run for each value
  affectory run --help                       all groups and keys

  affectory inspect <corpus>                 a page to look at a corpus
  affectory review <corpus>                  a page to keep and reject its faces by hand
  affectory curves <GAN folder> ...          a page that shows how GANs trained, or train
  affectory explain <recogniser> <corpus>    a page that shows what a recogniser judges by
  affectory forget subject=<name>            what a person's pictures went into; retires it
  affectory prefetch                         which model files are there; fetches those named
  affectory doctor kdef=<folder> ...         what is there, what is missing and how to get it
  affectory rebuild <published> database.root=<folder>   the pictures that a licence withholds
  affectory push <published> <owner/name>    onto the hub; shows what it would do, until --for-real
  affectory import_stylegan <file.pkl> ...   a public StyleGAN2 checkpoint, read without running it
  affectory redraw <row id> --in <folder>    a published face drawn again and compared
  affectory walk <gan> --out walk.mp4        a film of faces that change into each other
  affectory project <gan> <picture> --out d  how near a generator comes to a face
  affectory export <recogniser or GAN>       ONNX files that run anywhere, compared with PyTorch
  affectory watch <exported> <camera or film>   faces and their emotions, as they move
  affectory page <exported> ... --to <folder>   a page that judges faces in the browser

experiments: {experiments}
"""


def main() -> None:
    """Run the command line."""
    arguments = sys.argv[1:]
    stages = _names("stage")
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(  # noqa: T201  the command's own words go to standard output
            USAGE.format(stages=", ".join(stages), experiments=", ".join(_names("experiment"))),
            end="",
        )
        return
    first = arguments[0]
    if first in TOOLS:
        logging.basicConfig(level="INFO", format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
        sys.exit(importlib.import_module(TOOLS[first]).main(arguments[1:]))
    if first in (*stages, "run"):
        sys.argv[1] = f"command={first}"
    elif "=" not in first and not first.startswith("-"):
        known = ", ".join([*stages, *TOOLS])
        sys.exit(f"affectory: no stage {first!r}; choose run or one of {known}")
    _hydra_main()


def _names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def _hydra_main() -> None:
    import hydra  # not before usage is printed: it takes a while

    hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(_run)()


def _run(cfg: "DictConfig") -> None:
    from hydra.errors import InstantiationException
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    from curation import pipeline

    log = logging.getLogger("affectory")
    try:
        tasks = pipeline.run(cfg)
    except MissingMandatoryValue as error:
        sys.exit(f"affectory: {error.full_key} must be given: {error.full_key}=...")
    except (ValueError, OSError, ImportError, pipeline.MissingStageError) as error:
        # wrong input: one sentence, the stack for those who ask for it
        log.debug("stack of the error below", exc_info=True)
        sys.exit(f"affectory: {error}")
    except (InstantiationException, OmegaConfBaseException) as error:
        log.debug("stack of the error below", exc_info=True)
        sys.exit(f"affectory: in the configuration: {error.__cause__ or error}")
    for line in pipeline.outcome(cfg, tasks):
        print(line)  # noqa: T201  the result's paths go to standard output


if __name__ == "__main__":
    main()
