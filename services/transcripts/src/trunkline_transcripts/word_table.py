"""The table `turn_words`: words that were said, so that a misspelt one can be corrected."""

from typing import Final

from sqlalchemy import Column, Table, Text

from trunkline_transcripts.columns import metadata

turn_words: Final = Table(
    "turn_words",
    metadata,
    Column(
        "trigram",
        Text,
        primary_key=True,
        comment="Three letters in a row of the word; two blanks stand before it, and one behind it.",
    ),
    Column("word", Text, primary_key=True, comment="The word in lower case; 4 to 40 letters."),
    comment="Words that were said in several calls, by their trigrams, to correct misspelt ones. Nothing tells who said them.",
)
