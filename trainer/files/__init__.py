"""LoRA files of any program: reading, inspecting, verifying."""
