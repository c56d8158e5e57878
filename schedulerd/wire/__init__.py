"""The contract of clients/PROTOCOL.md in code; shared by the daemon and the SDK, imports nothing else of ours."""
