//! The program in a shell: its list of commands, completion in real shells, manual pages, settings files, and JSON for scripts.

use std::path::Path;
use std::process::Command;

use super::common::{Home, Ran, golden_model, json, textgen, texts, vae_words};

#[test]
fn the_help_lists_the_commands_by_groups_on_a_narrow_terminal() {
    let home = Home::new();
    for arguments in ["--help", "-h", "help"] {
        let mut command = home.command(textgen());
        command.arg(arguments).env("COLUMNS", "80");
        let ran = Ran::of(&mut command).succeeded();
        for part in [
            "Text and words:\n  generate ",
            "Words (word-vae):",
            "\nOptions:\n",
        ] {
            assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
        }
        for line in ran.stdout.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert!(!ran.stdout.contains("__complete") && !ran.stdout.contains('\x1b'));
    }
}

#[test]
fn a_mistyped_command_or_flag_is_answered_with_the_nearest_or_the_command_that_has_it() {
    let home = Home::new();
    home.textgen("generte").refused(2).advises("'generate'");
    home.textgen("generate --temprature 2")
        .refused(2)
        .advises("'--temperature'");
    home.textgen("generate --hidden 3")
        .refused(2)
        .names(&["--hidden"])
        .advises("--hidden is a flag of train, sweep");
    home.textgen("vocab --latent=3")
        .refused(2)
        .advises("--latent is a flag of train, sweep");
    let everywhere = home.textgen("man pages --json").refused(2);
    assert!(everywhere.hint.contains("and 1"), "{everywhere:?}");
    assert!(!home.path("pages").exists());
}

/// Whether a program is there; if not, says what is skipped.
fn has(program: &str, what: &str) -> bool {
    let has = Command::new(program).arg("--version").output().is_ok();
    if !has {
        eprintln!("skipped: {what}, which needs {program}");
    }
    has
}

/// A folder with a run that is called `texts`, and with names that a shell must quote.
#[cfg(unix)]
fn hostile() -> Home {
    let home = Home::with_run(texts());
    let model = std::fs::read(golden_model()).expect("a model");
    for run in ["my run", "$(touch ran)", "-dash", "`touch ran`"] {
        home.write(&format!("runs/{run}/config.toml"), "");
        home.write(&format!("runs/{run}/model.safetensors"), &model);
    }
    for name in [
        "my text.txt",
        "it's \"$(touch ran)\".txt",
        "-dash.txt",
        "e\x1b[2J\rl.txt",
        "new\nline.txt",
    ] {
        home.write(&format!("corpora/{name}"), "text");
    }
    home.write("own file.safetensors", &model);
    home.write("owner's.txt", "text");
    home
}

/// What a shell makes of lines when the tab key is pressed, each with the last of the words that result when the shell
/// reads the line: the script has it written to the file `out`.
#[cfg(unix)]
#[track_caller]
fn completes(home: &Home, shell: &str, cases: &[(&str, &str)], script: impl Fn(&str) -> String) {
    for (typed, expected) in cases {
        let _ = std::fs::remove_file(home.path("out"));
        let ran = home.shell(&script(typed));
        let read = home.shell(&format!(
            "{shell} -c 'eval \"set -- $(cat out)\"; for word do :; done; printf %s \"$word\"'"
        ));
        assert_eq!(read.stdout, *expected, "{shell}: {typed:?}: {ran:?}");
        assert!(
            !home.path("ran").exists(),
            "{shell}: {typed:?} ran a command"
        );
    }
}

/// Lines that every shell completes alike.
#[cfg(unix)]
const ALIKE: [(&str, &str); 13] = [
    ("textgen gener", "generate"),
    ("textgen generate --temp", "--temperature"),
    ("textgen train --model word", "word-vae"),
    ("textgen train --model=word", "--model=word-vae"),
    ("textgen generate --run tex", "texts"),
    ("textgen generate --run=engl", "--run=english"),
    ("textgen generate --decode=be", "--decode=beam:8"),
    ("textgen eval engl", "english"),
    ("textgen vocab fairy-t", "fairy-tales.txt"),
    ("textgen vocab my", "my text.txt"),
    ("textgen vocab it", "it's \"$(touch ran)\".txt"),
    ("textgen compress owner", "owner's.txt"),
    ("textgen eval runs/my", "runs/my run/"),
];

