"""The optimizer: problem in, verified plan out, with reasons. It knows no clock, socket, logger or device."""
