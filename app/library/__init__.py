"""The Library tab: runs and LoRA files."""
