//! The commands that traverse the latent space of a word-vae, and `generate`'s flags for words.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use textgen::config::OnUnknown;
use textgen::models::word_vae::WordVae;
use textgen::run::ModelFile;

use super::common::{Home, Ran, json, textgen};
use super::made_runs::{
    baseline_run, exported, golden_run, made_words, word_run, word_run_of_latent,
};

/// Every command that takes words, with words.
pub const COMMANDS: [&str; 7] = [
    "encode ab",
    "reconstruct ab",
    "interpolate ab cd",
    "analogy ab cd e",
    "neighbours ab",
    "vary ab",
    "map",
];

/// A folder with the run `words`.
pub fn home() -> Home {
    let home = Home::new();
    word_run(&home, "");
    home
}

/// The lines of `--json`.
#[track_caller]
fn lines(home: &Home, arguments: &str) -> Vec<Value> {
    let ran = home.textgen(&format!("{arguments} --json")).succeeded();
    ran.stdout.lines().map(json).collect()
}

/// The cells of `--tsv`, without the header.
fn cells(table: &str) -> Vec<Vec<&str>> {
    let rows = table.lines().skip(1);
    rows.map(|line| line.split('\t').collect()).collect()
}

fn text<'a>(line: &'a Value, key: &str) -> &'a str {
    line[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key}: {line}"))
}

fn numbers(line: &Value, key: &str) -> Vec<f64> {
    let array = line[key].as_array().expect("numbers");
    array
        .iter()
        .map(|x| x.as_f64().expect("a number"))
        .collect()
}

/// The latent vector of a word, as `encode` prints it.
fn place(home: &Home, word: &str) -> Vec<f64> {
    numbers(&lines(home, &format!("encode {word}"))[0], "mean")
}

/// The model's reconstruction of a word.
fn read_back(home: &Home, word: &str) -> String {
    text(
        &lines(home, &format!("reconstruct {word}"))[0],
        "reconstruction",
    )
    .to_owned()
}

#[test]
fn encode_says_what_the_engine_computes() {
    let home = Home::new();
    let run = word_run(&home, "");
    let file = ModelFile::open(&run.model_path()).expect("a model");
    let vae = WordVae::new(&file.header.network, &file.weights().expect("weights")).expect("a vae");
    let letters = file.header.vocabulary.encode("bead", OnUnknown::Error);
    let posterior = vae.encode(&letters.expect("known"));
    let line = &lines(&home, "encode bead")[0];
    assert_eq!(text(line, "word"), "bead");
    for (j, (mean, deviation)) in numbers(line, "mean")
        .into_iter()
        .zip(numbers(line, "deviation"))
        .enumerate()
    {
        assert!((mean - f64::from(posterior.mean[j])).abs() < 1e-6);
        assert!((deviation - f64::from(0.5 * posterior.log_var[j]).exp()).abs() < 1e-6);
    }
    let table = home.textgen("encode bead ace").succeeded().stdout;
    assert!(table.starts_with("word\tmean_1\tmean_2\tmean_3\tmean_4\tdeviation_1\t"));
    let rows = cells(&table);
    assert_eq!((rows.len(), rows[0].len(), rows[1][0]), (2, 9, "ace"));
    assert_eq!(rows[0][1], posterior.mean[0].to_string());
}

#[test]
fn words_from_a_file_or_standard_input_are_those_of_the_command_line() {
    let home = home();
    let want = home.textgen("encode abc e dad").succeeded().stdout;
    home.write("words.txt", "\u{FEFF}abc\r\n\n  e \ndad");
    assert_eq!(
        home.textgen("encode --file words.txt").succeeded().stdout,
        want
    );
    let mut command = home.command(textgen());
    command.args(["encode", "abc", "-"]).write_stdin("e\ndad\n");
    assert_eq!(Ran::of(&mut command).succeeded().stdout, want);
    assert_eq!(home.textgen("encode abc e dad --threads 3").stdout, want);
}

#[test]
fn a_model_file_alone_is_enough_also_in_eight_bits() {
    let home = home();
    let whole = home.path("runs/words/model.safetensors");
    let alone = Home::new();
    fs::copy(whole, alone.path("whole.st")).expect("copied");
    fs::copy(exported(&home, "words"), alone.path("small.st")).expect("copied");
    for command in COMMANDS {
        for model in ["whole.st", "small.st"] {
            alone
                .textgen(&format!("{command} --model-file {model}"))
                .succeeded();
        }
    }
    let here = alone.textgen("reconstruct ab --model-file whole.st").stdout;
    assert_eq!(here, home.textgen("reconstruct ab --run words").stdout);
}

