//! `textgen report`, and the event files of `textgen runs --tensorboard`.

use std::fs;
use std::path::Path;

use roxmltree::{Document, Node, ParsingOptions};

use super::common::{Home, texts};
use super::made_runs::{made_words, word_run};

/// The most that a page may hold for each run.
const LARGEST: usize = 400_000;

/// Parses a page, which is XML too, and checks what holds for every page.
fn parsed(page: &str) -> Document<'_> {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    let page = Document::parse_with_options(page, options).expect("well-formed");
    let has = |node: Node, name: &str| node.attribute(name).is_some();
    for node in page.descendants() {
        let name = node.tag_name().name();
        assert!(!["script", "img", "link", "iframe"].contains(&name));
        assert!(!has(node, "src") && !has(node, "href") && !has(node, "onerror"));
    }
    page
}

fn headings<'a>(page: &'a Document) -> Vec<&'a str> {
    let is_heading = |node: &Node| ["h1", "h2", "h3"].contains(&node.tag_name().name());
    let headings = page.descendants().filter(is_heading);
    headings.filter_map(|node| node.text()).collect()
}

fn svgs(page: &Document) -> usize {
    page.descendants()
        .filter(|node| node.tag_name().name() == "svg")
        .count()
}

#[test]
fn a_page_shows_curves_text_and_settings() {
    let home = Home::with_run(texts());
    let ran = home.textgen("report").succeeded();
    assert!(ran.stderr.contains("report.html: written"), "{ran:?}");
    let page = fs::read_to_string(home.path("report.html")).expect("a page");
    assert!(page.len() < LARGEST, "{} bytes", page.len());
    let parsed = parsed(&page);
    assert_eq!(svgs(&parsed), 3, "losses, learning rate, speed");
    let headings = headings(&parsed);
    for heading in [
        "texts",
        "Held-out text by surprisal",
        "Corpus",
        "Settings beyond the defaults",
    ] {
        assert!(headings.contains(&heading), "{heading}: {headings:?}");
    }
    let text: String = parsed
        .descendants()
        .filter_map(|node| node.text())
        .collect();
    for part in ["unigram: ", "-gram: ", "bits per character", "about 1"] {
        assert!(text.contains(part), "{part}");
    }
    // The same again, as it is a page of textgen's.
    home.textgen("report").succeeded();
    assert_eq!(
        fs::read_to_string(home.path("report.html")).expect("a page"),
        page
    );
}

#[test]
fn the_command_of_a_page_trains_the_same_model() {
    let home = Home::with_run(texts());
    home.textgen("report --no-baselines").succeeded();
    let page = fs::read_to_string(home.path("report.html")).expect("a page");
    let page = parsed(&page);
    let commands = page.descendants().filter_map(|node| node.text());
    let mut commands = commands.filter(|text| text.starts_with("textgen train "));
    let command = commands.next().expect("the command");
    #[cfg(unix)]
    {
        home.shell(&format!("{command} --name again")).succeeded();
        let weights = |run: &str| {
            let path = home.path("runs").join(run).join("model.safetensors");
            safetensors(&fs::read(path).expect("a model"))
        };
        assert_eq!(weights("again"), weights("texts"));
    }
}

/// The tensors of a file, without its header.
#[cfg(unix)]
fn safetensors(file: &[u8]) -> Vec<u8> {
    let length = u64::from_le_bytes(file[..8].try_into().expect("eight bytes"));
    file[8 + length as usize..].to_vec()
}

#[test]
fn a_word_vae_shows_what_z_carries() {
    let home = Home::new();
    word_run(&home, "");
    made_words(&home, "words-no-latent", "latent = 0\n");
    home.textgen("report words").succeeded();
    let page = fs::read_to_string(home.path("report.html")).expect("a page");
    assert!(page.len() < LARGEST, "{} bytes", page.len());
    let parsed = parsed(&page);
    let headings = headings(&parsed);
    for heading in ["What z carries", "Map of held-out words", "Invented words"] {
        assert!(headings.contains(&heading), "{heading}: {headings:?}");
    }
    assert!(
        headings
            .iter()
            .any(|heading| heading.starts_with("Held-out words, encoded"))
    );
}

#[test]
fn several_runs_share_a_plot_and_a_table_of_what_differs() {
    let home = Home::with_run(texts());
    home.train("--model char-lstm --hidden 24 --steps 30 --seed 1 --threads 1 --name wider");
    home.textgen("report texts wider --output both.html --no-baselines")
        .succeeded();
    let page = fs::read_to_string(home.path("both.html")).expect("a page");
    assert!(page.len() < 2 * LARGEST);
    let parsed = parsed(&page);
    assert_eq!(headings(&parsed)[..2], ["texts, wider", "What differs"]);
    let rows = parsed
        .descendants()
        .filter(|node| node.tag_name().name() == "tr");
    let cells = |row: Node| -> Vec<String> {
        let cells = row.children().filter(Node::is_element);
        cells
            .map(|cell| cell.text().unwrap_or_default().to_owned())
            .collect()
    };
    let rows: Vec<_> = rows.map(cells).collect();
    assert!(
        rows.contains(&["hidden", "16", "24"].map(str::to_owned).to_vec()),
        "{rows:?}"
    );
    assert!(!rows.iter().any(|row| row.len() == 3 && row[0] == "seed"));
}

