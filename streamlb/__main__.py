"""`python -m streamlb`: the same as the `streamlb` command."""

from streamlb.cli import main

main(prog_name="streamlb")
