"""What an inspection of an adapter file found, as data and as text."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Component:
    """One model's share of a file.

    Attributes:
        name: "UNet", "text encoder" …
        modules: Layers that are changed.
        of: Layers that the family's model has; 0 where the sizes are of no public model.
        kinds: How many layers are of which kind.
        ranks: How many layers have which rank.
        alphas: How many layers have which alpha; those without one are not counted.
    """

    name: str
    modules: int
    of: int
    kinds: dict[str, int]
    ranks: dict[int, int]
    alphas: dict[float, int]


@dataclass(frozen=True)
class Verdict:
    """Whether a program reads the file.

    Attributes:
        loads: "yes", "partly" (also at a wrong strength) or "no".
        reasons: Why not, as sentences.
    """

    program: str
    loads: str
    reasons: list[str]


@dataclass(frozen=True)
class Inspection:
    """What a file is.

    Attributes:
        name: Of the file.
        bytes: Its size.
        title: Its own name for itself.
        family: As people call it.
        certain: Whether names and shapes show the family, not only the header.
        by_header: Whether only the header shows it.
        words: The embeddings that are bundled with the layers.
        kinds: Kinds of adapter, the commonest first.
        naming: Whose names.
        precision: Number format of most weights.
        components: What each model has of it.
        trigger: The trigger words; "" where the header has none.
        tags: The commonest tags of the captions.
        prediction: A key of `PREDICTIONS`, or "" where the header has none.
        base_model: Name of the model that it was trained on.
        training: Facts about the training, by what they are called.
        settings: Whether it holds the settings of the run that made it.
        digest: sha256 over the tensors' bytes.
        stated_digest: The hash in the header; "" for none.
        programs: Which programs read it.
        findings: What is wrong or worth knowing, one line each.
    """

    name: str
    bytes: int
    title: str
    family: str
    certain: bool
    by_header: bool
    words: list[str]
    kinds: list[str]
    naming: str
    precision: str
    components: list[Component]
    trigger: str
    tags: list[str]
    prediction: str
    base_model: str
    training: dict[str, str]
    settings: bool
    digest: str
    stated_digest: str
    programs: list[Verdict]
    findings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain tables, for JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """Returns everything as text for a person."""
        return "\n".join([*self._describe_identity(), *self._describe_programs()])

    def _describe_identity(self) -> Iterator[str]:
        sure = " (by its header)" if self.by_header else ""
        yield f"{self.name}: {' and '.join(self.kinds)} for {self.family}{sure}"
        rows = {
            "title": self.title,
            "trigger": self.trigger,
            "bundled embeddings": ", ".join(self.words),
            "tags": ", ".join(self.tags),
            "base model": self.base_model,
            "prediction": self.prediction,
            "file": f"{self.bytes / 1e6:.1f} MB, {self.precision}, {self.naming} names",
        }
        for part in self.components:
            rows[part.name] = _describe_component(part)
        rows |= self.training
        if self.settings:
            rows["settings"] = "of the run that made it are in the header"
        rows["hash"] = self.digest + (
            "" if self.stated_digest == self.digest
            else f" (the header has {self.stated_digest or 'nothing'})"
        )  # fmt: skip
        width = max(len(name) for name in rows)
        for name, value in rows.items():
            if value:
                yield f"  {name:{width}}  {value}"

    def _describe_programs(self) -> Iterator[str]:
        if self.programs:
            yield "Programs:"
        width = max((len(verdict.program) for verdict in self.programs), default=0)
        for verdict in self.programs:
            first, *more = verdict.reasons or [""]
            yield f"  {verdict.program:{width}}  {verdict.loads:6}  {first}".rstrip()
            for reason in more:
                yield f"  {'':{width}}          {reason}"
        if self.findings:
            yield "Findings:"
            yield from (f"  {line}" for line in self.findings)


def _describe_component(part: Component) -> str:
    share = f"{part.modules} of {part.of} layers" if part.of else f"{part.modules} layers"
    ranks = ", ".join(f"{rank}" + _times(n, part.ranks) for rank, n in part.ranks.items())
    alphas = ", ".join(f"{alpha:g}" + _times(n, part.alphas) for alpha, n in part.alphas.items())
    kinds = ", ".join(f"{kind}" + _times(n, part.kinds) for kind, n in part.kinds.items())
    return f"{share}; {kinds}; rank {ranks}" + (f"; alpha {alphas}" if alphas else "; no alpha")


def _times(count: int, others: Mapping[Any, int]) -> str:
    return f" ({count}×)" if len(others) > 1 else ""
