"""Create: what creators are asked for, and what of it has arrived."""
