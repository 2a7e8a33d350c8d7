//! Measures how fast a corpus is surveyed: plain ASCII, accented text, and decomposed text.

use std::io::Write;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use textgen::config::{TextConfig, Unit};
use textgen::text::{Corpus, Source, survey};

const BYTES: usize = 32 << 20;

fn corpus(sentence: &str) -> (Corpus, tempfile::NamedTempFile) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    let text = sentence.repeat(BYTES / sentence.len());
    file.write_all(text.as_bytes()).expect("a written file");
    let corpus = Corpus::new("bench", vec![Source::File(file.path().to_owned())]);
    (corpus, file)
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("survey");
    group
        .throughput(Throughput::Bytes(BYTES as u64))
        .sample_size(10);
    for (name, unit, sentence) in [
        (
            "ascii",
            Unit::Char,
            "Once upon a time there was a tin soldier, and he had but one leg.\n",
        ),
        (
            "accented",
            Unit::Char,
            "Il était une fois un soldat de plomb; être né d'une vieille cuillère…\n",
        ),
        (
            "cyrillic",
            Unit::Char,
            "Мой дядя самых честных правил, когда не в шутку занемог,\n",
        ),
        (
            "decomposed",
            Unit::Char,
            "Il e\u{301}tait une fois un soldat; e\u{302}tre ne\u{301} d'une cuille\u{300}re\n",
        ),
        (
            "graphemes",
            Unit::Grapheme,
            "Il était une fois un soldat de plomb; être né d'une vieille cuillère…\n",
        ),
    ] {
        let (corpus, _file) = corpus(sentence);
        let config = TextConfig {
            unit,
            ..TextConfig::default()
        };
        group.bench_function(name, |b| {
            b.iter(|| survey(&corpus, &config, |_| ()).expect("a survey"));
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
