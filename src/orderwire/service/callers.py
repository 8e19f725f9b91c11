"""Who calls, and what they may: every service verb takes a `Caller` first and asks by the verb's own name."""

from collections.abc import Mapping

from orderwire.clock import Clock
from orderwire.errors import Forbidden, NotFound, Unauthorized
from orderwire.ids import new_id
from orderwire.model import DEFAULT_TENANT, Role, Value
from orderwire.service.configuration import Configuration, hash_key
from orderwire.service.rates import Bucket, Rates
from orderwire.store.base import AuditEntry

KNOWN_MAX, KNOWN_CHARS_MAX = 10_000, 200
_NO_KEY = "give a key: Authorization: Bearer ow_..."

_READ = frozenset(
    [
        "event.get",
        "event.list",
        "delivery.get",
        "delivery.list",
        "delivery.attempts",
        "destination.get",
        "destination.list",
        "destination.stats",
        "source.get",
        "source.list",
        "event_type.get",
        "event_type.list",
        "source_kind.list",
        "destination_kind.list",
        "audit.list",
        "live.watch",
        "metrics.read",
    ]
)
_MANAGE = frozenset(
    [
        "event.publish",
        "event.replay",
        "delivery.retry",
        "delivery.cancel",
        "destination.create",
        "destination.change",
        "destination.delete",
        "destination.activate",
        "destination.pause",
        "destination.secret",
        "destination.rotate",
        "destination.test",
        "destination.replay",
        "source.create",
        "source.change",
        "source.delete",
        "event_type.put",
        "event_type.delete",
    ]
)
_ADMINISTER = frozenset(
    [
        "tenant.create",
        "tenant.get",
        "tenant.list",
        "tenant.change",
        "tenant.delete",
        "key.create",
        "key.list",
        "key.delete",
    ]
)
# A browser key is public: it publishes `storefront.*` and sees nothing.
PERMISSIONS: Mapping[Role, frozenset[str]] = {
    Role.ADMIN: _READ | _MANAGE | _ADMINISTER,
    Role.MANAGER: _READ | _MANAGE,
    Role.READER: _READ,
    Role.PUBLISHER: frozenset({"event.publish", "metrics.read"}),
    Role.BROWSER: frozenset({"storefront.publish"}),
}


class Caller(Value, frozen=True, kw_only=True):
    """A key at work for a tenant. `origins`: from where a browser key may be used."""

    key_id: str
    tenant: str
    role: Role
    origins: tuple[str, ...] = ()

    def may(self, verb: str) -> bool:
        """Whether the key's role has the verb."""
        return verb in PERMISSIONS[self.role]

    def ask(self, verb: str) -> None:
        """Raises Forbidden where the key's role has not the verb."""
        if not self.may(verb):
            able = ", ".join(role for role in Role if verb in PERMISSIONS[role])
            raise Forbidden(f"a {self.role} key may not {verb}; use a key of role {able}")

    def entry(self, verb: str, resource: str, now: int, detail: str = "") -> AuditEntry:
        """The audit line of what this caller does."""
        return AuditEntry(
            id=new_id("aud", now),
            tenant=self.tenant,
            at=now,
            actor=self.key_id,
            action=verb,
            resource=resource,
            detail=detail,
        )


class Callers:
    """Turns the proof a request carries into a `Caller`; remembers whom it knows until a key or tenant changes."""

    def __init__(self, configuration: Configuration, rates: Rates, clock: Clock) -> None:
        self._configuration = configuration
        self._rates = rates
        self._clock = clock
        self._known: dict[tuple[str | None, str | None], tuple[Caller, tuple[Bucket, ...]]] = {}
        configuration.subscribe(self._forget)

    def identify(self, authorization: str | None, tenant: str | None) -> Caller:
        """Who sent the headers `Authorization` and `Orderwire-Tenant`.

        Raises Unauthorized, NotFound (a tenant that is not there or not theirs: the same answer) or TooManyRequests.
        """
        known = self._known.get((authorization, tenant))
        if known is None:
            known = self._look_up(authorization, tenant)
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            if len(authorization or "") <= KNOWN_CHARS_MAX:  # blanks in it are free: one key, any number of texts
                self._known[authorization, tenant] = known
        caller, buckets = known
        if buckets:
            now = self._clock.now()
            for bucket in buckets:
                bucket.take(now)
        return caller

    def knows(self, caller: Caller) -> bool:
        """Whether the key and tenant of one identified before are still there."""
        return self._configuration.has_key(caller.key_id) and self._configuration.tenant(caller.tenant) is not None

    def _look_up(self, authorization: str | None, tenant: str | None) -> tuple[Caller, tuple[Bucket, ...]]:
        key = self._configuration.key_by_hash(hash_key(_token(authorization)))
        if key is None:
            raise Unauthorized("this key is not known here")
        own = DEFAULT_TENANT if key.role is Role.ADMIN else key.tenant
        named = tenant if tenant is not None else own
        if (named != key.tenant and key.role is not Role.ADMIN) or self._configuration.tenant(named) is None:
            raise NotFound(f"there is no tenant {named[:64]}")
        caller = Caller(key_id=key.id, tenant=named, role=key.role, origins=key.origins)
        return caller, self._rates.buckets(key.id, named)

    def _forget(self, kind: str, _: str, __: object) -> None:
        if kind in ("key", "tenant"):
            self._known.clear()


def _token(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized(_NO_KEY)
    return token.strip()
