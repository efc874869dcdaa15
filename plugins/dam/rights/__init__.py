"""Rights: one policy that every exit asks (publishing, rendering for a channel, restoring)."""
