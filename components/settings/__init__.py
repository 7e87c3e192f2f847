"""The settings of a stack: an entry for each, read and checked as a whole."""