#[test]
fn reconstruct_counts_edits_and_says_the_share() {
    let home = home();
    let ran = home.textgen("reconstruct ab cab --json").succeeded();
    let lines: Vec<Value> = ran.stdout.lines().map(json).collect();
    let exact = lines.iter().filter(|line| line["exact"] == true).count();
    assert!(
        ran.stderr.contains(&format!("{exact} of 2 exact")),
        "{}",
        ran.stderr
    );
    for line in &lines {
        let same = text(line, "word") == text(line, "reconstruction");
        assert_eq!(line["edits"] == 0, same);
        assert!(line["log_prob_nats"].as_f64().expect("a number") < 0.0);
    }
    let table = home.textgen("reconstruct ab cab").succeeded().stdout;
    assert!(table.starts_with("WORD  RECONSTRUCTION"), "{table}");
}

#[test]
fn an_interpolation_ends_at_its_ends() {
    let home = home();
    let (first, last) = (read_back(&home, "abba"), read_back(&home, "decade"));
    for how in ["", "--linear", "--decode beam:1"] {
        for steps in [2, 9] {
            let arguments = format!("interpolate abba decade --steps {steps} {how}");
            let way = lines(&home, &arguments);
            assert_eq!(way.len(), steps);
            assert_eq!(text(&way[0], "word"), first, "{arguments}");
            assert_eq!(text(&way[steps - 1], "word"), last, "{arguments}");
            assert_eq!(
                (&way[0]["t"], &way[steps - 1]["t"]),
                (&0.0.into(), &1.0.into())
            );
        }
    }
}

#[test]
fn words_that_come_again_on_the_way_are_folded_in_the_table() {
    let home = home();
    let every = lines(&home, "interpolate abba decade --steps 40");
    let mut words: Vec<&str> = every.iter().map(|line| text(line, "word")).collect();
    words.dedup();
    assert!(words.len() < 40, "nothing to fold");
    let ran = home
        .textgen("interpolate abba decade --steps 40")
        .succeeded();
    assert_eq!(ran.stdout.lines().count(), 1 + words.len());
    let times = ran
        .stdout
        .lines()
        .skip(1)
        .map(|line| match line.split_once('×') {
            Some((_, times)) => times.parse().expect("a number"),
            None => 1,
        });
    assert_eq!(times.sum::<usize>(), 40);
    assert!(ran.stderr.contains("reads abba back as"), "{}", ran.stderr);
}

#[test]
fn what_is_to_a_word_as_a_word_is_to_itself_is_the_word() {
    let home = home();
    for (a, c) in [("abba", "decade"), ("e", "cab")] {
        let answer = &lines(&home, &format!("analogy {a} {a} {c}"))[0];
        assert_eq!(text(answer, "word"), read_back(&home, c));
    }
}

#[test]
fn neighbours_are_the_nearest_training_words() {
    let home = home();
    let found = lines(&home, "neighbours abba -k 1000");
    assert_eq!(found.len(), 40, "training words of the made run");
    let here = place(&home, "abba");
    let distances: Vec<f64> = found
        .iter()
        .map(|line| line["distance"].as_f64().expect("a number"))
        .collect();
    assert!(distances.is_sorted());
    for line in found.iter().take(3) {
        let there = place(&home, text(line, "word"));
        let square = |(a, b): (&f64, &f64)| (a - b).powi(2);
        let want = here.iter().zip(&there).map(square).sum::<f64>().sqrt();
        assert!((line["distance"].as_f64().expect("a number") - want).abs() < 1e-5);
    }
    assert_eq!(lines(&home, "neighbours abba"), found[..10]);
    // A word is not its own neighbour.
    let own = text(&found[0], "word");
    let others = lines(&home, &format!("neighbours {own} -k 1000"));
    assert_eq!(others.len(), 39);
    assert!(others.iter().all(|line| text(line, "word") != own));
    home.write("few.txt", "dad\nabba\nbed\n");
    let ran = home.textgen("neighbours abba --among few.txt").succeeded();
    assert_eq!(ran.stdout.lines().count(), 3);
    assert!(
        ran.stderr.contains("all the words there are: 2"),
        "{}",
        ran.stderr
    );
}

#[test]
fn words_around_a_word_go_by_seed_and_radius() {
    let home = home();
    let none = lines(&home, "vary abba --radius 0 --count 7 --seed 1");
    assert_eq!(none.len(), 1);
    assert_eq!(
        (text(&none[0], "word"), &none[0]["times"]),
        (&*read_back(&home, "abba"), &7.into())
    );
    let far = |seed| {
        lines(
            &home,
            &format!("vary abba --radius 3 --count 50 --seed {seed}"),
        )
    };
    let times = |lines: &[Value]| {
        lines
            .iter()
            .map(|line| line["times"].as_u64())
            .sum::<Option<u64>>()
    };
    assert_eq!(times(&far(1)), Some(50));
    assert_eq!(far(1), far(1));
    assert_ne!(far(1), far(2));
    let said = home.textgen("vary abba").succeeded().stderr;
    assert!(said.contains("seed: "), "{said}");
}

