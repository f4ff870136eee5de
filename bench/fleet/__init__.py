"""Six gateways on one Redis as one fleet: measured, and broken."""
