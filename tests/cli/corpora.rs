//! What a corpus can be: compressed, records, folders, pipes, encodings, books of Project Gutenberg.

use std::fs;
use std::io::Write as _;

use super::common::{Home, Ran, Refusal, json, repository};

/// A text long enough to train on.
fn tale() -> String {
    let line = |n| format!("Once upon a time there were {n} kings.\n");
    (0..40).map(line).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(bytes).expect("packed");
    packer.finish().expect("packed")
}

fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        archive
            .start_file(*name, zip::write::SimpleFileOptions::default())
            .expect("packed");
        archive.write_all(bytes).expect("packed");
    }
    archive.finish().expect("packed").into_inner()
}

/// The tale as records of JSON, one per line of the tale.
fn records(field: &str) -> String {
    let record = |line: &str| format!("{{\"id\":1,\"{field}\":\"{line}\"}}\n");
    tale().lines().map(record).collect()
}

const TRAIN: &str = "train --model char-lstm --hidden 4 --steps 1 --threads 1 --device cpu";

/// The digest of the corpus that a run was trained on.
fn digest(home: &Home, run: &str) -> String {
    let config = fs::read_to_string(home.path(&format!("runs/{run}/config.toml")));
    let config = config.expect("settings");
    let line = config
        .lines()
        .find(|line| line.starts_with("corpus-digest"));
    line.expect("a digest").to_owned()
}

#[test]
fn the_same_text_has_the_same_digest_through_every_container_and_pipe() {
    let home = Home::new();
    let text = tale();
    home.write("plain.txt", &text);
    home.write("packed.gz", gzip(text.as_bytes()));
    home.write("archive.zip", zip(&[("tale.txt", text.as_bytes())]));
    home.write("bzip2.txt.bz2", {
        let mut packer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        packer.write_all(text.as_bytes()).expect("packed");
        packer.finish().expect("packed")
    });
    home.write("zstd.zst", {
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        ruzstd::encoding::compress_to_vec(text.as_bytes(), level)
    });
    home.write("mark.txt", format!("\u{FEFF}{text}"));
    let (first, second) = text.split_at(text.len() / 2);
    let (head, last) = first.rsplit_once('\n').expect("lines");
    home.write("folder/a.txt", head);
    home.write("folder/b.md", format!("{last}{second}"));
    home.write("records.jsonl", records("text") + "\n");
    home.write("records.csv.gz", {
        let row = |line| format!("1,\"{line}\"\n");
        let rows: String = text.lines().map(row).collect();
        gzip(format!("id,text\n{rows}").as_bytes())
    });
    // The last record of a file has no line feed of its own.
    home.write("cut.txt", text.trim_end());
    let files = [
        "plain.txt",
        "packed.gz",
        "archive.zip",
        "bzip2.txt.bz2",
        "zstd.zst",
        "mark.txt",
        "folder",
    ];
    let of = |command: &str, name: &str| {
        home.shell(command).succeeded();
        digest(&home, name)
    };
    let plain = of(&format!("textgen {TRAIN} --name plain plain.txt"), "plain");
    for (index, file) in files.iter().enumerate().skip(1) {
        let (name, command) = (
            format!("f{index}"),
            format!("textgen {TRAIN} {file} --name f{index}"),
        );
        assert_eq!(of(&command, &name), plain, "{file}");
    }
    for (index, command) in [
        format!("cat packed.gz | textgen {TRAIN} - --name p0"),
        format!("cat archive.zip | textgen {TRAIN} /dev/stdin --name p1"),
        format!("textgen {TRAIN} - --name p2 < plain.txt"),
        format!("mkfifo fifo; cat plain.txt > fifo & textgen {TRAIN} fifo --name p3"),
        format!("bash -c 'textgen {TRAIN} --name p4 <(cat plain.txt)'"),
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(of(command, &format!("p{index}")), plain, "{command}");
    }
    let cut = of(&format!("textgen {TRAIN} --name cut cut.txt"), "cut");
    for (index, command) in [
        format!("textgen {TRAIN} records.jsonl --name r0"),
        format!("textgen {TRAIN} records.csv.gz --name r1"),
        format!("cat records.jsonl | textgen {TRAIN} - --name r2"),
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(of(command, &format!("r{index}")), cut, "{command}");
    }
    // A run knows its own text in any container.
    let of_gzip = home.textgen("eval plain packed.gz --json").succeeded();
    let own = home.textgen("eval plain --json").succeeded();
    let loss = |ran: &Ran| json(&ran.stdout)["results"][0]["loss_nats_per_char"].clone();
    assert_eq!(loss(&of_gzip), loss(&own));
    let ran = home.shell("cat packed.gz | textgen score --run plain - --json");
    ran.succeeded();
    home.shell("cat packed.gz | textgen novelty plain -")
        .succeeded();
}