#[cfg(unix)]
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(unix)]
#[test]
fn bash_completes_and_quotes() {
    if !has("bash", "completion in bash") {
        return;
    }
    let home = hostile();
    // Ctrl-X writes the line to a file. Readline also reads a pipe.
    let script = |typed: &str| {
        format!(
            "{{ printf '%s\\n' 'source <(textgen completions bash)' \
             'bind -x '\\''\"\\C-x\\C-w\": printf %s \"$READLINE_LINE\" >out'\\'; \
             printf '%s\\t\\030\\027\\025exit\\n' {}; }} | TERM=dumb bash --norc --noprofile -i 2>said",
            quoted(typed)
        )
    };
    completes(&home, "bash", &ALIKE, script);
    let own = [
        ("textgen vocab \"my", "my text.txt"),
        ("textgen vocab \"it", "it's \"$(touch ran)\".txt"),
        ("textgen vocab 'it", "it's \"$(touch ran)\".txt"),
        ("textgen generate --decode=beam:", "--decode=beam:8"),
        ("textgen --runs-dir ru", "runs/"),
        ("textgen train --seed ", "--seed"),
    ];
    completes(&home, "bash", &own, script);
}

#[cfg(unix)]
#[test]
fn zsh_completes_and_quotes() {
    if !has("zsh", "completion in zsh") {
        return;
    }
    let home = hostile();
    let setup = "autoload -U compinit; compinit -D -u; source <(textgen completions zsh); \
                 show() { print -rn -- \"$BUFFER\" >out; exit }; zle -N show; bindkey '^X' show; \
                 bindkey '^I' complete-word; setopt no_list_beep; print -n READY";
    let script = |typed: &str| {
        home.write(
            "drive.zsh",
            format!(
                "zmodload zsh/zpty\nzpty z zsh -f -i\nzpty -w z {}\nzpty -r z said '*READY*READY*'\n\
                 zpty -w -n z {}$'\\t\\C-x'\nwhile zpty -r z said; do :; done\nzpty -d z\n",
                quoted(setup),
                quoted(typed)
            ),
        );
        "TERM=dumb zsh -f drive.zsh".to_owned()
    };
    completes(&home, "zsh", &ALIKE, script);
    let own = [
        ("textgen eval own", "own file.safetensors"),
        ("textgen --runs-dir ru", "runs/"),
    ];
    completes(&home, "zsh", &own, script);
}

#[cfg(unix)]
#[test]
fn fish_completes_and_describes() {
    if !has("fish", "completion in fish") {
        return;
    }
    let home = hostile();
    let ask = |line: &str| {
        let script = format!(
            "HOME=$PWD fish --no-config -c 'textgen completions fish | source; complete --escape -C $argv[1]' {}",
            quoted(line)
        );
        home.shell(&script).succeeded().stdout
    };
    for (typed, word) in ALIKE {
        let answer = ask(typed);
        let found: Vec<&str> = answer
            .lines()
            .map(|line| line.split('\t').next().unwrap_or(line))
            .collect();
        let [found] = found[..] else {
            panic!("{typed}: {answer}");
        };
        let read = home.shell(&format!(
            "fish --no-config -c {}",
            quoted(&format!("printf %s {found}"))
        ));
        assert_eq!(read.stdout, word, "{typed}");
    }
    assert_eq!(
        ask("textgen generate --see"),
        "--seed\tSeed of the samples\n"
    );
    assert_eq!(ask("textgen train --seed "), "");
    let corpora = ask("textgen vocab ");
    assert!(
        !corpora.contains('\x1b') && !corpora.contains("line") && !corpora.contains("dash"),
        "{corpora}"
    );
    assert!(!home.path("ran").exists());
}

