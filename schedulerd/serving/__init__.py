"""The request path: socket -> admission -> queue -> executor -> blocks -> reply."""
