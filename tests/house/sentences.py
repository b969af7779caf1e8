"""What a person reads of a file: names and sentences, with their lines."""

import functools
import io
import re
import tokenize


def read_python(text):
    """Yields (line, text, whether it is a name); sentences over several lines as one."""
    sentence, start, kind, before = [], 0, "", ""
    for token in [*tokenize.generate_tokens(io.StringIO(text).readline), None]:
        type_name = tokenize.tok_name[token.type] if token else ""
        if kind and type_name in {"NL", "INDENT"}:
            continue
        if kind and type_name != kind:
            yield start, " ".join(sentence), False
            sentence, kind = [], ""
        if type_name == "NAME":
            # The alias of an import is a name of its own: `as_words`.
            yield token.start[0], f"as_{token.string}" if before == "as" else token.string, True
        elif type_name in {"STRING", "FSTRING_MIDDLE", "COMMENT"}:
            start, kind = (start if kind else token.start[0]), type_name
            sentence.append(strip_quotes(token.string))
        before = token.string if token else ""


def strip_quotes(text):
    """Returns a string or a comment without its quotes, inserted values and code."""
    prefix = re.match(r"[a-zA-Z]{0,2}(?=[\"'])", text)
    if prefix and "f" in prefix.group().lower():
        text = re.sub(r"\{[^{}]*\}", " … ", text)
    return re.sub(r"^[a-zA-Z]{0,2}[\"']+|^#+|[\"']+$|`[^`]*`", " ", text)


def read_markdown(text):
    """Yields (line, text, False) of each paragraph, without code, addresses and comments."""
    blank = lambda match: "\n" * match.group().count("\n")  # noqa: E731 - the lines keep their numbers
    text = re.sub(r"```.*?```|<!--.*?-->", blank, text, flags=re.DOTALL)
    paragraph, start = [], 0
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if line.strip():
            start = start if paragraph else number
            paragraph.append(line)
        elif paragraph:
            bare = re.sub(r"`[^`]*`|\]\([^)]*\)|https?://\S+", " ", "\n".join(paragraph))
            yield start, bare, False
            paragraph = []


def read_script(text):
    """Yields (line, text, whether it is a name) of JavaScript and CSS."""
    spoken = r"//[^\n]*|/\*.*?\*/|'[^'\n]*'|\"[^\"\n]*\"|`[^`]*`"
    for match in re.finditer(rf"{spoken}|[A-Za-z_$][\w$]*", text, re.DOTALL):
        line = text.count("\n", 0, match.start()) + 1
        is_name = re.fullmatch(spoken, match.group(), re.DOTALL) is None
        yield line, match.group().strip("/*'\"` "), is_name


READERS = {
    ".py": read_python,
    ".md": read_markdown,
    ".toml": read_markdown,
    ".js": read_script,
    ".css": read_script,
}


@functools.cache
def split_name(name):
    """Returns the parts of an identifier in lower case, with _ around each."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    return f"_{'_'.join(part.lower() for part in parts)}_"


def compile_sentence(*patterns):
    """Returns a pattern that finds whole words, outside of code and of file names."""
    bare = "|".join(pattern for pattern in patterns if pattern)
    return re.compile(rf"(?<![\w`/.-])(?:{bare})(?![\w`/-]|\.\w)", re.IGNORECASE)


def compile_names(*words):
    """Returns a pattern for a split name; each text lists parts with spaces between."""
    return re.compile("|".join(f"_{part}_" for names in words for part in names.split()) or "$^")