#[track_caller]
fn refused(home: &Home, name: &str, bytes: impl AsRef<[u8]>) -> Refusal {
    home.write(name, bytes);
    let of_file = home.textgen(&format!("vocab {name}")).refused(1);
    let of_train = home.textgen(&format!("{TRAIN} {name}")).refused(1);
    assert_eq!(of_file.error, of_train.error);
    of_file
}

#[test]
fn formats_that_are_not_read_are_named() {
    let home = Home::new();
    refused(&home, "a.txt", b"%PDF-1.7\n%\xE2\xE3")
        .names(&["a.txt: this is a PDF document"])
        .advises("pdftotext");
    let word = zip(&[
        ("[Content_Types].xml", b"<x/>"),
        ("word/document.xml", b"<x/>"),
    ]);
    refused(&home, "b.docx", word).names(&["b.docx: this is a Word document"]);
    refused(&home, "c.rtf", "{\\rtf1\\ansi text}").names(&["this is an RTF document"]);
    refused(&home, "d", b"SQLite format 3\0...").names(&["d: this is an SQLite database"]);
    refused(&home, "e.jpg", b"\xFF\xD8\xFF\xE0").names(&["this is a JPEG image"]);
    let ours = fs::read(repository("tests/golden-run/altered.txt.textgen"));
    refused(&home, "f", ours.expect("a file"))
        .names(&["f: this is a file that textgen compress wrote"])
        .advises("textgen decompress");
}

#[test]
fn truncated_and_hostile_archives_give_one_clear_error() {
    let home = Home::new();
    let packed = gzip(tale().as_bytes());
    refused(&home, "cut.gz", &packed[..packed.len() / 2])
        .names(&["cut.gz: this gzip file cannot be unpacked: it ends too early"])
        .advises("copy it again");
    refused(&home, "spoilt.gz", b"x")
        .names(&["spoilt.gz: this gzip file cannot be unpacked: it does not begin like one"]);
    let mut method = zip(&[("tale.txt", tale().as_bytes())]);
    let list = method.windows(4).position(|four| four == b"PK\x01\x02");
    method[8] = 12;
    method[list.expect("a list") + 10] = 12;
    refused(&home, "method.zip", method)
        .names(&["this zip file cannot be unpacked: it is compressed with method 12 (Bzip2)"])
        .advises("unpack it");
    refused(&home, "out.zip", zip(&[("../../out.txt", b"x")]))
        .names(&["out.zip: ../../out.txt in this archive is a path that leads out of it"]);
    let bomb = gzip(&vec![b'a'; 70 << 20]);
    home.write("bomb.gz", bomb);
    let ran = home.shell("ulimit -v 1000000; exec textgen vocab bomb.gz");
    ran.refused(1)
        .names(&["bomb.gz: unpacks to more than 200 times its size"]);
}

#[test]
fn a_folder_is_read_without_what_is_no_text_of_it() {
    let home = Home::new();
    home.write("books/a.txt", "One two.");
    home.write("books/b.md", "Three four.");
    home.write("books/._a.txt", b"\0\x05\x16\x07");
    home.write("books/.ipynb_checkpoints/a.txt", "copy");
    home.write("books/runs/one/config.toml", "");
    home.write("books/runs/one/corpus.safetensors", "");
    home.write("books/runs/one/samples.txt", "sample");
    home.write("books/cover.png", "x");
    let ran = home.textgen("vocab books").succeeded();
    let line = "books: 2 files read, 4 skipped: 2 hidden, 1 of other kinds (.png), 1 run folder";
    assert!(
        ran.stderr.lines().any(|found| found == line),
        "{}",
        ran.stderr
    );
    assert!(ran.stdout.contains("characters  20\n"), "{}", ran.stdout);
}

