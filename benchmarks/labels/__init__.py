"""What labels are worth: which ones to ask for."""
