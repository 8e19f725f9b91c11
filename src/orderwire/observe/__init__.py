"""What the node tells of itself: metrics, logs, the live stream."""
