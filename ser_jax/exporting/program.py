"""A run as one pure function of samples, with the sizes that it takes."""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ser_jax.audio import front_ends
from ser_jax.contract import InputError
from ser_jax.exporting.transforms import with_products
from ser_jax.inference import Predictor

INPUTS, OUTPUTS = ('samples', 'length'), ('probabilities',)
SHORTEST_S = 0.2  # shorter recordings are padded with zeros to it


class Program(NamedTuple):
    """Function (samples [B T], length [B]) -> (probabilities [B C],) of a run, and its sizes.

    Attributes:
      predictor: of the run.
      function: mean over the members, calibrated if the run is; traceable by JAX.
      shortest, longest: T, samples.
      any_length: T may have any value between them; False = it is `longest`.
    """

    predictor: Predictor
    function: Callable
    shortest: int
    longest: int
    any_length: bool

    def shapes(self, batch: int | None = None, longest: bool = False) -> tuple[Any, Any]:
        """Return the shapes of the inputs.

        Args:
          batch: B; None = any.
          longest: T is `longest` even if any value is possible.
        """
        free = self.any_length and not longest
        names = 'b' if batch is None else str(batch), 't' if free else str(self.longest)
        limits = [f't >= {self.shortest}', f't <= {self.longest}'] if free else []
        sizes = jax.export.symbolic_shape(', '.join(names), constraints=limits)
        return jax.ShapeDtypeStruct(sizes, jnp.float32), jax.ShapeDtypeStruct(sizes[:1], jnp.int32)


def of_run(predictor: Predictor) -> Program:
    """Return the program of a run.

    Raises:
      InputError: the run needs the statistics of a speaker, or its front end is not traceable.
    """
    rate_hz, name = predictor.rate_hz, predictor.source.name
    apply = predictor.function()
    try:
        sound = np.zeros((1, rate_hz), np.float32)
        front_ends.by_name(name).traced(jnp.asarray(sound), jnp.full(1, rate_hz, jnp.int32))
    except InputError as e:
        raise InputError(
            f'{predictor.trained.directory} cannot be exported: its features, {name}, are not '
            'computed by JAX; serve it by ser_jax, or train a model on other features'
        ) from e

    def function(samples, length):
        return (apply(samples, length).probabilities['audio'],)

    longest = int(predictor.longest_s * rate_hz)
    shortest = min(longest, int(SHORTEST_S * rate_hz))
    program = Program(predictor, with_products(function), shortest, longest, any_length=True)
    # Some networks are built for one length: shorter recordings are padded to it.
    for each in (program, program._replace(any_length=False)):
        try:
            jax.eval_shape(each.function, *each.shapes())
            return each
        except (TypeError, ValueError, jax.errors.InconclusiveDimensionOperation) as e:
            reason = ' '.join(str(e).split())[:120]
    raise InputError(
        f'{predictor.trained.directory} cannot be exported: its network, '
        f'{predictor.trained.config.model.name}, is built for one size of batches ({reason})'
    )


def package(name: str, extra: str) -> ModuleType:
    """Return an imported module that an extra installs.

    Raises:
      InputError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as e:
        if (e.name or '').split('.')[0] != name.split('.')[0]:
            raise
        raise InputError(
            f"the package {name.split('.')[0]} is missing; pip install 'ser_jax[{extra}]'"
        ) from e


def installed(name: str) -> bool:
    """Return True if a module can be imported."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
