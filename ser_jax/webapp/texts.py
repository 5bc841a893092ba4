"""Texts of the pages: sentences to read, suggestions and their sources, limits of use."""

from typing import NamedTuple

# Sentences to read aloud, written for this app; any may be read in any mood.
SENTENCES = {
    'neutral': ('The bus to the station leaves at ten past four.', 'The keys are on the table.'),
    'calm': ('The lake lies still and the evening is long.', 'We have time, nothing hurries us.'),
    'happy': ('We did it, everybody is coming to celebrate!', 'What a lovely surprise to see you!'),
    'sad': ('The house is so quiet since they moved away.', 'I really miss the old days.'),
    'angry': ('I told you three times not to touch it!', 'This is not fair and you know it!'),
    'fearful': ('Did you notice that noise behind the door?', 'Please do not leave me alone here.'),
    'disgust': ('Something in this fridge has gone bad.', 'I am not going to eat that.'),
    'surprised': ('You are here already? How is that possible?', 'I never expected this!'),
    'boredom': ('We have waited here for hours again.', 'It is the same story every single day.'),
    'positive': ('What a good day this has been!', 'I am looking forward to tomorrow.'),
    'negative': ('Nothing went right today.', 'I have had enough of this.'),
}
ORDINARY = (
    'Read this aloud as you would to a friend, or talk about your day. In the morning I make a cup '
    'of tea and open the window. The street is still quiet, only the baker is awake. Later I go '
    'to the market and buy bread, apples and some cheese. On the way back I meet my neighbor and '
    'we talk about the weather, the children and the plans for the weekend. When it rains we stay '
    'inside and play cards, and when the sun comes out we walk along the river.'
)


class Suggestion(NamedTuple):
    """A small thing to try, with the source that it is taken from."""

    title: str
    text: str
    source: str
    url: str


_WHO = (
    'World Health Organization: Doing What Matters in Times of Stress (2020)',
    'https://www.who.int/publications/i/item/9789240003927',
)
_NHS = (
    'NHS: 5 steps to mental wellbeing',
    'https://www.nhs.uk/mental-health/self-help/guides-tools-and-activities/'
    'five-steps-to-mental-wellbeing/',
)
SUGGESTIONS = {
    'negative': (
        Suggestion(
            'Come back to the moment',
            'Slow down, press your feet into the floor, breathe slowly, and name some things that '
            'you can see and hear around you.',
            *_WHO,
        ),
        Suggestion(
            'Talk with someone',
            'Call or meet a person you like. Good relationships give room to share what is on '
            'your mind.',
            *_NHS,
        ),
        Suggestion('Move a little', 'A walk is enough. It need not be sport, only regular.', *_NHS),
    ),
    'positive': (
        Suggestion(
            'Notice what is good',
            'Pay attention to the present: your thoughts, your body, the world around you.',
            *_NHS,
        ),
        Suggestion('Give something back', 'Thank someone, or ask how they are.', *_NHS),
        Suggestion('Learn something new', 'Cook a new dish, fix a thing, take a course.', *_NHS),
    ),
}
HELP = (
    'If you feel bad for longer than two weeks, or you think about hurting yourself, please do not '
    'rely on this app: talk to a doctor or to someone you trust. Free help lines for your country '
    'are listed at [findahelpline.com](https://findahelpline.com). In an emergency call 112 '
    '(European Union), 999 (United Kingdom), 911 (United States; in a crisis also 988), or your '
    'local number.'
)
NOT_FOR = (
    '**At work and in education it is forbidden in the European Union** to infer the emotions of '
    'people with such a system, except for medical or safety reasons: Regulation (EU) 2024/1689 '
    '(AI Act), Article 5(1)(f). Other uses count as high-risk there (Annex III, 1(c)), and the '
    'people concerned have to be informed (Article 50(3)).',
    '**No diagnosis.** It is no medical device. It says nothing about health, character or truth.',
    '**No decisions about people**: hiring, lending, insurance, policing, border control, care.',
    '**Nobody without their consent.** Record yourself, or people who agreed.',
    '**Faces are out of scope**: no camera is used, and no emotion is read from pictures.',
)
