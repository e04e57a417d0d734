"""Every measured claim of `docs/design.md` section 9 that needs no GPU, one module each: `python -m benchmarks`.

Each `run` prints one table and gives it back. What is compared is measured in the same process and the same run, in turn,
on one thread, in CPU-seconds; so a busy machine slows both sides alike, and the ratios say more than the rates.
"""