#[test]
fn an_archive_in_which_nothing_is_read_does_not_spoil_its_folder() {
    let home = Home::new();
    let inner = zip(&[("a.txt", b"One two.")]);
    home.write("books/a.txt", "One two.");
    home.write("books/b.zip", zip(&[("b.txt", b"Three four.")]));
    home.write(
        "books/archives.zip",
        zip(&[("1.zip", &inner), ("2.zip", &inner)]),
    );
    home.write(
        "books/picture.zip",
        zip(&[("cover.png", b"\x89PNG\r\n\x1A\n")]),
    );
    home.write(
        "books/pictures.zip",
        zip(&[("1.png", b"x"), ("2.png", b"x")]),
    );
    home.write(
        "books/word.zip",
        zip(&[
            ("[Content_Types].xml", b"<x/>"),
            ("word/document.xml", b"<x/>"),
        ]),
    );
    // Its only file has no ending, and is a text.
    home.write("books/z.zip", zip(&[("enwik8", b"Five.")]));
    let ran = home.textgen("vocab books").succeeded();
    let line = "books: 3 files read, 4 skipped: 1 archived once more, 3 archived without text";
    assert!(
        ran.stderr.lines().any(|found| found == line),
        "{}",
        ran.stderr
    );
    assert!(ran.stdout.contains("characters  26\n"), "{}", ran.stdout);
    // Named by itself, it is an error.
    for (name, why) in [
        ("archives", "archived several times over"),
        ("pictures", "no text in it"),
        ("word", "Word document"),
    ] {
        home.textgen(&format!("vocab books/{name}.zip"))
            .refused(1)
            .names(&[name, why]);
    }
    // One that is damaged is not skipped in silence.
    home.write("books/cut.zip", &zip(&[("b.txt", b"Three four.")])[..60]);
    home.textgen("vocab books")
        .refused(1)
        .names(&["books/cut.zip"]);
}

#[test]
fn line_ends_with_carriage_returns_are_mentioned_where_they_are_tokens() {
    let home = Home::new();
    let text = tale();
    home.write("windows.txt", text.replace('\n', "\r\n"));
    home.write("mac.txt", text.replace('\n', "\r"));
    home.write("unix.txt", &text);
    let said = |command: &str| home.textgen(command).succeeded().stderr;
    let windows = "the lines end in CR LF, as on Windows, which are two tokens: --newlines unix makes LF of all\n";
    let mac = "the lines end in CR alone, as on old Macs: --newlines unix makes LF of all\n";
    for command in ["vocab", TRAIN] {
        for (file, note) in [("windows.txt", windows), ("mac.txt", mac)] {
            let stderr = said(&format!("{command} {file}"));
            assert_eq!(stderr.matches(note).count(), 1, "{stderr}");
            let stderr = said(&format!("{command} {file} --newlines unix"));
            assert!(!stderr.contains("lines end"), "{stderr}");
        }
        assert!(!said(&format!("{command} unix.txt")).contains("line"));
    }
    // Words have none, and a model reads a text as it has learnt to.
    let words = "train --model word-vae --hidden 4 --latent 2 --steps 1 --threads 1 mac.txt";
    assert!(!said(words).contains("lines end"));
    home.train(&format!(
        "{} windows.txt --name own",
        &TRAIN["train ".len()..]
    ));
    assert!(!said("eval own windows.txt").contains("lines end"));
}

#[test]
fn zeros_in_a_text_do_not_make_it_utf_16() {
    let home = Home::new();
    home.write("zeros.txt", "abc\0def hello world\n".repeat(300));
    let ran = home.textgen("vocab zeros.txt").succeeded();
    assert!(ran.stdout.contains("U+0000"), "{}", ran.stdout);
}

