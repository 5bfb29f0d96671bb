"""Finding out what a bucket really does, by doing it: with real objects, and clients that get in each other's way.

`examination` does it all, with what `bucket` can ask of it. `probes` has what one client can try alone, `races` what
takes several, which `clients` starts; `costs` counts what recording takes in requests, which `prices` has in money, and
`verdict` says what it all means for those who record runs.
"""
