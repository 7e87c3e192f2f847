"""The stack's settings: read, and checked as a whole; nothing is declared here."""
