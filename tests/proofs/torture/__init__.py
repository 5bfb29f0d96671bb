"""What happens to a store while processes are killed, power is cut and everybody reads and writes at once.

Each scenario is a function `(folder, seed, size) -> Figures`: the fast tests call it with a small size, and
`python -m tests.proofs.torture` calls it again and again with new seeds. A scenario counts what it did and what was
wrong; it raises only if it could not be carried out.
"""
