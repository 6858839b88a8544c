"""Coverage-guided fuzzing of everything that reads what strangers write.

`scripts/fuzz TARGET SECONDS` runs one target of `targets.py` under atheris (Linux, CPython 3.11 or newer); without
arguments it lists them. What is found is left in `.fuzz/TARGET/`: `corpus/` grows from run to run, a file `crash-...`
is an input that broke a promise. Make it a test of the room it belongs to, or add it to the target's seeds.

`test_seeds.py` runs every target on its seeds with the other tests, so that none of them rots; it needs no atheris.
"""
