"""Who calls: a signed token becomes a principal. The gateway does the same for workload addresses inside Envoy; this
is for the control plane."""

from collections.abc import Sequence
from datetime import timedelta

from homeport.app.context import Context
from homeport.core.errors import Denied, Invalid, Unauthenticated
from homeport.core.ids import RevisionId
from homeport.identity.keys import GATEWAY_AUDIENCE, Claims
from homeport.identity.principals import Principal
from homeport.identity.roles import SCOPES
from homeport.identity.tokens import LIFETIME_S, token_jti
from homeport.store.contract import Transaction
from homeport.store.records import Revision, ServiceAccount

ALL_SCOPES = ("all",)
_SCOPE_SHOWN = 60  # characters of an unknown scope that its refusal repeats
_ACCOUNT_SECRET = "account"  # begins a service account's secret, as its revision begins a program's
WORKLOAD_SCOPES = ("agents:run", "functions:run", "models:run", "jobs:run", "jobs:get", "jobs:list")


async def authenticate(context: Context, token: str | None, workspace: str | None) -> Principal:
    """The principal behind `token`, in `workspace` if one is named.

    Raises `Unauthenticated` for a missing, invalid, expired or revoked token, `Denied` for another workspace.
    """
    if not token:
        raise Unauthenticated(
            "This request needs a key.", hint="Send it as 'Authorization: Bearer <key>' or 'X-Blaxel-Authorization'."
        )
    claims = context.keys.verify(token, GATEWAY_AUDIENCE, context.clock.now())
    account, key = await context.store.read(
        lambda tx: (tx.identities.account(claims.sub), tx.identities.key(claims.jti))
    )
    if account is None or (key is not None and key.revoked_at is not None):
        raise Unauthenticated("This key has been revoked.")
    if workspace and workspace != account.workspace:
        raise Denied(f"This key belongs to workspace {account.workspace!r}, not to {workspace!r}.")
    return Principal(
        sub=account.client_id,
        workspace=account.workspace,
        role=account.role,
        scopes=claims.scopes,
        name=account.name,
    )


def client_secret(context: Context, client_id: str, revision: RevisionId) -> str:
    """The secret with which a revision's program asks for tokens: derived from the signing key, never stored."""
    return f"{revision}.{context.keys.derive(_of_program(client_id, revision))}"


def account_secret(context: Context, client_id: str) -> str:
    """The secret of a service account, told once when it is made: derived, never stored. It ends with the account."""
    return f"{_ACCOUNT_SECRET}.{context.keys.derive(_of_account(client_id))}"


def _of_program(client_id: str, revision: RevisionId) -> str:
    return f"client-secret:{client_id}:{revision}"


def _of_account(client_id: str) -> str:
    return f"account-secret:{client_id}"


async def issue_token(
    context: Context, client_id: str, secret: str, asked: Sequence[str] = ()
) -> tuple[str, int, tuple[str, ...]]:
    """An access token for the client credentials of a service account or of a revision's program, its lifetime in
    seconds, and what it is narrowed to: the scopes in `asked`, if there are any.

    Raises `Invalid` naming the parameter, as the contract's token endpoint does.
    """
    revision = RevisionId(secret.partition(".")[0])

    def look(tx: Transaction) -> tuple[ServiceAccount | None, Revision | None]:
        return tx.identities.account(client_id), tx.revisions.get(revision)

    account, found = await context.store.read(look)
    program = account is None or account.owner_uid is not None
    purpose = _of_program(client_id, revision) if program else _of_account(client_id)
    begun = program or revision == _ACCOUNT_SECRET
    genuine = context.keys.derives(purpose, secret.partition(".")[2]) and begun
    gone = program and (account is None or found is None or account.owner_uid != found.resource_uid)
    if account is None or gone or not genuine:
        raise Invalid("client_secret", "does not belong to this client_id, or its revision is gone")
    scopes = _narrowed(WORKLOAD_SCOPES if program else ALL_SCOPES, asked)
    now = context.clock.now()
    claims = Claims(
        sub=client_id,
        jti=token_jti(client_id, now),
        workspace=account.workspace,
        scopes=scopes,
        issued_at=now,
        expires_at=now + timedelta(seconds=LIFETIME_S),
    )
    return context.keys.sign(claims, GATEWAY_AUDIENCE), LIFETIME_S, scopes


def _narrowed(has: tuple[str, ...], asked: Sequence[str]) -> tuple[str, ...]:
    """Never more than was asked for: a token that is given away opens what it was meant to."""
    known = SCOPES if has == ALL_SCOPES else has
    for scope in asked:
        if scope not in known:
            raise Invalid("scope", "must hold scopes that this client may ask for", value=scope[:_SCOPE_SHOWN])
    return tuple(asked) or has
