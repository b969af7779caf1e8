"""What a button does: short changes to folders, each with a sentence as its outcome."""
