"""Terminates Twilio: the voice webhook and the media websocket, bridged to NATS."""
