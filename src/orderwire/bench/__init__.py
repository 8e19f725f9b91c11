"""`orderwire bench`: a node, a load generator and a receiver, each a process of its own, on loopback.

Start reading at `run.run_bench`. Only what was answered 202, received with a valid signature, and is
in the store as a delivered attempt counts.
"""
