"""Charts over time: jobs, money, the queue and miners."""
