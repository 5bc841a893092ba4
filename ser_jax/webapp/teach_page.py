"""Page: record lessons by emotion, personalize, and switch between the models."""

import hashlib

import streamlit as st

from ser_jax.audio import wav
from ser_jax.contract import InputError
from ser_jax.personal import Personalized, Spoken, personalize
from ser_jax.runs import parent
from ser_jax.scoring.intervals import Interval
from ser_jax.webapp import pictures, place, session, sounds, texts, wording
from ser_jax.webapp.store import Lesson, Store, now

ORDINARY = 'ordinary speech'
_LONGEST_S = 60.0  # of ordinary speech


@session.guarded
def page() -> None:
    """Show the page."""
    session.head('Teach me your voice')
    kept = session.store()
    st.markdown(
        'Record a few sentences in several moods. Two recordings of each of two emotions are the '
        'least, three of each emotion are better. They stay on this computer.'
    )
    session.model_switch(kept)
    with session.in_words():
        _record(kept)
    lessons = kept.lessons()
    _personalize(kept, lessons)
    _gallery(kept, lessons)


def _choices() -> list[str]:
    emotions = list(session.predictor().emotions)
    return [ORDINARY, *emotions] if session.speaker_model() else emotions


def _named(emotion: str) -> str:
    return (wording.adjective(emotion) if emotion else ORDINARY).capitalize()


def _record(kept: Store) -> None:
    """Record one lesson: choose, read, listen, keep or discard."""
    st.subheader('1. Record', anchor=False)
    emotion = st.selectbox('Emotion', _choices(), format_func=_named)
    count = st.session_state.setdefault('lesson', 0)
    if emotion == ORDINARY:
        sentence, longest_s = texts.ORDINARY, _LONGEST_S
        st.caption(
            'Half a minute is enough. The model compares your moods with this, so let several of '
            'them in.'
        )
    else:
        lines = texts.SENTENCES.get(emotion.split('_')[-1], texts.SENTENCES['neutral'])
        sentence, longest_s = lines[count % len(lines)], sounds.LONGEST_S
    st.markdown(f'> {sentence}')
    file = st.audio_input(
        'Read the sentence in that mood, then stop',
        sample_rate=sounds.RATE_HZ,
        key=f'lesson {count}',
    )
    if file is None:
        return
    samples, left_out = sounds.shortened(
        sounds.decoded(file.getvalue(), 'The recording'), longest_s
    )
    if left_out:
        st.info(left_out, icon=':material/content_cut:')
    st.image(
        pictures.spectrogram(samples, pictures.reference(samples)),
        caption=f'{len(samples) / sounds.RATE_HZ:.1f} s',
    )
    keep, discard = st.columns(2)
    if keep.button('Keep', icon=':material/check:', type='primary', width='stretch'):
        label = '' if emotion == ORDINARY else emotion
        # Ordinary speech is cut: a speaker's statistics are over recordings of about four seconds.
        ranges = sounds.cut(samples) if not label else [(0, len(samples))]
        ranges = [(a, b) for a, b in ranges if not wav.defect(samples[a:b])]
        kept.add_lessons(
            [
                Lesson(0, now(), label, sentence, (b - a) / sounds.RATE_HZ,
                       sounds.as_wav(samples[a:b]))
                for a, b in ranges
            ]
        )  # fmt: skip
        _next_lesson()
    if discard.button('Discard', icon=':material/close:', width='stretch'):
        _next_lesson()
    st.caption('Keeping it saves the recording on this computer until you delete it.')


def _next_lesson() -> None:
    st.session_state['lesson'] += 1
    st.rerun()


def _personalize(kept: Store, lessons: list[Lesson]) -> None:
    """Make the next version from all lessons, and show what it changed."""
    st.subheader('2. Personalize', anchor=False)
    if not lessons:
        st.caption('Record at least one lesson first.')
    if st.button(
        'Personalize', icon=':material/tune:', disabled=not lessons, help='Takes about a minute.'
    ):
        with session.in_words():
            _make_version(kept, lessons)
    if change := st.session_state.get('change'):
        st.success(f'**{change.headline}.** {change.detail}', icon=':material/insights:')
    _show_versions(kept)


