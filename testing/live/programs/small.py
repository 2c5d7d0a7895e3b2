"""The smallest job: one task prints a line."""

import ray

ray.init(log_to_driver=False)
print("small:", ray.get(ray.remote(num_cpus=0)(lambda text: text.upper()).remote("fine")))