#[test]
fn what_may_follow_is_plain_text_whatever_runs_and_corpora_are_called() {
    #[cfg(unix)]
    let home = hostile();
    #[cfg(not(unix))]
    let home = Home::with_run(texts());
    let ask = |words: &[&str]| {
        let fixed = ["__complete", "zsh", "--"];
        home.textgen_with(fixed.iter().chain(words))
            .succeeded()
            .stdout
    };
    let runs = ask(&["generate", "--run", ""]);
    assert_eq!(runs, "models\ntexts\trun\nenglish\tcomes with textgen\n");
    // What begins with a dash is a value only if it is joined to its flag.
    #[cfg(unix)]
    assert!(ask(&["generate", "--run="]).contains("\n-dash\trun\n"));
    let corpora = ask(&["vocab", ""]);
    assert!(
        !corpora.contains(|c: char| c.is_control() && !"\n\t".contains(c)),
        "{corpora:?}"
    );
    assert!(
        corpora.starts_with("files\nfairy-tales.txt\tcomes with textgen\n"),
        "{corpora}"
    );
    // A folder of runs that is named on the line.
    assert_eq!(ask(&["--runs-dir", "nowhere", "report", ""]), "folders\n");
    for odd in [
        &["\u{1b}"][..],
        &["--", "--"],
        &["generate", "--run"],
        &["--runs-dir"],
        &[""],
        &[],
    ] {
        ask(odd);
    }
}

#[test]
fn every_command_has_a_manual_page_which_is_clean() {
    let home = Home::new();
    let ran = home.textgen("man share/man1").succeeded();
    assert_eq!(ran.stdout, "");
    let pages = home.files();
    let pages: Vec<_> = pages
        .keys()
        .filter(|path| path.extension().is_some())
        .collect();
    assert!(
        pages.len() > 20 && pages.iter().any(|page| page.ends_with("textgen-train.1")),
        "{pages:?}"
    );
    if has("mandoc", "the check of the manual pages") {
        let mut lint = Command::new("mandoc");
        let lint = lint
            .arg("-Tlint")
            .args(&pages)
            .output()
            .expect("mandoc runs");
        // That there is another page is not for this tool to know.
        let said = String::from_utf8_lossy(&lint.stdout);
        let said: Vec<&str> = said
            .lines()
            .filter(|line| !line.contains("referenced manual not found"))
            .collect();
        assert!(said.is_empty(), "{}", said.join("\n"));
        let page = Command::new("mandoc")
            .args(["-Tutf8", "-Owidth=80"])
            .arg(home.path("share/man1/textgen-generate.1"))
            .output();
        let page = String::from_utf8_lossy(&page.expect("mandoc runs").stdout).into_owned();
        let plain = plain(&page);
        for part in [
            "GENERATE(1)",
            "--temperature T",
            "EXAMPLES",
            "textgen generate --fill 'the q___n of br__n' --count 3",
            r"\u{e9}",
        ] {
            assert!(plain.contains(part), "{part}: {plain}");
        }
    }
    // They are written anew, but nothing else is.
    home.textgen("man share/man1").succeeded();
    home.write("share/man1/textgen-train.1", "my own notes");
    home.write("share/man1/textgen-vocab.1", ".\\\" not textgen's\n");
    let before = home.files();
    home.textgen("man share/man1")
        .refused(1)
        .names(&["textgen-", "is not a manual page"])
        .advises("--force");
    assert_eq!(home.files(), before);
    home.textgen("man share/man1 --force").succeeded();
    home.write("file", "");
    home.textgen("man file").refused(1).names(&["file"]);
}

/// The page without what a terminal overstrikes.
fn plain(page: &str) -> String {
    let mut plain = String::new();
    for c in page.chars() {
        if c == '\u{8}' {
            plain.pop();
        } else {
            plain.push(c);
        }
    }
    plain
}

