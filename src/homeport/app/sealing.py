"""What the store keeps sealed: specifications on their way in and out, and at every start the check that what is stored
is sealed by keys that are here.

One note in the store says by which keys its rows are sealed, with a word sealed by each of them. Without the note the
rows are in plain, as an earlier version left them. So nothing is ever guessed from what a value looks like.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from homeport.app.administration import require_administrator
from homeport.app.calls import SECRET as CALLBACK_SECRET
from homeport.app.calls import body_place
from homeport.app.context import Context
from homeport.build.credentials import place_of
from homeport.build.registries import reseal_logins
from homeport.core.errors import Internal, StoreUnavailable
from homeport.core.ids import Kind
from homeport.identity.principals import Principal
from homeport.sealing.keys import Place, SealingKeys, mark_of
from homeport.sealing.specs import Owner, open_spec, reseal_spec, reveal_spec, seal_env, seal_plain_spec, seal_spec
from homeport.store.contract import Transaction
from homeport.store.invocation_records import Invocation
from homeport.store.records import Execution, Resource, Revision
from homeport.store.sealed import Sealed

log = logging.getLogger(__name__)

_NOTE = "sealed-by"
_DIGEST = "request"
_CHECK = Place("", "store", "check")
_WORD = "homeport"
_ROWS = 100  # of each table in one commit: some milliseconds, for which other writers wait
_EVERY_ROW = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """A sealing key that is the first now, those that stay until the next start, and how many rows are sealed anew."""

    key: str
    older: tuple[str, ...]
    rows: int


def seal_intent(context: Context, resource: Resource, stored: Resource | None = None) -> Resource:
    """`resource`, whose specification is a caller's, with its secrets sealed; masks stand for those of `stored`."""
    before = stored.spec if stored else {}
    return replace(resource, spec=seal_spec(context.sealing, resource.spec, before, _owner(resource)))


def reveal_workload(context: Context, resource: Resource) -> dict[str, Any]:
    """The specification with its secrets in plain. The caller has checked that they may be shown."""
    return reveal_spec(context.sealing, resource.spec, _owner(resource))


def plain_spec(context: Context, resource: Resource) -> dict[str, Any]:
    """The specification with all its secrets in plain, to be compared. Raises `Internal`."""
    return open_spec(context.sealing, resource.spec, _owner(resource))


def seal_digest(context: Context, owner: Owner, digest: str) -> str:
    """The digest of a request that holds secrets: in plain it would tell a short one to whoever tries them all."""
    return context.sealing.seal(digest, owner.place(_DIGEST))


def digest_of(context: Context, execution: Execution) -> str:
    """The digest of the request that made `execution`."""
    if not execution.env_override:
        return execution.request_digest
    return context.sealing.open(execution.request_digest, _owner_of(execution).place(_DIGEST))


async def seal_at_rest(context: Context) -> None:
    """Make sure, at the start and before anything else uses the store, that its secrets are sealed by the first key.

    Rows in plain, of an earlier version, are sealed; rows under an older key are sealed anew. Either is one commit,
    after which the files are written anew, since SQLite leaves replaced rows behind in them. Then nothing uses the
    older keys any more, and they go. Killed anywhere, the next start does it again. Raises `StoreUnavailable`, saying
    what to do, when rows are sealed by a key that is not here.
    """
    keys = context.sealing
    state = await context.store.read(_state)
    if state is not None:
        _check_keys(context, state)
    else:
        keys.save(context.data.sealing_key)  # durable before the first token
    if state is None or len(keys.ids) > 1:
        state = await context.store.write(lambda tx: _seal_rows(keys, tx))
    if not state.scrubbed:
        await context.store.scrub()
        done = replace(state, scrubbed=True)
        await context.store.write(lambda tx: tx.set_note(_NOTE, done.to_json()))
    if len(keys.ids) > 1:  # only here, where nobody else can hold what an older one has sealed
        keys.keep_first(context.data.sealing_key)


async def rotate_sealing_key(context: Context, principal: Principal) -> Rotated:
    """Seal with a new key from now on, and all that is stored anew, a few rows at a time; everything goes on meanwhile.

    The older key stays until the next start: somebody may be about to write what they read before. Killed anywhere,
    that start does the rest.
    """
    require_administrator(context, principal)
    async with context.rotating:
        keys, path = context.sealing, context.data.sealing_key
        after = keys.rotate(path)
        try:
            await context.store.write(partial(_note_key, after))  # which a start without the new key is refused by
        finally:
            keys.adopt(after)  # the file has it: what comes next must not be sealed by another
        log.warning("sealing key %s seals now", keys.first)
        older = _by_older(keys, _ROWS)
        rows = 0
        while count := await context.store.write(partial(_reseal, keys, only=older)):
            rows += count
        # Those that came meanwhile; all rows are read by the start alone, since other writers would wait for it.
        await context.store.write(partial(_seal_rows, keys, only=_by_older(keys, _EVERY_ROW)))
        return Rotated(key=keys.first, older=keys.ids[1:], rows=rows)


