//! Everything must be restored at every SIMD level, and cost what the model predicts.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::container::seal;
use super::*;
use crate::config::{Cell, Unit};
use crate::evaluate::{Reading, texts};
use crate::kernels::Kernels;
use crate::kernels::simd::Level;
use crate::models::weights::quantize;
use crate::testing::{self, Numbers};

/// An untrained model of some tokens.
struct Made {
    config: NetworkConfig,
    weights: Weights<'static>,
    vocabulary: Vocabulary,
}

impl Made {
    /// `cut` tokens are missing from the vocabulary; if there are any, it has an `<unk>`.
    fn new(unit: Unit, letters: &[&str], cut: u64, cell: Cell, hidden: usize) -> Self {
        let token = |letter: &&str| match unit {
            Unit::Byte => Token::Byte(letter.as_bytes()[0]),
            _ => Token::Text((*letter).to_owned()),
        };
        let tokens = letters.iter().map(token).collect();
        let vocabulary = Vocabulary::new(unit, tokens, cut, false).expect("a vocabulary");
        let config = testing::char_lstm(cell, hidden, 1, vocabulary.len());
        Self {
            weights: testing::weights(&config),
            config,
            vocabulary,
        }
    }

    fn tiny() -> Self {
        let letters = ["e", " ", "a", "\n", "b", "é", "中", "q"];
        Self::new(Unit::Char, &letters, 0, Cell::Gru, 6)
    }

    fn codec(&self) -> Codec<'_> {
        self.codec_at(Kernels::new())
    }

    fn codec_at(&self, kernels: Kernels) -> Codec<'_> {
        let (config, weights) = (&self.config, &self.weights);
        let model = CharRnn::with_kernels(config, weights, kernels).expect("a network");
        Codec::new(model, config, weights, &self.vocabulary, "made", None)
    }
}

fn on_threads(threads: usize) -> Running<'static> {
    Running {
        threads,
        progress: &|_| {},
    }
}

fn restore(codec: &Codec, bytes: &[u8]) -> Result<Vec<u8>, CompressError> {
    decompress(&Container::read(bytes)?, Some(codec), on_threads(1))
}

#[track_caller]
fn round_trip(codec: &Codec, original: &[u8], blocks: Option<usize>) -> Compressed {
    let compressed = codec.compress(original, blocks, on_threads(1));
    let found = restore(codec, &compressed.bytes).expect("decompressed");
    assert!(found == original, "{original:?}");
    // The header, and four bytes per block.
    let most = original.len() + 60 + 4 * compressed.blocks;
    assert!(compressed.bytes.len() <= most, "{}", compressed.bytes.len());
    compressed
}

/// Known and unknown characters, and bytes that are no characters.
fn anything() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[ea bé中q\n]{1,12}".prop_map(String::into_bytes),
        1 => "\\PC{1,4}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 1..6),
        1 => prop::sample::select(vec!["\r\n", "\u{FEFF}", "e\u{301}", "É", "\0", "\u{FFFD}"])
            .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

#[test]
fn ten_thousand_generated_files_come_back() {
    let made = Made::tiny();
    let codec = made.codec();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(10_000)
    });
    let cases = (anything(), prop::option::of(1_usize..5));
    let outcome = runner.run(&cases, |(original, blocks)| {
        round_trip(&codec, &original, blocks);
        Ok(())
    });
    outcome.expect("every case");
}

#[test]
fn every_unit_with_and_without_unk_gives_the_bytes_back() {
    let letters = ["e", " ", "a", "\r\n", "b", "e\u{301}", "中", "\n"];
    let bytes = ["e", " ", "a", "\n", "b"];
    let original = "be a\r\nbéa e\u{301} 中文 \u{FEFF}ea\n".repeat(9);
    let mut original = original.into_bytes();
    original.extend([0xFF, 0xC3, b'e', 0x80, 0xE4, 0xB8]);
    for cut in [0, 3] {
        for made in [
            Made::new(Unit::Grapheme, &letters, cut, Cell::Lstm, 33),
            Made::new(Unit::Byte, &bytes, cut, Cell::Rnn, 7),
            Made::new(Unit::Char, &bytes, cut, Cell::Gru, 40),
        ] {
            for blocks in [None, Some(1), Some(7), Some(10_000)] {
                round_trip(&made.codec(), &original, blocks);
            }
            let escaped = round_trip(&made.codec(), &original[..20], None).escaped_bytes;
            assert!(escaped < 20, "{escaped}");
        }
    }
}