#[test]
fn the_printed_settings_are_accepted_and_change_nothing() {
    let home = Home::new();
    let printed = home.textgen("config").succeeded().stdout;
    assert!(
        printed.contains("\n# Hidden size of each layer (1 to 16384; fits the corpus)\n#hidden = "),
        "{printed}"
    );
    let piped = |arguments: &str| {
        let mut command = home.command(super::common::textgen());
        command
            .args(arguments.split(' '))
            .write_stdin(printed.clone());
        Ran::of(&mut command)
    };
    piped("train --config - --hidden 8 --steps 2 --name piped").succeeded();
    home.write("printed.toml", &printed);
    home.train("--config printed.toml --hidden 8 --steps 2 --name file");
    home.train("--model char-lstm --hidden 8 --steps 2 --name flags");
    let settings = |name: &str| {
        std::fs::read(home.path(&format!("runs/{name}/config.toml"))).expect("settings")
    };
    assert_eq!(settings("file"), settings("flags"));
    assert_eq!(settings("piped"), settings("flags"));
    home.write("own.toml", printed.replace("#layers = 1", "layers = 2"));
    home.train("--config own.toml --hidden 8 --steps 2 --name own");
    assert!(
        String::from_utf8(settings("own"))
            .expect("UTF-8")
            .contains("layers = 2")
    );
    home.textgen("config knit")
        .refused(2)
        .names(&["knit", "generate"]);
}

#[test]
fn a_file_of_sampling_options_is_as_if_they_were_typed() {
    let home = Home::with_run(texts());
    let file = home.textgen("config generate").succeeded().stdout;
    home.write("printed.toml", &file);
    let with = |arguments: &str| {
        home.textgen(&format!("generate {arguments}"))
            .succeeded()
            .stdout
    };
    assert_eq!(
        with("--seed 1 --length 40 --config printed.toml"),
        with("--seed 1 --length 40")
    );
    home.write(
        "my.toml",
        "temperature = 0.4\ntop-k = 5\nlength = 40 # tokens\nseed = 7\nstop = \".\"\n",
    );
    assert_eq!(
        with("--config my.toml"),
        with("--temperature 0.4 --top-k 5 --length 40 --seed 7 --stop .")
    );
    assert_eq!(
        with("--config my.toml --seed 8"),
        with("--temperature 0.4 --top-k 5 --length 40 --seed 8 --stop .")
    );
    home.write("hot.toml", "temperature = \"hot\"\n");
    let ran = home.textgen("generate --config hot.toml");
    ran.refused(2).names(&["hot", "--temperature"]);
    assert!(ran.stderr.contains("hot.toml"), "{ran:?}");
    home.write("wings.toml", "# of what kind?\n\nwings = 2\n");
    home.textgen("generate --config wings.toml")
        .refused(2)
        .names(&["wings.toml:3: wings"])
        .advises("textgen config generate");
    home.write("not.toml", "temperature 0.4\n");
    home.textgen("generate --config not.toml")
        .refused(2)
        .names(&["not.toml:1"]);
    home.textgen("generate --config missing.toml")
        .refused(1)
        .names(&["missing.toml"]);
}

/// The objects of a text of JSON lines.
#[track_caller]
fn lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(json).collect()
}

