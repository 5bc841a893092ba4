"""Page: record or upload speech, see its emotion and how sure the model is."""

import hashlib
from typing import Any

import numpy as np
import streamlit as st

from ser_jax.audio import transcription
from ser_jax.audio.voice_activity import UNKNOWN
from ser_jax.contract import Answer
from ser_jax.inference import Predictor
from ser_jax.webapp import pictures, session, sounds, texts, wording
from ser_jax.webapp.session import GENERAL, KEEP_AUDIO, KEEP_HISTORY, NO, YES
from ser_jax.webapp.store import Store, Verdict, now


@session.guarded
def page() -> None:
    """Show the page."""
    session.head('What does my voice express?')
    kept = session.store()
    name = session.model_switch(kept)
    predictor = session.predictor(name)
    if session.needs_voice(predictor):
        st.info(
            'This model compares a voice with itself. It first needs about half a minute of your '
            'ordinary speech; after that, its answers are about you and not about your voice.',
            icon=':material/record_voice_over:',
        )
        st.page_link('teach_page.py', label='Give it my voice', icon=':material/school:')
        return
    recorded = _recording(predictor)
    if recorded is None:
        st.caption('No recording yet. Nothing leaves this computer.')
        return
    content, origin = recorded
    samples, left_out = sounds.shortened(sounds.decoded(content, 'The recording'))
    if left_out:
        st.info(left_out, icon=':material/content_cut:')
    st.audio(sounds.as_wav(samples), format='audio/wav')
    st.image(pictures.waveform(samples), width='stretch', caption='Waveform')
    key = hashlib.sha256(content + name.encode()).hexdigest()
    text = _transcript(predictor, samples, key)
    with st.spinner('Predicting …'):
        answer, pieces = _answered(predictor, samples, text, f'{key} {text}')
    _show(predictor, answer)
    _show_pieces(samples, pieces)
    _keep(kept, answer, f'{key} {text}', origin, samples, name, text)


def _recording(predictor: Predictor) -> tuple[bytes, str] | None:
    """Return the content and the origin of the recording, None before there is one."""
    how = st.segmented_control(
        'Where does the speech come from?', ['Record', 'Upload'], default='Record', required=True
    )
    if how == 'Upload':
        file = st.file_uploader('A sound file (5 to 30 s of one voice)', key='upload')
        return (file.getvalue(), 'uploaded') if file else None
    with st.expander('Nothing to say? Sentences to read', icon=':material/menu_book:'):
        for emotion in predictor.emotions:
            if lines := texts.SENTENCES.get(emotion.split('_')[-1]):
                st.markdown(f'**{wording.adjective(emotion).capitalize()}**: {" ".join(lines)}')
    file = st.audio_input(
        'Record 5 to 30 seconds of your voice',
        sample_rate=sounds.RATE_HZ,
        key='recording',
        help='The browser asks for the microphone. If it does not, allow it in the address bar.',
    )
    return (file.getvalue(), 'recorded') if file else None


def _transcript(predictor: Predictor, samples: np.ndarray, key: str) -> str:
    """Return the text for a model that reads text, made from the speech and open to edits."""
    if not predictor.reads_text:
        return ''
    texts_made = st.session_state.setdefault('transcripts', {})
    if key not in texts_made:
        engine = session.transcriber()
        made = engine and transcription.transcribe(engine, samples, sounds.RATE_HZ, predictor.gate)
        texts_made[key] = made.text if made else ''
    return st.text_area(
        'Words (correct them if they are wrong; the model reads them too)',
        texts_made[key],
        key=f'text {key}',
        placeholder='Type the words, or leave this empty: then the sound alone decides.',
    ).strip()


def _answered(predictor: Predictor, samples, text: str, key: str) -> Any:
    """Return the answer, computed once per recording, model and text."""
    found = st.session_state.setdefault('answers', {})
    if key not in found:
        found.clear()  # the latest alone
        found[key] = sounds.answered(predictor, samples, text)
    return found[key]


def _show(predictor: Predictor, answer: Answer) -> None:
    """Show the verdict in plain sight, then the numbers."""
    said = wording.verdict(
        [float(p) for p in answer.probabilities],
        answer.emotions,
        answer.voice,
        predictor.calibrated,
        [float(s) for s in answer.spread],
    )
    with st.container(border=True):
        st.header(said.headline, anchor=False)
        st.markdown(said.detail)
        if answer.voice == UNKNOWN:
            return
        by_emotion = dict(zip(answer.emotions, map(float, answer.probabilities), strict=True))
        if reading := wording.reading(by_emotion):
            st.markdown(f'Overall tone: **{reading}**')
        for emotion, p in answer.ranked():
            if p >= 0.005:
                label = f'{wording.adjective(emotion).capitalize()}: {wording.percent(p)}'
                st.progress(min(1.0, p), text=label)
        if len(answer.modalities) > 1:
            _show_modalities(answer)


def _show_modalities(answer: Answer) -> None:
    parts = []
    for name, probabilities in answer.modalities.items():
        best = int(probabilities.argmax())
        part = f'{name}: {wording.adjective(answer.emotions[best])}'
        parts.append(f'{part} {wording.percent(float(probabilities[best]))}')
    st.caption(' · '.join(parts))


def _show_pieces(samples: np.ndarray, pieces: list[sounds.Piece]) -> None:
    """Show a spectrogram for each piece with its emotion."""
    st.subheader('Piece by piece', anchor=False)
    reference = pictures.reference(samples)
    columns = st.columns(min(2, len(pieces)))
    for i, piece in enumerate(pieces):
        part = samples[round(piece.start_s * sounds.RATE_HZ) : round(piece.end_s * sounds.RATE_HZ)]
        words = 'no voice'
        if piece.emotion:
            words = f'{wording.adjective(piece.emotion)} {wording.percent(piece.probability)}'
        caption = f'{piece.start_s:.0f} to {piece.end_s:.1f} s: {words}'
        columns[i % len(columns)].image(
            pictures.spectrogram(part, reference), caption=caption, width='stretch'
        )


def _keep(kept: Store, answer: Answer, key: str, origin, samples, model: str, text: str) -> None:
    """Save the answer once, if the person keeps a history; its audio by consent alone."""
    if answer.voice == UNKNOWN or kept.setting(KEEP_HISTORY, YES) == NO:
        return
    if key not in (saved := st.session_state.setdefault('saved', {})):
        by_emotion = {e: round(p, 4) for e, p in answer.ranked()}
        audio = sounds.as_wav(samples) if kept.setting(KEEP_AUDIO, NO) == YES else None
        seconds = round(len(samples) / sounds.RATE_HZ, 2)
        saved[key] = kept.add_verdict(
            Verdict(0, now(), origin, seconds, answer.emotion, answer.probability, by_emotion,
                    model or GENERAL, text, '', audio)
        )  # fmt: skip
    audio_too = kept.setting(KEEP_AUDIO, NO) == YES
    st.caption(
        f'Saved in your history on this computer, {"with" if audio_too else "without"} the '
        'recording. Change that under *About and my data*.'
    )


if __name__ == '__main__':
    page()