#[test]
fn any_instructions_and_threads_write_the_same_file_and_read_it_back() {
    let mut made = Made::new(Unit::Char, &["e", " ", "a", "b", "\n"], 2, Cell::Lstm, 65);
    let original = "a bee be a bé\n".repeat(40).into_bytes();
    for eight_bits in [false, true] {
        if eight_bits {
            made.weights = quantize(&made.weights);
        }
        for blocks in [1, 5, 40] {
            let mut first: Option<Vec<u8>> = None;
            for kernels in Level::supported().filter_map(Kernels::at) {
                let codec = made.codec_at(kernels);
                for threads in [1, 2, 3] {
                    let compressed = codec.compress(&original, Some(blocks), on_threads(threads));
                    assert_eq!((compressed.blocks, compressed.stored_blocks), (blocks, 0));
                    let bytes = compressed.bytes;
                    let first = first.get_or_insert(bytes.clone());
                    assert!(bytes == *first, "{} {threads}", kernels.level());
                    let container = Container::read(first).expect("a container");
                    let found = decompress(&container, Some(&codec), on_threads(threads));
                    assert_eq!(found.as_deref(), Ok(&original[..]), "{}", kernels.level());
                }
            }
        }
    }
}

#[test]
fn a_text_costs_what_an_evaluation_says() {
    let letters: Vec<String> = ('a'..='z').map(String::from).collect();
    let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
    let made = Made::new(Unit::Char, &letters, 0, Cell::Lstm, 24);
    let mut numbers = Numbers::new(4);
    let tokens: Vec<u32> = numbers
        .vector(20_000, 26.0)
        .iter()
        .map(|value| value.abs() as u32)
        .collect();
    let codec = made.codec();
    let whole = 0..tokens.len();
    let cost = texts(
        &[&codec.model],
        &tokens,
        &[whole],
        Reading::Exact,
        on_threads(1),
    )
    .expect("a cost");
    // An evaluation predicts all tokens but the first.
    let want = cost[0].nats / std::f64::consts::LN_2 + 26_f64.log2();
    let text = made.vocabulary.decode(&tokens);
    let compressed = round_trip(&codec, text.as_bytes(), Some(1));
    assert_eq!(compressed.escaped_bytes, 0);
    let container = Container::read(&compressed.bytes).expect("a container");
    let Block::Coded(block) = container.blocks[0] else {
        panic!("random letters take 4.7 of 8 bits");
    };
    let found = 8.0 * block.len() as f64;
    // A byte for the end, some bits for escapes that might have come; a hundredth of a bit for rounding.
    assert!(
        (want - 0.01..want + 8.0 + 16.0).contains(&found),
        "{found} {want}"
    );
    // Starting from a zero state costs little.
    let blocks = round_trip(&codec, text.as_bytes(), Some(10));
    assert!(blocks.bytes.len() < compressed.bytes.len() + 10 * 30);
}

#[test]
fn what_gets_no_smaller_is_stored_and_needs_no_model() {
    let made = Made::tiny();
    let mut numbers = Numbers::new(9);
    let random: Vec<u8> = numbers
        .vector(5000, 128.0)
        .iter()
        .map(|&value| (value + 128.0) as u8)
        .collect();
    for original in [&random[..], &[], b"x"] {
        let compressed = round_trip(&made.codec(), original, Some(3));
        assert_eq!(compressed.stored_blocks, compressed.blocks);
        assert!(compressed.bytes.len() <= original.len() + 40);
        let container = Container::read(&compressed.bytes).expect("a container");
        assert_eq!(container.identity(), None);
        let found = decompress(&container, None, on_threads(1));
        assert_eq!(found.as_deref(), Ok(original));
    }
    let mixed = [&b"a bee a bee be a be ".repeat(100)[..], &random[..2000]].concat();
    let compressed = round_trip(&made.codec(), &mixed, Some(4));
    assert_eq!(compressed.stored_blocks, 2);
}

