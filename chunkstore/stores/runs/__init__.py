"""The runs of a store: listing them, looking them up, telling which are live and which is which."""
