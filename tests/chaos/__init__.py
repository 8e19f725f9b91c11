"""Kill it, fill its disk, drown it in waiting deliveries: nothing accepted may be lost. `make chaos` prints figures."""
