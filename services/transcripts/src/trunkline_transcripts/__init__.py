"""Stores every call's event log in Postgres."""
