"""The store's tables and prepared statements are understood by PostgreSQL's dialect too, without a connection."""

import pytest
from sqlalchemy import ClauseElement
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from homeport.store import tasks
from homeport.store.tables import metadata

STATEMENTS = {
    name: value for name, value in vars(tasks).items() if name.isupper() and hasattr(value, "get_execution_options")
}


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=str)
def test_a_table_can_be_made_on_postgresql(table: ClauseElement) -> None:
    made = str(CreateTable(table).compile(dialect=postgresql.dialect()))
    indexes = [str(CreateIndex(index).compile(dialect=postgresql.dialect())) for index in table.indexes]
    assert made.strip().startswith("CREATE TABLE")
    assert all(index.startswith("CREATE") for index in indexes)


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_a_prepared_statement_compiles_for_postgresql(name: str) -> None:
    assert str(STATEMENTS[name].compile(dialect=postgresql.dialect()))


def test_a_claim_on_postgresql_passes_over_rows_that_others_are_claiming() -> None:
    claim = str(STATEMENTS["_CLAIM"].compile(dialect=postgresql.dialect()))
    assert "FOR UPDATE SKIP LOCKED" in claim
    assert "RETURNING" in claim
