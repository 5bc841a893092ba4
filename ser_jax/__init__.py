"""Speech emotion recognition in JAX/Flax.

`python -m ser_jax.<verb>` runs a module of this folder; the subfolders hold the components.
"""
