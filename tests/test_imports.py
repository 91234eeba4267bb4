import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEAVES = ("corpus", "recipes", "artifact", "lineage", "progress", "features", "fidelity")
LEAVES += ("hub", "licences", "neighbours", "puppets", "weights")
# what cuts a face is needed wherever one is classified
LEAVES += (
    "align",
    "contract",
    "decoded",
    "decoding",
    "detect",
    "quality",
    "standard",
    "onnx_files",
)
FORBIDDEN = {
    "curation": ("gan", "classifiers"),
    "gan": ("classifiers",),
    "classifiers": ("gan",),
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("room", FORBIDDEN)
def test_imports_go_one_way(room):
    paths = list((ROOT / room).rglob("*.py"))
    assert paths
    for path in paths:
        for name in imported(path):
            first, *rest = name.split(".")
            assert first not in FORBIDDEN[room], f"{path} imports {name}"
            if first == "curation" and room != "curation":
                assert rest[0] in LEAVES, f"{path} imports {name}, which is no leaf"
            assert first != "pytorch_lightning", f"{path}: import lightning"


@pytest.mark.parametrize("leaf", LEAVES)
def test_leaves_import_only_leaves(leaf):
    paths = [*(ROOT / "curation").glob(f"{leaf}.py"), *(ROOT / "curation" / leaf).glob("*.py")]
    assert paths
    for path in paths:
        for name in imported(path):
            if name.startswith("curation."):
                assert name.split(".")[1] in LEAVES, f"{path} imports {name}"
