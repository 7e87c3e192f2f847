"""What the program declares: one component resource a file, and the stack's settings."""
