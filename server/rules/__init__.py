"""The decisions: plain functions on plain values. No I/O, no clock, no randomness that was not handed in."""
