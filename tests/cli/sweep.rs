//! `textgen sweep`: a curve of small trainings, what is trained again and what is not, and refusals.

use std::fs;

use super::common::{Home, json};

const TINY: &str =
    "--hidden 8 --latent 2 --steps 6 --eval-every 3 --threads 1 --device cpu --seed 1";

#[test]
fn a_sweep_over_rates_trains_a_run_a_rate_and_draws_them() {
    let home = Home::new();
    let command = format!("sweep rate --rates 4,0.5,4 {TINY} --name s --baseline twin");
    let ran = home.textgen(&format!("{command} --json")).succeeded();
    let rows: Vec<_> = ran.stdout.lines().map(json).collect();
    let names: Vec<_> = rows.iter().map(|row| row["run"].clone()).collect();
    assert_eq!(names, ["s-rate-0.5", "s-rate-4", "s-no-latent"]);
    assert_eq!(rows[0]["wanted_rate_nats_per_word"], 0.5);
    assert!(rows[2]["wanted_rate_nats_per_word"].is_null());
    for row in &rows {
        let number = |name: &str| row[name].as_f64().expect(name);
        let sum = number("distortion_nats_per_word") + number("rate_nats_per_word");
        assert!(
            (sum - number("neg_elbo_nats_per_word")).abs() < 1e-6,
            "{row}"
        );
        assert_eq!(
            (&row["steps"], &row["part"]),
            (&json("6"), &json("\"test\""))
        );
    }
    assert_eq!(rows[2]["rate_nats_per_word"], 0.0);
    let picture = fs::read_to_string(home.path("runs/s-sweep.svg")).expect("a picture");
    assert_eq!(picture.matches("<circle").count(), 2);
    assert!(picture.contains("fairy-tales, test words"), "{picture}");
    home.textgen("generate --run s-rate-4 --count 2")
        .succeeded();

    // The runs of all rates share the baseline, and neither is taken for the newest.
    let report = home.textgen("eval s-rate-4 --json --iw 0 --samples 0");
    let report = json(&report.succeeded().stdout);
    assert_eq!(report["baselines"]["no_latent"]["name"], "s-no-latent");
    let ran = home.textgen("encode ab").succeeded();
    assert_eq!(ran.stderr, "run: s-rate-4\n");

    // No run is trained a second time.
    let before = fs::read(home.path("runs/s-rate-4/metrics.jsonl")).expect("metrics");
    let again = home
        .textgen(&format!("{command} --tsv --output again.svg"))
        .succeeded();
    assert!(again.stderr.contains("trained before"), "{}", again.stderr);
    assert!(
        again
            .stdout
            .starts_with("rate wanted\tR\tD\t-ELBO\tactive units\tsteps\t")
    );
    assert_eq!(again.stdout.lines().count(), 4);
    assert_eq!(
        fs::read(home.path("runs/s-rate-4/metrics.jsonl")).expect("metrics"),
        before
    );
    assert_eq!(
        fs::read_to_string(home.path("again.svg")).expect("a picture"),
        picture
    );

    // Another rate is added to the sweep; other settings are not taken.
    let more = home
        .textgen(&format!("sweep rate --rates 2,4 {TINY} --name s"))
        .succeeded();
    assert!(
        more.stderr.contains("1 of 2 models to train"),
        "{}",
        more.stderr
    );
    assert!(
        more.stdout.starts_with("RATE WANTED  R "),
        "{}",
        more.stdout
    );
    home.textgen(&format!("sweep rate --rates 4 {TINY} --name s --batch 3"))
        .refused(1)
        .names(&["s-rate-4", "other settings: batch"])
        .advises("--name");
}

#[test]
fn a_sweep_refuses_what_it_decides_itself() {
    let home = Home::new();
    for (flags, part) in [
        ("--rates 1,0", "--values 0"),
        ("--rates 1 --rate 2", "--rate is for one run"),
        ("--rates 1 --goal explore", "--goal"),
        ("--rates 1 --resume x", "--resume"),
        ("--rates 1 --model char-lstm", "a char-lstm has no rate"),
        ("--rates 1 --latent 0", "--latent above 0"),
        ("--rates 1 --free-bits 0.1", "--free-bits"),
        ("--rates 1 --recipe article", "article"),
    ] {
        let ran = home.textgen(&format!("sweep rate {flags}"));
        ran.refused(2).names(&[part]);
    }
    assert!(!home.path("runs").exists());
}

