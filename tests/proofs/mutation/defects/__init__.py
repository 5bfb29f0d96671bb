"""The defects, by what they break."""
