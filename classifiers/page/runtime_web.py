"""ONNX Runtime Web, which runs the networks in a browser: one pinned version, fetched by npm."""

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
# the script and the WebAssembly of each engine: processor, and WebGPU, loaded when it is chosen
FILES: Mapping[str, str] = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": (
        "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b"
    ),
    "ort-wasm-simd-threaded.wasm": (
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
    "ort.webgpu.min.mjs": "3dffff71811bc13a3a3d9591c57ca5ee5735b8f5f3eaf789510b02bb040ae3a0",
    "ort-wasm-simd-threaded.asyncify.mjs": (
        "3d1c85995364bb643302fc6fd877a0c3ba5ae72401815e0f24828a53d9191e28"
    ),
    "ort-wasm-simd-threaded.asyncify.wasm": (
        "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da"
    ),
}
"""SHA-256 of each file of the version, by its name in the package's ``dist``."""

_TIMEOUT_S = 600
_HOW = (
    f"On a machine with a network: `npm pack {PACKAGE}@{VERSION}` writes "
    f"{PACKAGE}-{VERSION}.tgz; copy it here and give --ort {PACKAGE}-{VERSION}.tgz, or the "
    "folder that it unpacks to"
)


def vendor(to: Path, source: Path | None = None) -> None:
    """Put the runtime's files into a folder, each verified by its SHA-256.

    Args:
        to: The folder; it is made.
        source: The package's tarball or unpacked folder; None to have npm fetch it.

    Raises:
        FileNotFoundError: If `source` is not there or lacks a file, or npm cannot fetch it; with
            how to get it.
        ValueError: If a file is not the pinned version's.
    """
    to.mkdir(parents=True)
    if source is None:
        with tempfile.TemporaryDirectory() as name:
            _unpack(_fetched(Path(name)), to)
    elif source.is_dir():
        _copy(source, to)
    elif source.is_file():
        _unpack(source, to)
    else:
        raise FileNotFoundError(f"{source} is not there (--ort). {_HOW}")
    for name, noted in FILES.items():
        with (to / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != noted:
            raise ValueError(
                f"{name} of {source or PACKAGE} is not that of version {VERSION}: its SHA-256 "
                f"starts with {found[:10]}, {noted[:10]} is pinned. {_HOW}"
            )


def _fetched(folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError(
            f"the page needs {PACKAGE} {VERSION}, which npm fetches, and there is no npm. {_HOW}"
        )
    try:
        done = subprocess.run(  # what npm has in its own cache it takes from there
            [npm, "pack", "--silent", "--prefer-offline", f"{PACKAGE}@{VERSION}"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
        said, failed = done.stderr.strip() or done.stdout.strip(), done.returncode
    except subprocess.TimeoutExpired:
        said, failed = f"no answer in {_TIMEOUT_S} s", True
    tarball = folder / f"{PACKAGE}-{VERSION}.tgz"
    if failed or not tarball.is_file():
        reason = said.splitlines()[0] if said else "no reason given"
        raise FileNotFoundError(f"npm could not fetch {PACKAGE} {VERSION} ({reason}). {_HOW}")
    return tarball


def _copy(source: Path, to: Path) -> None:
    dist = source / "dist" if (source / "dist").is_dir() else source / "package" / "dist"
    for name in FILES:
        if not (dist / name).is_file():
            raise FileNotFoundError(
                f"{source} lacks dist/{name} of {PACKAGE} {VERSION} (--ort). {_HOW}"
            )
        shutil.copyfile(dist / name, to / name)


def _unpack(tarball: Path, to: Path) -> None:
    try:
        with tarfile.open(tarball) as archive:
            for name in FILES:
                # by name alone: nothing else of an archive is written
                content = archive.extractfile(f"package/dist/{name}")
                assert content is not None
                with (to / name).open("wb") as file:
                    shutil.copyfileobj(content, file)
    except KeyError as error:
        raise FileNotFoundError(
            f"{tarball} lacks {name} of {PACKAGE} {VERSION} (--ort). {_HOW}"
        ) from error
    except (tarfile.TarError, AssertionError, EOFError, OSError) as error:
        raise ValueError(f"{tarball} is no package of npm ({error}) (--ort). {_HOW}") from error
