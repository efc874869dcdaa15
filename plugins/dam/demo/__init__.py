"""What the demonstration campaign is played with."""
