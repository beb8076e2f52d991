"""What crosses NATS, and how every Trunkline service runs."""
