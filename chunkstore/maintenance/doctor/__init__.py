"""Finding out what a file system really does, by doing it: with real files, and processes that get in each other's way.

`examination` does it all. `probes` has what one process can do alone, `races` what takes several, `surroundings` what
is mounted there, `file_server` what a server is asked for, and `verdict` what it all means for those who record runs.
"""