/// Ctrl-C reaches both programs; the same command continues the sweep.
#[cfg(unix)]
#[test]
fn an_interrupted_sweep_goes_on_with_the_same_command() {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::os::unix::process::CommandExt as _;

    let home = Home::new();
    let command = "sweep rate --rates 1,4 --hidden 8 --latent 2 --steps 60 --eval-every 3 \
         --threads 1 --device cpu --seed 1 --name s";
    let mut child = home
        .background(command)
        .process_group(0)
        .spawn()
        .expect("started");
    let mut stderr = BufReader::new(child.stderr.take().expect("stderr"));
    let mut said = String::new();
    while !said
        .lines()
        .last()
        .is_some_and(|line| line.contains("step 6/"))
    {
        let read = stderr.read_line(&mut said).expect("readable");
        assert!(read > 0, "it ended too early: {said}");
    }
    let kill = std::process::Command::new("sh")
        .args(["-c", &format!("kill -s INT -- -{}", child.id())])
        .status();
    assert!(kill.expect("kill").success());
    stderr.read_to_string(&mut said).expect("readable");
    assert_eq!(child.wait().expect("it ends").code(), Some(130), "{said}");
    assert!(said.contains("everything is saved"), "{said}");
    assert!(said.contains("trained: 0 of 2 models"), "{said}");
    assert!(said.contains("--name s"), "{said}");
    let ran = home.textgen(command).succeeded();
    assert!(
        ran.stderr.contains("going on with s-rate-1 at step"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stdout.lines().count(), 3, "{}", ran.stdout);
}

#[test]
fn the_help_of_a_sweep_lists_the_settings_and_what_only_a_training_has_is_missing() {
    let home = Home::new();
    for how in ["-h", "--help"] {
        let help = home
            .textgen(&format!("sweep rate {how}"))
            .succeeded()
            .stdout;
        for flag in ["--values ", "--minutes ", "--latent ", "--beta "] {
            assert!(help.contains(flag), "{flag}: {help}");
        }
        let listed = help
            .lines()
            .any(|line| line.trim().starts_with("--resume "));
        assert!(!listed && !help.contains("Defaults of char-lstm"), "{help}");
    }
}

#[test]
fn any_setting_can_be_swept() {
    let home = Home::new();
    let tiny = "--hidden 8 --batch 4 --steps 4 --eval-every 2 --threads 1 --device cpu --name s";
    let command = format!("sweep cell --values lstm,gru,lstm --model char-lstm {tiny}");
    let ran = home.textgen(&format!("{command} --json")).succeeded();
    let rows: Vec<_> = ran.stdout.lines().map(json).collect();
    let values: Vec<_> = rows.iter().map(|row| row["value"].clone()).collect();
    assert_eq!(values, ["lstm", "gru"]);
    assert_eq!(
        (&rows[1]["run"], &rows[1]["setting"]),
        (&"s-cell-gru".into(), &"cell".into())
    );
    assert!(
        rows.iter().all(|row| row["loss_nats_per_char"].is_number()),
        "{rows:?}"
    );
    // Each has the defaults of its own cell.
    for (run, lr) in [("s-cell-lstm", "lr = 0.03"), ("s-cell-gru", "lr = 0.01")] {
        let settings = fs::read_to_string(home.path(&format!("runs/{run}/config.toml")));
        assert!(settings.expect("settings").contains(lr), "{run}");
    }
    for (flags, part) in [
        ("hiden --values 1,2 --model char-lstm", "hiden"),
        ("hidden --values 1,x --model char-lstm", "--hidden x"),
        ("hidden --values 1,0 --model char-lstm", "--hidden 0"),
        (
            "latent --values 1,2 --model char-lstm",
            "belongs to word-vae",
        ),
        ("lr --values 1,2", "--model is missing"),
    ] {
        home.textgen(&format!("sweep {flags}"))
            .refused(2)
            .names(&[part]);
    }
}

#[test]
fn a_picture_replaces_no_other_file_and_nothing_is_begun() {
    let home = Home::new();
    home.write("novel.txt", "Call me Ishmael.");
    for output in ["--output", "--svg"] {
        let command = format!("sweep rate --values 1,2 {output} novel.txt");
        let ran = home.textgen(&command);
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        assert!(ran.stderr.contains("--force"), "{}", ran.stderr);
    }
    assert_eq!(home.files().len(), 1, "{:?}", home.files().keys());
}
