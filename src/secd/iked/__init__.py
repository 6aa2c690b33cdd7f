"""The key-exchange daemon: an asyncio shell around the sans-IO machine of `secd.ike`, without privileges."""
