"""The block store: models cut into blocks, interchangeable variants of each, on disk and in memory."""
