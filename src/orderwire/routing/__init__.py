"""Which destinations want an event, and in what shape. Pure: no store, no clock, no network."""
