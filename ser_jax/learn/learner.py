"""Training of one member as pure functions: init, update, predict; their state has no NNX objects.

Parameters are flat dicts {'trunk/blocks/0/conv/kernel': array}: arrays in checkpoints have names.
"""

import copy
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from ser_jax.contract import Inputs, Layout, Output
from ser_jax.learn import losses
from ser_jax.learn.arrays import Batch, CorpusData, MemberData
from ser_jax.learn.inputs import Derived, Preprocessing
from ser_jax.learn.state import Predicted, State, Variables, paths, split


class Learner:
    """Training and application of one network.

    Args:
      build: rngs -> model (an nnx.Module as `ser_jax.contract` describes it).
      optimizer: from `ser_jax.learn.optim`.
      preprocessing: from windows to model inputs and targets.
      smoothing: label smoothing.
      modality_weight: weight of the loss of each further modality; that of `logits` has weight 1.
      ema: decay of the averaged variables; 0 = off.
    """

    def __init__(
        self,
        build: Callable[[nnx.Rngs], nnx.Module],
        optimizer: optax.GradientTransformation,
        preprocessing: Preprocessing,
        smoothing: float = 0.0,
        modality_weight: float = 0.0,
        ema: float = 0.0,
    ):
        self.build, self.optimizer, self.preprocessing = build, optimizer, preprocessing
        self.smoothing, self.modality_weight, self.ema = smoothing, modality_weight, ema
        model = nnx.eval_shape(lambda: build(nnx.Rngs(0)))
        # Such a model loads weights from a file, which must not be traced.
        self.pretrained = hasattr(model, 'pretrained')
        # Identifies those weights; raises if the file is missing.
        self.begins_with = getattr(model, 'begins_with', str)
        self.provenance: str = getattr(model, 'provenance', '')  # their name and licence
        self.front_end: str = getattr(model, 'front_end', '')  # that it reads; '' = any
        # Such a model has a frozen part (`derive`) whose outputs can be cached, and a rest
        # (`decide`) that reads them.
        self.derives = getattr(model, 'derives', False)
        self.derivation = getattr(model, 'derivation', None)
        self.derived_layout: Layout = getattr(model, 'derived_layout', Layout(0, None, 0.0, False))
        # Whether inputs are the outputs of the frozen part, see `on_derived`.
        self.derived = False
        self.fitted = getattr(model, 'fitted', False)
        self.closed_form = getattr(model, 'closed_form', False)
        self.graph, states, frozen = split(model)
        self._names = [paths(s) for s in states]
        self._trees = [jax.tree.structure(s) for s in states]
        self._frozen = frozen
        # Raise here for a pattern that matches no parameter, before a run's files are written.
        jax.eval_shape(optimizer.init, self._flatten(model).params)
        self.has_frozen = bool(jax.tree.leaves(frozen))
        # Whether trained variables begin with values from the file, and whether `decide` reads
        # frozen ones; the file is needed for nothing else.
        self._begins_trained = getattr(model, 'begins_trained', not self.has_frozen)
        self.reads_frozen = getattr(model, 'reads_frozen', self.has_frozen)

    def init(self, key) -> State:
        """Return the initial state of a member."""
        model = self._begin(key) if self._begins_trained else self.build(nnx.Rngs(key))
        variables = self._flatten(model)
        optimizer = self.optimizer.init(variables.params)
        # Each field has arrays of its own: donated state must not alias itself.
        return State(
            step=jnp.zeros((), jnp.int32),
            variables=variables,
            optimizer=optimizer,
            average=jax.tree.map(jnp.copy, variables) if self.ema else (),
            best=jax.tree.map(jnp.copy, variables),
            best_score=jnp.float32(-jnp.inf),
            best_epoch=jnp.zeros((), jnp.int32),
            recent=jnp.float32(jnp.nan),
            loss_sum=jnp.zeros((), jnp.float32),
            loss_weight=jnp.zeros((), jnp.float32),
            bad_step=jnp.int32(-1),
        )

    def on_derived(self, layout: Layout, frames: int) -> 'Learner':
        """Return a learner of the rest of the model, whose inputs are the derived features.

        Args:
          layout: of the derived features.
          frames: length of a training window of them.
        """
        other, front = copy.copy(self), Derived(layout)
        other.derived = True
        knobs = self.preprocessing._replace(source=front, input=front, per_window=False)
        other.preprocessing = knobs._replace(frames=frames)
        return other

    def deriver(self) -> Callable:
        """Return the frozen part: function (raw [B span ...], length [B]) -> (features, length).

        Raises:
          InputError: the file of the pretrained weights is missing or does not fit.
        """
        graph, state = nnx.split(self._begin(jax.random.key(0)))

        @jax.jit
        def derive(state, raw, length):
            values, count = self.preprocessing.features(raw, length)
            model = nnx.merge(graph, state)
            model.eval()
            return model.derive(Inputs(values, count, None, None))

        return functools.partial(derive, state)

    def frozen_variables(self) -> dict:
        """Return the values of the frozen variables by path, from the file of pretrained weights.

        Of a learner on derived features that reads none: nothing.

        Raises:
          InputError: the file is missing or does not fit.
        """
        if not self.has_frozen or (self.derived and not self.reads_frozen):
            return {}
        return self._by_path(split(self._begin(jax.random.key(0)))[2])

    def drawn(self, key) -> tuple[Variables, dict]:
        """Return variables and frozen variables as the model's constructor draws them."""
        model = self.build(nnx.Rngs(key))
        return self._flatten(model), self._by_path(split(model)[2])

    def fit(self, state: State, features: np.ndarray, label: np.ndarray) -> State:
        """Return the initial state with the variables that follow from the training side.

        Args:
          state: of one member.
          features: derived features of its training utterances, [n A].
          label: int [n], their classes.
        """
        model = self._model(jax.tree.map(jnp.asarray, state.variables))
        model.fit(features, label)
        variables = self._flatten(model)
        average = variables if self.ema else ()
        state = state._replace(variables=variables, average=average, best=variables)
        if not self.closed_form:
            return state
        model.eval()
        logits = model.decide(Inputs(jnp.asarray(features)[:, None], None, None, None)).logits
        log_p = jax.nn.log_softmax(logits)[jnp.arange(len(label)), label]
        return state._replace(loss_sum=-log_p.sum(), loss_weight=jnp.float32(len(label)))

    def _begin(self, key):
        model = self.build(nnx.Rngs(key))
        if self.pretrained:
            model.pretrained()
        return model

    def update(self, state: State, member: MemberData, corpus: CorpusData, batch: Batch) -> State:
        """Do one step on one batch. Randomness depends on the member's key and the step alone."""
        key, dropout = jax.random.split(jax.random.fold_in(member.key, state.step))
        inputs, targets = self.preprocessing.train(corpus, member, batch, key)

        def loss_of(params):
            model = self._model(Variables(params, state.variables.stats), corpus.frozen)
            model.train()
            output = self._output(model, inputs, nnx.Rngs(dropout=dropout))
            per_utterance = self._loss(output.logits, inputs, targets)
            others = [v for v in output.modalities.values() if v is not output.logits]
            for logits in others:
                per_utterance += self.modality_weight * self._loss(logits, inputs, targets)
            total = jnp.maximum(targets.weight.sum(), 1e-6)
            loss = (targets.weight * per_utterance).sum() / total
            return loss, (self._flatten(model).stats, total)

        (loss, (stats, weight)), gradient = jax.value_and_grad(loss_of, has_aux=True)(
            state.variables.params
        )
        change, optimizer = self.optimizer.update(
            gradient, state.optimizer, state.variables.params, value=loss
        )
        variables = Variables(optax.apply_updates(state.variables.params, change), stats)
        average = state.average
        if self.ema:
            # Decay (1 + step) / (10 + step), as in TensorFlow's EMA: in the first steps the average
            # follows the variables closely.
            decay = jnp.minimum(self.ema, (1 + state.step) / (10 + state.step))
            average = jax.tree.map(lambda a, v: decay * a + (1 - decay) * v, average, variables)
        bad = jnp.where((state.bad_step < 0) & ~jnp.isfinite(loss), state.step, state.bad_step)
        return state._replace(
            step=state.step + 1,
            variables=variables,
            optimizer=optimizer,
            average=average,
            bad_step=bad,
            loss_sum=state.loss_sum + loss * weight,
            loss_weight=state.loss_weight + weight,
        )

    def candidate(self, state: State) -> Variables:
        """Return the variables to validate and keep: the averaged ones if averaging is on."""
        return state.average if self.ema else state.variables

    def predict(
        self,
        variables: Variables,
        member: MemberData,
        corpus: CorpusData,
        batch: Batch,
        span: int,
    ) -> Predicted:
        """Return the predictions for windows of up to `span`.

        Unsupported classes get probability 0. With `augment.scored_shifts` probabilities are the
        normalized geometric mean over band shifts, which imitate shorter and longer vocal tracts.
        """
        most = self.preprocessing.augment.scored_shifts
        values, length = self.preprocessing.windows(corpus, batch, span)
        each = []
        for shift in range(-most, most + 1):
            inputs = self.preprocessing.described(corpus, member, batch, values, length, shift)
            each.append(self.apply(variables, inputs, corpus))
        if not most:
            return each[0]
        probabilities = {}
        for name in each[0].probabilities:
            total = sum(jnp.log(p.probabilities[name]) for p in each)
            probabilities[name] = jax.nn.softmax(total / len(each))
        return Predicted(probabilities, sum(p.embedding for p in each) / len(each))

    def apply(
        self, variables: Variables, inputs: Inputs, corpus: CorpusData | None = None
    ) -> Predicted:
        """Return the predictions for preprocessed inputs, with the frozen variables of `corpus`."""
        output = self.output(variables, inputs, corpus)
        probabilities = {
            name: jax.nn.softmax(
                losses.mask_unsupported(logits.astype(jnp.float32), inputs.supported)
            )
            for name, logits in output.modalities.items()
        }
        return Predicted(probabilities, output.embedding.astype(jnp.float32))

    def output(
        self, variables: Variables, inputs: Inputs, corpus: CorpusData | None = None
    ) -> Output:
        """Return the output of the model for preprocessed inputs, in evaluation."""
        model = self._model(variables, corpus.frozen if corpus else ())
        model.eval()
        return self._output(model, inputs, speaker=corpus.speaker if corpus else ())

    def _loss(self, logits, inputs, targets):
        return losses.cross_entropy(logits, targets.emotion, inputs.supported, self.smoothing)

    def _output(self, model, inputs: Inputs, rngs: nnx.Rngs | None = None, speaker: Any = ()):
        if self.derived:
            return model.decide(inputs, rngs)
        if isinstance(speaker, tuple):
            return model(inputs, rngs)
        features, length = model.derive(inputs)
        return model.decide(inputs._replace(features=features - speaker, length=length), rngs)

    def _model(self, variables: Variables, frozen=()):
        """Return the model; without `frozen`, which `decide` does not read, with shapes for it."""
        states = []
        for tree, names, flat in zip(self._trees, self._names, variables, strict=True):
            states.append(jax.tree.unflatten(tree, [flat[n] for n in names]))
        rest = self._frozen
        if frozen:
            leaves = [frozen[n] for n in paths(rest)]
            rest = jax.tree.unflatten(jax.tree.structure(rest), leaves)
        return nnx.merge(self.graph, *states, rest, copy=True)

    @staticmethod
    def _by_path(frozen: nnx.State) -> dict:
        return dict(zip(paths(frozen), jax.tree.leaves(frozen), strict=True))

    def _flatten(self, model) -> Variables:
        _, states, _ = split(model)
        leaves = [jax.tree.leaves(s) for s in states]
        return Variables(
            *(dict(zip(n, x, strict=True)) for n, x in zip(self._names, leaves, strict=True))
        )
