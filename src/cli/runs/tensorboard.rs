//! Event files for TensorBoard, from the logs of runs.
//!
//! A file is a sequence of records: the length as u64, its masked CRC-32C, the data, and the data's masked CRC-32C, all
//! little-endian (TensorFlow's `record_writer.h`). The data is a protocol buffer `Event`, of which these fields are used:
//! wall_time (1, f64), step (2), file_version (3), summary (5) with values (1) of a tag (1) and a simple_value (2, f32).

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::run::{Evaluation, Metrics, RunDir, RunError, atomic};

/// The name of a run's file, which TensorBoard knows by its beginning.
const FILE: &str = "events.out.tfevents.0.textgen";

/// Writes the log of a run to `folder/NAME`, and returns the number of evaluations.
pub fn write(run: &RunDir, folder: &Path) -> Result<usize, RunError> {
    let log = run.metrics_path();
    let lines = Metrics::read(&log)?;
    let folder = folder.join(run.name());
    fs::create_dir_all(&folder).map_err(RunError::write(&folder))?;
    // When the log was last written, the training had taken as long as its last line says.
    let written = fs::metadata(&log).and_then(|data| data.modified());
    let written = written.unwrap_or_else(|_| SystemTime::now());
    let ended = written
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64());
    let began = ended - lines.last().map_or(0.0, |line| line.seconds);
    let mut file = record(&event(began, 0, &field(3, b"brain.Event:2")));
    for line in &lines {
        let values: Vec<u8> = scalars(line)
            .iter()
            .flat_map(|(tag, value)| {
                field(1, &[field(1, tag.as_bytes()), float(2, *value)].concat())
            })
            .collect();
        file.extend(record(&event(
            began + line.seconds,
            line.step,
            &field(5, &values),
        )));
    }
    atomic::write(&folder.join(FILE), &[&file])?;
    Ok(lines.len())
}

/// The figures of an evaluation, by the names that TensorBoard shows.
fn scalars(line: &Metrics) -> Vec<(&'static str, f32)> {
    let mut scalars = vec![
        ("loss/training", line.train_loss),
        ("learning rate", line.lr),
        ("characters per second", line.chars_per_second),
        ("passes", line.epoch),
    ];
    match line.valid {
        Some(Evaluation::Char(loss)) => {
            scalars.push((
                "loss/validation, nats per character",
                loss.loss_nats_per_char,
            ));
        }
        Some(Evaluation::Word(loss)) => scalars.extend([
            (
                "loss/validation −ELBO, nats per word",
                loss.neg_elbo_nats_per_word,
            ),
            (
                "loss/validation D, nats per word",
                loss.distortion_nats_per_word,
            ),
            ("loss/validation R, nats per word", loss.rate_nats_per_word),
        ]),
        None => {}
    }
    scalars
        .into_iter()
        .map(|(tag, value)| (tag, value as f32))
        .collect()
}

fn event(time: f64, step: u64, content: &[u8]) -> Vec<u8> {
    let mut event = vec![1 << 3 | 1];
    event.extend(time.to_le_bytes());
    event.push(2 << 3);
    event.extend(varint(step));
    event.extend(content);
    event
}

/// A field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    field.extend(varint(bytes.len() as u64));
    field.extend(bytes);
    field
}

/// A field of an f32.
fn float(number: u8, value: f32) -> Vec<u8> {
    [&[number << 3 | 5][..], &value.to_le_bytes()].concat()
}

/// Seven bits in a byte, the lowest first.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let checks = [masked_crc(&length), masked_crc(data)].map(u32::to_le_bytes);
    [&length[..], &checks[0], data, &checks[1]].concat()
}

fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C: the polynomial 0x1EDC6F41, reflected. The files are small, so bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    let byte = |crc: u32, &byte: &u8| (0..8).fold(crc ^ u32::from(byte), |crc, _| bit(crc));
    !bytes.iter().fold(!0, byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc_32c() {
        // The check value of the CRC catalogue, and RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn a_record_is_framed_and_a_number_takes_seven_bits_a_byte() {
        assert_eq!(varint(300), [0xac, 0x02]);
        let record = record(b"abc");
        assert_eq!(record[..8], [3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((&record[12..15], record.len()), (&b"abc"[..], 19));
    }
}
