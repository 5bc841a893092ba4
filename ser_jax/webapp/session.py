"""Resources that the pages share: the models, the store, the head of every page."""

import contextlib
import functools
import pathlib
from collections.abc import Callable, Iterator

import streamlit as st

from ser_jax.audio import transcription_engines, voice_activity
from ser_jax.audio.transcription import Transcriber
from ser_jax.contract import InputError
from ser_jax.inference import Predictor
from ser_jax.models.encoders import weight_files
from ser_jax.personal import uses_speaker
from ser_jax.runs import parent
from ser_jax.runs.trained import Trained
from ser_jax.webapp import place
from ser_jax.webapp.store import Store

GENERAL = 'general'
ACTIVE, KEEP_HISTORY, KEEP_AUDIO = 'active', 'keep_history', 'keep_audio'  # settings
YES, NO = 'yes', 'no'
SYNTHETIC = (
    ':material/warning: This model was trained on synthetic speech: it shows the app, it does not '
    'understand people. Make a real one: `make best`, then '
    '`python -m ser_jax.app --run=runs/best`.'
)


def guarded(page: Callable[[], None]) -> Callable[[], None]:
    """Return a page that shows an InputError in words instead of a traceback."""

    @functools.wraps(page)
    def shown() -> None:
        with in_words():
            page()

    return shown


@contextlib.contextmanager
def in_words() -> Iterator[None]:
    """Show an InputError of the block in words; what follows the block is shown all the same."""
    try:
        yield
    except InputError as e:
        st.error(str(e), icon=':material/error:')


def store() -> Store:
    """Return the store of the person."""
    return Store(place.data())


@st.cache_resource(show_spinner='Opening the model …', max_entries=4)
def _predictor(directory: str, stamp: float) -> Predictor:
    gate = voice_activity.open_gate('auto', print)
    predictor = Predictor.open(pathlib.Path(directory), gate=gate)
    if not needs_voice(predictor):
        predictor.warm_up(rows=(2,))  # a recording and its pieces
    return predictor


def predictor(name: str = GENERAL) -> Predictor:
    """Return the general model, or a version, opened once for all sessions.

    Raises:
      InputError: the run or the version is not there or damaged.
    """
    general = name == GENERAL
    directory = place.run() if general else place.versions_folder(store().voices) / name
    if not directory.exists():
        raise InputError(f'{directory} is not there any more; choose another model')
    return _predictor(str(directory), directory.stat().st_mtime)


def needs_voice(predictor: Predictor) -> bool:
    """Return True if a predictor answers relative to a speaker and is the general model."""
    return uses_speaker(predictor) and parent.read(predictor.trained.directory) is None


@st.cache_resource(show_spinner='Opening speech to text …')
def transcriber() -> Transcriber | None:
    """Return the engine of speech to text, None if none is installed."""
    try:
        return transcription_engines.open_transcriber('auto', '', weight_files.find('whisper_base'))
    except InputError:
        return None


def active(kept: Store) -> str:
    """Return the model in use: GENERAL, or the name of a version that is there."""
    name = kept.setting(f'{ACTIVE} {place.run()}', GENERAL)
    return name if name in place.versions(kept.voices) else GENERAL


def activate(kept: Store, name: str) -> None:
    """Use a model from now on."""
    kept.set(f'{ACTIVE} {place.run()}', name)


def model_switch(kept: Store) -> str:
    """Show the switch between the general model and the versions; return the chosen one."""
    names, now = [GENERAL, *reversed(place.versions(kept.voices))], active(kept)
    if len(names) == 1:
        return GENERAL
    chosen = st.segmented_control(
        'Model', names, default=now, format_func=_label, required=True, key=f'model {now}'
    )
    if chosen != now:
        activate(kept, chosen)
        st.rerun()
    return chosen


def _label(name: str) -> str:
    return 'General' if name == GENERAL else f'Mine, {name}'


def head(title: str) -> None:
    """Show the title of a page and, for a synthetic model, its warning."""
    st.title(title)
    if _is_synthetic(predictor().trained):
        st.warning(SYNTHETIC)


def _is_synthetic(trained: Trained) -> bool:
    return any(c.name.startswith('synthetic') for c in trained.corpora)


def speaker_model() -> bool:
    """Return True if the run answers relative to a speaker."""
    return uses_speaker(predictor())


def forget() -> None:
    """Remove recordings, answers and pictures from memory."""
    st.session_state.clear()
    st.cache_data.clear()
    st.cache_resource.clear()
