"""What this machine and this user can do, found out by doing it."""
