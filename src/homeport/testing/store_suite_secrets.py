"""What every store promises about secrets: stored ones, and the change of how all of them are kept."""

from dataclasses import replace
from datetime import timedelta

from homeport.core.ids import ExecutionId, RevisionId
from homeport.store.contract import Store, Transaction
from homeport.store.records import StoredSecret
from homeport.testing.factories import NOON, make_execution, make_resource, make_revision

ONE = StoredSecret(
    workspace="home",
    name="git",
    token="sealed-1",
    created_at=NOON,
    created_by="ada",
    updated_at=NOON,
    updated_by="ada",
)


class SecretSuite:
    """What `Secrets` and the `rewrite_…` methods promise."""

    async def test_a_secret_is_replaced_by_name_and_each_workspace_has_its_own(self, store: Store) -> None:
        other = replace(ONE, workspace="away", token="sealed-2")
        newer = replace(ONE, token="sealed-3", updated_by="bob")
        for secret in (ONE, other, newer, replace(ONE, name="api")):
            await store.write(lambda tx, secret=secret: tx.secrets.put(secret))  # type: ignore[misc]
        assert await store.read(lambda tx: tx.secrets.get("home", "git")) == newer
        assert await store.read(lambda tx: tx.secrets.get("away", "git")) == other
        assert [one.name for one in await store.read(lambda tx: tx.secrets.of("home"))] == ["api", "git"]
        assert await store.read(lambda tx: tx.secrets.get("home", "none")) is None

    async def test_a_deleted_secret_is_found_without_its_value_and_only_the_newest_of_them_are_kept(
        self, store: Store
    ) -> None:
        def work(tx: Transaction) -> None:
            tx.secrets.put(replace(ONE, name="living"))
            for number in range(5):
                gone = replace(ONE, name=f"g-{number}", token=None, updated_at=NOON + timedelta(seconds=number))
                tx.secrets.put(gone, keep=2)

        await store.write(work)
        assert [one.name for one in await store.read(lambda tx: tx.secrets.of("home"))] == ["living"]
        found = await store.read(lambda tx: [tx.secrets.get("home", f"g-{number}") for number in range(5)])
        assert [secret is not None and secret.deleted for secret in found] == [False, False, False, True, True]

    async def test_tokens_are_rewritten_but_for_deleted_ones(self, store: Store) -> None:
        def work(tx: Transaction) -> int:
            tx.secrets.put(ONE)
            tx.secrets.put(replace(ONE, name="gone", token=None))
            return tx.secrets.rewrite_tokens(lambda secret: f"{secret.token}-anew")

        assert await store.write(work) == 1
        assert await store.read(lambda tx: tx.secrets.get("home", "git")) == replace(ONE, token="sealed-1-anew")

    async def test_specs_are_rewritten_and_nothing_else_of_their_rows(self, store: Store) -> None:
        one, two = make_resource("one", spec={"a": 1, "policies": ["p"]}), make_resource("two", spec={"b": 1})
        revision = make_revision(one)

        def work(tx: Transaction) -> tuple[int, int]:
            tx.resources.insert(one)
            tx.resources.insert(two)
            tx.revisions.insert(revision)
            changed = tx.resources.rewrite_specs(
                lambda found: {**found.spec, "a": 2} if found.name == "one" else found.spec
            )
            return changed, tx.revisions.rewrite_specs(lambda found: {**found.spec, "a": 3})

        assert await store.write(work) == (1, 1)
        assert await store.read(lambda tx: tx.resources.by_uid(one.uid)) == replace(one, spec={**one.spec, "a": 2})
        assert await store.read(lambda tx: tx.resources.by_uid(two.uid)) == two
        found = await store.read(lambda tx: tx.revisions.get(RevisionId(revision.id)))
        assert found == replace(revision, spec={**one.spec, "a": 3})
        assert [user.name for user in await store.read(lambda tx: tx.resources.using_policy("home", "p"))] == ["one"]

    async def test_overrides_are_rewritten_where_there_are_any(self, store: Store) -> None:
        having, none = make_execution("with", env_override={"A": "b"}), make_execution("without")

        def work(tx: Transaction) -> int:
            tx.executions.insert(having)
            tx.executions.insert(none)
            return tx.executions.rewrite_overrides(lambda found: ({**found.env_override, "A": "c"}, "digest"))

        assert await store.write(work) == 1
        found = await store.read(lambda tx: tx.executions.get(ExecutionId("with")))
        assert found == replace(having, env_override={"A": "c"}, request_digest="digest")
        assert await store.read(lambda tx: tx.executions.get(ExecutionId("without"))) == none

    async def test_a_scrubbed_store_goes_on(self, store: Store) -> None:
        await store.write(lambda tx: tx.secrets.put(ONE))
        await store.scrub()
        await store.write(lambda tx: tx.secrets.put(replace(ONE, name="more")))
        assert len(await store.read(lambda tx: tx.secrets.of("home"))) == 2
