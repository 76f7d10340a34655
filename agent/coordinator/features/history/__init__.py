"""Charts over time: jobs, money, the queue, miners and their GPUs."""
