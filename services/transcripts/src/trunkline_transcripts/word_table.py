"""The table `turn_words`: words that were said, so that a misspelt one can be looked up."""

from typing import Final

from sqlalchemy import ARRAY, Column, Index, Table, Text

from trunkline_transcripts.columns import metadata

turn_words: Final = Table(
    "turn_words",
    metadata,
    Column("word", Text, primary_key=True, comment="The word in lower case; 4 to 40 letters."),
    Column("trigrams", ARRAY(Text), nullable=False, comment="Its trigrams, as word_trigrams makes them."),
    Index("turn_words_trigrams", "trigrams", postgresql_using="gin"),
    comment="Words that were said in several calls, so that a misspelt one can be looked up. Nothing tells who said them.",
)
