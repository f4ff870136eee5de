"""How the network client speaks to a server: one module per transport."""