#[test]
fn a_field_of_records_is_read_and_a_missing_one_answered_with_the_others() {
    let home = Home::new();
    home.write("a.jsonl", records("body"));
    home.write("b.csv", "id,body\n1,\"one\ntwo\"\n");
    home.textgen("vocab a.jsonl")
        .refused(1)
        .names(&["a.jsonl: line 1: no field text", "id, body"])
        .advises("--field");
    let ran = home.textgen("vocab b.csv --field body").succeeded();
    assert!(ran.stdout.contains("characters  7\n"), "{}", ran.stdout);
    let ran = home
        .shell("textgen vocab - --field body < b.csv")
        .succeeded();
    assert!(ran.stdout.contains("characters  7\n"), "{}", ran.stdout);
    home.textgen(&format!("{TRAIN} a.jsonl --field body --name own"))
        .succeeded();
    // The model's own field is read if none is named.
    home.textgen("eval own a.jsonl").succeeded();
    home.write("bad.jsonl", "{\"text\":\"a\"}\n{\"text\":\n");
    home.textgen("vocab bad.jsonl")
        .refused(1)
        .names(&["bad.jsonl: line 2: not a JSON object"]);
}

#[test]
fn after_vocab_of_a_pipe_train_explains_why_it_cannot_read_it() {
    let home = Home::new();
    home.write("tale.txt", tale());
    home.shell("textgen vocab - < tale.txt").succeeded();
    home.textgen(TRAIN)
        .refused(1)
        .names(&["was read from standard input, which cannot be read again"])
        .advises("and the text on standard input");
    let words = home.shell("textgen vocab - --words text < tale.txt");
    assert!(words.succeeded().stdout.contains("words (text)"));
}

