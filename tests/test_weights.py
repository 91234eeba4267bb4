import hashlib
import http.server
import re
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from curation import prefetch, weights
from curation.artifact import file_hash
from curation.weights import KNOWN, Weights, cache_folder, cached, fetch, find

CONTENT = b"weights of a small network" * 4000  # more than one block
KEY = "detector.model"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("AFFECTORY_CACHE", str(folder))
    return folder


@pytest.fixture
def server(monkeypatch):
    """An address on this machine, what it serves by path, and the paths asked for."""
    files, asked = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.split("?")[0]
            asked.append(path)
            if path not in files:
                self.send_error(404)
                return
            self.send_response(200)
            self.end_headers()
            with suppress(ConnectionError):  # who is given too much hangs up
                self.wfile.write(files[path])

        def log_message(self, *_):
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", files, asked
        running.shutdown()


def described(url="http://127.0.0.1:9/models/net.onnx", content=CONTENT, **changes):
    facts = {
        "name": "net",
        "url": url,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "licence": "MIT (nobody)",
    }
    return Weights(**{**facts, **changes})


def put(folder, wanted, content=CONTENT):
    path = folder / wanted.name / wanted.file
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def left_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_fetched_file_lies_whole_in_the_cache(server, cache):
    address, files, asked = server
    files["/models/net.onnx"] = CONTENT
    wanted = described(f"{address}/models/net.onnx?raw=true")
    path = fetch(wanted)
    assert path == cache / "net" / "net.onnx"
    assert path.read_bytes() == CONTENT
    assert left_in(cache) == ["net.onnx"]
    assert find(wanted, key=KEY) == path
    assert fetch(wanted) == path
    assert len(asked) == 1  # not fetched a second time


@pytest.mark.parametrize(
    "wrong", [CONTENT[:-1], CONTENT[:-1] + b"!", CONTENT + b"more", b"<html>404</html>", b""]
)
def test_what_is_not_the_published_file_is_refused_and_deleted(server, cache, wrong):
    address, files, _ = server
    files["/net.onnx"] = wrong
    wanted = described(f"{address}/net.onnx")
    with pytest.raises(ValueError, match=f"not the .* with {wanted.sha256}.* deleted"):
        fetch(wanted)
    assert left_in(cache) == []


def test_a_wrong_file_of_any_length_is_not_read_to_its_end(server, cache):
    address, files, _ = server
    files["/net.onnx"] = b"x" * (len(CONTENT) + 5_000_000)
    with pytest.raises(ValueError, match=r"gave ([0-9,]+) bytes") as told:
        fetch(described(f"{address}/net.onnx"))
    came = int(re.search("gave ([0-9,]+) bytes", str(told.value))[1].replace(",", ""))
    assert len(CONTENT) < came <= len(CONTENT) + (1 << 16)


def test_a_damaged_file_is_told_and_fetched_anew(server, cache):
    address, files, _ = server
    files["/net.onnx"] = CONTENT
    wanted = described(f"{address}/net.onnx")
    put(cache, wanted, CONTENT[:100])
    with pytest.raises(ValueError, match=r"damaged: 100 bytes .* `affectory prefetch net`"):
        find(wanted, key=KEY)
    assert fetch(wanted).read_bytes() == CONTENT


def test_a_file_with_the_right_size_and_other_contents_is_damaged(cache):
    wanted = described()
    put(cache, wanted, CONTENT[:-1] + b"!")
    with pytest.raises(ValueError, match="damaged"):
        find(wanted, key=KEY)


def test_a_missing_file_is_told_with_both_ways_to_get_it(cache):
    wanted = described()
    with pytest.raises(FileNotFoundError) as told:
        find(wanted, key=KEY)
    for part in (
        str(cache / "net" / "net.onnx"),
        "affectory prefetch net",
        KEY,
        wanted.url,
        wanted.sha256,
        "104,000 bytes",
        wanted.licence,
    ):
        assert part in str(told.value)


def test_a_users_own_file_is_taken_as_it_is(tmp_path, cache):
    own = tmp_path / "own.onnx"
    own.write_bytes(b"trained at home")
    assert find(described(), own, key=KEY) == own
    with pytest.raises(FileNotFoundError, match=r"no file .*other\.onnx \(detector\.model\)"):
        find(described(), tmp_path / "other.onnx", key=KEY)
    with pytest.raises(FileNotFoundError):
        find(described(), tmp_path, key=KEY)  # a folder is no model


