"""What a publication costs in the stores that outlive a process."""
