"""Every metric that the console exports."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

REQUESTS: Final = Counter(
    "trunkline_console_requests",
    "Requests answered, by the route's template and the class of the status.",
    ["route", "status"],
)
REQUEST_SECONDS: Final = Histogram(
    "trunkline_console_request_seconds",
    "Time until the answer had been handed over; exports and listeners stay as long as they like.",
    ["route"],
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
DATABASE_FAILURES: Final = Counter(
    "trunkline_console_database_failures", "Requests that Postgres did not answer.", ["trouble"]
)
ROWS_EXPORTED: Final = Counter("trunkline_console_rows_exported", "Rows handed out by exports.", ["format"])
EXPORTS_CUT: Final = Counter(
    "trunkline_console_exports_cut", "Exports that ended before their last row: Postgres or the client left."
)
LISTENERS: Final = Gauge("trunkline_console_listeners", "Clients that follow the live calls now.")
LIVE_EVENTS: Final = Counter("trunkline_console_live_events", "Events handed to listeners.")
LIVE_UNREADABLE: Final = Counter(
    "trunkline_console_live_unreadable", "Events of the log that could not be shown to listeners."
)
LIVE_REOPENED: Final = Counter(
    "trunkline_console_live_reopened", "Times that a listener's place in the event log had to be found again."
)
SIGN_INS: Final = Counter(
    "trunkline_console_sign_ins", "Keys that were typed at the sign-in page.", ["result"]
)
for _result in ("ok", "wrong-key", "no-scope", "too-many"):
    SIGN_INS.labels(_result)
