"""Pushing onto a hub that runs in this process: the requests that huggingface_hub makes."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import load_dataset
from huggingface_hub import DatasetCard, HfApi

from curation import push
from curation.artifact import folder_hash, write_json
from curation.corpus import EMOTIONS, write_corpus
from curation.publish import publish
from curation.recipes import Part, Recipe

ROOT = Path(__file__).parents[1]
NAME = "lab/faces"


class Hub(ThreadingHTTPServer):
    """As much of the hub's API as an upload needs; holds data sets in memory."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Requests)
        self.repos = {}  # name → {"files": path → bytes, "sha", "tags": name → files}
        self.blobs = {}
        self.asked = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Requests(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_):
        pass

    def answer(self, content, code=200, **headers):
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def repo(self):
        found = re.match(
            r"/(?:api/)?datasets/([^/]+/[^/?]+?)(?:\.git)?(/[^?]*)?(?:\?.*)?$", self.path
        )
        name, rest = found[1], found[2] or ""
        if name not in self.server.repos:
            self.answer({"error": "no such data set"}, 404, X_Error_Code="RepoNotFound")
            return None, rest, name
        return self.server.repos[name], rest, name

    def do_GET(self):
        self.server.asked.append(("GET", self.path))
        repo, rest, name = self.repo()
        if repo is None:
            return
        if rest.startswith("/tree/"):
            self.answer([entry(path, data) for path, data in sorted(repo["files"].items())])
        elif rest == "/refs":
            tags = [
                {"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": "0" * 40}
                for tag in repo["tags"]
            ]
            self.answer({"branches": [], "converts": [], "tags": tags})
        else:
            self.answer({"id": name, "sha": repo["sha"], "siblings": [], "private": False})

    def do_PUT(self):
        self.server.asked.append(("PUT", self.path))
        data = self.body()
        assert hashlib.sha256(data).hexdigest() == self.path.rsplit("/", 1)[1]
        self.server.blobs[self.path.rsplit("/", 1)[1]] = data
        self.answer({})

    def do_POST(self):
        self.server.asked.append(("POST", self.path))
        data = self.body()
        if self.path == "/api/repos/create":
            wanted = json.loads(data)
            name = f"{wanted['organization']}/{wanted['name']}"
            self.server.repos[name] = {"files": {}, "sha": "1" * 40, "tags": {}, "about": wanted}
            self.answer({"url": f"{self.server.url}/datasets/{name}"})
            return
        if self.path == "/api/validate-yaml":
            header = json.loads(data)["content"].split("---\n")[1]
            yaml.safe_load(header)
            self.answer({"errors": [], "warnings": []})
            return
        repo, rest, _ = self.repo()
        if repo is None:
            return
        if rest.startswith("/preupload/"):
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs"
                    if file["path"].endswith((".parquet", ".png"))
                    else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(data)["files"]
            ]
            self.answer({"files": modes})
        elif rest == "/info/lfs/objects/batch":
            objects = [
                {**item, "actions": {"upload": {"href": f"{self.server.url}/lfs/{item['oid']}"}}}
                for item in json.loads(data)["objects"]
            ]
            self.answer({"transfer": "basic", "objects": objects})
        elif rest.startswith("/commit/"):
            self.commit(repo, [json.loads(line) for line in data.splitlines() if line])
        elif rest.startswith("/tag/"):
            repo["tags"][json.loads(data)["tag"]] = dict(repo["files"])
            self.answer({})

    def commit(self, repo, lines):
        parent = lines[0]["value"].get("parentCommit")
        if parent and parent != repo["sha"]:
            self.answer({"error": "a commit has happened since"}, 412)
            return
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                repo["files"][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repo["files"][value["path"]] = self.server.blobs[value["oid"]]
        repo["sha"] = hashlib.sha1(repr(sorted(repo["files"])).encode()).hexdigest()
        url = f"{self.server.url}/datasets/{NAME}/commit/{repo['sha']}"
        self.answer({"commitUrl": url, "commitOid": repo["sha"]})


def entry(path, data):
    content = b"blob %d\0" % len(data) + data
    found = {
        "type": "file",
        "path": path,
        "size": len(data),
        "oid": hashlib.sha1(content).hexdigest(),
    }
    if path.endswith((".parquet", ".png")):
        sha256 = hashlib.sha256(data).hexdigest()
        found["oid"] = hashlib.sha1(sha256.encode()).hexdigest()
        found["lfs"] = {"oid": sha256, "size": len(data), "pointerSize": 130}
    return found


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def faces(kind, each):
    for label, emotion in enumerate(EMOTIONS):
        for index in range(each):
            draw = np.random.default_rng([len(kind), label, index])
            yield {
                "image": draw.integers(0, 256, (8, 8, 3), dtype=np.uint8),
                "emotion": emotion,
                "database": "kdef",
                "split": "train",
                "origin": kind,
                "keep": True if kind == "gan" else None,
            }


def published(folder, **settings):
    """Publish as the pipeline does: with its record beside."""
    given = {
        "name": "faces",
        "title": "Faces",
        "emotions": EMOTIONS,
        "recipes": {"synthetic": Recipe({"gan": Part()})},
    }
    paths = [folder / "corpus", folder / "selected", folder / "published"]
    for path in paths:
        path.mkdir(parents=True)
    write_corpus(faces("real", 2), paths[0])
    write_corpus(faces("gan", 4), paths[1])
    out = paths[2]
    facts = publish(*paths, **{**given, **settings})
    record = {"stage": "publish", "inputs": {}, "facts": facts, "started": "on this machine"}
    write_json(out / push.RECORD, {**record, "content": folder_hash(out, without=push.RECORD)})
    return out


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return published(tmp_path_factory.mktemp("push") / "first")


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    settings = {"release": 2, "emotions": ["happy", "sad"]}
    return published(tmp_path_factory.mktemp("push") / "second", **settings)


def run(hub, *words):
    return push.main([str(word) for word in words], HfApi(endpoint=hub.url, token=False))


def test_a_dry_run_lists_and_uploads_nothing(hub, first, capsys):
    assert run(hub, first, NAME) == 0
    said = capsys.readouterr().out
    assert "new data set lab/faces" in said
    assert "v1/synthetic/data-00000-of-00001.parquet" in said
    assert "Nothing was uploaded; --for-real does it." in said
    assert hub.repos == {}
    assert {method for method, _ in hub.asked} == {"GET"}


def test_a_push_uploads_every_file_and_tags_the_version(hub, first, tmp_path, capsys):
    assert run(hub, first, NAME, "--for-real", "--private") == 0, capsys.readouterr().err
    repo = hub.repos[NAME]
    assert repo["about"]["visibility"] == "private"
    mine = {f"v1/{p.relative_to(first).as_posix()}" for p in first.rglob("*") if p.is_file()}
    assert set(repo["files"]) == mine - {f"v1/{push.RECORD}"} | {"README.md"}
    for path in mine & set(repo["files"]):
        assert repo["files"][path] == (first / path.removeprefix("v1/")).read_bytes()
    assert set(repo["tags"]) == {"v1"}
    clone = check_out(repo["files"], tmp_path / "clone")
    rows = load_dataset(str(clone), "synthetic", split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == 28
    text = (clone / "README.md").read_text()
    assert '`load_dataset("lab/faces", revision="v1")`' in text
    assert "(v1/preview.png)" in text
    assert push.HERE not in text


def test_the_same_again_changes_nothing(hub, first, capsys):
    run(hub, first, NAME, "--for-real")
    before = dict(hub.repos[NAME]["files"])
    hub.asked.clear()
    assert run(hub, first, NAME, "--for-real") == 0
    assert "holds v1 already, exactly as it is here" in capsys.readouterr().out
    assert hub.repos[NAME]["files"] == before
    assert {method for method, _ in hub.asked} == {"GET"}


def test_a_lost_tag_is_set_by_the_next_push(hub, first):
    run(hub, first, NAME, "--for-real")
    hub.repos[NAME]["tags"].clear()
    assert run(hub, first, NAME, "--for-real") == 0
    assert set(hub.repos[NAME]["tags"]) == {"v1"}


def test_a_new_version_leaves_the_earlier_one_as_it_was(hub, first, second, tmp_path, capsys):
    run(hub, first, NAME, "--for-real")
    old = dict(hub.repos[NAME]["files"])
    assert run(hub, second, NAME, "--for-real") == 0, capsys.readouterr().err
    files = hub.repos[NAME]["files"]
    assert {path: files[path] for path in old if path != "README.md"} == {
        path: data for path, data in old.items() if path != "README.md"
    }
    card = DatasetCard.load(check_out(files, tmp_path / "new") / "README.md")
    config = card.data.to_dict()["configs"][0]
    assert config["data_files"][0]["path"] == "v2/synthetic/data-*.parquet"
    assert "| `v2` |" in card.text
    assert card.text.index("| `v2` |") < card.text.index("| `v1` |")
    for tag, count in (("v1", 28), ("v2", 8)):
        clone = check_out(hub.repos[NAME]["tags"][tag], tmp_path / tag)
        rows = load_dataset(str(clone), split="train", cache_dir=str(tmp_path / f"cache{tag}"))
        assert len(rows) == count
    assert run(hub, first, NAME, "--for-real") == 2
    assert "publish with release=3" in capsys.readouterr().err


def test_other_files_under_a_published_number_are_refused(hub, first, tmp_path, capsys):
    run(hub, first, NAME, "--for-real")
    before = dict(hub.repos[NAME]["files"])
    other = published(tmp_path / "other", title="Other faces")
    assert run(hub, other, NAME, "--for-real") == 2
    said = capsys.readouterr().err
    assert "v1 is on the hub, and 2 of its files would not be the same" in said
    assert "v1/README.md" in said
    assert "publish with release=2" in said
    assert hub.repos[NAME]["files"] == before


def test_a_push_between_look_and_upload_is_noticed(hub, first, second):
    run(hub, first, NAME, "--for-real")
    api = HfApi(endpoint=hub.url, token=False)
    plan = push.prepare(second, NAME, api)
    hub.repos[NAME]["sha"] = "f" * 40
    before = dict(hub.repos[NAME]["files"])
    with pytest.raises(Exception, match=r"a commit has happened since|412"):
        push.upload(plan, api)
    assert hub.repos[NAME]["files"] == before


def test_what_was_changed_or_is_no_publication_is_refused(hub, first, tmp_path, capsys):
    changed = tmp_path / "changed"
    shutil.copytree(first, changed)
    (changed / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    assert run(hub, changed, NAME, "--for-real") == 2
    assert "was changed after it was published" in capsys.readouterr().err
    assert run(hub, first.parent / "corpus", NAME) == 2
    assert "has no README.md" in capsys.readouterr().err
    for name in ("faces", "a/b/c", "lab/.faces"):
        assert run(hub, first, name) == 2
        assert "is no name of a data set" in capsys.readouterr().err
    assert hub.repos == {}


def test_without_a_network_a_dry_run_still_lists(first, capsys):
    api = HfApi(endpoint="http://127.0.0.1:9", token=False)
    assert push.main([str(first), NAME], api) == 0
    said = capsys.readouterr().out
    assert "could not ask the hub" in said
    assert "v1/README.md" in said
    assert push.main([str(first), NAME, "--for-real"], api) == 2
    assert "the hub cannot be reached" in capsys.readouterr().err


def test_the_command_finds_the_hub_by_its_variable(hub, first, tmp_path):
    hidden = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "curation.cli", "push", str(first), NAME, "--for-real"],
        env={**os.environ, **hidden, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "0"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert 'load_dataset("lab/faces", revision="v1")' in done.stdout
    assert "v1" in hub.repos[NAME]["tags"]


def check_out(files, folder):
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder
