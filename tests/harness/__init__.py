"""What the commands in ./scripts do where the machine is not as they would like it."""
