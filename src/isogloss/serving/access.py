"""Who may come in: the token, and which addresses may be served without one."""

from __future__ import annotations

import hmac
import ipaddress
import os
import socket
from pathlib import Path

from isogloss.errors import ConfigError

VARIABLE = "ISOGLOSS_TOKEN"


def read_token(file: Path | None) -> str | None:
    """The token of the file, else of $ISOGLOSS_TOKEN, else None.

    Raises:
        ConfigError: the file cannot be read, or what is there is no token.
    """
    if file is None:
        given = os.environ.get(VARIABLE)
        return None if given is None else _checked(given.strip(), f"${VARIABLE}")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(f"cannot read the token file {file}: {reason}") from None
    return _checked(text.strip(), str(file))


def _checked(token: str, place: str) -> str:
    if not token:
        raise ConfigError(f"{place} is empty; expected a token, such as 32 random letters")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"{place} has white space or signs beyond ASCII; expected one word")
    return token


def is_right(token: str, header: bytes | None) -> bool:
    """Whether an Authorization header brings the token, found out in a time that tells nothing.

    >>> is_right("secret", b"Bearer secret"), is_right("secret", b"Bearer secre")
    (True, False)
    """
    kind, _, given = (header or b"").partition(b" ")
    return hmac.compare_digest(given.strip(), token.encode()) and kind.lower() == b"bearer"


def check_host(host: str, token: str | None) -> None:
    """Refuse to be reached from other machines without a token.

    Raises:
        ConfigError: the address is not this machine's own, and there is no token.
    """
    if token is None and not is_loopback(host):
        raise ConfigError(
            f"--host {host} can be reached from other machines, so a token is needed: give "
            f"--token-file FILE or set {VARIABLE}; or leave --host out to serve this machine only"
        )


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0"), is_loopback("")
    (True, True, False, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address; nothing can connect to it until it listens.

    Raises:
        ConfigError: there is no such address here, or the port is taken or not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"no such address: --host {host} ({error})") from None
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise cannot_listen(host, port, error) from None
    return bound


def cannot_listen(host: str, port: int, error: OSError) -> ConfigError:
    """The error of a port that cannot be had."""
    return ConfigError(
        f"cannot listen at {host}, port {port}: {error.strerror}; give another --port "
        "(0 takes a free one), or stop what has it"
    )


def url_of(bound: socket.socket) -> str:
    """Where a bound socket is found."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