#[test]
fn bytes_that_are_not_utf_8_are_recognised() {
    let home = Home::new();
    let french = "Un \u{e9}t\u{e9} \u{e0} l'h\u{f4}tel, o\u{f9} il a mang\u{e9} des p\u{e2}tes fra\u{ee}ches.\n";
    let latin: Vec<u8> = french.chars().map(|c| c as u8).collect();
    refused(&home, "latin.txt", latin.repeat(20))
        .names(&["latin.txt: line 1, byte offset 3", "0xE9", "160 invalid of"])
        .advises("--encoding windows-1252");
    let mut damaged = "All is well.\n".repeat(80_000).into_bytes();
    damaged[500_000] = 0xFF;
    refused(&home, "damaged.txt", damaged)
        .names(&["line 38462", "1 invalid of 1,040,000 bytes"])
        .advises("--encoding lossy");
    let wide: Vec<u8> = tale().encode_utf16().flat_map(u16::to_le_bytes).collect();
    refused(&home, "wide.txt", &wide)
        .names(&["wide.txt: has a zero in every second byte"])
        .advises("--encoding utf-16le");
    home.textgen("vocab wide.txt --encoding utf-16le")
        .succeeded();
    let noise: Vec<u8> = (1..3000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    refused(&home, "noise", noise).advises("look like no text");
}

#[test]
fn project_gutenberg_is_mentioned_and_stripped() {
    let home = Home::new();
    let book = tale();
    let whole = format!(
        "The Project Gutenberg eBook\n\n*** START OF THE PROJECT GUTENBERG EBOOK TALES ***\n\n{book}\
         *** END OF THE PROJECT GUTENBERG EBOOK TALES ***\n\nLicence.\n"
    );
    home.write("book.txt", whole);
    home.write("tale.txt", &book);
    let ran = home.textgen("vocab book.txt").succeeded();
    assert!(
        ran.stderr.contains("--strip gutenberg removes it"),
        "{}",
        ran.stderr
    );
    let ran = home.textgen("vocab book.txt --strip gutenberg").succeeded();
    assert!(
        ran.stderr
            .contains("removed 140 bytes of Project Gutenberg"),
        "{}",
        ran.stderr
    );
    for (name, file) in [("a", "tale.txt"), ("b", "book.txt --strip gutenberg")] {
        home.textgen(&format!("{TRAIN} {file} --name {name}"))
            .succeeded();
    }
    assert_eq!(digest(&home, "a"), digest(&home, "b"));
    let ran = home
        .textgen(&format!("{TRAIN} book.txt --name c"))
        .succeeded();
    assert!(
        ran.stderr.contains("--strip gutenberg removes it"),
        "{}",
        ran.stderr
    );
    let ran = home.textgen("vocab tale.txt --strip gutenberg").succeeded();
    assert!(
        ran.stderr.contains("no marker of Project Gutenberg"),
        "{}",
        ran.stderr
    );
    let licence = format!("Short.\nEnd of Project Gutenberg's Short\n{book}");
    home.write("much.txt", licence);
    let ran = home.textgen("vocab much.txt --strip gutenberg").succeeded();
    assert!(
        ran.stderr.contains("warning: much.txt: 99."),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_looks_like_records_is_mentioned_and_can_be_read_as_it_is() {
    let home = Home::new();
    home.write("a.txt", records("text"));
    home.write("a.jsonl", records("text"));
    home.write(
        "b.json",
        "[\n{\"text\": \"one\"},\n{\"text\": \"two\"}\n]\n",
    );
    home.write("c.csv", "id,text\n1,one\n2,two\n");
    let says = |ran: Ran, part: &str| {
        let stderr = ran.succeeded().stderr;
        assert!(stderr.contains(part), "{stderr}");
    };
    let plain = "a.txt: looks like JSON lines, but all of it is read as plain text: give it a name in .jsonl";
    says(home.textgen("vocab a.txt"), plain);
    let quiet = home.textgen("vocab a.txt --field none").succeeded();
    assert!(!quiet.stderr.contains("looks"), "{}", quiet.stderr);
    let piped = home.shell("textgen vocab - < a.txt").succeeded();
    assert!(
        piped.stderr.contains("the field text is read"),
        "{}",
        piped.stderr
    );
    let raw = home
        .shell("textgen vocab - --field none < a.txt")
        .succeeded();
    assert_eq!(
        raw.stdout
            .replace("standard input", "a.txt")
            .lines()
            .skip(1)
            .collect::<Vec<_>>(),
        quiet.stdout.lines().skip(1).collect::<Vec<_>>()
    );
    let of_lines = home.textgen("vocab a.jsonl --field none").succeeded();
    assert!(of_lines.stdout.contains('{'), "{}", of_lines.stdout);
    says(home.textgen("vocab b.json"), "b.json: looks like JSON,");
    says(
        home.shell("textgen vocab - < c.csv"),
        "standard input: looks like a table",
    );
    home.shell("textgen vocab c.csv --field ''")
        .refused(2)
        .names(&["--field names no field"])
        .advises("--field none");
}

#[test]
fn an_empty_text_has_the_name_that_was_given() {
    let home = Home::new();
    home.write("d/empty.txt", "\u{FEFF}");
    home.write("d/names.csv", "id,text\n");
    home.write("d/none.jsonl", "{\"text\":null}\n");
    for (command, message) in [
        ("vocab d/empty.txt", "d/empty.txt: is empty"),
        ("vocab /dev/null", "/dev/null: is empty"),
        ("vocab - < /dev/null", "standard input: is empty"),
        ("vocab d/names.csv", "d/names.csv: has no records"),
        (
            "vocab d/none.jsonl",
            "d/none.jsonl: none of its records has a text",
        ),
    ] {
        let ran = home.shell(&format!("textgen {command}"));
        ran.refused(1).names(&[message]);
    }
}

#[test]
fn settings_of_the_model_are_no_wish_for_another_text() {
    let home = Home::new();
    home.write("a.jsonl", records("body"));
    home.write("b.txt", tale());
    home.textgen(&format!(
        "{TRAIN} a.jsonl --field body --strip gutenberg --name own"
    ))
    .succeeded();
    for command in ["eval own b.txt", "score --run own b.txt"] {
        let ran = home.textgen(command).succeeded();
        for note in ["no records", "Gutenberg"] {
            assert!(!ran.stderr.contains(note), "{}", ran.stderr);
        }
    }
    let ran = home.textgen("eval own b.txt --field body").succeeded();
    assert!(ran.stderr.contains("no records"), "{}", ran.stderr);
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_states_no_length_and_has_one_is_read() {
    let home = Home::new();
    let vocab = |file: &str| home.textgen(&format!("vocab {file} --json"));
    let report = json(&vocab("/proc/version").succeeded().stdout);
    assert!(report["distinct"].as_u64() > Some(10), "{report}");
    home.write("empty.txt", "");
    vocab("empty.txt")
        .refused(1)
        .names(&["empty.txt: is empty"]);
}
