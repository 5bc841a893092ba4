"""Speech emotion recognition in JAX/Flax: `ls ser_jax` shows what you can do (files) and what it is made of (folders)."""
