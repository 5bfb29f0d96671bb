"""How far it goes: the real code with many writers, on a slow, throttled bucket full of objects, and on a folder.

`python -m benchmarks.scale` runs it; `model` carries what it measures further, and `tables` writes it down.
"""
