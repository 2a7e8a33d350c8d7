# Made from the table in src/config/settings.rs by `TEXTGEN_WRITE_DOCS=1 cargo test --lib the_reference_page`.

from os import PathLike
from typing import Literal, SupportsFloat, SupportsIndex, TypedDict

class Settings(TypedDict, total=False):
    model: Literal["char-lstm", "char-gru", "word-vae"] | None
    unit: Literal["char", "grapheme", "byte"] | None
    normalize: Literal["none", "nfc", "nfkc", "ascii"] | None
    lowercase: bool | None
    encoding: str | None
    field: str | None
    documents: str | None
    strip: Literal["none", "gutenberg"] | None
    newlines: Literal["keep", "unix"] | None
    min_freq: SupportsIndex | None
    max_vocab: SupportsIndex | None
    words: Literal["text", "lines"] | None
    from_: str | PathLike[str] | None
    recipe: Literal["default", "notebook", "article"] | None
    valid: SupportsFloat | SupportsIndex | None
    test: SupportsFloat | SupportsIndex | None
    cell: Literal["lstm", "gru", "rnn"] | None
    hidden: SupportsIndex | None
    layers: SupportsIndex | None
    embedding: SupportsIndex | None
    dropout: SupportsFloat | SupportsIndex | None
    batch: SupportsIndex | None
    lr: SupportsFloat | SupportsIndex | None
    schedule: Literal["constant", "cosine", "step", "plateau"] | None
    warmup: SupportsIndex | None
    final_lr: SupportsFloat | SupportsIndex | None
    decay: SupportsFloat | SupportsIndex | None
    optimizer: Literal["adam", "amsgrad", "adamw"] | None
    beta2: SupportsFloat | SupportsIndex | None
    weight_decay: SupportsFloat | SupportsIndex | None
    clip: SupportsFloat | SupportsIndex | None
    ema: SupportsFloat | SupportsIndex | None
    patience: SupportsIndex | None
    eval_every: SupportsIndex | None
    eval_size: SupportsIndex | None
    sample_every: SupportsIndex | None
    save_every: SupportsIndex | None
    seed: SupportsIndex | None
    device: str | None
    precision: Literal["f32", "tf32", "bf16"] | None
    threads: SupportsIndex | None
    shards: SupportsIndex | None
    steps: SupportsIndex | None
    epochs: SupportsFloat | SupportsIndex | None
    minutes: SupportsFloat | SupportsIndex | None
    split: str | None
    tied: bool | None
    variational: bool | None
    input_dropout: SupportsFloat | SupportsIndex | None
    recurrent_dropout: SupportsFloat | SupportsIndex | None
    seq: SupportsIndex | None
    seq_min: SupportsIndex | None
    loss: Literal["all", "last"] | None
    latent: SupportsIndex | None
    z: Literal["both", "start", "steps"] | None
    bidirectional: bool | None
    goal: Literal["density", "explore", "autoencode"] | None
    rate: SupportsFloat | SupportsIndex | None
    beta: SupportsFloat | SupportsIndex | None
    kl_schedule: Literal["linear", "sigmoid", "cyclical"] | None
    kl_warmup: SupportsFloat | SupportsIndex | None
    free_bits: SupportsFloat | SupportsIndex | None
    pretrain_decoder: SupportsFloat | SupportsIndex | None
    char_dropout: SupportsFloat | SupportsIndex | None
    decoder_dropout: SupportsFloat | SupportsIndex | None
