"""The contract of clients/PROTOCOL.md in code; shared by daemon and SDK, imports nothing else of ours."""
