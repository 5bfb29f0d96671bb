"""The command line: arguments and printing; what it shows is made elsewhere."""
