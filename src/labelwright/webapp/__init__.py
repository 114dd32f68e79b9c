"""The web app in which people settle what machines can't."""
