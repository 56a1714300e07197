"""The end of an account, whoever asks for it: its keys and the access tokens that it may still hold end with it."""

from datetime import datetime

from homeport.identity.tokens import live_token_jtis
from homeport.store.contract import Transaction
from homeport.store.records import ApiKey, ServiceAccount


def end_account(tx: Transaction, account: ServiceAccount, now: datetime) -> None:
    """Remove the account, revoke its keys, and name its access tokens among what the gateway refuses: nobody recorded
    them when they were issued."""
    tx.identities.remove_account(account.client_id, now)
    for jti, ends in live_token_jtis(account.client_id, now):
        tx.identities.add_key(
            ApiKey(
                jti=jti,
                client_id=account.client_id,
                workspace=account.workspace,
                name="access tokens",
                created_at=now,
                created_by=account.client_id,
                expires_at=ends,
                revoked_at=now,
            )
        )
