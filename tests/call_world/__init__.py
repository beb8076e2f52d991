"""A small world around the core of one call: caller, Twilio, gateway and model, drawn from one seed."""
