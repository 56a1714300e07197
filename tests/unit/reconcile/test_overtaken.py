"""Which revisions are not built because a newer one is."""

from homeport.core.ids import RevisionId
from homeport.reconcile.builds import overtaken
from homeport.testing.factories import make_revision
from homeport.workloads.states import RevisionState

HELD = {"revision": {"traffic": 0}}


def test_an_engine_builds_the_newest_revision_of_a_workload_only() -> None:
    waiting = [
        make_revision(id=RevisionId(name), state=RevisionState.BUILDING, generation=generation, **more)
        for name, generation, more in (
            ("old", 1, {"region": "docks"}),
            ("held", 2, {"region": "docks", "spec": HELD}),
            ("program", 3, {}),
            ("new", 4, {"region": "docks"}),
            ("newest-held", 5, {"region": "docks", "spec": HELD}),
            ("another", 1, {"region": "docks", "resource_uid": "other"}),
        )
    ]
    assert [one.id for one in overtaken(waiting, [RevisionId("new")])] == ["old"]
    both = [RevisionId("new"), RevisionId("old")]
    assert overtaken(waiting, both) == [], "one that is the active one, one that is its canary"
    assert overtaken(waiting[:2], []) == []
