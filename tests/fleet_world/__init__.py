"""A small world of several services in virtual time: real gateways and workers, joined by a modelled bus."""
