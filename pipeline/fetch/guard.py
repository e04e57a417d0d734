"""Which hosts a download may speak to, and at which addresses.

A manifest is a stranger's file, and so is a redirect: neither may make this machine ask its own network. So a request
goes out over https only, to a host that the source declares, and to an address that is public; names are resolved once
and the connection goes to the very address that was judged. Every hop of a redirect is judged anew.

Behind a proxy (HTTPS_PROXY) names are resolved there; scheme and host are judged all the same. `gdown` and Xet move
bytes with code of their own: they are given ids and file names, never an address.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import urllib.request
from collections.abc import Collection, Iterable
from functools import cache
from typing import Any, TypeAlias

import httpcore2
import httpx2

#: For tests: servers on this machine may be asked, and without https.
LOOPBACK_SWITCH = "M3E_TEST_LOOPBACK"
#: Answers on a public address with what only this machine should know (Azure).
METADATA = ("168.63.129.16",)
#: IPv6 networks whose last 32 bits are an IPv4 address that is reached through them.
EMBEDDING = ("64:ff9b::/96", "::/96")

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class Refused(Exception):
    """Why a request does not go out, and what to do about it."""

    def __init__(self, why: str, cure: str) -> None:
        super().__init__(why)
        self.cure = cure


def is_public(told: str) -> bool:
    """True for an address anyone may be sent to; false for this machine, private networks and metadata services.

    >>> is_public("93.184.216.34"), is_public("127.0.0.1"), is_public("::ffff:10.0.0.1"), is_public("100.64.0.1")
    (True, False, False, False)
    """
    address = ipaddress.ip_address(told.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and (inner := _embedded(address)) is not None:
        return is_public(str(inner))
    special = address.is_multicast or address.is_reserved or address.is_unspecified or address.is_link_local
    return address.is_global and not special and str(address) not in METADATA


def _embedded(address: ipaddress.IPv6Address) -> Address | None:
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    if address.teredo:
        return address.teredo[1]
    if any(address in ipaddress.ip_network(network) for network in EMBEDDING) and int(address) > 1:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def refusal(url: httpx2.URL, hosts: Collection[str] | None) -> str | None:
    """Why a request may not go to this address; None where it may, as far as the address itself tells.

    `hosts`: `name` or `name:port` of those that may be asked; None for any.

    >>> refusal(httpx2.URL("https://data.example/x"), ["data.example"])
    >>> refusal(httpx2.URL("https://data.example:8443/x"), ["data.example"])
    'data.example:8443 is not among the hosts of this source'
    """
    host, at = url.host.lower(), place(url)
    is_own = url.scheme == "http" and host in ("localhost", "127.0.0.1", "::1") and _loopback_allowed()
    if url.scheme != "https" and not is_own:
        return f"{url.scheme or 'no scheme'}: only https is fetched"
    if hosts is not None and at not in hosts:
        return f"{at} is not among the hosts of this source"
    return None


def place(url: httpx2.URL) -> str:
    """Host, and port where it is not the usual one."""
    return url.host.lower() if url.port in (None, 443) else f"{url.host.lower()}:{url.port}"


class Pinned(httpcore2.NetworkBackend):
    """Connects only to public addresses: the one that is judged is the one that is connected to."""

    def __init__(self, trusted: Collection[str] = ()) -> None:
        self._plain, self._trusted = httpcore2.SyncBackend(), frozenset(trusted)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        failure: Exception = httpcore2.ConnectError(f"{host} has no address")
        for address in self._addresses(host, port):
            try:
                return self._plain.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    def _addresses(self, host: str, port: int) -> list[str]:
        """Every address of a host. Raises Refused where any of them is not public: no luck decides which one is taken."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"{host}: {error}") from None
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        if host.lower() in self._trusted:
            return addresses
        for address in addresses:
            is_own = ipaddress.ip_address(address.partition("%")[0]).is_loopback
            if not is_public(address) and not (is_own and _loopback_allowed()):
                cure = "load it by hand and give it in a source of kind manual or local"
                raise Refused(f"{host} lies at {address}, which is no public address", cure)
        return addresses


class Guarded(httpx2.BaseTransport):
    """Carries requests that `refusal` lets pass; `trusted` hosts may lie at any address, and speak http."""

    def __init__(self, hosts: Collection[str] | None, trusted: Collection[str] = ()) -> None:
        self._hosts, self._trusted = hosts, frozenset(trusted)
        self._direct = httpx2.HTTPTransport(verify=certificates())
        # The library takes no backend of ours, its pool does.
        self._direct._pool = httpcore2.ConnectionPool(
            ssl_context=certificates(), network_backend=Pinned(self._trusted), keepalive_expiry=5.0
        )
        self._through: dict[str, httpx2.HTTPTransport] = {}

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        why = None if request.url.host.lower() in self._trusted else refusal(request.url, self._hosts)
        if why is not None:
            raise Refused(why, "name the hosts it redirects to in source.redirects, if they are whose they should be")
        return self._carrier(request.url).handle_request(request)

    def _carrier(self, url: httpx2.URL) -> httpx2.HTTPTransport:
        proxies = urllib.request.getproxies()
        proxy = proxies.get(url.scheme) or proxies.get("all")
        if proxy is None or urllib.request.proxy_bypass(url.host):
            return self._direct
        if proxy not in self._through:
            told = proxy if "://" in proxy else f"http://{proxy}"
            self._through[proxy] = httpx2.HTTPTransport(verify=certificates(), proxy=told)
        return self._through[proxy]

    def close(self) -> None:
        for transport in (self._direct, *self._through.values()):
            transport.close()


@cache
def certificates() -> Any:
    """The known certificate authorities: a third of a second to read, so once for all files."""
    return httpx2.create_ssl_context()


def _loopback_allowed() -> bool:
    return os.environ.get(LOOPBACK_SWITCH) == "1"
