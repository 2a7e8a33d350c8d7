//! The ranges of settings.

use std::fmt::Display;

use super::{
    Cell, ConfigError, Device, Goal, KlSchedule, LossOver, ModelKind, Precision, Recipe, SplitKind,
    TrainConfig,
};

const SHARE: &str = "must be at least 0 and below 1";

fn require(
    flag: &'static str,
    value: impl Display,
    good: bool,
    must: &'static str,
) -> Result<(), ConfigError> {
    if good {
        return Ok(());
    }
    Err(ConfigError::Range {
        flag,
        value: value.to_string(),
        must,
    })
}

fn below_one(x: f64) -> bool {
    (0.0..1.0).contains(&x)
}

impl TrainConfig {
    /// Checks that every setting is in its range.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        self.validate_network()?;
        self.validate_training()?;
        self.validate_belonging()?;
        self.validate_objective()
    }

    fn validate_network(&self) -> Result<(), ConfigError> {
        let vae = self.model == ModelKind::WordVae;
        require(
            "hidden",
            self.hidden,
            (1..=16_384).contains(&self.hidden),
            "must be 1 to 16384",
        )?;
        require(
            "layers",
            self.layers,
            (1..=16).contains(&self.layers),
            "must be 1 to 16",
        )?;
        require(
            "embedding",
            self.embedding,
            self.embedding <= 16_384 && (!vae || self.embedding > 0),
            "must be at most 16384, and at least 1 for word-vae",
        )?;
        require(
            "latent",
            self.latent,
            if vae {
                self.latent <= 4096
            } else {
                self.latent == 0
            },
            "must be 0 to 4096 (0 is the decoder without z), and belongs to word-vae",
        )?;
        for (flag, share) in [
            ("dropout", self.dropout),
            ("input-dropout", self.input_dropout),
            ("recurrent-dropout", self.recurrent_dropout),
        ] {
            require(flag, share, below_one(share), SHARE)?;
        }
        require(
            "max-vocab",
            self.text.max_vocab,
            self.text.max_vocab > 0,
            "must be at least 1",
        )?;
        Ok(())
    }

    fn validate_training(&self) -> Result<(), ConfigError> {
        let vae = self.model == ModelKind::WordVae;
        require(
            "batch",
            self.batch,
            (1..=1_000_000).contains(&self.batch),
            "must be 1 to 1000000",
        )?;
        require(
            "seq",
            self.seq,
            vae || (1..=1_000_000).contains(&self.seq),
            "must be 1 to 1000000",
        )?;
        require(
            "seq-min",
            self.seq_min,
            vae || (1..=self.seq).contains(&self.seq_min),
            "must be at least 1 and at most --seq",
        )?;
        require(
            "lr",
            self.lr,
            self.lr.is_finite() && self.lr > 0.0,
            "must be above 0",
        )?;
        require(
            "final-lr",
            self.final_lr,
            (0.0..=1.0).contains(&self.final_lr),
            "must be 0 to 1",
        )?;
        require(
            "decay",
            self.decay,
            self.decay > 0.0 && self.decay <= 1.0,
            "must be above 0, at most 1",
        )?;
        require(
            "weight-decay",
            self.weight_decay,
            below_one(self.weight_decay),
            SHARE,
        )?;
        require(
            "clip",
            self.clip,
            self.clip.is_finite() && self.clip >= 0.0,
            "must be at least 0",
        )?;
        require("ema", self.ema, below_one(self.ema), SHARE)?;
        require("valid", self.valid, below_one(self.valid), SHARE)?;
        require("test", self.test, below_one(self.test), SHARE)?;
        require(
            "test",
            self.test,
            self.valid + self.test < 1.0,
            "must leave something to train on",
        )?;
        require(
            "threads",
            self.threads,
            self.threads <= 1024,
            "must be at most 1024 (0 is all cores)",
        )?;
        require(
            "precision",
            self.precision,
            self.precision == Precision::F32 || self.device != Device::Cpu,
            "needs a CUDA device; --device cpu trains in f32",
        )?;
        Ok(())
    }

    fn validate_objective(&self) -> Result<(), ConfigError> {
        require(
            "kl-warmup",
            self.kl_warmup,
            (0.0..=1.0).contains(&self.kl_warmup),
            "must be 0 to 1",
        )?;
        require(
            "free-bits",
            self.free_bits,
            self.free_bits.is_finite() && self.free_bits >= 0.0,
            "must be at least 0",
        )?;
        require(
            "char-dropout",
            self.char_dropout,
            below_one(self.char_dropout),
            SHARE,
        )?;
        require(
            "decoder-dropout",
            self.decoder_dropout,
            below_one(self.decoder_dropout),
            SHARE,
        )?;
        require(
            "beta",
            self.beta,
            self.beta.is_finite() && self.beta >= 0.0,
            "must be at least 0",
        )?;
        let held = self.rate > 0.0;
        require(
            "rate",
            self.rate,
            (0.0..=1000.0).contains(&self.rate),
            "must be 0 to 1000 nats a word",
        )?;
        require(
            "rate",
            self.rate,
            !held || self.latent > 0,
            "needs a --latent above 0",
        )?;
        let must = "cannot be given beside --rate, which holds what z carries by itself";
        let free = !held || self.free_bits == 0.0;
        require("free-bits", self.free_bits, free, must)?;
        let rising = held && self.kl_warmup > 0.0;
        require("kl-warmup", self.kl_warmup, !rising, must)?;
        Ok(())
    }

    /// Refuses what belongs to the other model, or what the article's network does not have.
    fn validate_belonging(&self) -> Result<(), ConfigError> {
        match self.model {
            ModelKind::CharRnn => {
                let must = "belongs to word-vae";
                require(
                    "bidirectional",
                    self.bidirectional,
                    !self.bidirectional,
                    must,
                )?;
                require("z", self.z, self.z.is_default(), must)?;
                let fits = !self.tied || self.embedding == self.hidden;
                let as_wide = "needs --embedding as large as --hidden: the weights are the same";
                require("tied", self.tied, fits, as_wide)?;
                require("goal", self.goal, self.goal == Goal::Density, must)?;
                require("rate", self.rate, self.rate == 0.0, must)?;
                require("beta", self.beta, self.beta == 1.0, must)?;
                let linear = self.kl_schedule == KlSchedule::Linear;
                require("kl-schedule", self.kl_schedule, linear, must)?;
                let same = self.decoder_dropout == self.dropout;
                require("decoder-dropout", self.decoder_dropout, same, must)?;
                require("kl-warmup", self.kl_warmup, self.kl_warmup == 0.0, must)?;
                require("free-bits", self.free_bits, self.free_bits == 0.0, must)?;
                require(
                    "char-dropout",
                    self.char_dropout,
                    self.char_dropout == 0.0,
                    must,
                )?;
            }
            ModelKind::WordVae => {
                let must = "needs a --latent above 0: there is no z";
                let has_z = self.latent > 0;
                require("z", self.z, has_z || self.z.is_default(), must)?;
                let must = "belongs to char-lstm";
                require("tied", self.tied, !self.tied, must)?;
                require("variational", self.variational, !self.variational, must)?;
                for (flag, share) in [
                    ("input-dropout", self.input_dropout),
                    ("recurrent-dropout", self.recurrent_dropout),
                ] {
                    require(flag, share, share == 0.0, must)?;
                }
                require("seq", self.seq, self.seq == 0, must)?;
                require("seq-min", self.seq_min, self.seq_min == 0, must)?;
                require("loss", self.loss, self.loss == LossOver::All, must)?;
                require(
                    "split",
                    self.split,
                    self.split == SplitKind::Contiguous,
                    must,
                )?;
            }
        }
        if self.recipe == Recipe::Article {
            let must = "is fixed by --recipe article";
            require("cell", self.cell, self.cell == Cell::Gru, must)?;
            require("latent", self.latent, self.latent > 0, must)?;
            require("z", self.z, self.z.is_default(), must)?;
            require("goal", self.goal, self.goal == Goal::Density, must)?;
            require("rate", self.rate, self.rate == 0.0, must)?;
            require("layers", self.layers, self.layers == 1, must)?;
            require(
                "bidirectional",
                self.bidirectional,
                !self.bidirectional,
                must,
            )?;
            require("batch", self.batch, self.batch == 1, must)?;
            require("dropout", self.dropout, self.dropout == 0.0, must)?;
            require("ema", self.ema, self.ema == 0.0, must)?;
            let f32 = self.precision == Precision::F32;
            require("precision", self.precision, f32, must)?;
        }
        Ok(())
    }
}
