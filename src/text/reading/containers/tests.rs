use std::io::Write;

use super::*;

const TEXT: &str = "Once upon a time.\nThere was a king.\n";
/// `xz -9e --check=crc32` of [`TEXT`].
const XZ: &[u8] =
    b"\xFD7zXZ\0\0\x01i\"\xDE6\x02\0!\x01\x1C\0\0\0\x10\xCFX\xCC\x01\0#Once upon a time.\n\
    There was a king.\n\0\xF4h\xCE\xAB\0\x018$\x01\xED\x1A\x0B\x90B\x99\r\x01\0\0\0\0\x01YZ";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut packer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for (name, bytes) in members {
        archive.start_file(*name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// The text of the files in `bytes`, as a stream and as a file, which must be the same.
fn read(bytes: &[u8]) -> Result<String, TextError> {
    let read = |opened: Opened<'_>| {
        let mut text = String::new();
        let mut sink = |name: &str, mut file: Box<dyn Read + '_>, _: &mut Account| {
            let read = file.read_to_string(&mut text);
            read.map_err(|error| TextError::from_read(name, error))?;
            Ok(true)
        };
        each_file("x", opened, &mut Account::default(), &mut sink)?;
        Ok(text)
    };
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    io::Seek::rewind(&mut file).unwrap();
    let of_file: Result<String, TextError> = read(Opened::File(file));
    let of_stream = read(Opened::Stream(Box::new(bytes)));
    match (&of_file, &of_stream) {
        (Ok(file), Ok(stream)) => assert_eq!(file, stream),
        (Err(file), Err(stream)) => assert_eq!(file.to_string(), stream.to_string()),
        _ => panic!("{of_file:?} but {of_stream:?}"),
    }
    of_stream
}

#[track_caller]
fn refused(bytes: &[u8], part: &str) {
    let error = read(bytes).unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
}

#[test]
fn every_container_has_the_same_text() {
    let text = TEXT.as_bytes();
    let packed = [
        text.to_vec(),
        gzip(text),
        bzip2(text),
        zstd(text),
        XZ.to_vec(),
        zip(&[("tale.txt", text)]),
        zip(&[("enwik8", text)]),
        zip(&[("tale.txt.gz", &gzip(text)), ("._tale.txt", b"\0")]),
        gzip(&zstd(text)),
        // A frame to skip, of 3 bytes.
        [b"\x52\x2A\x4D\x18\x03\0\0\0abc", &zstd(text)[..]].concat(),
    ];
    for bytes in packed {
        assert_eq!(read(&bytes).unwrap(), TEXT);
    }
    for pack in [gzip, bzip2, zstd] {
        let twice = [pack(text), pack(text)].concat();
        assert_eq!(
            read(&twice).unwrap(),
            TEXT.repeat(2),
            "members follow one another"
        );
    }
}

#[test]
fn an_archive_is_read_like_a_folder() {
    let members: [(&str, &[u8]); 6] = [
        ("b.txt", b"B"),
        ("a/c.md", b"A"),
        ("picture.png", b"\x89PNG\r\n\x1A\n"),
        ("__MACOSX/._b.txt", b"\0"),
        (".hidden.txt", b"H"),
        ("README", b"R"),
    ];
    assert_eq!(read(&zip(&members)).unwrap(), "AB");
    let more: [(&str, &[u8]); 2] = [("a.txt", b"A"), ("b.zip", &zip(&members))];
    assert_eq!(read(&zip(&more)).unwrap(), "A");
    refused(&zip(&members[2..5]), "a PNG image");
    refused(
        &zip(&[("a.png", b"x"), ("b.jpg", b"y")]),
        "skipped: 2 of other kinds (.jpg, .png)",
    );
}

#[test]
fn a_truncated_or_damaged_file_is_one_clear_error() {
    let line = |n| format!("{n} is a number.\n");
    let long: String = (0..5000).map(line).collect();
    let long = long.as_bytes();
    for (name, packed) in [
        ("gzip", gzip(long)),
        ("bzip2", bzip2(long)),
        ("zstd", zstd(long)),
        ("xz", XZ.to_vec()),
        ("zip", zip(&[("a.txt", long)])),
    ] {
        for length in [packed.len() - 1, packed.len() / 2, 20] {
            refused(
                &packed[..length],
                &format!("this {name} file cannot be unpacked"),
            );
        }
        let mut damaged = packed.clone();
        let middle = packed.len() / 2;
        for byte in &mut damaged[middle..middle + 4] {
            *byte ^= 0x5A;
        }
        refused(&damaged, &format!("this {name} file cannot be unpacked"));
    }
}

#[test]
fn what_cannot_be_unpacked_is_told_in_the_words_of_a_user() {
    let padded = [gzip(b"a"), vec![0; 5000], gzip(b"b"), vec![0; 9]].concat();
    assert_eq!(read(&padded).unwrap(), "ab");
    let rest = "what follows its end is of another format";
    refused(&[gzip(b"a"), b"rest".to_vec()].concat(), rest);
    refused(&[zstd(b"a"), b"rest".to_vec()].concat(), rest);
    let mut method = zip(&[("a.txt", TEXT.as_bytes())]);
    let list = method.windows(4).position(|four| four == b"PK\x01\x02");
    method[8] = 12;
    method[list.unwrap() + 10] = 12;
    refused(
        &method,
        "it is compressed with method 12 (Bzip2), which is not read",
    );
}

#[test]
fn hostile_archives_are_refused() {
    refused(
        &zip(&[("../../etc/x.txt", b"x")]),
        "../../etc/x.txt in this archive is a path that leads out",
    );
    refused(&zip(&[("/etc/x.txt", b"x")]), "leads out");
    let zeros = vec![b' '; EXPANSION_FROM as usize + 1];
    refused(&gzip(&zeros), "more than 200 times its size");
    let half = &zeros[..=zeros.len() / 2];
    refused(
        &zip(&[("a.txt", half), ("b.txt", half)]),
        "more than 200 times its size",
    );
    refused(&gzip(&gzip(&gzip(b"x"))), "several times over");
    refused(
        &zip(&[("a.zip", &zip(&[("b.txt", b"x")]))]),
        "several times over",
    );
}

#[test]
fn formats_that_are_not_read_are_named_inside_containers_too() {
    refused(b"%PDF-1.4", "this is a PDF document");
    refused(&gzip(b"%PDF-1.4"), "this is a PDF document");
    let word = zip(&[
        ("[Content_Types].xml", b"<x/>"),
        ("word/document.xml", b"<x/>"),
    ]);
    refused(&word, "this is a Word document (.docx)");
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    refused(&gzip(&tar), "this is a tar archive");
}
