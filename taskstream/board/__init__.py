"""What a live screen shows: rates of hosts and groups, kept for a while, chosen and sorted."""
