"""What plays, video and sound: decoded once, frame by frame, and never held as a whole."""
