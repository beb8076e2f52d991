"""The statement that writes a batch's rows of one table, made from the row's class.

A statement takes all of its rows as one JSON array and lets Postgres match fields to columns by name. Where a row is
there already, each group of its columns is kept as the highest version tells it, see `rows`. A row that would stay as it
is is not written: that costs a dead row and, for a turn, its place in the index of words.
"""

from trunkline_transcripts.rows import Row


def write(row_type: type[Row]) -> str:
    """Return the statement for the table of `row_type`; its one parameter, `:rows`, is the JSON array."""
    columns = ", ".join(row_type.__struct_fields__)
    table = row_type.table
    return (
        f"insert into {table} as stored ({columns}) "  # noqa: S608 - every name is one of ours
        f"select {columns} from json_populate_recordset(null::{table}, cast(:rows as json)) "
        f"on conflict {_on_conflict(row_type)}"
    )


def _on_conflict(row_type: type[Row]) -> str:
    if not row_type.groups:
        return "do nothing"
    news = {group: _is_newer(group.version) for group in row_type.groups}
    kept = [
        f"{column} = case when {news[group]} then excluded.{column} else stored.{column} end"
        for group in row_type.groups
        for column in (*group.columns, group.version)
    ]
    kept += [f"{column} = least(stored.{column}, excluded.{column})" for column in row_type.first]
    changes = [*news.values(), *(_is_earlier(column) for column in row_type.first)]
    key = ", ".join(row_type.key_columns)
    return f"({key}) do update set {', '.join(kept)} where {' or '.join(changes)}"


def _is_newer(version: str) -> str:
    # Null is below all.
    first = f"excluded.{version} is not null and stored.{version} is null"
    return f"coalesce(excluded.{version} > stored.{version}, {first})"


def _is_earlier(column: str) -> str:
    first = f"excluded.{column} is not null and stored.{column} is null"
    return f"coalesce(excluded.{column} < stored.{column}, {first})"
