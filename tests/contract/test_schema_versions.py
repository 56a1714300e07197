"""The migrations are one chain, in the order of their files' names: by these the store tells whether any is missing."""

import subprocess
import sys
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

from homeport.store import schema
from homeport.store.sqlite import SqliteStore


def test_the_files_of_migrations_are_named_in_the_order_of_the_chain() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    chain = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert chain[::-1] == schema.known_versions()


async def test_a_database_of_this_version_is_opened_without_loading_alembic(tmp_path: Path) -> None:
    path = tmp_path / "homeport.db"
    store = SqliteStore(path)
    await store.start()
    await store.stop()
    program = (
        "import asyncio, sys; from pathlib import Path; from homeport.store.sqlite import SqliteStore;"
        "asyncio.run(SqliteStore(Path(sys.argv[1])).start()); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