#[test]
fn a_map_shows_the_held_out_words() {
    let home = home();
    let ran = home.textgen("map --out map.svg --tsv").succeeded();
    assert!(ran.stderr.contains("20 held-out words"), "{}", ran.stderr);
    let svg = fs::read_to_string(home.path("map.svg")).expect("a picture");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    let table = ran.stdout;
    assert!(table.starts_with("kind\tword\tx\ty\tlabel\tcolor\n"));
    let rows = cells(&table);
    assert_eq!(rows.len(), 20);
    let colors: Vec<&str> = rows.iter().map(|row| row[5]).collect();
    assert!(
        colors.iter().all(|color| color.contains("letter")),
        "{colors:?}"
    );
    // Where distances are, they are those of the places, or less: it is a projection.
    let at = |row: &[&str]| [2, 3].map(|i| row[i].parse::<f64>().expect("a number"));
    let (one, other) = (at(&rows[0]), at(&rows[1]));
    let (here, there) = (place(&home, rows[0][1]), place(&home, rows[1][1]));
    let square = |(a, b): (&f64, &f64)| (a - b).powi(2);
    let flat = one.iter().zip(&other).map(square).sum::<f64>();
    assert!(flat <= here.iter().zip(&there).map(square).sum::<f64>() + 1e-6);
    // The same again, as JSON, and another number of words. No picture is written unasked.
    fs::remove_file(home.path("map.svg")).expect("removed");
    let again = home.textgen("map --tsv").succeeded();
    assert_eq!(again.stdout, table);
    let objects = lines(&home, "map");
    assert_eq!(objects.len(), 20);
    for (object, row) in objects.iter().zip(&rows) {
        assert_eq!(
            (text(object, "word"), text(object, "kind")),
            (row[1], row[0])
        );
        let x = object["x"].as_f64().expect("a number");
        assert_eq!(format!("{x:.5}"), row[2]);
    }
    assert!(!home.path("map.svg").exists());
    let fewer = home
        .textgen("map --count 6 --color first --tsv")
        .succeeded()
        .stdout;
    assert_eq!(fewer.lines().count(), 7);
    // Without a flag the picture has a default name; it can go to standard output, too.
    home.textgen("map").succeeded();
    assert_eq!(
        fs::read_to_string(home.path("map.svg")).expect("a picture"),
        svg
    );
    assert_eq!(home.textgen("map --out -").succeeded().stdout, svg);
}

#[test]
fn a_map_of_two_dimensions_is_the_plane_itself() {
    let home = Home::new();
    word_run_of_latent(&home, 2, "");
    let table = home.textgen("map --tsv --seed 1").succeeded().stdout;
    let rows = cells(&table);
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &rows {
        *kinds.entry(row[0]).or_default() += 1;
    }
    assert_eq!(kinds["word"], 20);
    assert!(kinds["grid"] > 100 && kinds["sample"] > 10, "{kinds:?}");
    let want = place(&home, rows[0][1]);
    for (cell, want) in rows[0][2..4].iter().zip(want) {
        assert!((cell.parse::<f64>().expect("a number") - want).abs() < 1e-4);
    }
    home.textgen("map --out plane.svg --seed 1").succeeded();
    let svg = fs::read_to_string(home.path("plane.svg")).expect("a picture");
    assert!(svg.contains("sampled from the prior"));
}

#[test]
fn labels_colour_a_map() {
    let home = home();
    home.write(
        "labels.tsv",
        "abba\tpalindrome\ndecade\t<time> & more\ndad\tpalindrome\n",
    );
    let table = home
        .textgen("map --labels labels.tsv --out map.svg --tsv")
        .succeeded()
        .stdout;
    let rows = cells(&table);
    let labels: Vec<[&str; 2]> = rows.iter().map(|row| [row[4], row[5]]).collect();
    let [a, b] = [["palindrome"; 2], ["<time> & more"; 2]];
    assert_eq!(labels, [a, b, a]);
    let svg = fs::read_to_string(home.path("map.svg")).expect("a picture");
    assert!(svg.contains("&lt;time&gt; &amp; more"));
    let by_length = home
        .textgen("map --labels labels.tsv --color length --tsv")
        .succeeded();
    assert_eq!(
        cells(&by_length.stdout)[0][4..],
        ["palindrome", "4 letters"]
    );
}

