"""HTTP in and out, no decisions: each route asks one service verb. The hot routes stand beside it as raw ASGI."""