def _note_key(keys: SealingKeys, tx: Transaction) -> None:
    state = _state(tx)
    assert state is not None, "the start has written it"
    words = {**state.keys, keys.first: keys.seal(_WORD, _CHECK)}
    tx.set_note(_NOTE, _State(keys=words, scrubbed=False).to_json())


@dataclass(frozen=True, slots=True)
class _State:
    """`keys`: a sealed word for each key that seals rows. `scrubbed` is False until replaced rows are gone from the
    files."""

    keys: dict[str, str]
    scrubbed: bool

    def to_json(self) -> str:
        return json.dumps({"keys": self.keys, "scrubbed": self.scrubbed})


def _state(tx: Transaction) -> _State | None:
    note = tx.note(_NOTE)
    return None if note is None else _State(**json.loads(note))


def _check_keys(context: Context, state: _State) -> None:
    path = context.data.sealing_key
    if not path.exists():
        raise StoreUnavailable(
            f"The sealing key {path} is missing, and the store holds secrets that only it opens.", hint=_MISSING
        )
    for ident, token in state.keys.items():
        try:
            context.sealing.open(token, _CHECK)
        except Internal as error:
            here = ", ".join(context.sealing.ids)
            raise StoreUnavailable(
                f"The store's secrets are sealed by the key {ident}, and {path} holds {here}.",
                hint=_MISSING,
                detail=error.detail,
            ) from error


_MISSING = (
    "Put back DATA/keys/sealing.json from the backup that belongs to this database. Nothing was changed. "
    "If the key is lost, so are the secrets: see docs/secrets.md."
)


def _seal_rows(keys: SealingKeys, tx: Transaction, only: Sealed | None = None) -> _State:
    """Bring every row under the first key, whatever it is under now, or those that `only` finds."""
    before = _state(tx)
    count = _seal_plain(keys, tx) if before is None else _reseal(keys, tx, only)
    scrubbed = count == 0 and (before is None or before.scrubbed)
    state = _State(keys={keys.first: keys.seal(_WORD, _CHECK)}, scrubbed=scrubbed)
    tx.set_note(_NOTE, state.to_json())
    if count:
        log.info("sealed the secrets of %d rows with the key %s", count, keys.first)
    return state


def _seal_plain(keys: SealingKeys, tx: Transaction) -> int:
    change = partial(seal_plain_spec, keys)
    count = tx.resources.rewrite_specs(lambda resource: _of_workload(resource, change))
    count += tx.revisions.rewrite_specs(lambda revision: change(revision.spec, _owner_of_revision(revision)))
    return count + tx.executions.rewrite_overrides(lambda execution: _overrides(keys, execution, True))


def _reseal(keys: SealingKeys, tx: Transaction, only: Sealed | None = None) -> int:
    """Bring what other keys have sealed under the first, all of it or what `only` finds; how many rows that were."""
    older = only or _by_older(keys, _EVERY_ROW)
    change = partial(reseal_spec, keys)
    count = tx.resources.rewrite_specs(lambda resource: _of_workload(resource, change), only)
    count += tx.revisions.rewrite_specs(lambda revision: change(revision.spec, _owner_of_revision(revision)), only)
    count += tx.executions.rewrite_overrides(lambda execution: _overrides(keys, execution, False), older)
    count += tx.revisions.rewrite_logins(lambda revision: reseal_logins(keys, revision), older)
    count += tx.secrets.rewrite_tokens(lambda secret: keys.reseal(secret.token or "", place_of(secret)), older)
    count += tx.invocations.rewrite_callback_secrets(partial(_callback_secret, keys), older)
    return count + tx.invocations.rewrite_bodies(
        lambda call, sealed: keys.reseal_bytes(sealed, body_place(call.workspace, call.id)), older
    )


def _by_older(keys: SealingKeys, rows: int) -> Sealed:
    """At most so many rows of a table that hold what other keys than the first have sealed."""
    return Sealed(tuple(mark_of(ident) for ident in keys.ids[1:]), rows)


def _callback_secret(keys: SealingKeys, call: Invocation) -> str:
    return keys.reseal(call.callback_secret or "", Place(call.workspace, call.id, CALLBACK_SECRET))


_Change = Callable[[dict[str, Any], Owner], dict[str, Any]]


def _of_workload(resource: Resource, change: _Change) -> dict[str, Any]:
    return resource.spec if resource.kind in (Kind.POLICY, Kind.VOLUME) else change(resource.spec, _owner(resource))


def _overrides(keys: SealingKeys, execution: Execution, plain: bool) -> tuple[dict[str, str], str]:
    owner = _owner_of(execution)
    if plain:
        return seal_env(keys, execution.env_override, owner), keys.seal(execution.request_digest, owner.place(_DIGEST))
    env = {name: keys.reseal(token, owner.place(f"env.{name}")) for name, token in execution.env_override.items()}
    return env, keys.reseal(execution.request_digest, owner.place(_DIGEST))


def _owner(resource: Resource) -> Owner:
    return Owner(resource.workspace, resource.uid)


def _owner_of_revision(revision: Revision) -> Owner:
    return Owner(revision.workspace, revision.resource_uid)


def _owner_of(execution: Execution) -> Owner:
    return Owner(execution.workspace, execution.id)
