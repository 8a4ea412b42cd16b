"""Who asks: tenants, their keys, and what each may use.

Keys are kept as SHA-256 digests only. They are random and long, so that a plain digest cannot be
searched, and finding one by its digest tells a clock nothing about a key that nearly fits. Knows
no HTTP.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stemfirst_server.errors import ConfigError

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LIMITS = (
    "most_requests",
    "most_streams",
    "requests_per_minute",
    "tokens_per_minute",
    "most_cached_tokens",
)


@dataclass(frozen=True, slots=True)
class Tenant:
    """Somebody whose requests share a cache.

    Attributes:
        name: unique; names the namespace, so a new key for the same name finds the same cache.
        most_requests: requests at once, running and waiting; None: as many as the server takes.
        most_streams: streams at once; None: no limit of its own, as for those below.
        requests_per_minute: that may begin.
        tokens_per_minute: of prompts and answers, cached or not.
        most_cached_tokens: in the device's cache, over all salts; what it used longest ago goes.
    """

    name: str
    most_requests: int | None = None
    most_streams: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    most_cached_tokens: int | None = None


EVERYBODY = Tenant("")
"""The one tenant of a server without keys."""


class Keys:
    """Which key is whose; without any key, everybody is one tenant.

    Args:
        tenants: by the SHA-256 digest of the key.
        admin_digests: keys of operators, which are no tenant's.
    """

    def __init__(
        self,
        tenants: Mapping[bytes, Tenant] | None = None,
        admin_digests: frozenset[bytes] = frozenset(),
    ) -> None:
        self._tenants = dict(tenants or {})
        self._admin_digests = admin_digests

    def become(self, other: Keys) -> None:
        """Take the keys of another, for requests from now on."""
        self._tenants, self._admin_digests = other._tenants, other._admin_digests

    @property
    def tenant_names(self) -> frozenset[str]:
        """The names of all tenants that have a key."""
        return frozenset(tenant.name for tenant in self._tenants.values())

    @property
    def are_asked_for(self) -> bool:
        """Whether a request needs a key."""
        return bool(self._tenants)

    @property
    def guards_operations(self) -> bool:
        """Whether operators' routes need the admin key: always where tenants are kept apart."""
        return bool(self._tenants or self._admin_digests)

    def tenant(self, key: str | None) -> Tenant | None:
        """Return whose key it is, or None if it is nobody's."""
        if not self._tenants:
            return EVERYBODY
        return self._tenants.get(_digest(key)) if key else None

    def is_admin(self, key: str | None) -> bool:
        """Return whether the key is an operator's."""
        return bool(key) and _digest(key or "") in self._admin_digests


def keys_of(api_keys: tuple[str, ...], admin_keys: tuple[str, ...], file: Path | None) -> Keys:
    """Return all keys that an operator has named.

    Args:
        api_keys: plain keys; each is a tenant of its own.
        admin_keys: plain keys of operators.
        file: TOML: `[tenants.<name>]` with `keys = ["sha256:<hex>"]` and limits, and
            `[admin] keys`; None for none.

    Raises:
        ConfigError: the file cannot be read or says what makes no sense; the message names it.
    """
    tenants: dict[bytes, Tenant] = {}
    admins: set[bytes] = set()
    if file is not None:
        _read_file(file, tenants, admins)
    for key in api_keys:
        digest = _digest(key)
        # Of the digest, so that a restart finds the same namespace and a log no key.
        _add(tenants, digest, Tenant(f"key-{digest.hex()[:12]}"), "--api-key")
    for key in admin_keys:
        admins.add(_digest(key))
    if both := admins & tenants.keys():
        raise ConfigError(
            f"an admin key is also the key of tenant {tenants[min(both)].name}: make a new one"
        )
    return Keys(tenants, frozenset(admins))


def _read_file(file: Path, tenants: dict[bytes, Tenant], admins: set[bytes]) -> None:
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"the key file {file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the key file {file} is not TOML: {error}") from error
    _known(content, ("tenants", "admin"), f"{file}")
    for name, entry in _table(content, "tenants", f"{file}").items():
        place = f"{file}: tenants.{name}"
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{place}: a tenant's name is 1 to 64 of A-Z a-z 0-9 . _ -")
        if not isinstance(entry, dict):
            raise ConfigError(f"{place} must be a table with keys")
        _known(entry, ("keys", *_LIMITS), place)
        tenant = Tenant(name, **{limit: _limit(entry, limit, place) for limit in _LIMITS})
        for digest in _digests(entry, place):
            _add(tenants, digest, tenant, place)
    admin = _table(content, "admin", f"{file}")
    if admin:
        _known(admin, ("keys",), f"{file}: admin")
        admins.update(_digests(admin, f"{file}: admin"))


def _add(tenants: dict[bytes, Tenant], digest: bytes, tenant: Tenant, place: str) -> None:
    known = tenants.setdefault(digest, tenant)
    if known.name != tenant.name:
        raise ConfigError(f"{place}: this key is also the key of tenant {known.name}")


def _table(content: Mapping[str, Any], name: str, place: str) -> Mapping[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{place}: {name} must be a table")
    return table


def _known(table: Mapping[str, Any], names: tuple[str, ...], place: str) -> None:
    for name in table:
        if name not in names:
            raise ConfigError(f"{place}: {name} is unknown; known: {', '.join(names)}")


def _limit(entry: Mapping[str, Any], name: str, place: str) -> int | None:
    value = entry.get(name)
    if value is None:
        return None
    if type(value) is not int or value < 1:
        raise ConfigError(f"{place}.{name} must be a whole number from 1, got {value!r}")
    return value


def _digests(entry: Mapping[str, Any], place: str) -> list[bytes]:
    keys = entry.get("keys")
    if not isinstance(keys, list) or not keys:
        raise ConfigError(f'{place}.keys must be a list such as ["sha256:<64 hex digits>"]')
    digests = []
    for index, key in enumerate(keys):
        found = _DIGEST.fullmatch(key) if isinstance(key, str) else None
        if found is None:
            # The entry is not shown: it may be a key that was put there as it is.
            raise ConfigError(
                f"{place}.keys[{index}] must be sha256: and 64 hex digits; make it with "
                "printf %s KEY | sha256sum"
            )
        digests.append(bytes.fromhex(found[1]))
    return digests


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
