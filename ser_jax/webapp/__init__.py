"""Pages of the app, its store and its words; `python -m ser_jax.app` starts it."""
