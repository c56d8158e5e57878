"""Sub-commands of `schedulerd`, one file each: `add_parser` adds its options, `run` does the work."""
