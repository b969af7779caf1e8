"""The project's words: plain terms of the field, no empty names, no calls that are not safe.

`WORDS` holds what was replaced. A word of it fails in an identifier and in a sentence of the files
in `SCOPE`; `ALLOWED` holds the few places where such a word is the standard one.
"""

import ast
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

import pytest

from tests.house.sentences import READERS, compile_names, compile_sentence, split_name

# Add "app/" when its texts are done; tests/ follows the files that it tests.
SCOPE = (
    "app/", "trainer/", "datasets_tools/", "benchmarks/", "examples/", "presets/", "docs/",
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md",
)  # fmt: skip
# History, and what is generated from the sentences of app/.
LEFT_OUT = ("docs/lab-log.md", "docs/decisions.md")

EMPTY_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}
EMPTY_ENDINGS = ("Manager", "Helper", "Utils")
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve"}
UNSAFE_CALLS = {"torch.load", "os.system", "os.popen", "eval", "exec"}


@dataclass(frozen=True)
class Word:
    """A word that was replaced.

    Attributes:
        use: What stands there now.
        names: Parts of identifiers, with _ between the parts of a compound; "" for none.
        sentence: A pattern for sentences; "" for none.
        within: Where it holds; everywhere without.
    """

    use: str
    names: str
    sentence: str
    within: str = ""


WORDS = {
    "errand": Word("job", "errand errands", r"errands?"),
    "rehearse": Word("simulate", "rehearse rehearsal rehearses", r"rehears\w+"),
    "stage": Word("fake accelerator", "stage stages staged", r"stages?|staged"),
    "stand-in": Word("fake accelerator", "stand_in", r"stand-?ins?|stands? in for"),
    "foresight": Word("validation", "foresight foresee foreseen", r"foresight|foresees?|foretold"),
    "blueprint": Word("target model", "blueprint blueprints", r"blueprints?"),
    "change": Word("delta", "change changes", r"(a|the|its|whose) changes?", "trainer/combine/"),
    "interference": Word("similarity", "interference", r"interference"),
    "paint": Word("render", "paint paints painter painted", r"paint(s|ed|er|ing)?"),
    "seen": Word("ETag", "seen", r"seen states?"),
    "stir": Word("trigger", "stir stirs", r"stir(s|red)?"),
    "relay": Word("trigger", "relay relays", r"relay(s|ed)?"),
    "journal": Word("undo log", "journal journals", r"journals?"),
    "drawing": Word("GenerationRequest, generate", "draw draws drawn drew drawing drawings",
                    r"draw(s|n|ing|ings)?|drew"),
    "picture": Word("image", "picture pictures pictured", r"pictur(e|es|ed)"),
    "moments": Word("LatentDistribution, optimizer state", "moments", r"moments"),
    "window": Word("chunk", "window windows", r"windows? of (75|tokens|a caption)"),
    "machine": Word("DeviceContext", "machine", r"(open|on) (a|the) machine"),
    "words": Word("text", "as_words", r"words module"),
    "ghost": Word("fake tensor", "ghost ghosts", r"ghosts?"),
    "bodies": Word("fake model", "bodies", r"bodies"),
    "summon": Word("make", "summon summons", r"summon(s|ed)?"),
    "settle": Word("offload", "settle settles settled", r"settl(e|es|ed|ing)"),
    "awake": Word("on_device", "awake", r"awake"),
    "thinning": Word("sparsify", "thin thinned thinning", r"thinn(ed|ing)"),
    "spectrum": Word("singular values", "spectrum spectra", r"spectr(um|a)"),
    "leading directions": Word("truncated SVD", "leading", r"(leading|strongest) directions?"),
    "adoption": Word("revision", "adopt adopts adoption", r"adopt(s|ed|ion)?"),
    "edition": Word("revision", "edition editions", r"editions?"),
    "bound": Word("If-Match", "bound", r"bound to (an|the|its) image", "app/"),
    "watch": Word("poll", "watch watches", r"watch(es|ed|ing)?"),
    "mark": Word("version", "mark marks", r"marks? of (a|the) folder", "app/"),
    "learned word": Word("textual-inversion embedding", "learned_word", r"learned words?"),
    "teach": Word("add_token", "teach teaches taught", r"teach(es|ing)?|taught"),
    "lid": Word("accordion", "lid lids", r"lids?"),
    "backstage": Word("hidden", "backstage", r"backstage"),
    "door": Word("middleware", "door doors", r"doors?"),
    "roof": Word("top level", "roof", r"roofs?"),
    "bench": Word("workbench", "bench", r"bench"),
    "house": Word("project", "house", r"the house"),
    "room": Word("package", "room rooms", r"rooms?"),
    "say": Word("log", "say says said saying", r"say(s|ing)?|said"),
    "tell": Word("report", "tell tells told telling", r"tells?|told|telling"),
    "participles": Word("a noun", "found kept wanted asked", ""),
    "mend": Word("fix", "mend mends mended", r"mend(s|ed|ing)?"),
    "take out": Word("undo, subtract", "take_out take_back taken_back",
                     r"tak(e|es|en|ing) (\w+ ){0,3}(out again|back)"),
    "in place of": Word("instead of", "in_place_of", r"in place of|in its place"),
}  # fmt: skip