#[test]
fn hostile_texts_and_names_stay_text() {
    let home = Home::new();
    let hostile = "</script><img onerror=\"x\"> \u{202e}\u{feff}& ' \" ]]> <!-- \u{1b}[2J\n";
    home.write("a<b>&\"c.txt", hostile.repeat(60));
    let words =
        "</td>\n<b>x\n\"quotes\"\n'single'\n&amp;\n\u{202e}abc\naa\nbb\ncc\ndd\nee\nff\ngg\nhh\n";
    home.write("words.txt", words);
    let train = "train --model char-lstm --hidden 8 --steps 4 --name text a<b>&\"c.txt";
    home.textgen(train).succeeded();
    fs::rename(home.path("runs/text"), home.path("runs/<i>&run")).expect("renamed");
    let train = "train --model word-vae --words lines --hidden 8 --latent 2 --steps 4 --valid 0.4 --name w words.txt";
    home.textgen(train).succeeded();
    for run in ["<i>&run", "w"] {
        let folder = format!("runs/{run}");
        home.textgen_with(["report", &folder, "--output", "page.html"])
            .succeeded();
        let page = fs::read_to_string(home.path("page.html")).expect("a page");
        let parsed = parsed(&page);
        let control = |c: char| c.is_control() && !"\n\t".contains(c);
        assert!(!page.contains('\u{202e}') && !page.contains(control));
        assert_eq!(headings(&parsed)[0], run);
    }
}

#[test]
fn a_run_without_a_model_or_with_damaged_files_has_a_page() {
    let home = Home::with_run(texts());
    let run = home.path("runs/texts");
    let report = |gaps: &[&str]| {
        let ran = home.textgen("report texts --no-baselines").succeeded();
        for gap in gaps {
            assert!(ran.stderr.contains(gap), "{gap}: {ran:?}");
        }
        let page = fs::read_to_string(home.path("report.html")).expect("a page");
        parsed(&page);
        page
    };
    let log = fs::read_to_string(run.join("metrics.jsonl")).expect("a log");
    fs::write(run.join("metrics.jsonl"), format!("{{torn\n{log}")).expect("written");
    report(&["metrics.jsonl:1 is damaged"]);
    fs::remove_file(run.join("model.safetensors")).expect("removed");
    fs::write(run.join("state.safetensors"), "torn").expect("written");
    report(&["without model.safetensors", "without state.safetensors"]);
    fs::write(run.join("corpus.safetensors"), "torn").expect("written");
    fs::remove_file(run.join("metrics.jsonl")).expect("removed");
    let page = report(&["without corpus.safetensors"]);
    assert!(page.contains("There is no evaluation yet."));
    fs::remove_file(run.join("config.toml")).expect("removed");
    home.textgen("report texts").refused(1);
}

#[test]
fn what_is_no_page_of_textgens_is_not_replaced() {
    let home = Home::with_run(texts());
    home.write("report.html", "<!DOCTYPE html>\n<p>mine</p>");
    let refusal = home.textgen("report").refused(1);
    refusal.names(&["report.html"]).advises("--force");
    home.textgen("report a b c d e f g h i")
        .refused(2)
        .names(&["9 runs"]);
}

/// The data of the records of an event file, with their lengths checked.
fn records(path: &Path) -> Vec<Vec<u8>> {
    let file = fs::read(path).expect("an event file");
    let (mut rest, mut records) = (&file[..], Vec::new());
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().expect("eight bytes")) as usize;
        records.push(rest[12..12 + length].to_vec());
        rest = &rest[16 + length..];
    }
    records
}

#[test]
fn event_files_have_a_record_for_each_evaluation() {
    let home = Home::with_run(texts());
    // A run that cannot be read does not keep the others from theirs.
    let spoilt = home.path("runs/spoilt");
    super::common::copy_folder(texts(), &spoilt);
    fs::remove_file(spoilt.join("metrics.jsonl")).expect("removed");
    fs::create_dir(spoilt.join("metrics.jsonl")).expect("a folder");
    let ran = home.textgen("runs --tensorboard events").succeeded();
    assert!(
        ran.stderr
            .contains("1 run; to see them: tensorboard --logdir events"),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("passed over spoilt: "), "{ran:?}");
    let records = records(&home.path("events/texts/events.out.tfevents.0.textgen"));
    let log = fs::read_to_string(home.path("runs/texts/metrics.jsonl")).expect("a log");
    assert_eq!(records.len(), 1 + log.lines().count());
    let holds =
        |record: &[u8], text: &str| record.windows(text.len()).any(|at| at == text.as_bytes());
    assert!(holds(&records[0], "brain.Event:2"));
    assert!(
        records[1..]
            .iter()
            .all(|record| holds(record, "loss/training"))
    );
}

#[test]
fn every_picture_is_well_formed() {
    let home = Home::new();
    word_run(&home, "");
    home.textgen("map --output map.svg").succeeded();
    let picture = fs::read_to_string(home.path("map.svg")).expect("a picture");
    Document::parse(&picture).expect("well-formed");
}