#[test]
fn a_training_prints_its_events_as_json_lines_and_nothing_else() {
    let home = Home::new();
    let ran = home.train("--json --model word-vae --hidden 8 --latent 2 --steps 20 --eval-every 10 --name w --baseline no-latent");
    let all = lines(&ran.stdout);
    let of = |run: &str, event: &str| {
        let is_it = |line: &&serde_json::Value| line["run"] == run && line["event"] == event;
        all.iter().filter(is_it).cloned().collect::<Vec<_>>()
    };
    for run in ["w", "w-no-latent"] {
        let (start, end) = (of(run, "start"), of(run, "end"));
        assert_eq!((start.len(), end.len()), (1, 1), "{all:?}");
        assert_eq!(start[0]["steps"], 20);
        assert_eq!(start[0]["model"], "word-vae");
        assert_eq!(end[0]["ending"], "budget");
        assert_eq!(end[0]["step"], 20);
        // What the log says, but for the last line, which says that it is the last.
        let log = std::fs::read_to_string(home.path(&format!("runs/{run}/metrics.jsonl")))
            .expect("a log");
        let told = of(run, "evaluation");
        assert_eq!(told.len(), 2);
        for (told, logged) in told.iter().zip(lines(&log)) {
            for key in ["step", "train_loss", "valid", "lr"] {
                assert_eq!(told[key], logged[key], "{key}");
            }
        }
    }
    assert_eq!(all.len(), 8, "{all:?}");
    let more = home.train("--json --resume w --steps 25").stdout;
    assert_eq!(lines(&more)[0]["step"], 20);
    // A failure leaves no half line, and is said on stderr alone.
    home.textgen("train --json --model char-lstm nowhere.txt")
        .refused(1)
        .names(&["nowhere.txt"]);
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_stops_the_training_which_is_saved() {
    let home = Home::new();
    let ran = home.shell(
        "textgen train --json --model char-lstm --hidden 8 --steps 100000 --eval-every 20 --name long 2>said | head -n 2; textgen train --resume long --steps 100001 --json 2>>said | head -n 1",
    );
    let all = lines(&ran.succeeded().stdout);
    assert_eq!(all[1]["event"], "evaluation");
    assert!(all[2]["step"].as_u64().expect("a step") >= 20, "{all:?}");
    let said = std::fs::read_to_string(home.path("said")).expect("stderr");
    assert!(!said.contains("error"), "{said}");
}

#[test]
fn sweep_chat_and_export_print_json_lines() {
    let home = Home::with_run(texts());
    let ran = home
        .textgen("sweep lr --values 0.01,0.02 --model char-lstm --hidden 8 --steps 4 --json")
        .succeeded();
    let rows = lines(&ran.stdout);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["setting"], "lr");

    let mut chat = home.command(super::common::textgen());
    chat.args([
        "chat", "--run", "texts", "--seed", "1", "--json", "--length", "20",
    ]);
    chat.write_stdin("The hen\n/top-k 3\n\n/pick\n1\n2\n");
    let ran = Ran::of(&mut chat).succeeded();
    let replies = lines(&ran.stdout);
    assert_eq!(replies.len(), 3, "{ran:?}");
    assert_eq!(
        (&replies[0]["index"], &replies[1]["index"]),
        (&json("0"), &json("1"))
    );
    assert_eq!(replies[0]["prompt"], "The hen");
    assert_eq!(replies[0]["seed"], 1);
    assert!(replies[0]["log_prob_nats"].as_f64().expect("nats") < 0.0);
    assert_eq!(replies[2]["tokens"], 2);
    assert!(replies[2].get("ended").is_none() && replies[0].get("ended").is_some());
    let mut plain = home.command(super::common::textgen());
    plain
        .args(["chat", "--run", "texts", "--seed", "1", "--length", "20"])
        .write_stdin("The hen\n");
    assert_eq!(
        Ran::of(&mut plain).stdout.trim_end_matches('\n'),
        replies[0]["text"]
            .as_str()
            .expect("text")
            .trim_end_matches('\n')
    );

    let words = vae_words().display().to_string();
    for (format, files) in [
        ("safetensors", &["a"][..]),
        ("html", &["a"]),
        ("js", &["a.js", "a.d.ts"]),
    ] {
        let home = Home::new();
        let output = files[0];
        let ran = home
            .textgen_with([
                "export", &words, "--format", format, "--output", output, "--json",
            ])
            .succeeded();
        let [report] = &lines(&ran.stdout)[..] else {
            panic!("{ran:?}")
        };
        assert_eq!(report["format"], format);
        let written = report["files"].as_array().expect("a list");
        assert_eq!(written.len(), files.len());
        for file in written {
            let path = home.path(file["path"].as_str().expect("a path"));
            assert_eq!(file["bytes"], path.metadata().expect("a file").len());
        }
    }
    if Path::new("/dev/stdout").exists() {
        home.textgen("export texts --output /dev/stdout --json")
            .refused(2)
            .names(&["--json"]);
    }
}
