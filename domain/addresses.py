"""Names and addresses as an operator writes them into settings: hosts, networks, origins of pages."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network

IPNetwork = IPv4Network | IPv6Network

_HOST = r"(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])"
_is_host = re.compile(_HOST).fullmatch
_is_origin = re.compile(rf"https?://{_HOST}(?::\d{{1,5}})?").fullmatch


def parse_hosts(text: str) -> tuple[str, ...]:
    """Raises: ValueError, for anything but names without scheme and port, separated by commas."""
    hosts = tuple(part.lower() for part in _split(text))
    for host in hosts:
        if not _is_host(host):
            raise ValueError(f"{host!r} is no host: write names as api.example.com, without scheme and port")
    return hosts


def parse_networks(text: str) -> tuple[IPNetwork, ...]:
    """Raises: ValueError, for anything but addresses and networks, separated by commas."""
    return tuple(ip_network(part) for part in _split(text))


def parse_origins(text: str) -> tuple[str, ...]:
    """Raises: ValueError, for anything but exact origins as browsers send them, separated by commas."""
    for origin in (origins := _split(text)):
        if not _is_origin(origin):
            raise ValueError(
                f"{origin!r} is no origin: write each as https://console.example.com, in lower case, without "
                "path or wildcard"
            )
    return origins


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
