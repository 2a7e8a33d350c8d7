//! Checks between settings; the range of each setting is in the table.

use super::{
    Cell, ConfigError, Device, LossOver, ModelConfig, Precision, Recipe, Settings, TrainConfig,
    WordVaeConfig,
};

fn require(
    flag: &'static str,
    value: impl ToString,
    good: bool,
    must: &'static str,
) -> Result<(), ConfigError> {
    if good {
        return Ok(());
    }
    Err(ConfigError::range(flag, value, must))
}

/// The fixed architecture of the article's network.
fn article() -> Settings {
    Settings {
        cell: Some(Cell::Gru),
        layers: Some(1),
        batch: Some(1),
        dropout: Some(0.0),
        ema: Some(0.0),
        precision: Some(Precision::F32),
        ..Settings::default()
    }
}

impl TrainConfig {
    /// Checks the settings against each other.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let must = "must leave something to train on";
        require("test", self.test, self.valid + self.test < 1.0, must)?;
        require(
            "precision",
            self.precision,
            self.precision != Precision::Tf32 || self.device != Device::Cpu,
            "needs a CUDA device; --device cpu trains in f32 or bf16",
        )?;
        let embedded = matches!(self.model, ModelConfig::CharRnn(_)) || self.embedding > 0;
        let must = "must be at least 1 for word-vae";
        require("embedding", self.embedding, embedded, must)?;
        let documents = &self.text.documents;
        match &self.model {
            ModelConfig::CharRnn(own) => {
                let fits = documents.is_none() || self.recipe == Recipe::Default;
                let must = "is not for --recipe notebook, which reads one stream";
                require("documents", documents, fits, must)?;
                let fits = documents.is_none() || own.loss == LossOver::All;
                let must = "needs --loss all: a document may end anywhere in a sequence";
                require("documents", documents, fits, must)?;
                let must = "must be at most --seq";
                require("seq-min", own.seq_min, own.seq_min <= own.seq, must)?;
                let fits = !own.tied || self.embedding == self.hidden;
                let must = "needs --embedding as large as --hidden: the weights are the same";
                require("tied", own.tied, fits, must)
            }
            ModelConfig::WordVae(_) | ModelConfig::Article(_) if !documents.is_none() => {
                let must = "belongs to char-lstm: the words of a word-vae are found by --words";
                require("documents", documents, false, must)
            }
            ModelConfig::WordVae(own) => own.validate(),
            ModelConfig::Article(own) => {
                let must = "is fixed by --recipe article";
                require("latent", own.latent, own.latent > 0, must)?;
                let other = article().differing(&self.to_settings());
                other.into_iter().next().map_or(Ok(()), |(fixed, value)| {
                    Err(ConfigError::range(fixed.field(), value, must))
                })
            }
        }
    }
}

impl WordVaeConfig {
    /// Whether the decoder learns alone after `fraction` of the training.
    pub fn pretrains(&self, fraction: f64) -> bool {
        self.latent > 0 && fraction < self.pretrain_decoder
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let alone = self.pretrain_decoder;
        let must = "needs a --latent above 0: without z the decoder is always alone";
        require(
            "pretrain-decoder",
            alone,
            self.latent > 0 || alone == 0.0,
            must,
        )?;
        let (z, held) = (self.latent > 0, self.rate > 0.0);
        let must = "needs a --latent above 0: there is no z";
        require("z", self.z, z || self.z.is_default(), must)?;
        require("rate", self.rate, z || !held, "needs a --latent above 0")?;
        let must = "cannot be given beside --rate, which holds what z carries by itself";
        for (flag, value) in [("free-bits", self.free_bits), ("kl-warmup", self.kl_warmup)] {
            require(flag, value, !held || value == 0.0, must)?;
        }
        Ok(())
    }
}
