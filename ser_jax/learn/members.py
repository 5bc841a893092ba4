"""Members trained together: one compiled step per group, sharded over (members, batch).

A group is the members that share a step (`members.at_once`). Every array of state has a leading
axis K; shared data are stored once. K = 1 takes the same path.
"""

import copy
import math
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ser_jax.data import batches
from ser_jax.data.batches import Member, Plan
from ser_jax.data.utterances import Utterances
from ser_jax.learn import prediction
from ser_jax.learn.arrays import Batch, CorpusData, MemberData
from ser_jax.learn.devices import put
from ser_jax.learn.learner import Learner
from ser_jax.learn.prediction import Prediction
from ser_jax.learn.state import State, Variables

# Maximum number of input values in a scored batch; activations take many times their memory.
_VALUES = 1 << 23


class Group:
    """Members that share one compiled step.

    Args:
      learner: training of one member.
      members: members in the order in which their states are stacked.
      data: data of each member, stacked on a leading axis (numpy).
      corpus: data of all members (numpy); `flat` is None when `utterances` streams.
      utterances: the opened corpora.
      mesh: from `devices.device_mesh`.
      batch_size: utterances per member and step.
      steps: steps per epoch.
      per_dispatch: maximum number of training steps per dispatch.
    """

    def __init__(
        self,
        learner: Learner,
        members: Sequence[Member],
        data: MemberData,
        corpus: CorpusData,
        utterances: Utterances,
        mesh: Mesh,
        *,
        batch_size: int,
        steps: int,
        per_dispatch: int = 1,
    ):
        self.learner, self.utterances, self.mesh = learner, utterances, mesh
        self.batch_size, self.steps = batch_size, steps
        # Maximum number of unfinished dispatches when the next one begins.
        self._ahead = 0 if jax.default_backend() == 'cpu' and mesh.size > 1 else 1
        # Steps of each dispatch of an epoch. They differ by at most 1: two programs at most.
        count = -(-steps // max(1, per_dispatch))
        self.dispatches = [steps // count + (i < steps % count) for i in range(count)]
        self.per_dispatch = self.dispatches[0]
        # Convolutions inside an XLA loop are 16-90 times slower on a CPU, and steps unrolled in one
        # program give other rounding errors.
        self._loops = jax.default_backend() != 'cpu'
        self.corpus = put(corpus, mesh, P())
        self._place_members(members, data)
        stacked, everywhere = NamedSharding(mesh, P('members')), NamedSharding(mesh, P())
        self._init = learner.init if learner.pretrained else jax.jit(learner.init)
        self._update = jax.jit(self._many_updates, donate_argnums=0, out_shardings=stacked)
        self._predict = jax.jit(self._predict_all, static_argnums=4, out_shardings=everywhere)
        self._keep = jax.jit(self._keep_better, donate_argnums=0, out_shardings=stacked)
        self._copy = jax.jit(lambda tree: tree, out_shardings=everywhere)

    def _place_members(self, members: Sequence[Member], data: MemberData) -> None:
        self.members = list(members)
        keys = jax.random.wrap_key_data(put(np.asarray(data.key), self.mesh, P('members')))
        rest = data._replace(key=np.zeros(len(members), np.int8))
        self.data = put(rest, self.mesh, P('members'))._replace(key=keys)

    def regroup(self, members: Sequence[Member], data: MemberData) -> 'Group':
        """Return a group of as many other members that reuses compiled programs and shared data."""
        other = copy.copy(self)
        other._place_members(members, data)
        return other

    def init(self) -> State:
        """Return initial states [K ...], made one by one: some initializers hang under vmap."""
        keys = [jax.random.fold_in(jax.random.key(m.seed), m.fold) for m in self.members]
        states = [jax.tree.map(np.asarray, self._init(k)) for k in keys]
        if self.learner.fitted:
            states = [self._fit(m, s) for m, s in zip(self.members, states, strict=True)]
        return put(jax.tree.map(lambda *x: np.stack(x), *states), self.mesh, P('members'))

    def _fit(self, member: Member, state: State) -> State:
        """Return an initial state with the variables that follow from the training side."""
        rows = [np.asarray(self.utterances.read(int(i)), np.float32) for i in member.train]
        features = np.stack([r.mean(0) for r in rows])
        label = np.asarray(self.corpus.emotion)[member.train]
        return jax.tree.map(np.asarray, self.learner.fit(state, features, label))

    def train_epoch(self, state: State, epoch: int) -> Iterator[State]:
        """Yield the state after each of `dispatches` of an epoch (0-based), which may still run.

        On an accelerator the host prepares the next dispatch meanwhile. Several CPU devices run one
        dispatch at a time: in two concurrent ones they could deadlock.
        """
        if self.learner.closed_form:  # nothing is left to train
            yield from [state] * len(self.dispatches)
            return
        span = self.learner.preprocessing.span
        plans = [
            batches.epoch_plan(
                m,
                epoch,
                self.batch_size,
                self.steps,
                self.utterances.length,
                span,
                self.utterances.aligned,
            )
            for m in self.members
        ]
        plan = Plan(*(np.stack(x, 1) for x in zip(*plans, strict=True)))  # [steps K B]
        state = state._replace(loss_sum=state.loss_sum * 0, loss_weight=state.loss_weight * 0)
        running = []
        for steps in self._dispatched(plan, span):
            for part in [steps] if self._loops else _single(steps):
                part = put(part, self.mesh, P(None, 'members', 'batch'))
                state, done = self._update(state, self.data, self.corpus, part)
                running.append(done)
                if len(running) > self._ahead:
                    jax.block_until_ready(running.pop(0))
            yield state

    def predict(
        self, variables: Variables, indices: Sequence[np.ndarray], most: int, batch_size: int = 64
    ) -> list[Prediction]:
        """Return the predictions of each member k for its utterances `indices[k]`.

        Long utterances get the length-weighted mean over their windows.

        Args:
          variables: stacked [K ...].
          most: maximum length of a window, in frames or samples.
        """
        length, aligned = self.utterances.length, self.utterances.aligned
        windows = [batches.windows(i, length, most, aligned) for i in indices]
        batch_size = self._scored(max(len(w.utterance) for w in windows), most, batch_size)

        def apply(cut: batches.Windows, span: int) -> dict:
            batch = Batch(cut.utterance, cut.start, np.ones(cut.start.shape, np.float32))
            if self.corpus.flat is None:
                raw = batches.cut(self.utterances, batch.utterance, batch.start, span)
                batch = batch._replace(raw=raw)
            batch = put(batch, self.mesh, P('members', 'batch'))
            return self._predict(variables, self.data, self.corpus, batch, span)

        values = prediction.in_batches(windows, most, batch_size, apply, self._ahead)
        return [Prediction(*prediction.average(w, v)) for w, v in zip(windows, values, strict=True)]

    def _scored(self, count: int, most: int, batch_size: int) -> int:
        """Return the windows per batch for `count` windows of up to `most`, at most `batch_size`.

        Batches are about equal, so that the last is not mostly repeated rows. Sizes are multiples
        of an eighth of the largest, so that few shapes compile.
        """
        per_device = len(self.members) // self.mesh.shape['members']
        values = most * math.prod(self.utterances.read(0).shape[1:]) * per_device
        largest = min(batch_size, count, max(1, _VALUES // values))
        eighth = -(-batch_size // 8)
        batch_size = -(-count // -(-count // largest))
        batch_size = min(largest, -(-batch_size // eighth) * eighth)
        batch_size = max(self.mesh.shape['batch'], batch_size)
        return batch_size - batch_size % self.mesh.shape['batch']

    def keep(self, state: State, better: np.ndarray, score: np.ndarray, epoch: int) -> State:
        """Mark this epoch (1-based, `score` [K]) as the best so far where `better` [K]."""
        host = (
            np.asarray(better),
            np.asarray(score, np.float32),
            np.full(len(self.members), epoch, np.int32),
        )
        return self._keep(state, *put(host, self.mesh, P('members')))

    def place(self, variables: Variables) -> Variables:
        """Put stacked host variables [K ...] on the group's devices."""
        return put(variables, self.mesh, P('members'))

    def host(self, tree):
        """Return the values as numpy arrays, complete on every process."""
        return jax.tree.map(np.asarray, self._copy(tree))

    def _dispatched(self, plan: Plan, span: int) -> Iterator[Batch]:
        """Yield the batches of each dispatch, stacked: [steps K B]."""
        ends = np.cumsum(self.dispatches)
        pieces = []
        for end, steps in zip(ends, self.dispatches, strict=True):
            pieces.append(Plan(*(x[end - steps : end] for x in plan)))
        if self.corpus.flat is not None:
            yield from (Batch(*p) for p in pieces)
        else:
            raws = batches.stream(self.utterances, pieces, span)
            yield from (Batch(*p, raw) for p, raw in zip(pieces, raws, strict=True))

    def _many_updates(self, state, data, corpus, steps):
        def step(state, batch):
            return self._each(self.learner.update, (0, 0, None, 0))(state, data, corpus, batch)

        if steps.start.shape[0] == 1:
            state = step(state, jax.tree.map(lambda x: x[0], steps))
        else:
            state = jax.lax.scan(lambda s, batch: (step(s, batch), None), state, steps)[0]
        # The state is donated to the next dispatch; the copy of the step remains to block on.
        return state, state.step + 0

    def _predict_all(self, variables, data, corpus, batch, span):
        def predict(variables, data, corpus, batch):
            return self.learner.predict(variables, data, corpus, batch, span).probabilities

        return self._each(predict, (0, 0, None, 0))(variables, data, corpus, batch)

    def _each(self, function, axes):
        """Map `function` over the members of the group; `axes` as in `jax.vmap`."""
        together = jax.vmap(
            function, axes, spmd_axis_name=None if self.mesh.shape['members'] > 1 else 'members'
        )
        if self.mesh.shape['members'] == 1:
            return together
        # Members exchange nothing. Without shard_map XLA gathers all of them on every device: it
        # cannot partition the grouped convolution that stacked members become.
        specs = tuple(P('members') if axis == 0 else P() for axis in axes)
        return jax.shard_map(
            together,
            mesh=self.mesh,
            in_specs=specs,
            out_specs=P('members'),
            axis_names={'members'},
            check_vma=False,
        )

    def _keep_better(self, state, better, score, epoch):
        def choose(new, old):
            return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        return state._replace(
            best=jax.tree.map(choose, self.learner.candidate(state), state.best),
            best_score=choose(score, state.best_score),
            best_epoch=choose(epoch, state.best_epoch),
            recent=score,
        )


def _single(steps: Batch) -> Iterator[Batch]:
    """Yield the steps of a dispatch one by one."""
    for i in range(len(steps.start)):
        yield jax.tree.map(lambda x, i=i: x[i : i + 1], steps)
