"""What a jump of the machine's wall clock does to files, and to keys that were revoked: nothing."""

import os
from datetime import timedelta

from homeport.api.patience import BUILD_SHOWN_S, still_building
from homeport.reconcile.garbage import INTERVAL_S, YOUNG_S
from homeport.testing.factories import NOON, make_account, make_event, make_key, make_resource
from homeport.testing.loops import Loops, write_bundle
from homeport.workloads.states import WorkloadStatus

DAY_S = 24 * 3600.0


async def test_a_clock_that_jumps_forward_removes_nothing_that_is_being_made(still: Loops) -> None:
    data, garbage = still.context.data, still.garbage()
    await garbage.collect()
    write_bundle(data, "unnamed", "one")
    for path in (data.sources / "unnamed.zip", data.uploads / "rev-one.part"):
        path.touch()
    still.clock.step(DAY_S)
    await garbage.collect()
    still.clock.move(INTERVAL_S)
    await garbage.collect()
    assert (data.bundles / "unnamed").exists()
    assert (data.sources / "unnamed.zip").exists() and (data.uploads / "rev-one.part").exists()
    still.clock.move(YOUNG_S)
    await garbage.collect()
    assert not [*data.bundles.iterdir(), *data.sources.iterdir(), *data.uploads.iterdir()], "it goes later"


async def test_a_clock_that_jumps_back_keeps_no_garbage_for_as_long_as_it_jumped(still: Loops) -> None:
    data, garbage = still.context.data, still.garbage()
    path = data.sources / "unnamed.zip"
    path.touch()
    await garbage.collect()
    still.clock.step(-DAY_S)
    await garbage.collect()
    for _ in range(2):
        still.clock.move(YOUNG_S + 1)
        await garbage.collect()
    assert not path.exists()


async def test_a_file_of_the_future_ages_from_now_on(still: Loops) -> None:
    """Made before the clock was set back while no server ran."""
    path = still.context.data.sources / "unnamed.zip"
    path.touch()
    later = (still.clock.now() + timedelta(days=1)).timestamp()
    os.utime(path, (later, later))
    garbage = still.garbage()
    await garbage.collect()
    assert path.exists()
    still.clock.move(YOUNG_S + 1)
    await garbage.collect()
    assert not path.exists()


async def test_what_is_being_made_is_young_however_quickly_time_passes_for_the_loops(fast: Loops) -> None:
    """A bundle is there a moment before its revision says so."""

    async def aged() -> bool:
        return fast.clock.monotonic() > 2 * YOUNG_S

    await fast.until(aged)
    write_bundle(fast.context.data, "unnamed", "one")
    await fast.garbage().collect()
    assert (fast.context.data.bundles / "unnamed" / "bundle.json").exists()


async def test_a_revoked_key_stays_refused_when_the_clock_jumps_past_its_end_and_back(still: Loops) -> None:
    expires = still.clock.now() + timedelta(hours=1)
    revoked = make_key("gone", workspace="home", expires_at=expires, revoked_at=still.clock.now())
    await still.context.store.write(
        lambda tx: (tx.identities.add_account(make_account()), tx.identities.add_key(revoked))
    )
    rollouts = still.rollouts()
    still.clock.step(2 * 3600.0)
    async with still.running(rollouts):
        await still.until(lambda: _is_published(still))
        assert "gone" in still.gateway.gateways[-1].revoked


async def _is_published(still: Loops) -> bool:
    return bool(still.gateway.gateways)


def test_a_deployment_is_not_shown_as_building_for_as_long_as_the_clock_jumped_back() -> None:
    resource = make_resource(status=WorkloadStatus.DEPLOYED)
    arrived = make_event(reason="ArchiveReceived")
    building = still_building(resource, [arrived], NOON + timedelta(seconds=BUILD_SHOWN_S / 2))
    assert building.status is WorkloadStatus.BUILDING
    assert still_building(resource, [arrived], NOON - timedelta(days=1)).status is WorkloadStatus.DEPLOYED