#[test]
fn words_begin_and_are_as_long_as_asked() {
    let home = home();
    let words = |arguments: &str| -> Vec<String> {
        let ran = home
            .textgen(&format!("generate --seed 1 {arguments}"))
            .succeeded();
        ran.stdout.lines().map(str::to_owned).collect()
    };
    for how in ["", "--decode greedy", "--decode beam:3"] {
        let begun = words(&format!("--starts-with bed --count 12 {how}"));
        assert_eq!(begun.len(), 12);
        assert!(
            begun.iter().all(|word| word.starts_with("bed")),
            "{begun:?}"
        );
    }
    for how in ["", "--temperature 9", "--decode greedy", "--decode beam:3"] {
        let matching = words(&format!("--constrain b[a-d]{{1,3}}e --count 12 {how}"));
        assert_eq!(matching.len(), 12);
        for word in matching {
            let between = word
                .strip_prefix('b')
                .and_then(|word| word.strip_suffix('e'));
            let between = between.expect("b…e");
            assert!((1..=3).contains(&between.len()), "{word}");
            assert!(
                between
                    .bytes()
                    .all(|letter| (b'a'..=b'd').contains(&letter)),
                "{word}"
            );
        }
    }
    let short = words("--length 3 --count 15");
    assert!(short.iter().all(|word| word.len() == 3), "{short:?}");
    let range = words("--length 4-6 --starts-with ca --count 15");
    assert!(
        range
            .iter()
            .all(|word| (4..=6).contains(&word.len()) && word.starts_with("ca"))
    );
    assert!(range.iter().any(|word| word.len() != range[0].len()));
    // Words are those sampled without the flag, except those of other lengths.
    let all = words("--count 2000");
    let left: Vec<String> = all.into_iter().filter(|word| word.len() == 3).collect();
    assert_eq!(short, left[..15]);
}

#[test]
fn greedy_words_are_those_at_temperature_zero_and_a_wider_beam_finds_better_ones() {
    let home = home();
    // To a model that has learnt nothing no letter at all may be the most probable word.
    let begun = "generate --seed 1 --count 30 --starts-with ab";
    let scored = |arguments: &str| -> Vec<(String, f64)> {
        let lines = lines(&home, &format!("{begun} {arguments}"));
        let score = |line: &Value| line["log_prob_nats"].as_f64().expect("a number");
        lines
            .iter()
            .map(|line| (text(line, "text").to_owned(), score(line)))
            .collect()
    };
    let greedy = scored("--decode greedy");
    assert_eq!(greedy, scored("--temperature 0"));
    let words = |scored: &[(String, f64)]| -> Vec<String> {
        scored.iter().map(|(word, _)| word.clone()).collect()
    };
    let beam = scored("--decode beam:1");
    assert_eq!(words(&greedy), words(&beam));
    let sum = |scored: &[(String, f64)]| scored.iter().map(|(_, score)| score).sum::<f64>();
    assert!(sum(&scored("--decode beam:16")) > sum(&beam));
    // --scores prints the same as text.
    let table = home
        .textgen(&format!("{begun} --decode greedy --scores"))
        .succeeded();
    let (score, word) = table
        .stdout
        .trim_start()
        .split_once("  ")
        .expect("two columns");
    assert!(word.starts_with(&greedy[0].0));
    assert!((score.parse::<f64>().expect("a number") - greedy[0].1).abs() < 1e-3);
}

#[test]
fn the_newest_run_with_a_latent_space_is_chosen() {
    let home = home();
    baseline_run(&home);
    // The baseline of a sweep is not a default run either.
    made_words(&home, "s-rate-2", "latent = 3\nrate = 2.0");
    made_words(&home, "s-twin", "latent = 0");
    golden_run(&home, "");
    let ran = home.textgen("encode ab").succeeded();
    assert_eq!(ran.stderr, "run: s-rate-2\n");
    let ran = home.textgen("generate --length 3 --seed 1").succeeded();
    assert_eq!(ran.stderr, "run: golden\n");
}

#[test]
fn what_the_nearest_letter_stands_in_for_is_said_once() {
    let home = home();
    let ran = home
        .textgen("reconstruct áb 1b1 b1 --on-unknown nearest --tsv")
        .succeeded();
    let words: Vec<&str> = cells(&ran.stdout).iter().map(|row| row[0]).collect();
    assert_eq!(words, ["ab", "aba", "ba"]);
    let said: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(
        said[1],
        "not known to the model, and read as the nearest: á as a, 1 as a"
    );
    assert!(!said[2].contains("nearest"), "{said:?}");
    let ran = home
        .textgen("interpolate 1b b1 --on-unknown nearest")
        .succeeded();
    assert_eq!(ran.stderr.matches("1 as a").count(), 1, "{}", ran.stderr);
    let ran = home
        .textgen("generate --starts-with 1 --on-unknown nearest --count 2 --seed 1")
        .succeeded();
    assert!(ran.stderr.contains("1 as a"), "{}", ran.stderr);
}
