"""The canonical catalogue: event types, and the structs their `data` holds, whatever system they come from."""
