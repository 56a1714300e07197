"""What the store keeps sealed: specifications on their way in and out, and at every start the check that what is stored
is sealed by keys that are here.

One note in the store says by which keys its rows are sealed, with a word sealed by each of them. Without the note the
rows are in plain, as an earlier version left them. So nothing is ever guessed from what a value looks like.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from homeport.app.context import Context
from homeport.build.credentials import place_of
from homeport.build.registries import reseal_logins
from homeport.core.errors import Internal, StoreUnavailable
from homeport.core.ids import Kind
from homeport.sealing.keys import Place, SealingKeys
from homeport.sealing.specs import Owner, open_spec, reseal_spec, reveal_spec, seal_env, seal_plain_spec, seal_spec
from homeport.store.contract import Transaction
from homeport.store.records import Execution, Resource, Revision

log = logging.getLogger(__name__)

_NOTE = "sealed-by"
_DIGEST = "request"
_CHECK = Place("", "store", "check")
_WORD = "homeport"


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

    Rows in plain, of an earlier version, are sealed; rows under a retired key are sealed anew. Either is one commit,
    after which the files are written anew, since SQLite leaves replaced rows behind in them. Killed anywhere, the next
    start does it again. Raises `StoreUnavailable`, saying what to do, when rows are sealed by a key that is not here.
    """
    keys = context.sealing
    state = await context.store.read(_state)
    if state is not None:
        _check_keys(context, state)
    else:
        keys.save(context.data.sealing_key)  # durable before the first token
    if state is None or state.keys.keys() != {keys.first}:
        state = await context.store.write(lambda tx: _seal_rows(keys, tx))
    if not state.scrubbed:
        await context.store.scrub()
        done = replace(state, scrubbed=True)
        await context.store.write(lambda tx: tx.set_note(_NOTE, done.to_json()))


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


def _seal_rows(keys: SealingKeys, tx: Transaction) -> _State:
    """Bring every row under the first key, whatever it is under now."""
    plain = _state(tx) is None
    change = _sealing(keys) if plain else _resealing(keys)
    count = tx.resources.rewrite_specs(lambda resource: _of_workload(resource, change))
    count += tx.revisions.rewrite_specs(lambda revision: change(revision.spec, _owner_of_revision(revision)))
    count += tx.executions.rewrite_overrides(lambda execution: _overrides(keys, execution, plain))
    if not plain:
        count += tx.revisions.rewrite_logins(lambda revision: reseal_logins(keys, revision))
        count += tx.secrets.rewrite_tokens(lambda secret: keys.reseal(secret.token or "", place_of(secret)))
    state = _State(keys={keys.first: keys.seal(_WORD, _CHECK)}, scrubbed=count == 0)
    tx.set_note(_NOTE, state.to_json())
    if count:
        log.info("sealed the secrets of %d rows with the key %s", count, keys.first)
    return state


_Change = Callable[[dict[str, Any], Owner], dict[str, Any]]


def _sealing(keys: SealingKeys) -> _Change:
    return lambda spec, owner: seal_plain_spec(keys, spec, owner)


def _resealing(keys: SealingKeys) -> _Change:
    return lambda spec, owner: reseal_spec(keys, spec, owner)


def _of_workload(resource: Resource, change: _Change) -> dict[str, Any]:
    return resource.spec if resource.kind is Kind.POLICY else change(resource.spec, _owner(resource))


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
