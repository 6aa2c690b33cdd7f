"""What secd promises, tried against a real peer: each proof gives checks and the figures behind them.

`sec lab prove` runs them, `tests/proofs` asserts on the same evidence, `docs/proofs.md` keeps what was seen.
"""
