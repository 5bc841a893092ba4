"""Members trained together: one compiled step per group, sharded over (members, batch).

A group is the members that share a step (`members.at_once`). Every array of state has a leading
axis K; shared data are stored once. K = 1 takes the same path.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ser_jax.contract import InputError
from ser_jax.data import batches
from ser_jax.data.batches import Member, Plan
from ser_jax.data.utterances import Utterances
from ser_jax.learn.inputs import CorpusData, MemberData, Window
from ser_jax.learn.learner import Learner, State, Variables

# Maximum number of input values in a scored batch; activations take many times their memory.
_VALUES = 1 << 23

MOST = 64  # members that share a compiled step


class Prediction(NamedTuple):
    """Probabilities that one member gives to utterances."""

    utterance: np.ndarray  # int32 [n]
    probabilities: dict[str, np.ndarray]  # modality -> float32 [n, C]


def at_once(members: int, each: int = MOST) -> int:
    """Return how many of `members` share a step: at most `each`, if possible equal per device."""
    devices, most = jax.device_count(), min(each, members)
    return most - most % devices or most


def scored_at_once(members: int) -> int:
    """Return how many of `members` are scored together: one on a CPU, where stacking is slower."""
    return 1 if jax.default_backend() == 'cpu' else at_once(members)


def device_mesh(members: int, batch_size: int, devices: Sequence | None = None) -> Mesh:
    """Return a mesh (members, batch) over as many devices as divide these two, along members first.

    The remaining devices stay idle.

    Raises:
      InputError: devices would stay idle although there are several processes, all of which must
        take part.
    """
    devices = list(devices or jax.devices())
    divisors = lambda n: [d for d in range(1, n + 1) if n % d == 0]
    fits = [
        (m * b, m) for m in divisors(members) for b in divisors(batch_size) if m * b <= len(devices)
    ]
    used, along = max(fits)
    if used < len(devices) and jax.process_count() > 1:
        raise InputError(
            f'{members} members at once with train.batch_size={batch_size} divide over {used} of {len(devices)} devices; '
            'set one of them (members.at_once) so that they divide over all'
        )
    across = used // along
    devices = devices[:used]
    return Mesh(
        np.array(devices).reshape(along, across),
        ('members', 'batch'),
        axis_types=(jax.sharding.AxisType.Auto,) * 2,
    )


def put(tree, mesh: Mesh, spec: P):
    """Put host arrays on the mesh; every process holds the whole array and transfers its shards."""
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(
        lambda x: jax.make_array_from_callback(x.shape, sharding, lambda at: x[at]), tree
    )


class Group:
    """Members that share one compiled step.

    Args:
      learner: training of one member.
      members: members in the order in which their states are stacked.
      own: data of each member, stacked on a leading axis (numpy).
      shared: data of all members (numpy); `flat` is None when `utterances` streams.
      utterances: the opened corpora.
      mesh: from `device_mesh`.
      batch_size: utterances per member and step.
      steps: steps per epoch.
      per_dispatch: maximum number of training steps per dispatch.
    """

    def __init__(
        self,
        learner: Learner,
        members: Sequence[Member],
        own: MemberData,
        shared: CorpusData,
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
        self.shared = put(shared, mesh, P())
        self._seat(members, own)
        stacked, everywhere = NamedSharding(mesh, P('members')), NamedSharding(mesh, P())
        self._init = learner.init if learner.pretrained else jax.jit(learner.init)
        self._update = jax.jit(self._many_updates, donate_argnums=0, out_shardings=stacked)
        self._predict = jax.jit(self._predict_all, static_argnums=4, out_shardings=everywhere)
        self._keep = jax.jit(self._keep_better, donate_argnums=0, out_shardings=stacked)
        self._copy = jax.jit(lambda tree: tree, out_shardings=everywhere)

    def _seat(self, members: Sequence[Member], own: MemberData) -> None:
        self.members = list(members)
        keys = jax.random.wrap_key_data(put(np.asarray(own.key), self.mesh, P('members')))
        rest = own._replace(key=np.zeros(len(members), np.int8))
        self.own = put(rest, self.mesh, P('members'))._replace(key=keys)

    def regroup(self, members: Sequence[Member], own: MemberData) -> 'Group':
        """Return a group of as many other members that reuses compiled programs and shared data."""
        other = copy.copy(self)
        other._seat(members, own)
        return other

    def init(self) -> State:
        """Return initial states [K ...], made one by one: some initializers hang under vmap."""
        keys = [jax.random.fold_in(jax.random.key(m.seed), m.fold) for m in self.members]
        states = [jax.tree.map(np.asarray, self._init(k)) for k in keys]
        return put(jax.tree.map(lambda *x: np.stack(x), *states), self.mesh, P('members'))

    def train_epoch(self, state: State, epoch: int) -> Iterator[State]:
        """Yield the state after each of `dispatches` of an epoch (0-based), which may still run.

        On an accelerator the host prepares the next dispatch meanwhile. Several CPU devices run one
        dispatch at a time: in two concurrent ones they could deadlock.
        """
        span = self.learner.inputs.span
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
        for rows in self._rows(plan, span):
            for part in [rows] if self._loops else _single(rows):
                part = put(part, self.mesh, P(None, 'members', 'batch'))
                state, done = self._update(state, self.own, self.shared, part)
                running.append(done)
                if len(running) > self._ahead:
                    jax.block_until_ready(running.pop(0))
            yield state

    def predict(
        self, variables: Variables, which: Sequence[np.ndarray], most: int, batch_size: int = 64
    ) -> list[Prediction]:
        """Return the predictions of each member k for its utterances `which[k]`.

        Long utterances get the length-weighted mean over their windows.

        Args:
          variables: stacked [K ...].
          most: maximum length of a window, in frames or samples.
        """
        windows = [
            batches.windows(w, self.utterances.length, most, self.utterances.aligned) for w in which
        ]
        count = max(len(w.utterance) for w in windows)
        on_a_device = len(self.members) // self.mesh.shape['members']
        values = most * math.prod(self.utterances.read(0).shape[1:]) * on_a_device
        most_at_once = min(batch_size, count, max(1, _VALUES // values))
        # Batches are about equal, so that the last is not mostly repeated rows. Sizes are multiples
        # of an eighth of the largest, so that few shapes compile.
        eighth = -(-batch_size // 8)
        batch_size = -(-count // -(-count // most_at_once))
        batch_size = min(most_at_once, -(-batch_size // eighth) * eighth)
        batch_size = max(self.mesh.shape['batch'], batch_size)
        batch_size -= batch_size % self.mesh.shape['batch']
        outs = []
        for at in range(0, count, batch_size):
            # Members with fewer windows than others repeat their last.
            chosen = [
                np.minimum(np.arange(at, at + batch_size), len(w.utterance) - 1) for w in windows
            ]
            pieces = [
                batches.Windows(*(x[c] for x in w)) for w, c in zip(windows, chosen, strict=True)
            ]
            cut = batches.Windows(*(np.stack(x) for x in zip(*pieces, strict=True)))  # [K B]
            row = Window(cut.utterance, cut.start, np.ones(cut.start.shape, np.float32))
            span = self._span(int(cut.length.max()), most)
            if self.shared.flat is None:
                row = row._replace(raw=batches.cut(self.utterances, row.utterance, row.start, span))
            outs.append(
                self._predict(
                    variables,
                    self.own,
                    self.shared,
                    put(row, self.mesh, P('members', 'batch')),
                    span,
                )
            )
            if len(outs) > self._ahead:
                jax.block_until_ready(outs[-1 - self._ahead])
        said: list[dict[str, list]] = [{} for _ in self.members]
        for at, out in zip(range(0, count, batch_size), outs, strict=True):
            for k, w in enumerate(windows):
                real = max(0, min(batch_size, len(w.utterance) - at))
                for name, p in out.items():
                    said[k].setdefault(name, []).append(np.asarray(p)[k, :real])
        return [
            _by_utterance(w, {n: np.concatenate(p) for n, p in s.items()})
            for w, s in zip(windows, said, strict=True)
        ]

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

    def _span(self, longest: int, most: int) -> int:
        """Return `longest` rounded up to a sixteenth of `most`, so that few shapes are compiled."""
        step = max(1, most // 16)
        return min(most, -(-longest // step) * step)

    def _rows(self, plan: Plan, span: int) -> Iterator[Window]:
        ends = np.cumsum(self.dispatches)
        pieces = [
            Plan(*(x[end - n : end] for x in plan))
            for end, n in zip(ends, self.dispatches, strict=True)
        ]
        if self.shared.flat is not None:
            yield from (Window(*p) for p in pieces)
        else:
            raws = batches.stream(self.utterances, pieces, span)
            yield from (Window(*p, raw) for p, raw in zip(pieces, raws, strict=True))

    def _many_updates(self, state, own, shared, rows):
        step = lambda s, row: self._each(self.learner.update, (0, 0, None, 0))(s, own, shared, row)
        if rows.start.shape[0] == 1:
            state = step(state, jax.tree.map(lambda x: x[0], rows))
        else:
            state = jax.lax.scan(lambda s, row: (step(s, row), None), state, rows)[0]
        # The state is donated to the next dispatch; the copy of the step remains to block on.
        return state, state.step + 0

    def _predict_all(self, variables, own, shared, row, span):
        one = lambda v, o, s, r: self.learner.predict(v, o, s, r, span)
        return self._each(one, (0, 0, None, 0))(variables, own, shared, row)

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
        choose = lambda new, old: jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)
        return state._replace(
            best=jax.tree.map(choose, self.learner.candidate(state), state.best),
            best_score=choose(score, state.best_score),
            best_epoch=choose(epoch, state.best_epoch),
            recent=score,
        )


def _single(rows: Window) -> Iterator[Window]:
    """Yield the steps of a dispatch one by one."""
    for i in range(len(rows.start)):
        yield jax.tree.map(lambda x, i=i: x[i : i + 1], rows)


def _by_utterance(windows: batches.Windows, said: dict[str, np.ndarray]) -> Prediction:
    """Average windows, weighted by length, into utterances in ascending order."""
    utterance, place = np.unique(windows.utterance, return_inverse=True)
    total = np.bincount(place, windows.length)
    mean = {}
    for name, p in said.items():
        sums = np.zeros((len(utterance), p.shape[1]))
        np.add.at(sums, place, p * windows.length[:, None])
        mean[name] = (sums / total[:, None]).astype(np.float32)
    return Prediction(utterance.astype(np.int32), mean)
