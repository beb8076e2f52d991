"""Keeps one OpenAI Realtime session per call and bridges it to NATS."""
