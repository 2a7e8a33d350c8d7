//! What the system may refuse at any time: threads, of which one is always enough and changes no output; descriptors,
//! memory, and space in a file.

use super::common::{Home, Ran, copy_folder, golden_model, repository, textgen, texts, vae_words};

/// Runs a command, perhaps where no thread can be started.
fn run(home: &Home, arguments: &str, has_threads: bool) -> Ran {
    let mut command = home.command(textgen());
    command.args(arguments.split(' '));
    if !has_threads {
        // More than any address space has.
        command.env("RUST_MIN_STACK", (1_u64 << 62).to_string());
    }
    Ran::of(&mut command).succeeded()
}

#[test]
fn without_threads_every_command_says_the_same() {
    let home = Home::with_run(texts());
    copy_folder(vae_words(), &home.path("runs/words"));
    let line = "Once upon a time there was a hen, who lived beside the sea.\n";
    home.write("text.txt", line.repeat(300));
    for arguments in [
        "vocab text.txt",
        "generate --run texts --count 5 --length 40 --seed 3",
        "generate --run words --count 5 --seed 3",
        "eval texts --json",
        "eval words --json",
        "eval texts text.txt --json",
        "score text.txt --run texts",
        "neighbours hen --run words",
        "novelty --run texts --seed 3 --length 300",
    ] {
        let [with, without] = [true, false].map(|threads| run(&home, arguments, threads).stdout);
        let timeless = |text: &str| {
            let lines = text.lines().filter(|line| !line.contains("seconds"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(timeless(&with), timeless(&without), "{arguments}");
    }
    let golden = golden_model();
    let golden = golden.display();
    let train =
        "train text.txt --model char-lstm --hidden 8 --steps 4 --device cpu --seed 1 --name";
    let made = [true, false].map(|threads| {
        let name = if threads { "with" } else { "without" };
        let compress = format!("compress text.txt --model-file {golden} --output {name}");
        run(&home, &compress, threads);
        run(&home, &format!("{train} {name}"), threads);
        let files = [name, &format!("runs/{name}/model.safetensors")].map(|file| home.path(file));
        files.map(|file| std::fs::read(file).expect("a file"))
    });
    assert!(made[0] == made[1]);
}

/// Every command, on the runs of [`full_home`].
#[cfg(unix)]
const COMMANDS: [&str; 32] = [
    "vocab text.txt",
    "train text.txt --model char-lstm --hidden 8 --steps 4 --device cpu --seed 1",
    "train words.txt --words lines --model word-vae --hidden 8 --latent 2 --steps 4 --device cpu --seed 1",
    "sweep hidden --values 4,8 text.txt --model char-lstm --steps 2 --device cpu --seed 1",
    "generate --run texts --count 3 --length 40 --seed 1",
    "generate --run words --count 3 --seed 1",
    "chat --run texts --seed 1",
    "encode hen --run words",
    "reconstruct hen fox --run words",
    "interpolate hen fox --run words",
    "analogy hen fox sea --run words",
    "neighbours hen --run words",
    "vary hen --run words --seed 1",
    "map --run words --output map.svg --seed 1",
    "eval texts",
    "eval words",
    "eval texts text.txt",
    "score text.txt --run texts",
    "score words.txt --run words --words lines",
    "compress text.txt --run texts --output x.textgen",
    "decompress text.textgen --run texts --output y.txt",
    "novelty --run texts --length 200 --seed 1",
    "export --run texts --output e.safetensors",
    "runs",
    "doctor",
    "export --run texts --format torch --output e.pt",
    "import checkpoint.pt --output i.safetensors",
    "report texts words",
    "train --from e8.safetensors text.txt --steps 2 --device cpu --seed 1",
    "config train",
    "completions bash",
    "man manuals",
];

/// A folder with a run of each model, a text, words, a compressed file, a checkpoint and a model file.
#[cfg(unix)]
fn full_home() -> Home {
    let home = Home::with_run(texts());
    copy_folder(vae_words(), &home.path("runs/words"));
    home.write("text.txt", "The hen saw the fox by the sea.\n".repeat(40));
    home.write(
        "words.txt",
        "hen\nfox\nsea\nsaw\nthe\nwas\nshe\nfen\nhex\nset\naxe\n",
    );
    home.textgen("compress text.txt --run texts --output text.textgen")
        .succeeded();
    home.textgen("export --run texts --output e8.safetensors")
        .succeeded();
    std::fs::copy(
        repository("tests/checkpoints/tokens-lstm.pt"),
        home.path("checkpoint.pt"),
    )
    .expect("a copy");
    home
}

/// The limits of prlimit(1): bytes of a file, descriptors, bytes of memory, threads (which do not limit root).
#[cfg(unix)]
const LIMITS: [&str; 12] = [
    "--fsize=0",
    "--fsize=100",
    "--fsize=3000",
    // A program that is linked with libraries needs one descriptor to start.
    "--nofile=4",
    "--nofile=5",
    "--nofile=6",
    "--nofile=8",
    "--nproc=1",
    "--as=24000000",
    "--as=28000000",
    "--as=36000000",
    "--as=48000000",
];

/// Runs `commands` under `limits`, each in a copy of one folder.
#[cfg(unix)]
fn under(limits: &[&str], commands: &[&str]) {
    let prlimit = std::process::Command::new("prlimit")
        .arg("--version")
        .output();
    if prlimit.is_err() {
        eprintln!("skipped: there is no prlimit (util-linux)");
        return;
    }
    let original = full_home();
    let start = |home: &Home, limit: &str, arguments: &str| {
        // What hangs ends with code 124.
        let mut command = home.command(std::path::Path::new("timeout"));
        command.args(["60", "prlimit", limit, "--"]).arg(textgen());
        Ran::of(command.args(arguments.split(' ')))
    };
    let mut ended = [0, 0];
    for limit in limits {
        let home = Home::new();
        if start(&home, limit, "--version").code != Some(0) {
            eprintln!("skipped: the program does not start with {limit}");
            continue;
        }
        for arguments in commands {
            let home = Home::new();
            copy_folder(original.folder(), home.folder());
            let ran = start(&home, limit, arguments);
            let said = ran.stderr.replace("\nhint: ", "; ");
            let last = said.lines().last().unwrap_or_default();
            let errors = said
                .lines()
                .filter(|line| line.starts_with("error"))
                .count();
            let what = format!("{limit} textgen {arguments}: {ran:?}");
            ended[usize::from(ran.code != Some(0))] += 1;
            match ran.code {
                Some(0) => assert_eq!(errors, 0, "{what}"),
                // stderr itself may be a file that may not grow, but here it is a pipe.
                Some(1) => assert!(last.starts_with("error: ") && errors == 1, "{what}"),
                _ => panic!("{what}"),
            }
            for noise in ["panicked", "RUST_BACKTRACE", "memory allocation"] {
                assert!(!ran.stderr.contains(noise), "{what}");
            }
        }
    }
    let [whole, failed] = ended;
    println!(
        "{whole} commands under a limit did their work, {failed} failed with one line of error"
    );
}

#[cfg(unix)]
#[test]
fn a_limit_of_the_system_is_one_line_of_error_or_none() {
    // A limit or two of each kind, and every command that writes or starts threads; `make torture` takes all of both.
    under(
        &["--fsize=100", "--nofile=5", "--nofile=8", "--as=28000000"],
        &[
            COMMANDS[0],
            COMMANDS[1],
            COMMANDS[2],
            COMMANDS[4],
            COMMANDS[5],
            COMMANDS[13],
            COMMANDS[15],
            COMMANDS[17],
            COMMANDS[19],
        ],
    );
}

#[cfg(unix)]
#[test]
#[ignore = "a part of make torture"]
fn every_command_under_every_limit() {
    under(&LIMITS, &COMMANDS);
}