# A sentence in which the word stands, where the word alone is none.
EXAMPLES = {
    "change": "a change",
    "seen": "the seen states",
    "window": "windows of 75 tokens",
    "machine": "open the machine",
    "words": "the words module",
    "bound": "bound to its image",
    "mark": "the mark of a folder",
    "house": "the house",
    "take out": "take it out again",
}

EMOJI = r"examples/starter-model/(README\.md|recipe/(words|sheets)\.py)"
# Word, path and text (an identifier split into parts, or what a sentence holds), each a pattern.
ALLOWED = (
    ("stage", r"examples/starter-model/", "(?i)stage"),  # a build has stages
    ("drawing", r"examples/", "(?i)dr[ae]w"),  # emoji are drawings, the mascot is drawn as SVG
    (
        "drawing",
        r"trainer/(inference/sampling|commands/batches)",
        "(?i)_?draw_",
    ),  # Pillow's ImageDraw
    ("bench", r"datasets_tools/captioners/wording", "sitting on a bench"),  # what BLIP writes
    ("say", r"datasets_tools/captioners/vlm", "Say only what can be seen"),  # a measured prompt
    ("bound", r"app/commands/arguments", "^_bound_$"),  # of a type variable
    ("window", r"app/ui/js/", "^_window_$"),  # the browser's
    ("window", r"trainer/", "_max_windows_"),  # a config key
    ("participles", r"trainer/", "_kept_share_|^_kept_$"),  # a config key, a checkpoint's buffer
    # a field of the command's report
    ("participles", r"datasets_tools/rewriting|app/(dataset/cap|commands/data)", "^_kept_$"),
    ("participles", "", "_not_found_"),  # Python's and the hub's own errors
    ("tell", r"trainer/(hub/client|runs/events)", "^_tell_$"),  # a method of files
    ("machine", r"benchmarks/memory|trainer/doctor/host", "^_machine_$"),  # platform.machine
    ("drawing", "benchmarks/check_up_images", "_draw_"),  # Pillow's ImageDraw
    # names of styles in captions
    ("drawing", "datasets_tools/checks/captions", "pencil drawing"),
    ("paint", "datasets_tools/checks/captions", "painting"),
    ("ghost", EMOJI, "ghost"),
    ("watch", EMOJI, "watch"),
    ("door", EMOJI, "door"),
)


PATTERNS = {
    key: (compile_names(word.names), compile_sentence(word.sentence or "$^"))
    for key, word in WORDS.items()
}
# One look for all words first: hardly any name or sentence has one.
ANY_NAME = compile_names(*(word.names for word in WORDS.values()))
ANY_SENTENCE = compile_sentence(*(word.sentence for word in WORDS.values()))


def list_words(path, text, *, is_name):
    """Returns the words of the table in an identifier or in a sentence."""
    text = split_name(text) if is_name else re.sub(r"\s+", " ", text)
    if not (ANY_NAME if is_name else ANY_SENTENCE).search(text):
        return []
    return [
        key
        for key, (names, sentence) in PATTERNS.items()
        if (names if is_name else sentence).search(text)
        and path.startswith(WORDS[key].within)
        and not is_allowed(key, path, text)
    ]


USED = set()


def is_allowed(word, path, text):
    uses = [u for u in ALLOWED if u[0] == word and re.match(u[1], path) and re.search(u[2], text)]
    USED.update(uses)
    return bool(uses)


