"""Pages for people: the sandbox now, the signed-in console later."""