#[test]
fn another_model_is_refused_by_name_and_other_arithmetic_too() {
    let made = Made::tiny();
    let bytes = made
        .codec()
        .compress(&b"a bee ".repeat(30), None, on_threads(1))
        .bytes;
    let container = Container::read(&bytes).expect("a container");
    let refused = |codec: Option<&Codec>| {
        decompress(&container, codec, on_threads(1)).expect_err("another model")
    };
    let mut other = Made::tiny();
    other.weights = quantize(&other.weights);
    let error = refused(Some(&other.codec()));
    let (this, that) = (made.codec().identity, other.codec().identity);
    assert_ne!(this.digest, that.digest);
    let message = error.to_string();
    for part in ["a model of made", &this.digest(), &that.digest()] {
        assert!(message.contains(part), "{message}");
    }
    assert!(matches!(refused(None), CompressError::NoModel { .. }));
    let mut odd = made.codec();
    odd.identity.arithmetic[0] ^= 1;
    assert_eq!(refused(Some(&odd)), CompressError::OtherArithmetic);
    // The same weights under other tokens are another model.
    let mut letters = Made::tiny();
    let tokens = ["e", " ", "a", "\n", "b", "é", "中", "r"];
    let tokens = tokens.map(|s| Token::Text(s.to_owned())).to_vec();
    letters.vocabulary = Vocabulary::new(Unit::Char, tokens, 0, false).expect("a vocabulary");
    assert_ne!(letters.codec().identity.digest, this.digest);
}

#[test]
fn sealed_files_that_no_textgen_wrote_are_refused_without_a_panic() {
    let made = Made::tiny();
    let codec = made.codec();
    let original = "a bee, eé be 中\n".repeat(12).into_bytes();
    let bytes = codec.compress(&original, Some(3), on_threads(1)).bytes;
    // After magic, format and checksum, so that the checksum is right again.
    let rest = &bytes[13..];
    let mut numbers = Numbers::new(21);
    let mut random = |below: usize| {
        let number = f64::from(numbers.vector(1, 0.5)[0]) + 0.5;
        (number * below as f64) as usize
    };
    let mut refused = 0;
    for _ in 0..5000 {
        let mut rest = rest.to_vec();
        for _ in 0..=random(3) {
            let at = random(rest.len());
            match random(4) {
                0 => rest[at] = random(256) as u8,
                1 => rest.truncate(at.max(1)),
                2 => drop(rest.splice(at..at, [0xFF, 0x80, 0x01])),
                _ => rest[at] ^= 1 << random(8),
            }
        }
        match restore(&codec, &seal(&rest)) {
            Ok(found) => assert!(found == original),
            Err(_) => refused += 1,
        }
    }
    // The name of the corpus may differ.
    assert!(refused > 4000, "{refused}");
}

#[test]
fn a_length_that_is_only_claimed_takes_neither_memory_nor_time() {
    let made = Made::tiny();
    let codec = made.codec();
    for block in [&b""[..], b"short", &[0; 40], &[0xFF; 40]] {
        let claiming = Container {
            original_bytes: 1 << 60,
            original_digest: [0; 8],
            blocks: vec![Block::Coded(block)],
            identity: Some(codec.identity.clone()),
        };
        let bytes = claiming.to_bytes();
        let found = restore(&codec, &bytes);
        assert!(
            matches!(found, Err(CompressError::TooLarge { .. })),
            "{found:?}"
        );
        // Who asks for it gets what there is, and it is not held.
        let container = Container::read(&bytes).expect("a container");
        let mut longest = 0;
        let mut sink = |bytes: &[u8]| {
            longest = longest.max(bytes.len());
            Ok(())
        };
        let most = Some(1 << 60);
        let found = decompress_into(&container, Some(&codec), on_threads(1), most, &mut sink);
        assert_eq!(found, Err(CompressError::Damaged));
        assert!(longest < 1 << 20, "{longest}");
    }
}