def find_words(path, text):
    """Returns `PATH:LINE: WORD (what to write): TEXT` for each use that the table forbids."""
    return [
        f"{path}:{line}: {word} ({WORDS[word].use}): {part.strip()[:80]}"
        for line, part, is_name in READERS[PurePosixPath(path).suffix](text)
        if is_name or " " in part.strip()  # without a space it is a key
        for word in list_words(path, part, is_name=is_name)
    ]


def test_names_and_sentences_use_the_terms_of_the_field(root):
    files = {
        path.relative_to(root).as_posix()
        for entry in SCOPE
        for path in ([root / entry] if (root / entry).is_file() else (root / entry).rglob("*"))
        if path.suffix in READERS
    }
    listed = []
    for name in sorted(files - set(LEFT_OUT)):
        listed += find_words(name, (root / name).read_text(encoding="utf-8"))
    assert listed == []
    assert [use for use in ALLOWED if use not in USED] == []


@pytest.mark.parametrize("word", [key for key, word in WORDS.items() if word.names])
def test_each_word_is_found_in_a_name(word):
    for name in WORDS[word].names.split():
        code = "import a as words" if name == "as_words" else f"make_{name}_at = 1"
        path = f"{WORDS[word].within}x.py"
        assert any(f" {word} (" in line for line in find_words(path, code)), name


@pytest.mark.parametrize("word", [key for key, word in WORDS.items() if word.sentence])
@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".py", '"""It is {} here."""'),
        (".py", "f'{{x}} and {}'"),
        (".py", "# Look for\n# {} here"),
        (".md", "See {} there."),
        (".js", "// about {} there"),
    ],
    ids=["docstring", "message", "comment", "page", "script"],
)
def test_each_word_is_found_in_a_sentence(word, suffix, text):
    code = text.format(EXAMPLES.get(word, word))
    path = f"{WORDS[word].within}x{suffix}"
    assert any(f" {word} (" in line for line in find_words(path, code))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("x.py", "key = 'drawing'"),
        ("x.md", "Run `draw.py` as in [this](draw.md)."),
        ("x.py", "redrawn = 1"),
    ],
)
def test_keys_code_and_longer_words_pass(path, text):
    assert find_words(path, text) == []


def find_empty_names(name, tree):
    """Returns the parts of a path and the class names that name nothing."""
    parts = [part for part in PurePosixPath(name).with_suffix("").parts if part in EMPTY_NAMES]
    classes = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return parts + [name for name in classes if name.endswith(EMPTY_ENDINGS)]


def find_unsafe_code(tree):
    """Returns each import, call or argument that runs a shell or unpickles."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in UNSAFE_MODULES]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module] if node.module in UNSAFE_MODULES else []
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            found += [called] if called in UNSAFE_CALLS else []
            found += [f"{word.arg}=True" for word in node.keywords if is_unsafe_argument(word)]
    return found


def is_unsafe_argument(word):
    unsafe = word.arg in {"shell", "allow_pickle", "trust_remote_code"}
    return unsafe and isinstance(word.value, ast.Constant) and word.value.value is True


def test_every_module_and_class_has_a_name_that_says_something(package_trees):
    found = {name: find_empty_names(name, tree) for name, tree in package_trees.items()}
    assert {name: names for name, names in found.items() if names} == {}


def test_no_shell_no_pickle_no_torch_load(package_trees):
    found = {name: find_unsafe_code(tree) for name, tree in package_trees.items()}
    assert {name: code for name, code in found.items() if code} == {}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=True)",
        "subprocess.run('ls', shell=True)",
        "numpy.load(path, allow_pickle=True)",
        "os.system('ls')",
        "eval(text)",
    ],
)
def test_the_guard_finds_unsafe_code(code):
    assert len(find_unsafe_code(ast.parse(code))) == 1


@pytest.mark.parametrize(
    "code", ["model.eval()", "subprocess.run(command, shell=False)", "'never torch.load(x)'"]
)
def test_the_guard_lets_safe_code_pass(code):
    assert find_unsafe_code(ast.parse(code)) == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("app/utils.py", ""),
        ("trainer/common/sizes.py", ""),
        ("app/web/server.py", "class RunManager: pass"),
    ],
)
def test_the_guard_finds_empty_names(name, code):
    assert len(find_empty_names(name, ast.parse(code))) == 1
