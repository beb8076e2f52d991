"""`trunkline console`: the read API under `/v1`. It reads Postgres and the event log, and writes nothing.

A request passes `guard` (metrics, bodies), `access` (key, scope, rate), its route in `*_routes`, and the database in
`reading`. What goes wrong anywhere becomes a problem of `problems`.
"""