def _make_version(kept: Store, lessons: list[Lesson]) -> None:
    """Personalize from all lessons, use the version if there is one, and draw the page anew."""
    bar = st.progress(0.0, text='Learning your voice …')
    # Each lesson is named, so that a message says which one to delete.
    spoken = [
        Spoken(
            sounds.clip(lesson.audio, f'lesson {lesson.id} ({_named(lesson.emotion)})'),
            lesson.emotion,
        )
        for lesson in lessons
    ]
    try:
        made = personalize(
            place.run(),
            spoken,
            place.versions_folder(kept.voices),
            progress=lambda share: bar.progress(min(1.0, share), text='Learning your voice …'),
        )
    finally:
        bar.empty()
    if made.directory:
        session.activate(kept, made.directory.name)
    st.session_state['change'] = _change(made)
    st.rerun()


def _change(made: Personalized) -> wording.Sentence:
    if not made.taught:
        return wording.Sentence(
            'The model has the measure of your voice',
            f'{made.enrolled} recordings are in it. Teach it emotions to go on.',
        )
    taught = made.taught
    said = wording.change(taught.before, taught.after, taught.gain, taught.kept)
    if taught.kept or not made.directory:
        return said
    return wording.Sentence(
        'The model has the measure of your voice; what you taught is left out',
        f'{said.detail.split(" The general model")[0]} More recordings may help.',
    )


def _show_versions(kept: Store) -> None:
    """List the versions with their scores."""
    for name in reversed(place.versions(kept.voices)):
        try:
            known = parent.read(place.versions_folder(kept.voices) / name)
        except InputError as e:
            st.error(str(e))
            continue
        about = known.about if known else {}
        line = f'**{name}**, {about.get("made", "")}, {len(about.get("recordings", []))} recordings'
        if taught := about.get('taught'):
            before, after = (Interval(**taught[side]) for side in ('before', 'after'))
            line += f': {100 * before.value:.0f} % → {100 * after.value:.0f} % on held-out ones'
        in_use = ' :material/check_circle: in use' if name == session.active(kept) else ''
        st.markdown(f'- {line}{in_use}')


def _gallery(kept: Store, lessons: list[Lesson]) -> None:
    """Show the lessons by emotion; each can be deleted."""
    st.subheader('My recordings', anchor=False)
    if not lessons:
        st.caption('None yet.')
        return
    for emotion in sorted({lesson.emotion for lesson in lessons}):
        of_emotion = [lesson for lesson in lessons if lesson.emotion == emotion]
        with st.expander(f'{_named(emotion)} ({len(of_emotion)})'):
            for lesson in of_emotion:
                _show_lesson(kept, lesson)
    with st.popover('Delete all recordings', icon=':material/delete_forever:'):
        st.markdown('Models already made stay; they hold no sound.')
        if st.button('Yes, delete all', type='primary'):
            kept.delete('lessons')
            st.rerun()


@st.cache_data(show_spinner=False, max_entries=64)
def _picture(digest: str, _audio: bytes) -> bytes:
    samples = sounds.decoded(_audio, 'the lesson')
    return pictures.spectrogram(samples, pictures.reference(samples))


def _show_lesson(kept: Store, lesson: Lesson) -> None:
    st.caption(f'Lesson {lesson.id}, {lesson.made[:10]}: {lesson.sentence[:80]}')
    picture, sound = st.columns([1, 2])
    picture.image(_picture(hashlib.sha256(lesson.audio).hexdigest(), lesson.audio))
    sound.audio(lesson.audio, format='audio/wav')
    if sound.button(f'Delete lesson {lesson.id}', icon=':material/delete:'):
        kept.delete('lessons', lesson.id)
        _picture.clear()
        st.rerun()


if __name__ == '__main__':
    page()
