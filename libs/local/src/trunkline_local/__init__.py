"""The whole system on one machine: embedded servers, `trunkline demo`, `up` and `call`."""
