"""Rows as CSV, JSON lines or Parquet, some at a time. No asyncio, no database.

A writer takes rows and returns the bytes that are ready; `end` returns the rest.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from importlib.util import find_spec
from typing import Any, Final, Protocol

import msgspec

ExportRow = Mapping[str, Any]

_PARQUET_TYPES: Final = {
    "call_started_at": "moment", "answered_at": "moment", "ended_at": "moment", "interrupted": "boolean",
    "attach": "integer", "assign": "integer", "position": "integer", "start_ms": "integer", "end_ms": "integer",
    "generated_ms": "integer", "heard_ms": "integer", "duration_ms": "integer", "interruptions": "integer",
    "turns": "integer", "tool_calls": "integer", "response_ms": "real", "model_ms": "real",
    "median_response_ms": "real", "cost_usd": "real",
}  # fmt: skip
"""Everything else is text. A column has its type whatever the first rows hold, and a file of no rows has columns."""

_SPOKEN: Final = frozenset({"text", "heard_text"})


class Format(StrEnum):
    """How rows are written."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


MEDIA_TYPES: Final = {
    Format.CSV: "text/csv; charset=utf-8",
    Format.JSONL: "application/x-ndjson",
    Format.PARQUET: "application/vnd.apache.parquet",
}


class Writer(Protocol):
    """Writes one export."""

    def write(self, rows: Sequence[ExportRow]) -> bytes:
        """Take some rows, and return the bytes that are ready."""

    def end(self) -> bytes:
        """Return what is left."""


def has_parquet() -> bool:
    """Return whether `trunkline-transcripts[parquet]` is installed."""
    return find_spec("pyarrow") is not None


def writer(form: Format, names: Sequence[str]) -> Writer:
    """Return the writer of a file with these columns."""
    if form is Format.CSV:
        return _Csv(names)
    return _JsonLines() if form is Format.JSONL else _Parquet(names)


class _Csv:
    """RFC 4180, with a header; moments in ISO 8601, null is empty."""

    def __init__(self, names: Sequence[str]) -> None:
        self._text = io.StringIO()
        self._csv = csv.writer(self._text)
        self._csv.writerow(names)

    def write(self, rows: Sequence[ExportRow]) -> bytes:
        self._csv.writerows([_cell(name, value) for name, value in row.items()] for row in rows)
        return self.end()

    def end(self) -> bytes:
        data = self._text.getvalue().encode()
        self._text.seek(0)
        self._text.truncate()
        return data


class _JsonLines:
    """One JSON object a line."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder(decimal_format="number")

    def write(self, rows: Sequence[ExportRow]) -> bytes:
        return self._encoder.encode_lines(rows)

    def end(self) -> bytes:
        return b""


class _Parquet:
    """Apache Parquet: a row group for each lot of rows, zstd."""

    def __init__(self, names: Sequence[str]) -> None:
        # Half a second and 150 MB on disk: only who asks for Parquet loads it.
        import pyarrow  # noqa: PLC0415
        import pyarrow.parquet  # noqa: PLC0415

        types = {
            "moment": pyarrow.timestamp("us", tz="UTC"),
            "boolean": pyarrow.bool_(),
            "integer": pyarrow.int64(),
            "real": pyarrow.float64(),
            "text": pyarrow.string(),
        }
        self._arrow = pyarrow
        self._schema = pyarrow.schema([(name, types[_PARQUET_TYPES.get(name, "text")]) for name in names])
        self._sink = _Sink()
        self._file = pyarrow.parquet.ParquetWriter(self._sink, self._schema, compression="zstd")

    def write(self, rows: Sequence[ExportRow]) -> bytes:
        plain = [dict(_plain_items(row)) for row in rows]
        self._file.write_table(self._arrow.Table.from_pylist(plain, schema=self._schema))
        return self._sink.taken()

    def end(self) -> bytes:
        self._file.close()
        return self._sink.taken()


class _Sink(io.RawIOBase):
    """A file that is only ever written on, and read away."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._size_bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._size_bytes += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._size_bytes

    def taken(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


def _cell(name: str, value: Any) -> Any:
    if name in _SPOKEN and value and value[0] in "=+-@\t\r":
        # A spreadsheet would take it for a formula, and a caller can say one (OWASP: CSV Injection).
        return f"'{value}"
    return value.isoformat() if isinstance(value, datetime) else value


def _plain_items(row: ExportRow) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        yield name, float(value) if isinstance(value, Decimal) else value
