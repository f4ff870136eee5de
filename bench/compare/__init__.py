"""Carillon beside bare loops and other servers: the same loads, in interleaved rounds, as ratios."""