@pytest.mark.parametrize("url", ["/other.onnx", None])
def test_a_server_that_does_not_answer_is_told_with_what_to_do(server, cache, url):
    address, _, _ = server
    wanted = described(address + url) if url else described()
    with pytest.raises(OSError, match=r"cannot be fetched \(.+\)\. Without a network: copy .*net/"):
        fetch(wanted)
    assert left_in(cache) == []


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("AFFECTORY_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match=r"cannot be written .*AFFECTORY_CACHE=/path"):
        fetch(described())
    with pytest.raises(FileNotFoundError, match="is missing"):
        find(described(), key=KEY)


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {}, "/home/ada/.cache/affectory"),
        ("linux", {"XDG_CACHE_HOME": "/fast"}, "/fast/affectory"),
        ("darwin", {"XDG_CACHE_HOME": "/fast"}, "/home/ada/Library/Caches/affectory"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/affectory"),
        ("win32", {}, "/home/ada/AppData/Local/affectory"),
        ("linux", {"AFFECTORY_CACHE": "~/here"}, "/home/ada/here"),
    ],
)
def test_the_cache_is_where_the_platform_keeps_such(platform, variables, folder, monkeypatch):
    for name in ("AFFECTORY_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/ada")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(weights.sys, "platform", platform)
    assert cache_folder() == Path(folder)


def test_without_a_home_a_users_own_file_still_works(tmp_path, monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    for name in ("AFFECTORY_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    own = tmp_path / "own.onnx"
    own.write_bytes(CONTENT)
    assert find(described(), own, key=KEY) == own
    with pytest.raises(FileNotFoundError, match=r"no home folder .*AFFECTORY_CACHE=/path"):
        find(described(), key=KEY)


def test_the_known_files_are_pinned():
    for known in KNOWN:
        assert re.fullmatch("[0-9a-f]{64}", known.sha256)
        assert known.url.startswith("https://")
        assert not re.search("/(main|master|4.x)/", known.url)  # a branch moves on
        assert known.size > 0
    assert len({cached(known) for known in KNOWN}) == len(KNOWN)


def test_the_list_says_what_is_there_what_is_damaged_and_what_is_missing(
    cache, capsys, monkeypatch
):
    there = described(url="https://nowhere.example/there.onnx", name="there")
    damaged = described(url="https://nowhere.example/damaged.onnx", name="damaged")
    missing = described(url="https://nowhere.example/missing.onnx", name="missing")
    monkeypatch.setattr(prefetch, "KNOWN", (there, damaged, missing))
    path = put(cache, there)
    put(cache, damaged, b"half")
    assert prefetch.main([]) == 0
    told = capsys.readouterr().out
    assert f"cache: {cache}" in told
    assert f"there: {path}" in told
    assert f"damaged (SHA-256 {hashlib.sha256(b'half').hexdigest()})" in told
    assert "missing: affectory prefetch missing, or copy the file to" in told
    assert there.sha256 in told
    assert missing.url in told
    assert left_in(cache) == ["damaged.onnx", "there.onnx"]


def test_the_command_fetches_what_is_named_and_nothing_else(server, cache, capsys, monkeypatch):
    address, files, asked = server
    files["/a.onnx"] = files["/b.onnx"] = files["/c.onnx"] = CONTENT
    known = (
        described(f"{address}/a.onnx", name="two"),
        described(f"{address}/b.onnx", name="two"),
        described(f"{address}/c.onnx", name="one"),
    )
    monkeypatch.setattr(prefetch, "KNOWN", known)
    assert prefetch.main(["two"]) == 0
    assert asked == ["/a.onnx", "/b.onnx"]
    told = capsys.readouterr().out
    assert str(cache / "two" / "a.onnx") in told
    assert str(cache / "two" / "b.onnx") in told
    assert file_hash(cache / "two" / "b.onnx") == known[1].sha256


def test_the_command_tells_a_failure_by_its_exit_code(server, cache, capsys, monkeypatch):
    address, files, _ = server
    files["/net.onnx"] = b"something else"
    monkeypatch.setattr(prefetch, "KNOWN", (described(f"{address}/net.onnx"),))
    assert prefetch.main(["net"]) == 1
    assert "they were deleted" in capsys.readouterr().err


def test_an_unknown_name_is_told_with_the_known_ones(cache, capsys):
    with pytest.raises(SystemExit) as stopped:
        prefetch.main(["retinaface"])
    assert stopped.value.code == 2
    assert (
        "no model files called retinaface; known are convnext_tiny, dnn_ssd, efficientnet_b0"
        in capsys.readouterr().err
    )
