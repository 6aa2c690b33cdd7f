"""The parent: supervises, keeps the TUN queues, the accepted configuration and the long-term secrets."""
