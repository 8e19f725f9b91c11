"""Signing secrets: read, rotated with a grace in which old and new both sign."""

import msgspec

from orderwire import signing
from orderwire.clock import SECOND, Clock
from orderwire.errors import Conflict, Invalid, NotFound
from orderwire.model import Destination, Secret
from orderwire.service.callers import Caller
from orderwire.service.configuration import Configuration
from orderwire.service.specs import GRACE_S_DEFAULT, RotationSpec
from orderwire.store.base import Store

LIVE_SECRETS_MAX = 10  # each signs every request


class Rotation:
    """Every verb on the signing secrets of destinations."""

    def __init__(self, store: Store, configuration: Configuration, clock: Clock) -> None:
        self._store, self._configuration, self._clock = store, configuration, clock

    async def read(self, caller: Caller, destination_id: str) -> tuple[str, ...]:
        """What a receiver verifies with, newest first: secrets of `v1`, public keys of `v1a`. Audited."""
        caller.ask("destination.secret")
        destination = self._configuration.destination(caller.tenant, destination_id)
        if destination is None:
            raise NotFound(f"there is no destination {destination_id}")
        now = self._clock.now()
        await self._store.append_audit(caller.entry("destination.secret", destination_id, now))
        return shown_secrets(destination, now)

    async def rotate(self, caller: Caller, destination_id: str, spec: RotationSpec) -> tuple[str, ...]:
        """A new secret in front; those before it end with the grace. What `read` answers."""
        caller.ask("destination.rotate")
        now = self._clock.now()

        def change(found: Destination) -> Destination:
            if not found.secrets:
                raise Conflict(f"kind {found.kind} signs with no secret of ours")
            scheme = _scheme(found.secrets[0])
            fresh = signing.new_secret(scheme) if spec.secret is None else _supplied(spec.secret, scheme)
            if any(secret.value == fresh for secret in found.secrets):
                raise Invalid.field("secret", "is in use already")
            secrets = _with_new(found.secrets, fresh, spec.grace_s, now)
            return msgspec.structs.replace(found, secrets=secrets, updated_at=now)

        audit = caller.entry("destination.rotate", destination_id, now, f"grace {spec.grace_s} s")
        changed = await self._configuration.change(
            self._configuration.destinations, (caller.tenant, destination_id), change, audit
        )
        return shown_secrets(changed, now)


def first_secrets(scheme: str | None, now: int) -> tuple[Secret, ...]:
    """The secrets of a new destination: one, or none where its kind is not signed by us."""
    return (Secret(value=signing.new_secret(scheme), created_at=now),) if scheme else ()


def rescheme(secrets: tuple[Secret, ...], scheme: str | None, now: int) -> tuple[Secret, ...]:
    """The secrets after a change of config: another scheme is a rotation with the usual grace."""
    if scheme is None or not secrets:
        return first_secrets(scheme, now)
    if _scheme(secrets[0]) == scheme:
        return secrets
    return _with_new(secrets, signing.new_secret(scheme), GRACE_S_DEFAULT, now)


def shown_secrets(destination: Destination, now: int) -> tuple[str, ...]:
    """Those alive now, as a receiver needs them."""
    return tuple(signing.public_part(secret.value) for secret in _alive(destination.secrets, now))


def _with_new(secrets: tuple[Secret, ...], fresh: str, grace_s: int, now: int) -> tuple[Secret, ...]:
    """`fresh` in front; the others end with the grace, or before where they would anyway."""
    ends_at = now + grace_s * SECOND
    alive = _alive(secrets, now) if grace_s else ()
    if len(alive) >= LIVE_SECRETS_MAX:
        raise Conflict(f"{LIVE_SECRETS_MAX} secrets are in their grace already; rotate with grace_s 0 to end them")
    older = tuple(
        msgspec.structs.replace(secret, expires_at=min(secret.expires_at or ends_at, ends_at)) for secret in alive
    )
    return (Secret(value=fresh, created_at=now), *older)


def _alive(secrets: tuple[Secret, ...], now: int) -> tuple[Secret, ...]:
    return tuple(secret for secret in secrets if secret.expires_at is None or secret.expires_at > now)


def _scheme(secret: Secret) -> str:
    return "v1a" if secret.value.startswith(signing.PRIVATE_PREFIX) else "v1"


def _supplied(text: str, scheme: str) -> str:
    prefix = signing.PRIVATE_PREFIX if scheme == "v1a" else signing.SYMMETRIC_PREFIX
    if not text.startswith(prefix):
        raise Invalid.field("secret", f"must begin with {prefix}, as this destination signs with {scheme}")
    try:
        signing.signer(text)
    except ValueError as error:
        raise Invalid.field("secret", str(error)) from None
    return text
