"""What a user may set: each class is a command of the command line and a function's arguments."""

from __future__ import annotations

import dataclasses
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro

from isogloss.demonstrations.choose import Choice, DemonstrationLanguages
from isogloss.errors import ConfigError, suggestion
from isogloss.methods.losses import DemonstrationLoss
from isogloss.methods.method import Calibration
from isogloss.model.kernels import Kernel
from isogloss.model.load import Dtype, ModelOptions, Quantization
from isogloss.representation_shift import ShiftBack, ShiftedTokens, ShiftTowards
from isogloss.tuning.soft_prompt import PromptStart

TRACKERS = ("tensorboard", "wandb")
TooLong = Literal["error", "skip"]
Normalisation = Literal["sum", "token", "byte"]


@dataclass(frozen=True)
class TrainSettings:
    """Train a method on a task and write a run folder."""

    task: tyro.conf.Positional[str]
    """A benchmark (xquad, xcopa, xnli), or your own task's YAML file or folder."""
    model: str
    """Model folder, .gguf file, package:NAME, or hub id."""
    target: str
    """Code of the non-dominant language, such as tr."""
    data: str | None = None
    """Folder of the benchmark's files, or 'hub'. Without it: $ISOGLOSS_DATA, then ./data."""
    method: str = "cl-icp"
    """How knowledge is transferred; `isogloss methods` lists them."""
    seed: int = 42
    """Decides every random choice."""
    share: float = 1.0
    """Share of the target language's training items to use; nested per seed."""
    match_steps: bool = False
    """With a smaller share, as many updates as all of D_t would give: more passes over it."""
    limit: int | None = None
    """At most this many items of each split."""
    max_steps: int | None = None
    """At most this many updates."""
    choose: tuple[str, ...] = ()
    """Settings to choose by validation or k-fold, never on test: learning-rate=1e-3,5e-3 ..."""
    folds: int = 5
    """Folds of the training items to choose on where a task has no validation items."""
    epochs: int | None = None
    """Passes over the targets of each stage (the task's number by default; Appendix B.2)."""
    learning_rate: float | None = None
    """Peak learning rate (1e-3 for CL-ICP, 2e-6 for tuning all parameters; Appendix B.2)."""
    batch_size: int | None = None
    """Targets in a batch."""
    gradient_accumulation: int = 1
    """Batches summed up before an update."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    demonstrations: int | None = None
    """Demonstrations before a target, k (by default those of the method)."""
    demonstration_languages: DemonstrationLanguages | None = None
    """Languages of the demonstrations."""
    demonstration_choice: Choice | None = None
    """How demonstrations are chosen: at random, or nearest by bm25 or by a sentence encoder."""
    encoder: str | None = None
    """Folder or hub id of a sentence encoder, for --demonstration-choice encoder."""
    share_demonstrations: int | None = None
    """Targets of a batch that share one demonstration set; 1 is the paper's plain reading."""
    test_sets: int | Literal["per-item"] | None = None
    """Demonstration sets at test, or 'per-item' for a draw of its own for each item."""
    prompt_length: int | None = None
    """Soft-prompt vectors, m, or positions of a prefix."""
    prompt_start: PromptStart | None = None
    """What the soft prompt starts from (vocabulary by default)."""
    prompt_file: str | None = None
    """Adapter folder or safetensors file, for the start from a file."""
    lora_rank: int | None = None
    """Rank of LoRA's updates."""
    lora_alpha: int | None = None
    """LoRA's alpha: its updates are multiplied by alpha / rank."""
    lora_dropout: float | None = None
    """Dropout before LoRA's updates, in training only."""
    demonstration_loss: DemonstrationLoss | None = None
    """Which demonstrations' answers are learnt."""
    demonstration_weight: float | None = None
    """Weight of the demonstrations' loss."""
    shift: ShiftBack | Literal["off"] | None = None
    """Representation shift: what is added at L_back, or off for no shift at all."""
    shift_layers: tuple[int, int] | None = None
    """L_to and L_back (by default where the languages are closest: `isogloss layers`)."""
    shift_towards: ShiftTowards | None = None
    """What of the demonstrations a target is shifted to."""
    shift_tokens: ShiftedTokens | None = None
    """Which tokens of the target are shifted."""
    shift_scale: float | None = None
    """Factor on what is added."""
    contrast_weight: float | None = None
    """Weight of the contrastive loss."""
    contrast_temperature: float | None = None
    """Temperature of the contrastive loss."""
    contrast_pairs: int | None = None
    """Translation pairs in a batch of the contrastive loss."""
    calibration: Calibration | None = None
    """Score options against what they get without content: none or contextual."""
    patience: int = 3
    """Epochs without a better validation loss before stopping, where there is validation data."""
    save_every: int | None = None
    """Updates between checkpoints (an epoch by default; with validation data always an epoch)."""
    chat: bool = False
    """Render demonstrations as turns through the tokenizer's chat template."""
    max_length: int | None = None
    """Most tokens of a sequence (the model's context by default)."""
    too_long: TooLong = "error"
    """What to do with an item that does not fit: stop, or skip it and list it in the run."""
    wording: str = "default"
    """Wording of a benchmark's prompts: default or harness."""
    split_rule: Literal["article", "paper"] = "article"
    """XQuAD: hold out whole articles, or 238 questions at random as the paper most likely did."""
    raw_questions: bool = False
    """XCOPA: keep the release's wrong `question` fields."""
    dtype: Dtype = "auto"
    """Number format: bfloat16 on a GPU, float32 on a CPU; float32 is best for all parameters."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:N."""
    attention: Kernel = "auto"
    """Attention kernel (auto is sdpa; flex_attention and flash_attention_2 need a GPU)."""
    quantization: Quantization = "none"
    """Hold the frozen model in 4 or 8 bits (bitsandbytes, GPU)."""
    remote_code: bool = False
    """Run Python code that comes with the model."""
    out: Path = Path("runs")
    """Folder for run folders."""
    report_to: tuple[str, ...] = ()
    """Trackers of transformers' Trainer: tensorboard, wandb."""
    force: bool = False
    """Train again even if the run is finished, from the start."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""

    def __post_init__(self) -> None:
        _check_choices(self)
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed is {self.seed}; it must be 0 or more and below 2^32")
        for name in self.report_to:
            if name not in TRACKERS:
                raise ConfigError(f"report to is '{name}'; it must be {' or '.join(TRACKERS)}")
            if importlib.util.find_spec(name) is None:
                raise ConfigError(f"report to {name} needs its package: pip install {name}")
        if self.folds < 2:
            raise ConfigError(f"folds is {self.folds}; it must be 2 or more")
        check_positive(
            self,
            ("limit", "max_steps", "gradient_accumulation", "max_length", "save_every", "patience"),
        )
        if not 0 < self.share <= 1:
            raise ConfigError(f"share is {self.share}; it must be above 0 and at most 1")

    @property
    def loading(self) -> ModelOptions:
        """How the model is loaded."""
        return ModelOptions(
            self.dtype, self.device, self.attention, self.quantization, self.remote_code
        )


@dataclass(frozen=True)
class EvaluateSettings:
    """Score a run on its test split and write predictions.jsonl and scores.json."""

    run: tyro.conf.Positional[str]
    """Run folder."""
    language: str | None = None
    """Language of the test items (the run's target by default)."""
    demonstrations: Literal["from-run", "none"] | int = "from-run"
    """With the run's demonstration sets, with none, or with this many ("+ ICL" of Table 4)."""
    demonstration_languages: DemonstrationLanguages | None = None
    """Languages of that many demonstrations (the run's by default)."""
    normalisation: Normalisation = "sum"
    """Score of a choice: its log-probability, or that per token or per UTF-8 byte."""
    baseline: bool = False
    """Also score the untuned model, zero-shot and with the same demonstrations, and compare."""
    batch_size: int = 8
    """Items computed together; scores do not depend on it."""
    max_new_tokens: int = 48
    """Longest generated span, in tokens."""
    limit: int | None = None
    """At most this many items."""
    too_long: TooLong = "error"
    """What to do with an item that does not fit: stop, or skip it and count it."""
    model: str | None = None
    """The run's model, where it has moved; another model is refused."""
    data: str | None = None
    """The task's data, where it has moved."""
    dtype: Dtype | None = None
    """Number format of the model (the run's by default)."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:N."""
    force: bool = False
    """Score again even if these scores are there."""
    json: bool = False
    """Print one JSON object, the content of scores.json, and nothing else on standard output."""

    def __post_init__(self) -> None:
        _check_choices(self)
        check_positive(self, ("batch_size", "max_new_tokens", "limit"))
        _check_count(self.demonstrations)


@dataclass(frozen=True)
class PredictSettings:
    """Answer new items with a run."""

    run: tyro.conf.Positional[str]
    """Run folder."""
    items: Path | None = None
    """JSON lines, CSV or TSV file of items with the task's fields; answers are not needed."""
    field: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """One item on the command line: NAME=TEXT, once for each field."""
    language: str | None = None
    """Language of the items (the run's target by default)."""
    out: Path | None = None
    """File for the predictions, JSON lines; without it they are printed."""
    demonstrations: Literal["from-run", "none"] | int = "from-run"
    """With the run's demonstration sets, with none, or with this many ("+ ICL" of Table 4)."""
    demonstration_languages: DemonstrationLanguages | None = None
    """Languages of that many demonstrations (the run's by default)."""
    normalisation: Normalisation = "sum"
    """Score of a choice: its log-probability, or that per token or per UTF-8 byte."""
    batch_size: int = 8
    """Items computed together."""
    max_new_tokens: int = 48
    """Longest generated span, in tokens."""
    model: str | None = None
    """The run's model, where it has moved."""
    data: str | None = None
    """The task's data, where it has moved."""
    dtype: Dtype | None = None
    """Number format of the model (the run's by default)."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:N."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""

    def __post_init__(self) -> None:
        _check_choices(self)
        check_positive(self, ("batch_size", "max_new_tokens"))
        _check_count(self.demonstrations)


@dataclass(frozen=True)
class CompileSettings:
    """Bake a run's soft prompt and demonstrations into one prefix, about as cheap as zero-shot."""

    run: tyro.conf.Positional[str]
    """Run folder."""
    out: Path
    """Folder for the compiled run, which plain PEFT loads too."""
    demonstrations: str = "from-run"
    """A file of solved items, from-run for the first of its test sets, or auto to choose a set."""
    candidates: int = 8
    """With auto: how many sets are drawn, each judged on held-out items."""
    items: int = 100
    """At most this many items to judge a candidate by, and to measure score and latency on."""
    seed: int | None = None
    """Decides which sets are drawn (the run's seed by default)."""
    max_new_tokens: int = 48
    """Longest generated span, in tokens."""
    model: str | None = None
    """The run's model, where it has moved; another model is refused."""
    data: str | None = None
    """The task's data, where it has moved."""
    dtype: Dtype | None = None
    """Number format of the model (the run's by default)."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:N."""
    force: bool = False
    """Compile again into a folder that holds a compiled run."""
    json: bool = False
    """Print one JSON object, the content of compiled.json, and nothing else."""

    def __post_init__(self) -> None:
        _check_choices(self)
        check_positive(self, ("candidates", "items", "max_new_tokens"))
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed is {self.seed}; it must be 0 or more and below 2^32")


@dataclass(frozen=True)
class LayersSettings:
    """Show where a model has two languages closest: the layers of the representation shift."""

    task: str
    """A benchmark (xquad, xcopa, xnli), or your own task's YAML file or folder."""
    model: str
    """Model folder, .gguf file, package:NAME, or hub id."""
    target: str
    """Code of the non-dominant language, such as tr."""
    data: str | None = None
    """Folder of the benchmark's files, or 'hub'. Without it: $ISOGLOSS_DATA, then ./data."""
    seed: int = 42
    """Decides which items are looked at."""
    share: float = 1.0
    """Share of the target language's training items to use."""
    plot: Path | None = None
    """Also draw the distances: a .png or .svg file."""
    wording: str = "default"
    """Wording of a benchmark's prompts: default or harness."""
    split_rule: Literal["article", "paper"] = "article"
    """XQuAD: hold out whole articles, or 238 questions at random as the paper most likely did."""
    raw_questions: bool = False
    """XCOPA: keep the release's wrong `question` fields."""
    dtype: Dtype = "auto"
    """Number format: bfloat16 on a GPU, float32 on a CPU."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:N."""
    attention: Kernel = "auto"
    """Attention kernel (auto is sdpa; flex_attention and flash_attention_2 need a GPU)."""
    quantization: Quantization = "none"
    """Hold the model in 4 or 8 bits (bitsandbytes, GPU)."""
    remote_code: bool = False
    """Run Python code that comes with the model."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""

    def __post_init__(self) -> None:
        _check_choices(self)

    @property
    def loading(self) -> ModelOptions:
        """How the model is loaded."""
        return ModelOptions(
            self.dtype, self.device, self.attention, self.quantization, self.remote_code
        )


LEAST_ITEMS = 4  # of a language, that gradients say anything of


@dataclass(frozen=True)
class DiagnoseSettings:
    """Say how well two languages are aligned in a model, and what to expect of transfer."""

    model: str | None = None
    """Model folder, .gguf file, package:NAME, or hub id (with --run: the run's by default)."""
    target: str | None = None
    """Code of the non-dominant language, such as tr (with --run: the run's)."""
    source: str | None = None
    """Code of the dominant language (the task's; en where there is no task)."""
    task: str | None = None
    """A benchmark, or your own task's YAML file or folder; without it only sentences count."""
    run: str | None = None
    """A finished run: its model is measured as it was and as training left it."""
    parallel: tuple[Path, ...] = ()
    """Parallel text: a tab-separated table with a column for each code, or two files."""
    field: tuple[str, ...] = ()
    """Fields of the task to take sentences from (by default those that hold sentences)."""
    data: str | None = None
    """Folder of the benchmark's files, or 'hub'. Without it: $ISOGLOSS_DATA, then ./data."""
    pairs: int = 200
    """At most this many sentence pairs."""
    items: int = 64
    """At most this many answered items of each language for gradients; 0 leaves gradients out."""
    readers: int = 24
    """Target items whose attention on demonstrations is looked at; 0 leaves it out."""
    demonstrations: int = 3
    """Demonstrations before each of these."""
    gradients: Literal["soft-prompt", "lora", "full"] = "soft-prompt"
    """Gradients by what: a soft prompt of vocabulary, LoRA at its start, or all parameters."""
    unseen: Literal["validation", "test", "none"] = "validation"
    """Held-out items of the target language that gradients are met with too (D_unseen)."""
    layers: Literal["inner", "all"] = "inner"
    """Layers of the cosine deviation: 1 to L - 1, or with the embeddings and the last norm's."""
    tolerance: float = 0.2
    """How far the lengths of two sentences may differ to be comparable, as a share."""
    seed: int = 42
    """Decides every random choice."""
    wording: str = "default"
    """Wording of a benchmark's prompts: default or harness."""
    split_rule: Literal["article", "paper"] = "article"
    """XQuAD: hold out whole articles, or 238 questions at random as the paper most likely did."""
    raw_questions: bool = False
    """XCOPA: keep the release's wrong `question` fields."""
    dtype: Dtype = "auto"
    """Number format: bfloat16 on a GPU, float32 on a CPU."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:N."""
    attention: Kernel = "auto"
    """Attention kernel (auto is sdpa; flex_attention and flash_attention_2 need a GPU)."""
    quantization: Quantization = "none"
    """Hold the model in 4 or 8 bits (bitsandbytes, GPU)."""
    remote_code: bool = False
    """Run Python code that comes with the model."""
    out: Path | None = None
    """Folder for diagnosis.json (a run's own folder, or diagnoses/MODEL-TASK-TARGET by default)."""
    json: bool = False
    """Print one JSON object, the content of diagnosis.json, and nothing else."""

    def __post_init__(self) -> None:
        _check_choices(self)
        check_positive(self, ("pairs",))
        for name in ("items", "readers"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        if 0 < self.items < LEAST_ITEMS:
            raise ConfigError(
                f"items is {self.items}; it must be {LEAST_ITEMS} or more (0 leaves gradients out)"
            )
        if self.field and self.parallel:
            raise ConfigError(
                "field names fields of a task, but sentences come from the files of --parallel; "
                "give one of the two"
            )
        if not self.tolerance > 0:
            raise ConfigError(f"tolerance is {self.tolerance}; it must be above 0")
        if self.run is None and (self.model is None or self.target is None):
            raise ConfigError("nothing to diagnose: give --model and --target, or --run")
        if self.run is not None and (self.task or self.target or self.source):
            raise ConfigError("a run has its task and languages: give --run without them")
        if self.readers and self.demonstrations < 2:
            raise ConfigError(
                f"demonstrations is {self.demonstrations}; attention compares 2 or more "
                "(--readers 0 leaves it out)"
            )

    @property
    def loading(self) -> ModelOptions:
        """How the model is loaded."""
        return ModelOptions(
            self.dtype, self.device, self.attention, self.quantization, self.remote_code
        )


@dataclass(frozen=True)
class ReproduceSettings:
    """Reproduce a table or figure of the paper with models of your choice, cell by cell."""

    experiment: tyro.conf.Positional[str]
    """table1 to table6, fig1, fig2, fig3, fig5, fig6, eq3 or mechanism."""
    models: tuple[str, ...] = ()
    """Models: folders, .gguf files, package:NAME, or hub ids."""
    runs: tuple[Path, ...] = ()
    """For fig2 and mechanism: folders with evaluated runs, whose scores are met with alignment."""
    data: str | None = None
    """Folder of the benchmarks' files, or 'hub'. Without it: $ISOGLOSS_DATA, then ./data."""
    scale: Literal["smoke", "small", "paper"] = "smoke"
    """How much is run; `--plan` says what that is."""
    tasks: tuple[str, ...] = ()
    """Only these tasks."""
    targets: tuple[str, ...] = ()
    """Only these target languages."""
    rows: tuple[str, ...] = ()
    """Only these rows, such as "CL-ICP (S)"."""
    seeds: tuple[int, ...] = ()
    """These seeds in place of the scale's."""
    limit: int | None = None
    """At most this many items of each set, in place of the scale's number."""
    epochs: int | None = None
    """Epochs of every trained row, in place of the scale's."""
    workers: int = 1
    """Processes that carry out runs at once."""
    ray: str | None = None
    """Carry out runs on the Ray cluster at this address, or 'local' to start one here."""
    dtype: Dtype = "auto"
    """Number format: bfloat16 on a GPU, float32 on a CPU."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda."""
    out: Path | None = None
    """Folder of the grid (reproductions/EXPERIMENT-SCALE by default)."""
    plan: bool = False
    """Say which cells there are and what is left, and run nothing."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""

    def __post_init__(self) -> None:
        _check_choices(self)
        check_positive(self, ("limit", "epochs", "workers"))


@dataclass(frozen=True)
class CompareSettings:
    """Train all methods that fit a task with the same data and seeds, and recommend one."""

    task: tyro.conf.Positional[str]
    """A benchmark (xquad, xcopa, xnli), or your own task's YAML file or folder."""
    model: str
    """Model folder, .gguf file, package:NAME, or hub id."""
    target: str
    """Code of the non-dominant language, such as tr."""
    methods: tuple[str, ...] = ("auto",)
    """Methods by name, or auto for all that fit; zero-shot is always among them."""
    data: str | None = None
    """Folder of the benchmark's files, or 'hub'. Without it: $ISOGLOSS_DATA, then ./data."""
    seeds: tuple[int, ...] = (42, 43, 44)
    """Each method is trained once with each."""
    minutes: float | None = None
    """Begin no run that would probably end later; the same command goes on with what is left."""
    share: float = 1.0
    """Share of the target language's training items to use; nested per seed."""
    limit: int | None = None
    """At most this many items of each split."""
    epochs: int | None = None
    """Passes over the targets of each stage, for all methods that train."""
    choose: tuple[str, ...] = ()
    """Settings for every training method to choose by validation: learning-rate=1e-3,5e-3 ..."""
    folds: int = 5
    """Folds of the target language's training items where a task has no validation items."""
    workers: int = 1
    """Processes that carry out runs at once."""
    too_long: TooLong = "error"
    """What to do with an item that does not fit: let the method fail, or skip the item."""
    max_length: int | None = None
    """Most tokens of a sequence (the model's context by default)."""
    chat: bool = False
    """Render demonstrations as turns through the tokenizer's chat template."""
    wording: str = "default"
    """Wording of a benchmark's prompts: default or harness."""
    split_rule: Literal["article", "paper"] = "article"
    """XQuAD: hold out whole articles, or 238 questions at random as the paper most likely did."""
    raw_questions: bool = False
    """XCOPA: keep the release's wrong `question` fields."""
    dtype: Dtype = "auto"
    """Number format: bfloat16 on a GPU, float32 on a CPU."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda."""
    attention: Kernel = "auto"
    """Attention kernel (auto is sdpa; flex_attention and flash_attention_2 need a GPU)."""
    quantization: Quantization = "none"
    """Hold the model in 4 or 8 bits (bitsandbytes, GPU); methods that tune all of it do not fit."""
    remote_code: bool = False
    """Run Python code that comes with the model."""
    out: Path | None = None
    """Folder of the comparison (comparisons/TASK-TARGET-MODEL by default)."""
    plan: bool = False
    """Say which methods fit and what is left, and run nothing."""
    json: bool = False
    """Print one JSON object, the content of comparison.json, and nothing else."""

    def __post_init__(self) -> None:
        _check_choices(self)
        check_positive(self, ("limit", "epochs", "workers", "max_length"))
        if self.folds < 2:
            raise ConfigError(f"folds is {self.folds}; it must be 2 or more")
        if self.minutes is not None and not self.minutes > 0:
            raise ConfigError(f"minutes is {self.minutes}; it must be above 0")
        if not self.methods:
            raise ConfigError("no method to compare: leave --methods out, or name one or more")
        if not self.seeds:
            raise ConfigError("no seed: leave --seeds out, or give one or more")
        for name in ("methods", "seeds"):
            values = getattr(self, name)
            twice = next((one for one in values if values.count(one) > 1), None)
            if twice is not None:
                raise ConfigError(f"{name} has {twice} twice")


@dataclass(frozen=True)
class ExportSettings:
    """Write what a run learnt as a plain model folder, for servers that know nothing of Isogloss.

    LoRA, DoRA and full tuning become a whole model; a soft prompt becomes rows of the vocabulary
    (--vocabulary-rows).
    """

    run: tyro.conf.Positional[str]
    """Run folder."""
    out: Path
    """Folder to write; there must be none of that name."""
    vocabulary_rows: bool = False
    """Write a soft prompt as tokens added to the vocabulary, to be put in front of a text."""
    untie: bool = False
    """Give a head that is tied to the embedding rows of its own: a larger file (see the docs)."""
    keep_begin: bool = False
    """Leave the tokenizer its habit of putting a begin token in front of every text."""
    model: str | None = None
    """The run's model, where it has moved; another model is refused."""
    data: str | None = None
    """The task's data, where it has moved."""
    dtype: Dtype | None = None
    """Number format to write (the run's by default)."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:N."""
    json: bool = False
    """Print one JSON object, the content of export.json, and nothing else on standard output."""

    def __post_init__(self) -> None:
        _check_choices(self)
        for name in ("untie", "keep_begin"):
            if getattr(self, name) and not self.vocabulary_rows:
                raise ConfigError(
                    f"{name.replace('_', ' ')} is about added rows of the vocabulary; "
                    "give --vocabulary-rows with it"
                )


S = TypeVar(
    "S",
    TrainSettings,
    EvaluateSettings,
    PredictSettings,
    CompileSettings,
    LayersSettings,
    DiagnoseSettings,
    ReproduceSettings,
    CompareSettings,
    ExportSettings,
)


def settings_from(kind: type[S], options: dict[str, Any]) -> S:
    """Settings from named values.

    Raises:
        ConfigError: there is no setting of that name (near ones are suggested).
    """
    known = [setting.name for setting in dataclasses.fields(kind)]
    for name in options:
        if name not in known:
            raise ConfigError(f"no setting '{name}'{suggestion(name, known)}")
    return kind(**options)


def _check_choices(settings: object) -> None:
    """Refuse from Python what the command line's parser refuses."""
    for name, kind in get_type_hints(type(settings)).items():
        parts = (kind, *get_args(kind))
        allowed = [one for part in parts if get_origin(part) is Literal for one in get_args(part)]
        value = getattr(settings, name)
        other = value is None or (isinstance(value, int) and int in parts)
        if allowed and not other and value not in allowed:
            raise ConfigError(
                f"{name.replace('_', ' ')} is '{value}'; it must be {' or '.join(allowed)}"
            )


def _check_count(demonstrations: object) -> None:
    if isinstance(demonstrations, int) and demonstrations < 0:
        raise ConfigError(f"demonstrations is {demonstrations}; it must be 0 or more")


def check_positive(settings: object, names: tuple[str, ...]) -> None:
    """Refuse numbers below 1; a setting that is None was not given.

    Raises:
        ConfigError: names the first such setting.
    """
    for name in names:
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise ConfigError(f"{name.replace('_', ' ')} is {value}; it must be 1 or more")
