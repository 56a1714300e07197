"""The first start gives the operator a key that works; later ones leave it alone."""

import stat

from homeport.app.first_run import ensure_first_run
from homeport.core.ids import DEFAULT_WORKSPACE
from homeport.testing.control_plane import ControlPlane


async def test_the_first_run_key_is_an_admins_private_and_made_once(plane: ControlPlane) -> None:
    path = plane.context.data.admin_key
    await ensure_first_run(plane.context)
    key = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    status = await plane.send(key.strip(), "GET", "/v0/homeport/status")
    assert (status.status_code, status.json()["workspace"]) == (200, DEFAULT_WORKSPACE)
    policy = {
        "metadata": {"name": "one"},
        "spec": {"type": "location", "locations": [{"type": "country", "name": "DE"}]},
    }
    assert (await plane.send(key.strip(), "POST", "/v0/policies", json=policy)).status_code == 200
    await ensure_first_run(plane.context)
    assert path.read_text() == key


async def test_a_first_start_that_was_killed_is_completed_and_a_lost_key_file_made_anew(plane: ControlPlane) -> None:
    path = plane.context.data.admin_key
    await ensure_first_run(plane.context)
    before = path.read_text().strip()
    # As if killed between the commit and the file's name.
    draft = path.rename(path.with_name(".admin-key.0123456789abcdef"))
    await ensure_first_run(plane.context)
    after = path.read_text().strip()
    assert after != before and not draft.exists()
    assert (await plane.send(after, "GET", "/v0/agents")).status_code == 200
    accounts = await plane.context.store.read(lambda tx: tx.identities.accounts(DEFAULT_WORKSPACE))
    assert len(accounts) == 1
