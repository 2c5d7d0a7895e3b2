"""The queue's service: users' jobs wait their turn, and are submitted to Ray when it comes."""
