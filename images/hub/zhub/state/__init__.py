"""What the hub keeps on its volume, and what older releases have left there."""
