"""Back ends for other tools; each module here is the only one that imports its tool."""
