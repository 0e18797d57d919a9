"""Fuzzers: what runs them, and one module a kind of hostile input. `bench/fuzz.py` lists them."""
