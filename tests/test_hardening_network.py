"""No manifest and no redirect makes this machine ask itself or its own network: a canary listens and hears nothing."""

from __future__ import annotations

import ipaddress
import random
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stamina
from pydantic import ValidationError

from pipeline.errors import CurationError, NetworkError, SourceError
from pipeline.fetch import Wanted, fetch
from pipeline.fetch.guard import LOOPBACK_SWITCH, is_public
from pipeline.manifest.corpus import GdriveSource, HttpSource
from pipeline.store import Store
from tests.http_double import FileServer, Reply


class Canary:
    """A server that only counts who comes."""

    def __init__(self, family: int, address: str) -> None:
        self.heard = 0
        self._listening = socket.socket(family, socket.SOCK_STREAM)
        self._listening.bind((address, 0))
        self._listening.listen(64)
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                answered, _ = self._listening.accept()
            except OSError:
                return
            self.heard += 1
            answered.close()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    one = Canary(socket.AF_INET, "0.0.0.0")  # every address of this machine, not 127.0.0.1 alone
    yield one
    one.close()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Names that a hostile resolver answers for: each call takes the next address, the last one stays."""
    told: dict[str, list[str]] = {}
    asked = socket.getaddrinfo

    def answer(host: Any, port: Any, *more: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in told:
            if re.search("[g-wyz]", name.lower()) and "localhost" not in name.lower():
                raise socket.gaierror(f"no such name: {name}")  # asks no resolver of ours
            return asked(host, port, *more, **named)
        addresses = told[name].pop(0) if len(told[name]) > 1 else told[name][0]
        found = []
        for address in addresses.split():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            place = (address, port, 0, 0) if family == socket.AF_INET6 else (address, port)
            found.append((family, socket.SOCK_STREAM, 6, "", place))
        return found

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return told


#: Addresses as a hostile manifest may give them; PORT is the canary's.
ADDRESSES = [
    "https://127.0.0.1:PORT",
    "https://127.1:PORT",
    "https://127.0.1:PORT",
    "https://0:PORT",
    "https://0.0.0.0:PORT",
    "https://2130706433:PORT",
    "https://0x7f000001:PORT",
    "https://0x7f.0.0.1:PORT",
    "https://0177.0.0.1:PORT",
    "https://017700000001:PORT",
    "https://127.0.0.1.:PORT",
    "https://127.255.255.254:PORT",
    "https://127%2e0%2e0%2e1:PORT",
    "https://１２７.０.０.１:PORT",
    "https://①②⑦.0.0.1:PORT",
    "https://localhost:PORT",
    "https://LOCALHOST:PORT",
    "https://localhost.:PORT",
    "https://[::1]:PORT",
    "https://[::]:PORT",
    "https://[0:0:0:0:0:0:0:1]:PORT",
    "https://[::ffff:127.0.0.1]:PORT",
    "https://[::ffff:7f00:1]:PORT",
    "https://[::127.0.0.1]:PORT",
    "https://[64:ff9b::7f00:1]:PORT",
    "https://[2002:7f00:1::]:PORT",
    "https://[fe80::1%25lo]:PORT",
    "https://data.example@127.0.0.1:PORT",
    "https://data.example:443@127.0.0.1:PORT",
    "https://127.0.0.1:PORT#@data.example",
    "https://127.0.0.1:PORT?@data.example",
    "https://data.example\\@127.0.0.1:PORT",
    "https://data.example\r\nHost: 127.0.0.1:PORT",
    "https://127.0.0.1:PORT\r\nX: y",
    "https://127.0.0.1\t:PORT",
    "https:127.0.0.1:PORT",
    "https:///127.0.0.1:PORT",
    "http://127.0.0.1:PORT",
    "http://localhost:PORT",
    "http://data.example:PORT",
    "HTTP://127.0.0.1:PORT",
    "//127.0.0.1:PORT",
    "file:///etc/passwd",
    "file://127.0.0.1:PORT/x",
    "gopher://127.0.0.1:PORT/_GET",
    "ftp://127.0.0.1:PORT/x",
    "dict://127.0.0.1:PORT/x",
    "jar:https://127.0.0.1:PORT!/x",
    "unix:///var/run/docker.sock",
    "https://",
    # Names: what the resolver says of them decides.
    "https://own.example:PORT",
    "https://metadata.example:PORT",
    "https://both.example:PORT",
    "https://mapped.example:PORT",
    "https://private.example:PORT",
    "https://carrier.example:PORT",
]
LIES = {
    "own.example": ["127.0.0.1"],
    "metadata.example": ["169.254.169.254"],
    "both.example": ["93.184.216.34 127.0.0.1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "private.example": ["10.0.0.1"],
    "carrier.example": ["100.100.100.200"],
}


def ask(base: str, store: Path, **told: Any) -> None:
    fetch("toy", HttpSource(kind="http", base=base, **told), [Wanted(0, "train", ("x",))], store, Store(store / "s"))


@pytest.fixture
def is_strict(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(LOOPBACK_SWITCH)
    monkeypatch.setenv("NO_PROXY", "*")
    stamina.set_testing(True, attempts=1)
    yield
    stamina.set_testing(False)


@pytest.mark.usefixtures("is_strict")
def test_no_address_of_a_manifest_reaches_this_machine(
    canary: Canary, names: dict[str, list[str]], tmp_path: Path
) -> None:
    names |= LIES
    before, refused = canary.heard, 0
    for at, address in enumerate(ADDRESSES):
        try:
            ask(address.replace("PORT", str(canary.port)), tmp_path / str(at))
        except (ValidationError, CurationError):  # as a manifest, or as a request
            refused += 1
    assert (refused, canary.heard - before) == (len(ADDRESSES), 0)
    assert len(ADDRESSES) >= 50


def test_the_canary_hears_what_is_let_through(canary: Canary, tmp_path: Path) -> None:
    """Else the test above could not fail."""
    stamina.set_testing(True, attempts=1)
    before = canary.heard
    with pytest.raises(NetworkError):
        ask(f"http://127.0.0.1:{canary.port}", tmp_path)
    stamina.set_testing(False)
    assert canary.heard > before


@pytest.mark.usefixtures("is_strict")
def test_a_name_is_resolved_once_and_the_judged_address_is_the_one(
    canary: Canary, names: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names["rebound.example"] = ["192.0.2.1", "127.0.0.1"]
    monkeypatch.setattr("pipeline.fetch.guard.is_public", lambda address: address == "192.0.2.1")
    tried: list[str] = []

    def connect(address: tuple[str, int], *_: Any, **__: Any) -> None:
        tried.append(address[0])
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(NetworkError):
        ask(f"https://rebound.example:{canary.port}", tmp_path)
    assert tried[0] == "192.0.2.1"  # the literal address: nobody asks the resolver again for this connection


REDIRECTS = [
    "http://127.0.0.1:PORT/x",
    "https://127.0.0.1:PORT/x",
    "http://[::1]:PORT/x",
    "http://2130706433:PORT/x",
    "http://0x7f.1:PORT/x",
    "//127.0.0.1:PORT/x",
    "http://data.example@127.0.0.1:PORT/x",
    "https://own.example:PORT/x",
    "https://private.example:PORT/x",
    "https://metadata.example/latest/meta-data",
    "http://169.254.169.254/latest/meta-data",
    "file:///etc/passwd",
    "gopher://127.0.0.1:PORT/_x",
]


@pytest.mark.parametrize("declared", [False, True])
def test_no_redirect_leads_where_its_source_does_not_say_or_to_an_own_address(
    server: FileServer, canary: Canary, names: dict[str, list[str]], tmp_path: Path, declared: bool
) -> None:
    names |= LIES
    before = canary.heard
    redirects = [f"{name}:{canary.port}" for name in ("private.example", "carrier.example")] if declared else []
    for at, address in enumerate(REDIRECTS):
        server.replies.append(Reply(status=302, headers={"Location": address.replace("PORT", str(canary.port))}))
        with pytest.raises(SourceError) as caught:
            ask(server.base, tmp_path / str(at), redirects=redirects)
        assert type(caught.value) is SourceError, (address, caught.value)
    assert canary.heard == before


def test_a_declared_host_is_followed(server: FileServer, tmp_path: Path) -> None:
    port = server.base.rpartition(":")[2]
    server.files["there"] = b"here it is"
    server.replies.append(Reply(status=302, headers={"Location": f"http://localhost:{port}/there"}))
    with pytest.raises(SourceError, match=rf"localhost:{port} is not among the hosts .*source\.redirects"):
        ask(server.base, tmp_path)
    server.replies.append(Reply(status=302, headers={"Location": f"http://localhost:{port}/there"}))
    ask(server.base, tmp_path, redirects=[f"localhost:{port}"])
    (blob,) = (tmp_path / "s/downloads/blobs").iterdir()
    assert blob.read_bytes() == b"here it is"


def test_public_addresses_are_those_of_the_registry() -> None:
    """Against the networks of RFC 6890 and its likes, drawn at random from each."""
    closed = "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.2.0/24 192.168.0.0/16"
    closed += " 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 168.63.129.16/32"
    closed += " ::/127 fe80::/10 fc00::/7 ff00::/8 2001:db8::/32 100::/64"
    chance = random.Random(1)
    for network in map(ipaddress.ip_network, closed.split()):
        for _ in range(50):
            address = network[chance.randrange(network.num_addresses)]
            assert not is_public(str(address)), address
            if address.version == 4:
                for embedding in ("::ffff:", "64:ff9b::", "::"):
                    assert not is_public(f"{embedding}{address}"), address
    for address in ("1.1.1.1", "223.5.5.5", "2606:4700:4700::1111", "64:ff9b::1.1.1.1", "::ffff:8.8.8.8"):
        assert is_public(address)


def test_an_id_of_google_drive_is_an_id() -> None:
    for hostile in ("x&url=http://127.0.0.1", "../x", "https://127.0.0.1/", ""):
        with pytest.raises(ValidationError):
            GdriveSource(kind="gdrive", ids={"a.zip": hostile})