#[test]
fn long_blocks_are_passed_on_in_pieces_and_short_ones_in_order() {
    let made = Made::tiny();
    let codec = made.codec();
    // The second has nothing that the network reads.
    for text in ["a bee be a bee, é\n".repeat(9000), "ü".repeat(90_000)] {
        let original = text.into_bytes();
        for blocks in [1, 2] {
            let bytes = codec.compress(&original, Some(blocks), on_threads(2)).bytes;
            let container = Container::read(&bytes).expect("a container");
            assert!(container.blocks.iter().all(Block::is_coded));
            let mut pieces = Vec::new();
            let mut sink = |bytes: &[u8]| {
                pieces.push(bytes.to_vec());
                Ok(())
            };
            for index in 0..blocks {
                let piece = codec.decode_in_pieces(&container, index, on_threads(1), &mut sink);
                assert_eq!(piece, Ok(()));
            }
            assert!(pieces.len() > blocks && pieces.iter().all(|piece| piece.len() < 70_000));
            assert!(pieces.concat() == original);
            assert!(restore(&codec, &bytes).as_ref() == Ok(&original));
        }
    }
}

#[test]
fn a_limit_is_kept_and_a_sink_that_fails_ends_it() {
    let made = Made::tiny();
    let codec = made.codec();
    let original = b"a bee be a bee ".repeat(1000);
    let bytes = codec.compress(&original, Some(4), on_threads(1)).bytes;
    let container = Container::read(&bytes).expect("a container");
    let into = |most, sink: &mut Sink| {
        decompress_into(&container, Some(&codec), on_threads(2), most, sink)
    };
    let all = original.len() as u64;
    assert_eq!(into(Some(all), &mut |_| Ok(())), Ok(all));
    let found = into(Some(all - 1), &mut |_| panic!("nothing is decoded"));
    assert!(
        matches!(found, Err(CompressError::TooLarge { .. })),
        "{found:?}"
    );
    let found = into(None, &mut |_| Err(CompressError::Unwritten));
    assert_eq!(found, Err(CompressError::Unwritten));
}

#[test]
fn progress_tells_of_all_but_the_last_bytes() {
    let made = Made::tiny();
    let original = b"a bee be a bee ".repeat(1000);
    let told = AtomicU64::new(0);
    let running = Running {
        threads: 2,
        progress: &|more| {
            told.fetch_add(more, Ordering::Relaxed);
        },
    };
    let bytes = made.codec().compress(&original, Some(4), running).bytes;
    let all = original.len() as u64;
    let after_compression = told.swap(0, Ordering::Relaxed);
    assert!((all - 4 * 1024..=all).contains(&after_compression));
    let container = Container::read(&bytes).expect("a container");
    decompress(&container, Some(&made.codec()), running).expect("decompressed");
    assert_eq!(told.into_inner(), after_compression);
}

#[test]
fn the_end_of_a_document_is_a_line_end_where_lines_are_documents() {
    let mut made = Made::new(Unit::Char, &["e", " ", "a", "b"], 0, Cell::Gru, 6);
    let text = "ab\nea b\n\nbe \u{FDD0}\r\n".repeat(4);
    let escaped = round_trip(&made.codec(), text.as_bytes(), None);
    made.vocabulary = made
        .vocabulary
        .for_documents(&crate::config::Documents::Line);
    made.config.inputs += 1;
    made.config.outputs += 1;
    made.config.eos = made.vocabulary.document_end();
    made.weights = testing::weights(&made.config);
    for blocks in [None, Some(3)] {
        let ended = round_trip(&made.codec(), text.as_bytes(), blocks);
        // The boundary character and the carriage returns stay escaped.
        assert_eq!(ended.escaped_bytes, 4 * 4, "{}", escaped.escaped_bytes);
    }
    assert_eq!(escaped.escaped_bytes, 4 * 8);
}
